//! The summary as Markdown that can be pasted into an issue.

use std::fmt::Write as _;

use super::document::{Body, Section, Table};

/// Draws sections.
pub(super) fn markdown(sections: Vec<Section>) -> String {
    let mut text = String::new();
    for section in sections {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "### {}\n", escaped(&section.title));
        match section.body {
            Body::Table(content) => text += &table(&content),
            Body::List(items) => {
                for item in items {
                    let _ = writeln!(text, "- {}", escaped(&item.text));
                    if let Some(command) = item.command {
                        let _ = writeln!(text, "\n  ```\n  {command}\n  ```");
                    }
                }
            }
        }
    }
    if text.is_empty() {
        text.push_str("No results.\n");
    }
    text
}

/// A picture beside the page.
pub(super) fn picture(title: &str, file: &str) -> String {
    format!("\n![{}]({file})\n", escaped(title))
}

fn table(content: &Table) -> String {
    let row = |cells: &mut dyn Iterator<Item = String>| {
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut text = row(&mut content.header.iter().map(|cell| escaped(cell)));
    text += &row(&mut (0..content.header.len()).map(|column| {
        if column < content.labels {
            "---"
        } else {
            "---:"
        }
        .to_owned()
    }));
    for cells in &content.rows {
        text += &row(&mut cells.iter().map(|cell| escaped(cell)));
    }
    text
}

/// So that a label or an error message is shown as it is: no cell ends early, nothing becomes a tag, emphasis or a
/// mention.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '>' | '[' | ']' | '\\' | '#' | '~' => {
                shown.push('\\');
                shown.push(c);
            }
            '\n' | '\r' => shown.push(' '),
            '@' => shown.push_str("@\u{200b}"),
            _ => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_break_the_page() {
        assert_eq!(
            escaped("a|b <img> *x* @user\nnext"),
            "a\\|b \\<img\\> \\*x\\* @\u{200b}user next"
        );
    }
}
