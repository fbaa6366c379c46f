//! From a results folder to the files of its summary.

use std::io::Write as _;
use std::path::Path;

use super::derive::derive;
use super::document::{TITLES, sections};
use super::fidelity::FidelityNumbers;
use super::html::{self, Language};
use super::model::Summary;
use super::{csv, fidelity, json, markdown, text, verl};
use crate::error::PathError;
use crate::output::printable;
use crate::record::{read_regular, read_results, write_atomic};

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
    /// One page with pictures.
    Html(Language),
}

/// The files that [`write_all`] writes into the results folder.
#[cfg(test)]
pub(crate) const FILES: [&str; 6] = [
    "summary.txt",
    "summary.md",
    "summary.csv",
    "summary.json",
    "steps.csv",
    PAGE,
];

/// The page's name beside the records.
pub(crate) const PAGE: &str = "summary.html";

/// Summarises the results folder `results`. Nothing is written.
pub fn read(results: &Path) -> Result<Summary, PathError> {
    let (derived, mut passed_over) = read_results(results, derive)?;
    let (fidelity, unread) = fidelity::read_rows(results)?;
    passed_over.extend(unread);
    let mut summary = Summary::new(derived, passed_over);
    for cell in &mut summary.cells {
        let own = fidelity
            .iter()
            .find(|row| row.model == cell.model && row.precision == cell.precision);
        cell.fidelity = own
            .and_then(|row| row.numbers.as_ref())
            .map(FidelityNumbers::of_cell);
    }
    summary.fidelity = fidelity;
    Ok(summary)
}

/// The summary in one format.
pub fn render(summary: &Summary, format: Format) -> std::io::Result<Vec<u8>> {
    Ok(match format {
        Format::Text { width } => shown(&text::text(sections(summary), width)),
        Format::Markdown => shown(&markdown::markdown(sections(summary))),
        Format::Csv => csv::cells(summary).map_err(std::io::Error::other)?,
        Format::Json => json::json(summary)?.into_bytes(),
        Format::Verl => verl::lines(summary).into_bytes(),
        Format::Html(language) => html::page(summary, language).into_bytes(),
    })
}

/// For a person's eyes, who may `cat` it.
fn shown(text: &str) -> Vec<u8> {
    printable(text).into_owned().into_bytes()
}

/// What became of the files of a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// All are written.
    All,
    /// The folder holds no record of rollbench, and nobody asked for files in it.
    NotAsked,
    /// These are there and of somebody else; nothing was written.
    InTheWay(Vec<&'static str>),
}

/// Writes all files of a summary, each atomically. The same records give the same bytes, wherever this is done.
///
/// Only into a folder that holds records of rollbench, or where it was `asked` for, and never over a file that
/// rollbench did not write.
pub(crate) fn write_all(
    results: &Path,
    summary: &Summary,
    asked: bool,
) -> Result<Written, PathError> {
    if summary.sessions.is_empty() && !asked {
        return Ok(Written::NotAsked);
    }
    let files = [
        ("summary.txt", Some(Format::Text { width: None })),
        ("summary.md", Some(Format::Markdown)),
        ("summary.csv", Some(Format::Csv)),
        ("summary.json", Some(Format::Json)),
        ("steps.csv", None),
        (PAGE, Some(Format::Html(Language::En))),
    ];
    let foreign = foreign_files(results, &files.map(|(name, _)| name));
    if !foreign.is_empty() {
        return Ok(Written::InTheWay(foreign));
    }
    for (name, format) in files {
        let path = results.join(name);
        let bytes = match format {
            Some(format) => render(summary, format),
            None => csv::steps(summary).map_err(std::io::Error::other),
        };
        let bytes = bytes.map_err(PathError::on("render", &path))?;
        write_atomic(&path, |file| file.write_all(&bytes))?;
    }
    Ok(Written::All)
}

/// Writes the page alone, atomically, over that of [`write_all`].
pub(crate) fn write_page(results: &Path, page: &[u8]) -> Result<(), PathError> {
    write_atomic(&results.join(PAGE), |file| file.write_all(page))
}

/// How a picture's file begins.
const PICTURE: &str = "<!-- rollbench -->\n";

/// Writes every figure of the page into `figures/` and `summary.md` with links to them. Gives the name of a file there
/// that rollbench did not write: then none is written.
pub(crate) fn write_pictures(
    results: &Path,
    summary: &Summary,
    language: Language,
) -> Result<Option<String>, PathError> {
    let dir = results.join("figures");
    let pictures = html::pictures(summary, language);
    let foreign = |file: &str| {
        let there = std::fs::read(dir.join(file));
        there.is_ok_and(|bytes| !bytes.starts_with(PICTURE.as_bytes()))
    };
    if let Some(picture) = pictures.iter().find(|picture| foreign(&picture.file)) {
        return Ok(Some(picture.file.clone()));
    }
    std::fs::create_dir_all(&dir).map_err(PathError::on("make", &dir))?;
    let mut markdown = markdown::markdown(sections(summary));
    for picture in pictures {
        write_atomic(&dir.join(&picture.file), |file| {
            file.write_all(PICTURE.as_bytes())?;
            file.write_all(picture.svg.as_bytes())
        })?;
        markdown += &markdown::picture(&picture.title, &format!("figures/{}", picture.file));
    }
    write_atomic(&results.join("summary.md"), |file| {
        file.write_all(markdown.as_bytes())
    })?;
    Ok(None)
}

/// Those of `names` that are there and that rollbench did not write. A `summary.json` with our schema says that the
/// files beside it are ours; where there is none, their first lines tell.
fn foreign_files(results: &Path, names: &[&'static str]) -> Vec<&'static str> {
    let text = |name: &str| match read_regular(&results.join(name)) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        // A folder of that name, or one that cannot be read, fails to be written, which is said.
        Err(_) => None,
    };
    let is_ours = |json: &str| {
        let value: Result<serde_json::Value, _> = serde_json::from_str(json);
        let schema = value
            .ok()
            .and_then(|v| Some(v.get("schema")?.as_str()?.to_owned()));
        schema.is_some_and(|schema| schema.starts_with("rollbench.summary/"))
    };
    if text("summary.json").is_some_and(|json| is_ours(&json)) {
        return Vec::new();
    }
    let begins_as_ours = |name: &str, text: &str| {
        let first = text.lines().next().unwrap_or_default();
        match name {
            "summary.txt" => TITLES.contains(&first),
            "summary.md" => first
                .strip_prefix("### ")
                .is_some_and(|t| TITLES.contains(&t)),
            "summary.csv" => first.starts_with("model,precision,mode,request_rate_req_s,"),
            "steps.csv" => first.starts_with("model,precision,mode,session,start,arm,"),
            PAGE => first == html::FIRST_LINE,
            _ => false,
        }
    };
    names
        .iter()
        .copied()
        .filter(|name| text(name).is_some_and(|text| !begins_as_ours(name, &text)))
        .collect()
}
