//! A picture with its words and its numbers, and the section that it stands in.

use std::fmt::Write as _;

use super::svg::{Drawing, escape};
use super::tables::table;
use super::view::{Group, View};
use super::words::{self, Language, Word};
use crate::report::document::Table;

/// A picture, what it shows, and the numbers in it.
pub(super) struct Figure {
    pub(super) title: String,
    /// What its marks mean.
    pub(super) caption: String,
    pub(super) drawing: Drawing,
    pub(super) numbers: Table,
}

/// A titled part of the page.
pub(super) struct Section {
    pub(super) title: Word,
    /// Part of file names.
    pub(super) name: &'static str,
    /// Whether its figures stand side by side.
    pub(super) narrow: bool,
    /// The figures, or why there is none.
    pub(super) figures: Result<Vec<Figure>, String>,
}

/// From so many figures on, the others of a section are folded away.
const SHOWN: usize = 4;

impl Section {
    /// A narrow figure of each group that has one, or why there is none.
    pub(super) fn of_groups(
        view: &View,
        (title, name): (Word, &'static str),
        figure: fn(&View, &Group) -> Option<Figure>,
        why_none: impl FnOnce() -> String,
    ) -> Self {
        let groups = view.groups();
        let figures: Vec<_> = groups
            .iter()
            .filter_map(|group| figure(view, group))
            .collect();
        Self {
            title,
            name,
            narrow: true,
            figures: if figures.is_empty() {
                Err(why_none())
            } else {
                Ok(figures)
            },
        }
    }

    /// The section as HTML.
    pub(super) fn html(&self, language: Language) -> String {
        let mut html = format!("<section><h2>{}</h2>\n", escape(language.say(self.title)));
        let figures = match &self.figures {
            Ok(figures) => figures,
            Err(why) => {
                let said = language.fill(words::NOT_DRAWN, &[why]);
                let _ = writeln!(html, r#"<p class="empty">{}</p></section>"#, escape(&said));
                return html;
            }
        };
        let drawn = |(number, figure): (usize, &Figure)| {
            figure.html(&format!("{}{number}", self.name), language)
        };
        let open: String = figures.iter().enumerate().take(SHOWN).map(drawn).collect();
        let class = if self.narrow { "two" } else { "one" };
        let _ = writeln!(html, r#"<div class="{class}">{open}</div>"#);
        for (number, figure) in figures.iter().enumerate().skip(SHOWN) {
            let _ = writeln!(
                html,
                r#"<details><summary>{}</summary><div class="{class}">{}</div></details>"#,
                escape(&figure.title),
                drawn((number, figure))
            );
        }
        html + "</section>\n"
    }
}

impl Figure {
    /// The figure as HTML. `id` is unique in the page.
    pub(super) fn html(&self, id: &str, language: Language) -> String {
        format!(
            "<figure>{}<figcaption><b>{}.</b> {}</figcaption><details class=\"numbers\"><summary>{}</summary>{}</details></figure>\n",
            self.drawing.svg(id, &self.title, &self.caption, None),
            escape(&self.title),
            escape(&self.caption),
            escape(language.say(words::NUMBERS)),
            table(&self.numbers, language)
        )
    }
}
