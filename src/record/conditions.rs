//! What makes two measurements comparable. Whoever forms a ratio asks here, and nowhere else.
//!
//! Two cells may differ in what is compared (precision, checkpoint, engine, machine) and in nothing that a request is
//! made of or sent by: a ratio over such a difference is a number about the difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use sha2::Digest as _;

use super::{Arm, CellRecord, EngineStart, StartKind, Step, counted_starts, counted_steps};
use crate::workload::WorkloadSpec;

/// A setting that has to be equal: its dotted paths (the first that a record has counts), how a sentence says its
/// value, and what it was in records that do not name it.
struct Setting {
    paths: &'static [&'static str],
    words: &'static str,
    before: &'static str,
}

const fn setting(
    paths: &'static [&'static str],
    words: &'static str,
    before: &'static str,
) -> Setting {
    Setting {
        paths,
        words,
        before,
    }
}

/// One line makes a setting a condition.
const SETTINGS: &[Setting] = &[
    setting(&["online.api"], "by the {} API", "completions"),
    setting(&["online.burstiness"], "with burstiness {}", "1"),
    setting(
        &["run.fan_out", "load.fan_out"],
        "with fan-out {}",
        "requests",
    ),
    setting(&["run.profile"], "with a profiler: {}", "false"),
    setting(&["load.ignore_eos"], "with ignore_eos {}", "true"),
    setting(&["load.token_ids"], "with token_ids {}", "true"),
    setting(
        &["online.chat_template", "engine.args.chat_template"],
        "with the chat template {}",
        "of the checkpoint",
    ),
];

type Words = fn(&Step) -> String;

/// What steps have to have in common, in words that follow "measured".
const STEPS: &[(&str, Words)] = &[
    ("amount", amount),
    ("sent", |step| step.point.unwrap_or_default().to_string()),
];

type OfStart = fn(&EngineStart) -> Option<String>;

/// What engine starts have to have in common within one set of results, in words that follow "measured". The attention
/// backend goes with the type of its cache: an FP8 one asks for another, and that is what is compared.
const ENGINE: &[(&str, OfStart)] = &[
    ("torch", |start| {
        let torch = start.engine.as_ref()?.versions.get("torch")?;
        Some(format!("with torch {torch}"))
    }),
    ("graph mode", |start| {
        let mode = start.engine.as_ref()?.effective.get("compilation_config")?;
        Some(format!(
            "with graph mode {}",
            shown(mode.get("cudagraph_mode")?)
        ))
    }),
    ("attention backend", |start| {
        let effective = &start.engine.as_ref()?.effective;
        let cache = effective.get("kv_cache_dtype").and_then(Value::as_str);
        let plain = cache.is_none_or(|cache| cache == "auto");
        let backend = effective
            .get("attention_backend")
            .filter(|b| plain && !b.is_null())?;
        Some(format!("with attention backend {}", shown(backend)))
    }),
];

/// Everything that makes a measurement comparable with another one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    /// In words that follow "measured", by name.
    stated: BTreeMap<String, String>,
    /// Conditions that two models never share, such as the token ids of their vocabularies.
    of_model: BTreeMap<String, String>,
    /// What the engine turned out to be. Between two sets of results it is what may have changed, and is listed; within
    /// one it explains the ratio away.
    of_engine: BTreeMap<String, String>,
    /// Prompt and output tokens by workload and step index. Without steps that sent for a given time: in them the
    /// faster arm gets further.
    tokens: BTreeMap<(String, u32), (u64, u64)>,
}

/// A condition that two measurements do not share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unlike {
    /// Its name.
    pub what: String,
    /// Of the one that is compared, in words that follow "measured".
    pub here: String,
    /// Of the one that it is compared with.
    pub there: String,
}

impl Conditions {
    /// Of the counted steps of `arm`. `record` is a whole record or its part at one point of a sweep.
    pub(crate) fn of(record: &CellRecord, arm: Arm) -> Self {
        let mut found = Self::planned(record);
        let starts = counted_starts(record, arm);
        let steps: Vec<&Step> = starts
            .iter()
            .flat_map(|start| counted_steps(start))
            .collect();
        for (name, workload) in &record.workloads {
            let digest = match workload.sha256.get(..12).unwrap_or(&workload.sha256) {
                "" => "with requests that are not recorded".to_owned(),
                digest => format!("with the requests {digest}"),
            };
            found.of_model.insert(format!("{name} requests"), digest);
        }
        for (name, words) in STEPS {
            let values: BTreeSet<String> = steps.iter().map(|step| words(step)).collect();
            found.state(name, listed(values));
        }
        let warmups = starts.iter().map(|start| {
            let is_warmup = |step: &&Step| step.role == super::Role::Warmup;
            let count = start.steps.iter().filter(is_warmup).count();
            match count {
                1 => "after 1 warm-up step".to_owned(),
                _ => format!("after {count} warm-up steps"),
            }
        });
        found.state("warm-up", listed(warmups.collect()));
        let kinds = starts.iter().map(|start| match start.kind() {
            StartKind::Cold => "from cold engine starts".to_owned(),
            StartKind::Warm => "from warm engine starts".to_owned(),
            StartKind::Mixed => "from engine starts that were forked in part".to_owned(),
        });
        found.state("start", listed(kinds.collect()));
        // An idle profiler may cost something, and what it costs is not the precision's.
        let profilers = starts.iter().map(|start| match &start.profile {
            Some(_) => "with a profiler configured".to_owned(),
            None => "without a profiler".to_owned(),
        });
        found.state("profiler", listed(profilers.collect()));
        for (name, of_start) in ENGINE {
            let values: BTreeSet<String> = starts.iter().filter_map(|s| of_start(s)).collect();
            if !values.is_empty() {
                found.of_engine.insert((*name).to_owned(), listed(values));
            }
        }
        found.tokens = steps
            .iter()
            .filter(|step| step.duration_s.is_none())
            .map(|step| ((step.workload.clone(), step.index), tokens(step)))
            .collect();
        found
    }

    /// Of what was planned, whatever has been measured of it. Without the requests themselves, which follow from the
    /// specification, the seed and the checkpoint.
    pub(crate) fn planned(record: &CellRecord) -> Self {
        let mut found = Self::default();
        found.state("mode", record.cell.mode.to_string());
        for setting in SETTINGS {
            let value = setting.paths.iter().find_map(|p| record.settings.get(*p));
            let value = value.map_or_else(|| setting.before.to_owned(), |s| shown(&s.value));
            found.state(setting.paths[0], setting.words.replace("{}", &value));
        }
        for (name, workload) in &record.workloads {
            let spec = serde_json::from_value::<WorkloadSpec>(workload.spec.clone())
                .ok()
                .and_then(|spec| serde_json::to_value(spec).ok());
            found.state_leaves(
                name,
                &mut Vec::new(),
                spec.as_ref().unwrap_or(&workload.spec),
            );
            found.state(
                &format!("{name} seed"),
                format!("with seed {}", workload.seed),
            );
        }
        if let Some(size) = record.settings.get("load.vocab_size") {
            let words = format!("with a vocabulary of {}", shown(&size.value));
            found.of_model.insert("vocabulary".to_owned(), words);
        }
        found
    }

    /// Of a result of another program, which says these things of itself.
    pub(super) fn stated<const N: usize>(conditions: [(&str, String); N]) -> Self {
        let stated = conditions.map(|(name, words)| (name.to_owned(), words));
        Self {
            stated: stated.into(),
            ..Self::default()
        }
    }

    /// What two sets of results have to share, whatever their engines are.
    pub(crate) fn between_sets(mut self) -> Self {
        self.of_engine.clear();
        self
    }

    /// What another model can share.
    pub(crate) fn across_models(&self) -> Self {
        Self {
            stated: self.stated.clone(),
            ..Self::default()
        }
    }

    /// What forbids a ratio with `baseline`; empty if nothing does.
    pub(crate) fn unlike(&self, baseline: &Self) -> Vec<Unlike> {
        let mut unlike = differing(&self.stated, &baseline.stated);
        unlike.extend(differing(&self.of_model, &baseline.of_model));
        // What an engine does not tell is no difference.
        let both = |name: &String| self.of_engine.contains_key(name);
        let engines = differing(&self.of_engine, &baseline.of_engine).into_iter();
        unlike
            .extend(engines.filter(|u| both(&u.what) && baseline.of_engine.contains_key(&u.what)));
        // What both have says more than what one has not.
        unlike.sort_by_key(|u| {
            [&u.here, &u.there]
                .iter()
                .any(|w| w.starts_with("without "))
        });
        let in_words = |(prompt, output): (u64, u64)| {
            format!("with {prompt} prompt and {output} output tokens in a step")
        };
        let both = self.tokens.iter().filter_map(|(step, here)| {
            let there = baseline.tokens.get(step)?;
            Some((*here, *there))
        });
        let other = both.into_iter().find(|(here, there)| here != there);
        unlike.extend(other.map(|(here, there)| Unlike {
            what: "tokens".to_owned(),
            here: in_words(here),
            there: in_words(there),
        }));
        unlike
    }

    fn state(&mut self, name: &str, words: String) {
        self.stated.insert(name.to_owned(), words);
    }

    /// Every value in a specification, a distribution as one, but for the name of its preset: what that stands for is
    /// beside it.
    fn state_leaves(&mut self, workload: &str, path: &mut Vec<String>, value: &Value) {
        if let Value::Object(fields) = value
            && !fields.contains_key("kind")
        {
            for (field, value) in fields.iter().filter(|(field, _)| *field != "preset") {
                path.push(field.clone());
                self.state_leaves(workload, path, value);
                path.pop();
            }
            return;
        }
        let path = path.join(".");
        let words = format!("with {path} {}", shown(value));
        self.state(&format!("{workload} {path}"), words);
    }
}

/// `for 2 s` or `for 40 requests`.
fn amount(step: &Step) -> String {
    match step.duration_s {
        Some(seconds) => format!("for {seconds} s"),
        None => format!("for {} requests", step.submitted.requests),
    }
}

/// Prompt and output tokens of a step.
fn tokens(step: &Step) -> (u64, u64) {
    let output = step.sequences.output_tokens.iter();
    let output = output.map(|&tokens| u64::from(tokens)).sum();
    (step.submitted.prompt_tokens, output)
}

fn listed(values: BTreeSet<String>) -> String {
    values.into_iter().collect::<Vec<_>>().join(" and ")
}

/// As a sentence shows a value: `1` for 1.0, and long lists by their length and beginning.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match (value, value.as_f64()) {
        (Value::String(text), _) => text.clone(),
        (_, Some(number)) => number.to_string(),
        (Value::Object(fields), _) => {
            let values = fields.iter().map(|(name, value)| match value {
                Value::String(kind) => kind.clone(),
                value => format!("{name} {value}"),
            });
            values.collect::<Vec<_>>().join(" ")
        }
        _ => value.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    let digest = super::hex(&sha2::Sha256::digest(text.as_bytes()));
    let start: String = text.chars().take(LONGEST / 2).collect();
    format!("{start}... (sha256 {})", &digest[..12])
}

fn differing(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Vec<Unlike> {
    let names: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let said = |side: &BTreeMap<String, String>, name: &String| {
        side.get(name)
            .cloned()
            .unwrap_or_else(|| format!("without {}", name.rsplit(' ').next().unwrap_or(name)))
    };
    names
        .into_iter()
        .filter(|name| here.get(*name) != there.get(*name))
        .map(|name| Unlike {
            what: name.clone(),
            here: said(here, name),
            there: said(there, name),
        })
        .collect()
}
