//! Tables and lists of the summary as HTML.

use std::fmt::Write as _;

use super::svg::escape;
use super::words::Language;
use crate::report::document::{Body, Section, Table};

/// A table; columns and rows have their headings named to screen readers.
pub(super) fn table(table: &Table, language: Language) -> String {
    let class = |column: usize| {
        if column < table.labels {
            r#" class="w""#
        } else {
            ""
        }
    };
    let mut html = String::from("<table><thead><tr>");
    for (column, cell) in table.header.iter().enumerate() {
        let shown = escape(language.term(cell));
        let _ = write!(html, r#"<th scope="col"{}>{shown}</th>"#, class(column));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", class(column), escape(cell));
        }
        html.push_str("</tr>\n");
    }
    html + "</tbody></table>\n"
}

/// A section of the summary.
pub(super) fn section(section: &Section, language: Language) -> String {
    let mut html = format!("<h3>{}</h3>\n", escape(language.term(&section.title)));
    match &section.body {
        Body::Table(content) => html += &table(content, language),
        Body::List(items) => {
            html.push_str("<ul>\n");
            for item in items {
                let _ = write!(html, "<li>{}", escape(&item.text));
                if let Some(command) = &item.command {
                    let _ = write!(html, "<pre>{}</pre>", escape(command));
                }
                html.push_str("</li>\n");
            }
            html.push_str("</ul>\n");
        }
    }
    html
}
