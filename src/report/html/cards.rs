//! The verdicts, one card a cell.

use std::fmt::Write as _;

use super::style::SERIES;
use super::svg::escape;
use super::view::View;
use super::words::{self, Language, judged};
use crate::report::figures::number;
use crate::report::model::{CellRow, Comparison};
use crate::stats::RatioWords;
use crate::stats::judged::JudgedBy;

/// What a card says: of what, the number, beside it, the verdict, and more of it.
struct Card {
    of: String,
    number: String,
    beside: String,
    said: String,
    more: String,
}

/// All cards.
pub(super) fn cards(view: &View) -> String {
    let mut html = String::from("<section class=\"cards\">\n");
    let compared = view
        .summary
        .cells
        .iter()
        .any(|cell| cell.comparison.is_some());
    for cell in &view.summary.cells {
        // A baseline is in the card of each cell that is compared with it.
        if cell.baseline && compared && cell.metrics.is_some() {
            continue;
        }
        let card = card(view, cell);
        let _ = writeln!(
            html,
            r#"<div class="card b{}"><small>{}</small><b>{}</b> <span>{}</span><small class="said">{}</small><small>{}</small></div>"#,
            view.series(&cell.precision) % SERIES,
            escape(&card.of),
            escape(&card.number),
            escape(&card.beside),
            escape(&card.said),
            escape(&card.more)
        );
    }
    html + "</section>\n"
}

fn card(view: &View, cell: &CellRow) -> Card {
    let language = view.language;
    let mut card = Card {
        of: cell.title(),
        number: "-".to_owned(),
        beside: String::new(),
        said: words::outcome(language, cell.outcome).to_owned(),
        more: String::new(),
    };
    let reason = cell
        .failures
        .last()
        .map(|f| f.diagnosis.clone().unwrap_or_else(|| f.message.clone()));
    card.more = cell.skip.clone().or(reason).unwrap_or_default();
    if let Some(metrics) = &cell.metrics {
        card.number = number(metrics.output_throughput);
        language.say(words::TOK_S).clone_into(&mut card.beside);
        let word = if cell.baseline {
            words::BASELINE
        } else {
            words::NO_BASELINE
        };
        language.say(word).clone_into(&mut card.said);
    }
    if let Some(comparison) = &cell.comparison {
        let baseline = view.baseline_label(cell);
        card.of = format!(
            "{} · {}",
            cell.of_model(),
            language.fill(words::OVER, &[&cell.precision_label, &baseline])
        );
        compared(view, cell, comparison, &mut card);
    }
    card
}

fn compared(view: &View, cell: &CellRow, comparison: &Comparison, card: &mut Card) {
    let language = view.language;
    let smallest = view.smallest_effect(cell);
    let told = |e| RatioWords::of(&e, smallest);
    "-".clone_into(&mut card.number);
    card.beside.clear();
    card.more.clear();
    if let Some(why) = &comparison.incomparable {
        card.said = language.fill(words::NOT_COMPARED, &[why]);
        return;
    }
    let bound = |word| {
        comparison
            .bound
            .map(|e| language.fill(word, &[&format!("{}x", told(e).ratio)]))
    };
    match comparison.judged_by {
        JudgedBy::Throughput => {
            if let Some(estimate) = comparison.estimate {
                let told = told(estimate);
                card.number = format!("{}x", told.ratio);
                card.beside = match estimate.interval {
                    Some(_) => told.interval,
                    None => language.say(words::NO_INTERVAL).to_owned(),
                };
            }
        }
        JudgedBy::Latency => {}
        JudgedBy::AtLeast => card.number = bound(words::AT_LEAST).unwrap_or_default(),
        JudgedBy::AtMost => card.number = bound(words::AT_MOST).unwrap_or_default(),
    }
    let verdict = comparison.verdict.as_ref();
    let judgement = verdict.and_then(|verdict| verdict.judgement);
    let said = match (judgement, comparison.judged_by) {
        (Some(judgement), _) => judged(language, judgement),
        (None, JudgedBy::Latency) => language.say(words::BY_LATENCY),
        (None, JudgedBy::AtLeast | JudgedBy::AtMost) => "",
        (None, JudgedBy::Throughput) => language.say(words::NO_CLAIM),
    };
    said.clone_into(&mut card.said);
    // In Chinese only what the few words do not say.
    if language == Language::En || judgement.is_none() {
        card.more = verdict
            .map(|verdict| verdict.sentence.clone())
            .unwrap_or_default();
    }
    // Only a profile that contradicts the ratio takes its verdict away.
    if verdict.is_none() && cell.why.is_some() {
        language.say(words::CONTRADICTED).clone_into(&mut card.more);
    }
}
