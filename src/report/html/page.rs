//! The page: cards, figures, and all that is evidence for them.

use std::fmt::Write as _;

use super::figure::Section;
use super::svg::escape;
use super::view::View;
use super::words::{self, Language};
use super::{
    by_running, cards, completion, fidelity, forest, running, session, steps, style, sweep, tables,
};
use crate::report::again::quoted;
use crate::report::document;
use crate::report::model::Summary;
use crate::stats::compare::SetComparison;

/// How a page of rollbench begins, in either language.
pub(in crate::report) const FIRST_LINE: &str =
    "<!doctype html><meta name=\"generator\" content=\"rollbench\">";

/// Nothing is fetched and nothing runs, whatever a label holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The summary as one page.
pub(in crate::report) fn page(summary: &Summary, language: Language) -> String {
    let view = View::new(summary, language);
    let mut html = head(&view);
    if summary.cells.is_empty() && summary.imported.is_empty() {
        let _ = writeln!(
            html,
            "<p class=\"empty\">{}</p>",
            language.say(words::NO_RESULTS)
        );
    }
    if !summary.cells.is_empty() {
        html += &cards::cards(&view);
        for section in sections(&view) {
            html += &section.html(language);
        }
    }
    html += &evidence(&view);
    html + "</main></body></html>\n"
}

/// All figures, in the order of the questions that they answer.
fn sections(view: &View) -> Vec<Section> {
    vec![
        forest::section(view),
        steps::section(view),
        completion::section(view),
        running::section(view),
        by_running::section(view),
        fidelity::section(view),
        sweep::section(view),
        session::section(view),
    ]
}

/// A figure in a file of its own.
pub(in crate::report) struct Picture {
    /// `speed_up.svg`.
    pub(in crate::report) file: String,
    /// What it shows.
    pub(in crate::report) title: String,
    /// The file.
    pub(in crate::report) svg: String,
}

/// Every figure of the page.
pub(in crate::report) fn pictures(summary: &Summary, language: Language) -> Vec<Picture> {
    let view = View::new(summary, language);
    let css = style::of_file();
    let sections = sections(&view).into_iter();
    sections
        .flat_map(|section| {
            let name = section.name;
            let figures = section.figures.unwrap_or_default().into_iter().enumerate();
            figures.map(move |(number, figure)| (name, number, figure))
        })
        .map(|(name, number, figure)| Picture {
            file: match number {
                0 => format!("{name}.svg"),
                _ => format!("{name}-{}.svg", number + 1),
            },
            svg: figure
                .drawing
                .svg(name, &figure.title, &figure.caption, Some(&css))
                + "\n",
            title: figure.title,
        })
        .collect()
}

/// Two result sets as one page.
pub(in crate::report) fn sets(
    comparison: &SetComparison,
    sections: &[document::Section],
    language: Language,
) -> String {
    let title = language.term("NEW over BASE");
    let mut html = opening(title, title, language);
    if let Some(figure) = forest::of_sets(comparison, language) {
        html += &figure.html("sets", language);
    }
    for section in sections {
        html += &tables::section(section, language);
    }
    html + "</main></body></html>\n"
}

/// Everything before the page's own words, and its heading.
fn opening(title: &str, heading: &str, language: Language) -> String {
    format!(
        "{FIRST_LINE}\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\n<style>{}</style></head>\n<body><main>\
         <h1>{}</h1>\n",
        language.code(),
        escape(title),
        style::of_page(),
        escape(heading)
    )
}

fn head(view: &View) -> String {
    let language = view.language;
    let mut models: Vec<&str> = Vec::new();
    for cell in &view.summary.cells {
        if !models.contains(&cell.model_label.as_str()) {
            models.push(&cell.model_label);
        }
    }
    let title = language.fill(words::TITLE, &[&models.join(", ")]);
    let mut html = opening(&title, language.say(words::QUESTION), language);
    html.push_str("<p class=\"lead\">");
    for environment in &view.summary.environments {
        let device = match environment.devices.as_slice() {
            [] => &environment.cpu,
            [first, ..] => first,
        };
        let vllm = environment
            .versions
            .get("vllm")
            .map(|v| format!(" · vLLM {v}"));
        let _ = writeln!(
            html,
            "{}: {}{}<br>",
            escape(&environment.host),
            escape(device),
            escape(&vllm.unwrap_or_default())
        );
    }
    for session in &view.summary.sessions {
        let started = session.started.strftime("%Y-%m-%d %H:%M UTC").to_string();
        let said = language.fill(words::SESSION, &[&session.id, &started]);
        let plan = session.plan;
        let amount = [plan.blocks.to_string(), plan.steps.to_string()];
        let amount = language.fill(words::AMOUNT, &amount.each_ref().map(String::as_str));
        let _ = writeln!(html, "{} · {}<br>", escape(&said), escape(&amount));
    }
    let _ = writeln!(html, "{}</p>", escape(language.say(words::RECORDED)));
    html
}

/// Tables, warnings, and what the numbers were made with.
fn evidence(view: &View) -> String {
    let (summary, language) = (view.summary, view.language);
    let mut html = format!(
        "<section><h2>{}</h2>\n",
        escape(language.say(words::EVIDENCE))
    );
    for section in document::sections(summary) {
        html += &tables::section(&section, language);
    }
    let commands = summary.sessions.iter().map(|session| {
        let words: Vec<_> = session.argv.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    });
    html += &folded(language.say(words::COMMAND), commands);
    let variables = summary.environments.iter().map(|environment| {
        let lines = environment
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        lines.collect::<Vec<_>>().join("\n")
    });
    html += &folded(language.say(words::ENVIRONMENT), variables);
    if !summary.sessions.is_empty() {
        let _ = writeln!(
            html,
            "<p class=\"lead\">{}</p>",
            escape(language.say(words::FILES))
        );
    }
    html + "</section>\n"
}

/// Texts as they are, folded away.
fn folded(title: &str, texts: impl Iterator<Item = String>) -> String {
    let mut content = String::new();
    for text in texts.filter(|text| !text.is_empty()) {
        let lines: Vec<_> = text.lines().map(escape).collect();
        let _ = writeln!(content, "<pre>{}</pre>", lines.join("\n"));
    }
    if content.is_empty() {
        return content;
    }
    format!(
        "<details><summary>{}</summary>{content}</details>\n",
        escape(title)
    )
}
