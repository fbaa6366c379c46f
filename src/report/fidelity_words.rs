//! Fidelity as a table and as sentences.

use super::document::{Table, table, words};
use super::fidelity::{FidelityRow, Score};
use super::figures::{NONE, count, or_none, percent};
use super::model::{CellRow, Comparison, Summary};
use super::write::Format;
use super::{json, markdown, text};
use crate::stats::fidelity::FidelityVerdict;
use crate::stats::mismatch::{AtPosition, Clipped, Measured, MismatchNumbers};

/// Problems that a claim about right answers needs at least.
const PROBLEMS_FOR_A_CLAIM: usize = 200;

/// The place among the clips of 2, the default of verl, SkyRL and slime.
const SHOWN_CLIP: usize = 1;

/// What every table of fidelity is followed by.
const CAVEAT: &str = "This is the gap between two vLLM engines at temperature 1. The trainer's own gap (vLLM at BF16 against FSDP or \
                      Megatron) comes on top: rollbench fidelity --trainer FILE reads it from a rollout dump.";

/// One row a precision.
pub(super) fn fidelity_table(summary: &Summary) -> Table {
    let header = [
        "Model",
        "Precision",
        "Speed-up",
        "k3_kl",
        "Floor",
        "Excess",
        "Probs diff",
        "ESS",
        "w > 2 %",
        "w < 1/2 %",
        "Top-1 %",
        "Tokens",
    ];
    let row = |row: &FidelityRow| {
        let numbers = row.numbers.as_ref();
        let rollout = numbers.map(|n| &n.rollout);
        let metric = |name: &str| rollout.and_then(|r| r.metrics.get(name)).map(|m| m.value);
        let clip = rollout.and_then(|r| r.clipped.get(SHOWN_CLIP));
        vec![
            row.model_label.clone(),
            row.precision_label.clone(),
            or_none(speed_up(summary, row), |(_, c)| {
                or_none(c.estimate, |e| format!("{:.2}x", e.ratio))
            }),
            or_none(numbers, |n| nats(n.k3_kl)),
            or_none(numbers, |n| nats(n.floor_k3_kl)),
            or_none(numbers, |n| nats(n.excess.value)),
            or_none(metric("rollout_probs_diff_mean"), nats),
            or_none(metric("rollout_is_eff_sample_size"), |ess| {
                format!("{ess:.3}")
            }),
            or_none(clip, |clip| percent(clip.high)),
            or_none(clip, |clip| percent(clip.low)),
            or_none(metric("top1_agreement"), percent),
            or_none(rollout, |r| count(r.tokens)),
        ]
    };
    Table {
        labels: 2,
        header: words(&header),
        rows: summary.fidelity.iter().map(row).collect(),
    }
}

/// The mismatch of a training run, in one format.
pub(crate) fn render_trainer(numbers: &MismatchNumbers, format: Format) -> std::io::Result<String> {
    let metric = |(name, measured): (&&str, &Measured)| {
        let interval = measured.interval.map_or_else(
            || NONE.to_owned(),
            |[low, high]| format!("{} to {}", nats(low), nats(high)),
        );
        vec![(*name).to_owned(), nats(measured.value), interval]
    };
    let clip = |clip: &Clipped| {
        vec![
            format!("w > {0} / w < 1/{0}", clip.at),
            format!("{} %", percent(clip.high)),
            format!("{} %", percent(clip.low)),
        ]
    };
    let stretch = |at: &AtPosition| {
        let to = at.to.map_or_else(String::new, |to| to.to_string());
        vec![
            format!("{}-{to}", at.from),
            nats(at.k3_kl),
            count(at.tokens),
        ]
    };
    let sections = vec![
        table(
            "The trainer's log-probabilities against the rollout's",
            Table {
                labels: 1,
                header: words(&["Number", "Value", "95 % CI"]),
                rows: numbers.metrics.iter().map(metric).collect(),
            },
        ),
        table(
            "What a trainer would clip",
            Table {
                labels: 1,
                header: words(&["Tokens", "High", "Low"]),
                rows: numbers.clipped.iter().map(clip).collect(),
            },
        ),
        table(
            "Along the response",
            Table {
                labels: 1,
                header: words(&["Tokens", "k3_kl", "Count"]),
                rows: numbers.by_position.iter().map(stretch).collect(),
            },
        ),
    ];
    Ok(match format {
        Format::Text { width } => text::text(sections, width),
        Format::Markdown => markdown::markdown(sections),
        Format::Csv | Format::Json | Format::Verl | Format::Html(_) => json::json(numbers)?,
    })
}

/// One line a precision, then what holds for all.
pub(super) fn fidelity_lines(summary: &Summary) -> Vec<String> {
    if summary.fidelity.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for row in &summary.fidelity {
        lines.push(line(summary, row));
        let score = row.numbers.as_ref().and_then(|n| n.score.as_ref());
        lines.extend(score.map(|score| score_line(row, score)));
        let name = name(row);
        lines.extend(row.invalid.iter().map(|why| format!("{name}: {why}")));
    }
    lines.extend(pareto(summary));
    lines.push(CAVEAT.to_owned());
    lines
}

fn name(row: &FidelityRow) -> String {
    format!("{} {}", row.model_label, row.precision_label)
}

/// `W8A8: 1.30x the throughput (1.2-1.4); k3_kl 0.034 over a floor of 0.0015 (excess 0.030 to 0.035): beyond ...`.
fn line(summary: &Summary, row: &FidelityRow) -> String {
    let speed = match speed_up(summary, row).and_then(|(_, c)| c.estimate) {
        Some(e) => {
            let interval = e
                .interval
                .map(|i| format!(" ({:.2}-{:.2})", i.low, i.high))
                .unwrap_or_default();
            format!("{:.2}x the throughput{interval}; ", e.ratio)
        }
        None => String::new(),
    };
    let Some(numbers) = &row.numbers else {
        return format!("{}: {speed}fidelity is not known", name(row));
    };
    let interval = numbers
        .excess
        .interval
        .map(|[low, high]| format!(", 95 % CI {} to {}", nats(low), nats(high)))
        .unwrap_or_default();
    format!(
        "{}: {speed}k3_kl {} over a floor of {} (excess {}{interval}): {}",
        name(row),
        nats(numbers.k3_kl),
        nats(numbers.floor_k3_kl),
        nats(numbers.excess.value),
        numbers.verdict.map_or_else(
            || "no verdict without an interval".to_owned(),
            |found| verdict(row, found)
        ),
    )
}

fn verdict(row: &FidelityRow, verdict: FidelityVerdict) -> String {
    let baseline = row.baseline.to_string().to_uppercase();
    match verdict {
        FidelityVerdict::NotDistinguishable => format!("as {baseline} (not distinguishable)"),
        FidelityVerdict::AsBaseline => format!("as {baseline}"),
        FidelityVerdict::NeedsCorrection => "needs importance correction".to_owned(),
        FidelityVerdict::Beyond => "beyond what trainers accept".to_owned(),
        FidelityVerdict::Undecided { more_tokens: None } => "undecided".to_owned(),
        FidelityVerdict::Undecided {
            more_tokens: Some(more),
        } => format!("undecided; about {} more tokens", count(more)),
    }
}

fn score_line(row: &FidelityRow, score: &Score) -> String {
    let sampled = |measured: Option<Measured>| {
        or_none(measured, |m| {
            let interval = m
                .interval
                .map(|[low, high]| format!(" ({}-{})", percent(low), percent(high)))
                .unwrap_or_default();
            format!("{}{interval}", percent(m.value))
        })
    };
    let claim = if score.problems < PROBLEMS_FOR_A_CLAIM {
        format!(
            "; {} problems are too few for a claim ({PROBLEMS_FOR_A_CLAIM})",
            score.problems
        )
    } else {
        format!("; McNemar p {:.3}", score.mcnemar_p)
    };
    format!(
        "{}: right answers at temperature 0: {} % against {} %; at temperature 1: {} % against {} %{claim}",
        name(row),
        percent(score.greedy),
        percent(score.baseline_greedy),
        sampled(score.sampled),
        sampled(score.baseline_sampled),
    )
}

/// The precisions of each model that no other beats in both, speed and mismatch; the baseline is one of them or is not.
fn pareto(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let mut models: Vec<_> = summary
        .fidelity
        .iter()
        .map(|row| &row.model_label)
        .collect();
    models.dedup();
    for model in models {
        let of_model = summary
            .fidelity
            .iter()
            .filter(|row| row.model_label == *model);
        let mut points: Vec<(String, f64, f64)> = of_model
            .filter_map(|row| {
                let ratio = speed_up(summary, row)?.1.estimate?.ratio;
                Some((
                    row.precision_label.clone(),
                    ratio,
                    row.numbers.as_ref()?.excess.value,
                ))
            })
            .collect();
        let Some(row) = summary
            .fidelity
            .iter()
            .find(|row| row.model_label == *model)
        else {
            continue;
        };
        if points.is_empty() {
            continue;
        }
        points.push((row.baseline.to_string().to_uppercase(), 1.0, 0.0));
        points.sort_by(|a, b| b.1.total_cmp(&a.1));
        let best: Vec<String> = points
            .iter()
            .filter(|(_, speed, excess)| !points.iter().any(|(_, s, e)| s > speed && e <= excess))
            .map(|(name, speed, excess)| format!("{name} ({speed:.2}x, {})", nats(*excess)))
            .collect();
        lines.push(format!(
            "{model}: no other precision is both faster and nearer than {}",
            best.join(", ")
        ));
    }
    lines
}

/// The cell of the same name with its comparison: offline first, at the first point of a sweep.
fn speed_up<'a>(summary: &'a Summary, row: &FidelityRow) -> Option<(&'a CellRow, &'a Comparison)> {
    summary
        .cells
        .iter()
        .filter(|cell| cell.model == row.model && cell.precision == row.precision)
        .find_map(|cell| Some((cell, cell.comparison.as_ref()?)))
}

/// Nats with two significant digits: `0.034`, `0.0015`, `-0.00002`.
pub(super) fn nats(value: f64) -> String {
    if value.abs() < 5e-7 {
        return "0".to_owned();
    }
    // The exponent of a f64 fits any integer.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let decimals = (1.0 - value.abs().log10().floor()).clamp(0.0, 7.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nats_keep_two_digits() {
        let shown = [0.0341, 0.00151, -0.000_021, 0.53, 3.2, 0.0].map(nats);
        assert_eq!(shown, ["0.034", "0.0015", "-0.000021", "0.53", "3.2", "0"]);
        assert_eq!(NONE, "-");
    }
}
