//! Words into fields: quoting, splitting, and what `$` begins.

use brush_parser::word::{
    self, BraceExpressionMember, BraceExpressionOrText, TildeExpr, WordPiece, WordPieceWithSource,
};
use brush_parser::{ParserOptions, ast};

use super::arithmetic;
use super::pattern;
use super::run::Shell;
use super::value::{Part, Value};
use super::world::{Field, World};

/// The fields of a word while it is expanded.
#[derive(Default)]
pub(super) struct Fields {
    done: Vec<Value>,
    /// Absent between fields.
    open: Option<Value>,
}

impl Fields {
    fn quoted(&mut self, value: Value) {
        self.open.get_or_insert_default().extend(value);
    }

    /// Blanks of what was put in part fields; what is not known is taken as one.
    fn split(&mut self, value: &Value) {
        for part in value.parts() {
            let Part::Text(text) = part else {
                self.open.get_or_insert_default().push(part.clone());
                continue;
            };
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                if end == 0 {
                    self.close();
                    rest = rest.trim_start();
                } else {
                    self.open.get_or_insert_default().push_text(&rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
    }

    fn close(&mut self) {
        self.done.extend(self.open.take());
    }

    /// `"${LIST[@]}"`: a field an element.
    fn each(&mut self, values: Vec<Value>) {
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.close();
            }
            self.quoted(value);
        }
    }

    pub(super) fn put(&mut self, looked: Looked, quoted: bool) {
        match looked {
            Looked::One(value) if quoted => self.quoted(value),
            Looked::One(value) => self.split(&value),
            Looked::Each(values) if quoted => self.each(values),
            Looked::Each(values) => {
                for value in values {
                    self.split(&value);
                    self.close();
                }
            }
        }
    }
}

/// What a parameter holds.
pub(super) enum Looked {
    One(Value),
    /// `[@]`, `$@`.
    Each(Vec<Value>),
}

impl Looked {
    pub(super) fn joined(self) -> Value {
        match self {
            Self::One(value) => value,
            Self::Each(values) => joined(values),
        }
    }
}

pub(super) fn joined(values: impl IntoIterator<Item = Value>) -> Value {
    let mut all = Value::default();
    for (i, value) in values.into_iter().enumerate() {
        if i > 0 {
            all.push_text(" ");
        }
        all.extend(value);
    }
    all
}

impl Shell {
    /// All that a word of a command becomes.
    pub(super) fn fields(&self, world: &mut World, word: &ast::Word) -> Vec<Field> {
        let line = word.loc.as_ref().map_or(0, |loc| loc.end.line);
        let mut fields = Vec::new();
        for text in braces(&word.value) {
            let mut split = Fields::default();
            self.word(world, &text, false, &mut split);
            split.close();
            fields.extend(split.done.into_iter().map(|value| Field { value, line }));
        }
        fields
    }

    /// A word where the shell does not split: an assignment, the subject of `case`.
    pub(super) fn single(&self, world: &mut World, text: &str) -> Value {
        let mut fields = Fields::default();
        self.word(world, text, true, &mut fields);
        fields.close();
        joined(fields.done)
    }

    /// A word as a pattern; absent where a part of it is not known.
    pub(super) fn pattern(&self, world: &mut World, text: &str) -> Option<String> {
        let mut pattern = String::new();
        for piece in word::parse(text, &ParserOptions::default()).ok()? {
            let bare = matches!(
                piece.piece,
                WordPiece::Text(_) | WordPiece::ParameterExpansion(_)
            );
            if let WordPiece::EscapeSequence(escape) = &piece.piece {
                pattern.push_str(escape);
                continue;
            }
            let mut fields = Fields::default();
            self.piece(world, &piece.piece, true, &mut fields);
            fields.close();
            let value = joined(fields.done);
            let known = value.known()?;
            if bare {
                pattern.push_str(known);
            } else {
                pattern.push_str(&pattern::escaped(known));
            }
        }
        Some(pattern)
    }

    pub(super) fn word(&self, world: &mut World, text: &str, quoted: bool, out: &mut Fields) {
        match word::parse(text, &ParserOptions::default()) {
            Ok(pieces) => self.pieces(world, &pieces, quoted, out),
            Err(_) => out.quoted(Value::unknown(text)),
        }
    }

    /// The body of a here-document.
    pub(super) fn document(&self, world: &mut World, document: &ast::IoHereDocument) -> Value {
        if !document.requires_expansion {
            return Value::text(document.doc.value.clone());
        }
        let mut fields = Fields::default();
        match word::parse_heredoc(&document.doc.value, &ParserOptions::default()) {
            Ok(pieces) => self.pieces(world, &pieces, true, &mut fields),
            Err(_) => fields.quoted(Value::unknown("<<")),
        }
        fields.close();
        joined(fields.done)
    }

    fn pieces(
        &self,
        world: &mut World,
        pieces: &[WordPieceWithSource],
        quoted: bool,
        out: &mut Fields,
    ) {
        for piece in pieces {
            self.piece(world, &piece.piece, quoted, out);
        }
    }

    fn piece(&self, world: &mut World, piece: &WordPiece, quoted: bool, out: &mut Fields) {
        match piece {
            WordPiece::Text(text) | WordPiece::SingleQuotedText(text) => {
                out.quoted(Value::text(text.clone()));
            }
            WordPiece::AnsiCQuotedText(text) => {
                let plain = text.replace("\\n", "\n").replace("\\t", "\t");
                out.quoted(Value::text(plain));
            }
            WordPiece::DoubleQuotedSequence(inner)
            | WordPiece::GettextDoubleQuotedSequence(inner) => {
                // `""` is an empty field; `"${NONE[@]}"` is no field.
                if inner.is_empty() {
                    out.quoted(Value::default());
                }
                self.pieces(world, inner, true, out);
            }
            WordPiece::EscapeSequence(escape) => {
                let text = escape.strip_prefix('\\').unwrap_or(escape);
                out.quoted(Value::text(if text == "\n" { "" } else { text }));
            }
            WordPiece::TildeExpansion(TildeExpr::Home) => out.quoted(Value::home("HOME")),
            WordPiece::TildeExpansion(TildeExpr::WorkingDir) => out.quoted(Value::home("PWD")),
            WordPiece::TildeExpansion(_) => out.quoted(Value::unknown("~")),
            WordPiece::ParameterExpansion(expr) => self.parameter(world, expr, quoted, out),
            WordPiece::CommandSubstitution(script)
            | WordPiece::BackquotedCommandSubstitution(script) => {
                let output = self.output(world, script);
                out.put(Looked::One(output), quoted);
            }
            WordPiece::ArithmeticExpression(expr) => {
                let value = self.arithmetic(world, &expr.value);
                let shown = value.map_or_else(
                    || Value::unknown(format!("$(({}))", expr.value)),
                    |number| Value::text(number.to_string()),
                );
                out.quoted(shown);
            }
        }
    }

    pub(super) fn arithmetic(&self, world: &mut World, text: &str) -> Option<i64> {
        let expanded = self.single(world, text);
        arithmetic::value(world, expanded.known()?)
    }
}

/// `a{b,c}` is `ab ac`; a word without such braces is itself.
fn braces(word: &str) -> Vec<String> {
    // Quoted braces and those of `${...}` are the parser's business: it answers nothing where there is nothing to expand.
    let expressions = word.contains('{').then(|| {
        word::parse_brace_expansions(word, &ParserOptions::default())
            .ok()
            .flatten()
    });
    match expressions.flatten() {
        Some(pieces) => combinations(&pieces),
        None => vec![word.to_owned()],
    }
}

/// More is no run script.
const MOST_COMBINATIONS: i64 = 1000;

fn combinations(pieces: &[BraceExpressionOrText]) -> Vec<String> {
    let mut all = vec![String::new()];
    for piece in pieces {
        let choices: Vec<String> = match piece {
            BraceExpressionOrText::Text(text) => vec![text.clone()],
            BraceExpressionOrText::Expr(members) => members.iter().flat_map(member).collect(),
        };
        all = all
            .iter()
            .flat_map(|begin| choices.iter().map(move |end| format!("{begin}{end}")))
            .take(usize::try_from(MOST_COMBINATIONS).unwrap_or(usize::MAX))
            .collect();
    }
    all
}

fn member(member: &BraceExpressionMember) -> Vec<String> {
    match member {
        BraceExpressionMember::Child(pieces) => combinations(pieces),
        BraceExpressionMember::NumberSequence {
            start,
            end,
            increment,
        } => {
            let step = increment.saturating_abs().max(1);
            let count = (end.saturating_sub(*start).saturating_abs() / step).min(MOST_COMBINATIONS);
            let signed = if end < start { -step } else { step };
            (0..=count)
                .map(|i| start.saturating_add(i.saturating_mul(signed)).to_string())
                .collect()
        }
        BraceExpressionMember::CharSequence { start, end, .. } => {
            let (low, high) = (start.min(end), start.max(end));
            let mut letters: Vec<String> = (*low..=*high).map(String::from).collect();
            if end < start {
                letters.reverse();
            }
            letters
        }
    }
}
