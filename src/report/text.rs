//! The summary as plain text. No colour: it reads the same in a terminal, a file and a log.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table as Drawn, TableStyle};

use super::document::{Body, Section, Table};

/// Rules above, below the header, and below.
const STYLE: TableStyle = TableStyle::new()
    .top_border(RULE)
    .header_separator(RULE)
    .bottom_border(RULE);
const RULE: LineStyle = LineStyle::none().fill('─').junction('─');

/// Draws sections; lines are wrapped at `width` characters, or not at all.
pub(super) fn text(sections: Vec<Section>, width: Option<u16>) -> String {
    let mut drawn = String::new();
    for section in sections {
        if !drawn.is_empty() {
            drawn.push('\n');
        }
        drawn += &section.title;
        drawn.push('\n');
        match section.body {
            Body::Table(content) => drawn += &table(&content, width),
            Body::List(items) => {
                for item in items {
                    drawn += &wrapped(&item.text, width);
                    if let Some(command) = item.command {
                        // Never wrapped: it is there to be copied.
                        let _ = writeln!(drawn, "      {command}");
                    }
                }
            }
        }
    }
    if drawn.is_empty() {
        drawn.push_str("No results.\n");
    }
    drawn
}

fn table(content: &Table, width: Option<u16>) -> String {
    let mut table = Drawn::new();
    table.load_style(STYLE);
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    table.set_header(&content.header);
    table.add_rows(&content.rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index >= content.labels {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// Two spaces before the first line, four before the others.
fn wrapped(text: &str, width: Option<u16>) -> String {
    let width = width.map_or(usize::MAX, usize::from).max(20);
    let mut lines = String::new();
    let mut line = String::from("  ");
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            lines += &line;
            lines.push('\n');
            line = String::from("    ");
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_and_indented() {
        insta::assert_snapshot!(
            wrapped("the quick brown fox jumps over the lazy dog and goes on", Some(24)),
            @r"
        the quick brown fox
          jumps over the lazy
          dog and goes on
        "
        );
    }
}
