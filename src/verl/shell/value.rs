//! Text of which parts may not be known.

use std::fmt;

/// A stretch of a [`Value`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verl) enum Part {
    Text(String),
    /// `HOME`, `PWD` or `USER`: everybody has it, and a configuration can name it.
    Home(String),
    Unknown(Unknown),
}

/// What the script does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verl) struct Unknown {
    /// As bash would write it: `$BATCH`, `$(nvidia-smi -L)`.
    pub(in crate::verl) name: String,
    /// A variable or an argument that the caller may give, and that is empty where it does not.
    pub(in crate::verl) outside: bool,
    /// On this branch the script has found that the caller gave it.
    pub(in crate::verl) given: bool,
}

/// Parts in their order. No two texts stand side by side, and none is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::verl) struct Value(Vec<Part>);

impl Value {
    pub(in crate::verl) fn text(text: impl Into<String>) -> Self {
        let mut value = Self::default();
        value.push_text(&text.into());
        value
    }

    /// The output of a command, or what else only a run can tell.
    pub(in crate::verl) fn unknown(name: impl Into<String>) -> Self {
        Self::not_known(name.into(), false)
    }

    /// A variable or an argument of the caller.
    pub(in crate::verl) fn outside(name: impl Into<String>) -> Self {
        Self::not_known(name.into(), true)
    }

    fn not_known(name: String, outside: bool) -> Self {
        Self(vec![Part::Unknown(Unknown {
            name,
            outside,
            given: false,
        })])
    }

    pub(in crate::verl) fn home(name: &str) -> Self {
        Self(vec![Part::Home(name.to_owned())])
    }

    pub(in crate::verl) fn parts(&self) -> &[Part] {
        &self.0
    }

    pub(super) fn push_text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.0.push(Part::Text(text.to_owned())),
        }
    }

    pub(in crate::verl) fn push(&mut self, part: Part) {
        match part {
            Part::Text(text) => self.push_text(&text),
            part => self.0.push(part),
        }
    }

    pub(in crate::verl) fn extend(&mut self, other: Self) {
        for part in other.0 {
            self.push(part);
        }
    }

    /// The whole text, where all of it is known.
    pub(super) fn known(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with what the caller may give left empty: what a caller with nothing set would have.
    pub(super) fn with_nothing_set(&self) -> String {
        let said = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Unknown(unknown) if unknown.outside => String::new(),
            other => other.to_string(),
        };
        self.0.iter().map(said).collect()
    }

    /// As `$(...)` hands it on.
    pub(super) fn without_end_newlines(mut self) -> Self {
        if let Some(Part::Text(last)) = self.0.last_mut() {
            last.truncate(last.trim_end_matches('\n').len());
            if last.is_empty() {
                self.0.pop();
            }
        }
        self
    }

    /// Text of a script of its own, in which what is not known stands as a variable of the caller's.
    pub(super) fn as_script(&self) -> String {
        let said = |part: &Part| match part {
            Part::Unknown(unknown) if !unknown.outside => {
                let name = unknown
                    .name
                    .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
                format!("${{{}}}", name.trim_start_matches('_'))
            }
            other => other.to_string(),
        };
        self.0.iter().map(said).collect()
    }

    /// Nothing but what the caller may give.
    pub(super) fn is_outside(&self) -> bool {
        let outside = |part: &Part| matches!(part, Part::Unknown(unknown) if unknown.outside);
        !self.0.is_empty() && self.0.iter().all(outside)
    }

    /// As found on a branch where it is not empty.
    pub(super) fn given(mut self) -> Self {
        for part in &mut self.0 {
            if let Part::Unknown(unknown) = part {
                unknown.given = true;
            }
        }
        self
    }

    /// Exactly what the caller gave, on a branch that found it given: as `${X:-default}`, that is no other value of the
    /// script's own.
    pub(in crate::verl) fn is_given(&self) -> bool {
        matches!(self.0.as_slice(), [Part::Unknown(unknown)] if unknown.given)
    }

    pub(in crate::verl) fn first_unknown(&self) -> Option<&Unknown> {
        self.0.iter().find_map(|part| match part {
            Part::Unknown(unknown) => Some(unknown),
            _ => None,
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Home(name) => write!(f, "${{{name}}}"),
            Self::Unknown(unknown) => f.write_str(&unknown.name),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| part.fmt(f))
    }
}
