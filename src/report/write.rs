//! From a results folder to the files of its summary.

use std::io::Write as _;
use std::path::Path;

use super::derive::derive;
use super::document::sections;
use super::model::Summary;
use super::{csv, json, markdown, text, verl};
use crate::error::PathError;
use crate::record::{read_results, write_atomic};

/// A way to show a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Plain text, wrapped at so many characters, or not at all.
    Text {
        /// Of the terminal; absent where the text does not go to one.
        width: Option<u16>,
    },
    /// Markdown.
    Markdown,
    /// One row a cell.
    Csv,
    /// The whole summary.
    Json,
    /// One JSON object a step, under verl's names.
    Verl,
}

/// The files that [`write_all`] writes into the results folder.
#[cfg(test)]
pub(crate) const FILES: [&str; 5] = [
    "summary.txt",
    "summary.md",
    "summary.csv",
    "summary.json",
    "steps.csv",
];

/// Summarises the results folder `results`. Nothing is written.
pub fn read(results: &Path) -> Result<Summary, PathError> {
    let (derived, passed_over) = read_results(results, derive)?;
    Ok(Summary::new(derived, passed_over))
}

/// The summary in one format.
pub fn render(summary: &Summary, format: Format) -> std::io::Result<Vec<u8>> {
    Ok(match format {
        Format::Text { width } => text::text(sections(summary), width).into_bytes(),
        Format::Markdown => markdown::markdown(sections(summary)).into_bytes(),
        Format::Csv => csv::cells(summary).map_err(std::io::Error::other)?,
        Format::Json => json::json(summary)?.into_bytes(),
        Format::Verl => verl::lines(summary).into_bytes(),
    })
}

/// Writes all files of a summary, each atomically. The same records give the same bytes, wherever this is done.
pub(crate) fn write_all(results: &Path, summary: &Summary) -> Result<(), PathError> {
    let formats = [
        ("summary.txt", Format::Text { width: None }),
        ("summary.md", Format::Markdown),
        ("summary.csv", Format::Csv),
        ("summary.json", Format::Json),
    ];
    for (name, format) in formats {
        let path = results.join(name);
        let bytes = render(summary, format).map_err(PathError::on("render", &path))?;
        write_atomic(&path, |file| file.write_all(&bytes))?;
    }
    let path = results.join("steps.csv");
    let bytes = csv::steps(summary)
        .map_err(std::io::Error::other)
        .map_err(PathError::on("render", &path))?;
    write_atomic(&path, |file| file.write_all(&bytes))
}
