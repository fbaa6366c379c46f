//! A configuration text that knows its name, so that every value and every mistake can say where it stands.

use std::ops::Range;
use std::path::PathBuf;

use super::Origin;

/// What a document is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// A file, as the user named it.
    File(PathBuf),
    /// A matrix embedded in the binary.
    BuiltIn(&'static str),
}

/// A configuration text and its name.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) name: Name,
    pub(crate) text: String,
    /// The byte from which on the text is not of the file, but made for a flag.
    pub(crate) made: Option<Made>,
}

/// The matrix of a flag, behind the text of a file, in place of the file's own.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) from: usize,
    pub(crate) flag: &'static str,
    /// What is selected where no flag says it.
    pub(crate) precisions: &'static [&'static str],
}

/// A value and the bytes that it stands on.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<T> At<T> {
    pub(crate) fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

impl Document {
    /// The line of a byte, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        1 + memchr::memchr_iter(b'\n', &self.text.as_bytes()[..end]).count()
    }

    /// The origin of a value that stands on `span`.
    pub(crate) fn origin(&self, span: &Range<usize>) -> Origin {
        if let Some(made) = self.made.as_ref().filter(|made| span.start >= made.from) {
            return Origin::Flag(made.flag);
        }
        let line = self.line(span.start);
        match &self.name {
            Name::File(path) => Origin::File {
                path: path.clone(),
                line,
            },
            Name::BuiltIn(name) => Origin::BuiltIn {
                name: (*name).to_owned(),
                line,
            },
        }
    }

    /// The name as shown above a source line.
    pub(crate) fn shown(&self) -> String {
        match &self.name {
            Name::File(path) => path.display().to_string(),
            Name::BuiltIn(name) => format!("built-in {name}.toml"),
        }
    }
}
