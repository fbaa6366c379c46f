//! Two result sets side by side, in several formats.

use super::again::{BLOCKS_FOR_VERDICTS, with_more_blocks};
use super::document::{Body, Section, Table, list, table, words};
use super::fidelity_words::nats;
use super::figures::{NONE, number, or_none};
use super::model::Note;
use super::paced::{Paces, short};
use super::unlike::not_compared;
use super::write::Format;
use super::{html, json, markdown, text};
use crate::stats::RatioWords;
use crate::stats::compare::{Decision, FidelityComparison, Row, SetComparison};
use crate::stats::judged::JudgedBy;
use crate::stats::mismatch::Measured;
use crate::units::CellId;

/// The comparison as text or Markdown; in every other format as JSON.
pub(crate) fn render_sets(comparison: &SetComparison, format: Format) -> std::io::Result<String> {
    Ok(match format {
        Format::Text { width } => text::text(sections(comparison), width),
        Format::Markdown => markdown::markdown(sections(comparison)),
        Format::Html(language) => html::sets(comparison, &sections(comparison), language),
        Format::Csv | Format::Json | Format::Verl => json::json(comparison)?,
    })
}

fn sections(comparison: &SetComparison) -> Vec<Section> {
    let mut sections = vec![table("NEW over BASE", ratios(comparison))];
    let reasons = comparison.rows.iter().flat_map(|row| {
        row.reasons
            .iter()
            .map(move |reason| format!("{}: {reason}", row.key))
    });
    sections.extend(list("Why a number does not hold", reasons));
    let paced = comparison.rows.iter().filter_map(|row| {
        let paces = Paces {
            cell: ("NEW", row.paces[1]),
            baseline: ("BASE", row.paces[0]),
        };
        let said = match row.judged_by {
            JudgedBy::Throughput => return None,
            JudgedBy::Latency => paces.latency(&row.latency, comparison.smallest_effect),
            by => paces.bound(by, &row.bound?, comparison.smallest_effect),
        };
        Some(format!("{}: {said}", row.key))
    });
    sections.extend(list("At a rate that one of the two keeps up with", paced));
    let moved = comparison
        .rows
        .iter()
        .filter_map(|row| Some(format!("{}: {}", row.key, row.moved.as_ref()?)));
    sections.extend(list("What moved in a decode step", moved));
    let strangers = [
        ("BASE", &comparison.only_base),
        ("NEW", &comparison.only_new),
    ]
    .into_iter()
    .flat_map(|(side, keys)| keys.iter().map(move |key| format!("{key}: only in {side}")));
    sections.extend(list("Not compared", strangers));
    if !comparison.differences.is_empty() {
        sections.push(table(
            "What differs in how they were measured",
            differences(comparison),
        ));
    }
    sections.extend(list("Fidelity", comparison.fidelity.iter().map(fidelity)));
    sections.extend(list(
        "Threshold",
        comparison
            .fail_above
            .map(|limit| threshold(comparison, limit)),
    ));
    let to_decide = to_decide(comparison);
    if !to_decide.is_empty() {
        sections.push(Section {
            title: "To decide".to_owned(),
            body: Body::List(to_decide),
        });
    }
    sections
}

/// `m w8a8: excess of k3_kl 0.031 (0.028 to 0.034), was 0.030: beyond --max-kl`.
fn fidelity(row: &FidelityComparison) -> String {
    let shown = |excess: Option<Measured>| {
        or_none(excess, |excess| {
            let interval = excess.interval.map_or_else(String::new, |[low, high]| {
                format!(" ({} to {})", nats(low), nats(high))
            });
            nats(excess.value) + &interval
        })
    };
    let gate = match row.gate {
        None => "",
        Some(Decision::Passed) => ": within --max-kl",
        Some(Decision::Exceeded) => ": beyond --max-kl",
        Some(Decision::Undecided) => {
            ": undecided by --max-kl, more tokens would tell (--fidelity-tokens)"
        }
    };
    let CellId { model, precision } = &row.cell;
    format!(
        "{model} {precision}: excess of k3_kl {} in NEW, {} in BASE{gate}",
        shown(row.new),
        shown(row.base)
    )
}

fn ratios(comparison: &SetComparison) -> Table {
    let row = |row: &Row| {
        let why = not_compared(&row.unlike);
        let sign = match row.judged_by {
            JudgedBy::AtLeast => ">= ",
            JudgedBy::AtMost => "<= ",
            JudgedBy::Throughput | JudgedBy::Latency => "",
        };
        let (ratio, interval) = row.speed_up.or(row.bound).map_or_else(
            || (NONE.to_owned(), NONE.to_owned()),
            |e| {
                let words = RatioWords::of(&e, comparison.smallest_effect);
                let although = why.as_ref().map(|why| format!(", although {why}"));
                let ratio = format!("{sign}{}x{}", words.ratio, although.unwrap_or_default());
                (ratio, words.interval)
            },
        );
        vec![
            row.key.to_string(),
            or_none(row.base_tok_s, number),
            or_none(row.new_tok_s, number),
            ratio,
            interval,
            match (row.speed_up, why) {
                (None, Some(why)) => format!("not compared: {why}"),
                _ => verdict(row),
            },
        ]
    };
    Table {
        labels: 1,
        header: words(&[
            "Cell",
            "BASE tok/s",
            "NEW tok/s",
            "Speed",
            "95 % CI",
            "Verdict",
        ]),
        rows: comparison.rows.iter().map(row).collect(),
    }
}

fn verdict(row: &Row) -> String {
    let said = match row.judgement {
        None if row.judged_by == JudgedBy::Latency => "by latency".to_owned(),
        None if row.bound.is_some() => "capped by the offered rate".to_owned(),
        None if row.speed_up.is_none() => NONE.to_owned(),
        None if !row.unlike.is_empty() => "no claim".to_owned(),
        None => "not valid".to_owned(),
        Some(judgement) => short(judgement).to_owned(),
    };
    if row.exceeds {
        format!("{said}, above the threshold")
    } else {
        said
    }
}

fn differences(comparison: &SetComparison) -> Table {
    let rows = comparison.differences.iter().map(|difference| {
        let cells = match difference.cells.as_slice() {
            [] => "all".to_owned(),
            cells => cells
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        vec![
            difference.what.clone(),
            difference.base.clone(),
            difference.new.clone(),
            cells,
        ]
    });
    Table {
        labels: 4,
        header: words(&["What", "BASE", "NEW", "Cells"]),
        rows: rows.collect(),
    }
}

fn threshold(comparison: &SetComparison, limit: f64) -> String {
    let percent = 100.0 * limit;
    let at = |gate| {
        let rows = comparison.rows.iter().filter(|r| r.gate == Some(gate));
        let names: Vec<String> = rows.map(|r| r.key.to_string()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let undecided = at(Decision::Undecided)
        .map(|cells| format!(" Undecided (no interval, not valid, or not compared): {cells}."))
        .unwrap_or_default();
    match (at(Decision::Exceeded), at(Decision::Passed)) {
        (Some(slower), _) => format!("Slower by more than {percent} %: {slower}.{undecided}"),
        (None, Some(_)) if undecided.is_empty() => {
            format!("No cell is slower by more than {percent} %.")
        }
        (None, Some(passed)) => {
            format!("Not slower by more than {percent} %: {passed}.{undecided}")
        }
        (None, None) => format!("Nothing could be judged by {percent} %.{undecided}"),
    }
}

/// The commands that would decide what the threshold could not, each once.
fn to_decide(comparison: &SetComparison) -> Vec<Note> {
    let mut sides: Vec<(Option<String>, Vec<&str>)> = Vec::new();
    let undecided = |row: &&Row| row.gate == Some(Decision::Undecided);
    for row in comparison.rows.iter().filter(undecided) {
        for (side, argv) in ["BASE", "NEW"].into_iter().zip(&row.argv) {
            let is_load = argv.get(1).is_some_and(|command| command == "load");
            let command = (!is_load).then(|| with_more_blocks(argv));
            match sides.iter_mut().find(|(known, _)| *known == command) {
                Some((_, sides)) if sides.contains(&side) => {}
                Some((_, sides)) => sides.push(side),
                None => sides.push((command, vec![side])),
            }
        }
    }
    let note = |(command, sides): (Option<String>, Vec<&str>)| {
        let sides = sides.join(" and ");
        let text = match command {
            Some(_) => format!("Measure {sides} alike, in several engine starts:"),
            None => format!(
                "{sides}: `load` drives one engine start of a running server; several are measured by `rollbench run \
                 --online --blocks {BLOCKS_FOR_VERDICTS}`."
            ),
        };
        Note { text, command }
    };
    sides.into_iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::{done, skipped};
    use crate::stats::compare::{Rules, compare};

    fn compared() -> SetComparison {
        let base = vec![
            done("demo", "bf16", &[&[2.0], &[2.02], &[1.99]]),
            done("demo", "w8a16", &[&[1.0]]),
            done("demo", "w8a8", &[&[1.5], &[1.52], &[1.49]]),
        ];
        let mut new = vec![
            done("demo", "bf16", &[&[2.2], &[2.21], &[2.23]]),
            done("demo", "w8a8", &[&[1.5]]),
            skipped("demo", "w8a16"),
            done("demo", "fp8", &[&[1.5]]),
        ];
        for start in &mut new[0].starts {
            if let Some(engine) = &mut start.engine {
                engine
                    .versions
                    .insert("vllm".to_owned(), "0.33.0".to_owned());
            }
        }
        let rules = Rules {
            smallest_effect: 0.02,
            fail_above: Some(0.05),
            although_different: false,
        };
        compare(&base, &new, rules).expect("common cells")
    }

    #[test]
    fn text_reads_well() {
        let shown = render_sets(&compared(), Format::Text { width: None }).expect("renders");
        insta::assert_snapshot!(shown, @r"
NEW over BASE
─────────────────────────────────────────────────────────────────────────────────────────
 Cell         BASE tok/s   NEW tok/s   Speed       95 % CI                       Verdict
─────────────────────────────────────────────────────────────────────────────────────────
 demo bf16           128         116   0.91x     0.89-0.92   slower, above the threshold
 demo w8a8           170         171   1.00x   no interval              one engine start
 demo w8a16          256           -       -             -                             -
─────────────────────────────────────────────────────────────────────────────────────────

Why a number does not hold
  demo w8a16: skipped (unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel) in the new set

Not compared
  demo fp8: only in NEW

What differs in how they were measured
────────────────────────────────────────────────
 What           BASE         NEW      Cells
────────────────────────────────────────────────
 version vllm   0.32.0+cpu   0.33.0   demo bf16
────────────────────────────────────────────────

Threshold
  Slower by more than 5 %: demo bf16. Undecided (no interval, not valid, or not compared): demo w8a8, demo w8a16.

To decide
  Measure BASE and NEW alike, in several engine starts:
      rollbench run --blocks 6
");
    }

    #[test]
    fn markdown_can_be_pasted() {
        let shown = render_sets(&compared(), Format::Markdown).expect("renders");
        insta::assert_snapshot!(shown, @r"
### NEW over BASE

| Cell | BASE tok/s | NEW tok/s | Speed | 95 % CI | Verdict |
| --- | ---: | ---: | ---: | ---: | ---: |
| demo bf16 | 128 | 116 | 0.91x | 0.89-0.92 | slower, above the threshold |
| demo w8a8 | 170 | 171 | 1.00x | no interval | one engine start |
| demo w8a16 | 256 | - | - | - | - |

### Why a number does not hold

- demo w8a16: skipped (unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel) in the new set

### Not compared

- demo fp8: only in NEW

### What differs in how they were measured

| What | BASE | NEW | Cells |
| --- | --- | --- | --- |
| version vllm | 0.32.0+cpu | 0.33.0 | demo bf16 |

### Threshold

- Slower by more than 5 %: demo bf16. Undecided (no interval, not valid, or not compared): demo w8a8, demo w8a16.

### To decide

- Measure BASE and NEW alike, in several engine starts:

  ```
  rollbench run --blocks 6
  ```
");
    }

    #[test]
    fn json_has_the_rows() {
        let shown = render_sets(&compared(), Format::Json).expect("renders");
        let value: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(value["rows"][0]["judgement"]["verdict"], "slower");
        assert_eq!(value["rows"][0]["exceeds"], true);
        assert_eq!(value["only_new"][0]["precision"], "fp8");
    }
}
