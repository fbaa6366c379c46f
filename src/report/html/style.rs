//! Colours and style sheets, for the page and for a figure in a file of its own.

use std::fmt::Write as _;

/// Shapes and words of figures.
const FIGURE: &str = include_str!("figure.css");
/// Everything around them.
const PAGE: &str = include_str!("page.css");

/// Name, on white, on black, on paper. The series are those of Okabe and Ito, lightened for the dark.
const COLOURS: [(&str, &str, &str, &str); 13] = [
    ("--bg", "#fff", "#14171b", "#fff"),
    ("--ink", "#1b1f24", "#e6e9ed", "#000"),
    ("--dim", "#56606b", "#9aa4b0", "#333"),
    ("--grid", "#e3e7ec", "#2a3038", "#ddd"),
    ("--card", "#f6f8fa", "#1c2127", "#fff"),
    ("--band", "#dfe5ec", "#2c343e", "#e5e5e5"),
    ("--bad", "#b3261e", "#ff8a80", "#b3261e"),
    ("--c0", "#3b4252", "#c9d1dc", "#000"),
    ("--c1", "#0072b2", "#56b4e9", "#0072b2"),
    ("--c2", "#d55e00", "#ff9e4a", "#d55e00"),
    ("--c3", "#00805c", "#2fd3a5", "#00805c"),
    ("--c4", "#aa3377", "#e58bc0", "#aa3377"),
    ("--c5", "#8a6d00", "#f0e442", "#8a6d00"),
];

/// How many series differ in colour.
pub(super) const SERIES: usize = 6;

type Colour = (&'static str, &'static str, &'static str, &'static str);

/// The style sheet of the page: light, dark and printed by the reader's own choice.
pub(super) fn of_page() -> String {
    let root = |of: fn(&Colour) -> &'static str| {
        let mut root = String::from(":root{");
        for colour in &COLOURS {
            let _ = write!(root, "{}:{};", colour.0, of(colour));
        }
        root + "}"
    };
    format!(
        "{}@media(prefers-color-scheme:dark){{{}}}@media print{{{}}}\n{FIGURE}{PAGE}",
        root(|c| c.1),
        root(|c| c.2),
        root(|c| c.3)
    )
}

/// The style sheet of a figure in a file: concrete colours, since converters and mail readers know no variables.
pub(super) fn of_file() -> String {
    let filled = |of: fn(&Colour) -> &'static str| {
        COLOURS.iter().fold(FIGURE.to_owned(), |css, colour| {
            css.replace(&format!("var({})", colour.0), of(colour))
        })
    };
    format!(
        "{}@media(prefers-color-scheme:dark){{{}}}",
        filled(|c| c.1),
        filled(|c| c.2)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_no_variables_and_pages_define_all_they_use() {
        assert!(!of_file().contains("var("));
        let page = of_page();
        for (_, rest) in page
            .match_indices("var(")
            .map(|(at, _)| page.split_at(at + 4))
        {
            let name = rest.split(')').next().expect("a name");
            assert!(COLOURS.iter().any(|colour| colour.0 == name), "{name}");
        }
    }
}
