//! Mistakes in the configuration, collected and shown all at once, each with its source line.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::document::Document;
use crate::error::{CommandError, Exit};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// The bytes of the document that it is about; absent for flags and variables.
    pub(crate) span: Option<Range<usize>>,
    /// What to write at those bytes.
    pub(crate) label: Option<String>,
    /// Another place that belongs to it, with its label.
    pub(crate) related: Option<(Range<usize>, String)>,
    /// What to do, one line each.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn related(&mut self, span: Range<usize>, label: impl Into<String>) -> &mut Self {
        self.related = Some((span, label.into()));
        self
    }

    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help.push(help.into());
        self
    }
}

/// Where mistakes are collected.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// A mistake on these bytes of the document.
    pub(crate) fn at(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Some(span.clone()), message.into())
    }

    /// A mistake in a flag, a variable, or the document as a whole.
    pub(crate) fn plain(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.push(None, message.into())
    }

    fn push(&mut self, span: Option<Range<usize>>, message: String) -> &mut Diagnostic {
        let index = self.0.len();
        self.0.push(Diagnostic {
            message,
            span,
            label: None,
            related: None,
            help: Vec::new(),
        });
        &mut self.0[index]
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as one error, flags first, then in the order of the document.
    pub(crate) fn into_errors(mut self, document: Option<Document>) -> ConfigErrors {
        self.0
            .sort_by_key(|d| d.span.as_ref().map(|span| span.start));
        ConfigErrors {
            document,
            diagnostics: self.0,
        }
    }
}

/// Every mistake that was found in flags, environment and configuration file.
#[derive(Debug)]
pub(crate) struct ConfigErrors {
    document: Option<Document>,
    diagnostics: Vec<Diagnostic>,
}

impl ConfigErrors {
    /// The mistakes.
    pub(crate) fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The whole text, `error:` included, for a terminal (`styled`) or for anything else.
    pub(crate) fn render(&self, styled: bool) -> String {
        let renderer = if styled {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        self.rendered(&renderer, Level::ERROR)
    }

    fn rendered(&self, renderer: &Renderer, first: Level<'static>) -> String {
        let mut levels = std::iter::once(first).chain(std::iter::repeat(Level::ERROR));
        let blocks: Vec<String> = self
            .diagnostics
            .iter()
            .zip(&mut levels)
            .map(|(diagnostic, level)| renderer.render(&[self.group(diagnostic, level)]))
            .collect();
        blocks.join("\n\n")
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic, level: Level<'static>) -> Group<'a> {
        let title = level.primary_title(&diagnostic.message);
        let mut group = match (&self.document, &diagnostic.span) {
            (Some(document), Some(span)) => {
                let mut snippet = Snippet::source(&document.text)
                    .path(document.shown())
                    .annotation(
                        AnnotationKind::Primary
                            .span(span.clone())
                            .label(diagnostic.label.as_deref()),
                    );
                if let Some((span, label)) = &diagnostic.related {
                    snippet = snippet.annotation(
                        AnnotationKind::Context
                            .span(span.clone())
                            .label(label.as_str()),
                    );
                }
                title.element(snippet)
            }
            _ => Group::with_title(title),
        };
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(help));
        }
        group
    }
}

impl fmt::Display for ConfigErrors {
    /// Plain, and without the first `error:`, which whoever prints an error says itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered(&Renderer::plain(), Level::ERROR.no_name()))
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for CommandError {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(Exit::Usage, errors)
    }
}

/// The known name that `name` was probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`, for sentences.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Name;

    #[test]
    fn mistakes_show_their_line_and_what_to_do() {
        let text = "schema = 1\nsteps = 0\n".to_owned();
        let mut found = Diagnostics::default();
        found
            .at(&(19..20), "`run.steps` must be at least 1")
            .label("0 measures nothing")
            .help("three is the default");
        found.plain("unknown model `x` in --models");
        let errors = found.into_errors(Some(Document {
            name: Name::File("rollbench.toml".into()),
            text,
            made: None,
        }));
        insta::assert_snapshot!(errors.to_string(), @"
        unknown model `x` in --models

        error: `run.steps` must be at least 1
         --> rollbench.toml:2:9
          |
        2 | steps = 0
          |         ^ 0 measures nothing
          |
          = help: three is the default
        ");
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["num_prompts", "input_len", "n"];
        assert_eq!(nearest("num_promts", known), Some("num_prompts"));
        assert_eq!(nearest("inputlen", known), Some("input_len"));
        assert_eq!(nearest("temperature", known), None);
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(listed([]), "none");
    }
}
