use serde_json::{Value, json};

use super::*;
use crate::record::builder::done;
use crate::record::{CellRecord, Found, Point, Ramp, Role, Setting, Step};
use crate::report::derive::derive;
use crate::report::model::Summary;
use crate::report::{Format, render, render_sets};
use crate::stats::compare::{Rules, compare};
use crate::units::Mode;

const MAKESPANS: [&[f64]; 3] = [&[2.0, 2.0], &[2.1, 2.1], &[1.9, 1.9]];
const FASTER: [&[f64]; 3] = [&[1.0, 1.0], &[1.1, 1.1], &[0.9, 0.9]];

fn online(precision: &str, makespans: &[&[f64]]) -> CellRecord {
    let mut record = done("demo", precision, makespans);
    record.cell.mode = Mode::Online;
    let settings = [
        ("online.api", json!("completions")),
        ("online.burstiness", json!(1.0)),
        ("run.fan_out", json!("requests")),
        ("load.ignore_eos", json!(true)),
        ("load.token_ids", json!(true)),
        ("load.vocab_size", json!(49_152)),
        ("online.chat_template", json!("a")),
    ];
    for (path, value) in settings {
        let origin = "default".to_owned();
        record
            .settings
            .insert(path.to_owned(), Setting { value, origin });
    }
    record
}

type Change = Box<dyn Fn(&mut CellRecord)>;

fn of_steps(change: impl Fn(&mut Step) + 'static) -> Change {
    Box::new(move |record| {
        let steps = record.starts.iter_mut().flat_map(|start| &mut start.steps);
        steps.for_each(&change);
    })
}

/// Another value of the same kind.
fn other(value: &Value) -> Value {
    match value {
        Value::Null => json!(0),
        Value::Bool(is) => json!(!is),
        Value::Number(number) => json!(number.as_f64().unwrap_or_default() + 1.0),
        Value::String(text) => json!(format!("{text}-other")),
        _ => Value::Null,
    }
}

/// The paths of all values in a specification.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// Every change of one condition.
fn changes() -> Vec<(String, Change)> {
    let record = online("w8a8", &FASTER);
    let mut changes: Vec<(String, Change)> = Vec::new();
    let mut paths = Vec::new();
    leaves(&record.workloads["main"].spec, "", &mut paths);
    for path in paths {
        let at = path.clone();
        let change: Change = Box::new(move |record| {
            let spec = &mut record.workloads["main"].spec;
            let leaf = spec.pointer_mut(&at).expect("a leaf");
            *leaf = other(leaf);
        });
        changes.push((format!("spec{path}"), change));
    }
    for path in record.settings.keys().cloned() {
        let at = path.clone();
        let change: Change = Box::new(move |record| {
            let value = &mut record.settings[&at].value;
            *value = other(value);
        });
        changes.push((path, change));
    }
    let mut more = |name: &str, change: Change| changes.push((name.to_owned(), change));
    more("seed", Box::new(|r| r.workloads["main"].seed += 1));
    more(
        "digest",
        Box::new(|r| r.workloads["main"].sha256 = "0".repeat(64)),
    );
    more(
        "no digest",
        Box::new(|r| r.workloads["main"].sha256.clear()),
    );
    more("duration", of_steps(|step| step.duration_s = Some(2.0)));
    more("requests", of_steps(|step| step.submitted.requests += 1));
    more(
        "prompt tokens",
        of_steps(|step| step.submitted.prompt_tokens += 1),
    );
    more(
        "output tokens",
        of_steps(|step| step.sequences.output_tokens[0] += 1),
    );
    let ramp = Ramp {
        from: 1.0,
        to: 2.0,
        exponential: false,
    };
    let points = [
        (Some(4.0), None, None),
        (None, Some(4), None),
        (None, None, Some(ramp)),
    ];
    for (rate, concurrency, ramp) in points {
        let point = Point {
            rate,
            concurrency,
            ramp,
        };
        let change = of_steps(move |step| step.point = Some(point));
        more(&point.to_string(), change);
    }
    more(
        "one step for a time",
        Box::new(|r| r.starts[0].steps[1].duration_s = Some(2.0)),
    );
    more(
        "no warm-up",
        Box::new(|r| {
            let starts = r.starts.iter_mut();
            starts.for_each(|s| s.steps.retain(|step| step.role != Role::Warmup));
        }),
    );
    changes
}

fn summary(records: &[CellRecord]) -> Summary {
    let derived = records
        .iter()
        .map(|r| derive(Found::Record(Box::new(r.clone()))));
    Summary::new(derived.collect(), Vec::new())
}

fn shown(summary: &Summary, format: Format) -> String {
    String::from_utf8(render(summary, format).expect("renders")).expect("text")
}

/// `1.97x`
fn has_ratio(text: &str) -> bool {
    text.split_whitespace().any(|word| {
        let word = word.trim_end_matches([',', ';', ':', '*']);
        word.strip_suffix('x')
            .is_some_and(|number| number.parse::<f64>().is_ok())
    })
}

const TEXT: Format = Format::Text { width: None };

#[test]
fn no_ratio_survives_any_difference() {
    let base = online("bf16", &MAKESPANS);
    let cell = online("w8a8", &FASTER);
    assert!(has_ratio(&shown(
        &summary(&[base.clone(), cell.clone()]),
        TEXT
    )));
    for (name, change) in changes() {
        let mut other = cell.clone();
        change(&mut other);
        let found = summary(&[base.clone(), other.clone()]);
        for format in [TEXT, Format::Markdown] {
            let shown = shown(&found, format);
            assert!(!has_ratio(&shown), "{name}: {shown}");
            assert!(shown.contains("not compared: measured"), "{name}: {shown}");
        }
        no_ratio_for_programs(&name, &found);
        no_ratio_of_sets(&name, &cell, &other);
    }
}

fn no_ratio_for_programs(name: &str, found: &Summary) {
    let json: Value = serde_json::from_str(&shown(found, Format::Json)).expect("JSON");
    let mut compared = 0;
    for cell in json["cells"].as_array().expect("cells") {
        let comparison = &cell["comparison"];
        if comparison.is_null() {
            continue;
        }
        compared += 1;
        for key in [
            "estimate",
            "verdict",
            "bootstrap",
            "without_outliers",
            "bound",
            "latency",
        ] {
            assert_eq!(comparison[key], Value::Null, "{name}: {key}");
        }
        assert_eq!(comparison["by_running"], json!([]), "{name}");
    }
    assert!(compared > 0, "{name}: no row says why");
    let csv = shown(found, Format::Csv);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("a header").clone();
    for row in reader.records().map(|row| row.expect("a row")) {
        for (column, field) in header.iter().zip(&row) {
            let is_ratio = column.starts_with("speedup") && column != "speedup_baseline";
            assert!(!is_ratio || field.is_empty(), "{name}: {column} {field}");
        }
    }
}

fn no_ratio_of_sets(name: &str, base: &CellRecord, new: &CellRecord) {
    let rules = Rules {
        smallest_effect: 0.02,
        fail_above: Some(0.05),
        although_different: false,
    };
    let (base, new) = ([base.clone()], [new.clone()]);
    // At another point it is another cell.
    let Ok(found) = compare(&base, &new, rules) else {
        return;
    };
    assert!(found.undecided() && !found.exceeded(), "{name}");
    let sets = render_sets(&found, TEXT).expect("renders");
    assert!(!has_ratio(&sets), "{name}: {sets}");
    let alone = !found.only_base.is_empty() || !found.only_new.is_empty();
    assert!(
        alone || sets.contains("not compared: measured"),
        "{name}: {sets}"
    );
    let although = Rules {
        although_different: true,
        ..rules
    };
    let found = compare(&base, &new, although).expect("common");
    let sets = render_sets(&found, TEXT).expect("renders");
    assert!(sets.contains("x, although measured"), "{name}: {sets}");
    assert!(found.undecided() && !found.exceeded(), "{name}");
}

#[test]
fn models_that_were_asked_for_different_things_have_no_mean() {
    let of = |model: &str, prompts: u32| {
        ["bf16", "w8a8"].map(|precision| {
            let mut record = online(
                precision,
                if precision == "bf16" {
                    &MAKESPANS
                } else {
                    &FASTER
                },
            );
            record.cell.id.model = model.parse().expect("an id");
            record.workloads["main"].sha256 = format!("{model:0>64}");
            record.workloads["main"].spec["num_prompts"] = json!(prompts);
            record
        })
    };
    let means = |other: u32| {
        let records = [of("demo", 4), of("other", other)].concat();
        summary(&records).geometric_means.len()
    };
    assert_eq!((means(4), means(5)), (1, 0));
}

#[test]
fn what_differs_is_said_of_both() {
    let said = |n: usize| {
        let unlike = (0..n).map(|i| Unlike {
            what: i.to_string(),
            here: format!("for {i} s"),
            there: format!("for {i} requests"),
        });
        not_compared(&unlike.collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(said(0), "");
    assert_eq!(said(1), "measured for 0 s, the baseline for 0 requests");
    assert_eq!(
        said(4),
        "measured for 0 s and for 1 s, the baseline for 0 requests and for 1 requests; 2 more differences"
    );
}

#[test]
fn engines_of_one_folder_are_alike_and_those_of_two_sets_may_differ() {
    use crate::record::{Arm, Conditions};
    let with = |torch: &str, backend: &str, cache: &str| {
        let mut record = done("demo", "w8a8", &FASTER);
        for facts in record.starts.iter_mut().filter_map(|s| s.engine.as_mut()) {
            facts.versions.insert("torch".to_owned(), torch.to_owned());
            let effective = [("attention_backend", backend), ("kv_cache_dtype", cache)];
            facts
                .effective
                .extend(effective.map(|(name, value)| (name.to_owned(), json!(value))));
        }
        Conditions::of(&record, Arm::Main)
    };
    let base = with("2.13.0", "FLASH_ATTN", "auto");
    let what = |other: &Conditions| -> Vec<String> {
        let unlike = other.unlike(&base);
        unlike.into_iter().map(|unlike| unlike.what).collect()
    };
    assert_eq!(what(&base), [""; 0]);
    assert_eq!(what(&with("2.12.0", "FLASH_ATTN", "auto")), ["torch"]);
    let other = with("2.13.0", "TRITON_ATTN", "auto");
    assert_eq!(what(&other), ["attention backend"]);
    assert_eq!(what(&with("2.13.0", "FLASHINFER", "fp8")), [""; 0]);
    let apart = other.between_sets().unlike(&base.clone().between_sets());
    assert!(apart.is_empty());
}
