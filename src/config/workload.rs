//! `[workload]`: as written, and merged with the flags.

use std::ops::Range;

use serde_json::{Value, json};

use super::diagnostic::{Diagnostics, listed};
use super::document::At;
use super::layer;
use super::load::Loader;
use super::scalars::{Values, not_zero, put};
use super::walk::{Table, wrong_type};
use super::{FanOut, Origin, Sourced};
use crate::units::Mode;
use crate::workload::{Lengths, Placement, Preset, Sampling, WorkloadError, WorkloadSpec};

/// More sequences than this in a step is a typo, not a workload.
const MAX_SEQUENCES: u64 = 10_000_000;
const MAX_TOKENS: u32 = 10_000_000;

/// `[workload]`.
#[derive(Debug, Default)]
pub(super) struct RawWorkload {
    preset: Option<At<String>>,
    num_prompts: Option<At<u32>>,
    n: Option<At<u32>>,
    input_len: Option<At<u32>>,
    output_len: Option<At<u32>>,
    prompt: Option<At<Lengths>>,
    response: Option<At<Lengths>>,
    sibling_correlation: Option<At<f64>>,
    shared_prefix: Option<At<u32>>,
    replicas: Option<At<u32>>,
    temperature: Option<At<f64>>,
    top_p: Option<At<f64>>,
    top_k: Option<At<i32>>,
    logprobs: Option<At<u32>>,
}

impl RawWorkload {
    pub(super) fn read(workload: &Table<'_>, found: &mut Diagnostics) -> Self {
        workload.only(
            &[
                "preset",
                "num_prompts",
                "n",
                "input_len",
                "output_len",
                "prompt",
                "response",
                "sibling_correlation",
                "shared_prefix",
                "replicas",
                "sampling",
            ],
            found,
        );
        for (short, long) in [("input_len", "prompt"), ("output_len", "response")] {
            if let (Some((first, _)), Some((second, _))) = (workload.get(short), workload.get(long))
            {
                found
                    .at(
                        &second.span,
                        format!("both `{short}` and `{long}` say how long"),
                    )
                    .related(first.span, "the other one");
            }
        }
        let mut raw = Self {
            preset: workload.text("preset", found),
            num_prompts: workload.integer("num_prompts", 1..=1_000_000, found),
            n: workload.integer("n", 1..=100_000, found),
            input_len: workload.integer("input_len", 1..=MAX_TOKENS, found),
            output_len: workload.integer("output_len", 1..=MAX_TOKENS, found),
            prompt: lengths(workload, "prompt", found),
            response: lengths(workload, "response", found),
            sibling_correlation: workload.number(
                "sibling_correlation",
                |rho| (0.0..=1.0).contains(&rho),
                "from 0 to 1",
                found,
            ),
            shared_prefix: workload.integer("shared_prefix", 0..=MAX_TOKENS, found),
            replicas: workload.integer("replicas", 1..=100_000, found),
            ..Self::default()
        };
        if let Some(sampling) = workload.table("sampling", found) {
            sampling.only(&["temperature", "top_p", "top_k", "logprobs"], found);
            raw.temperature = sampling.number("temperature", |t| t >= 0.0, "0 or above", found);
            raw.top_p = sampling.number("top_p", layer::is_share, "above 0 and at most 1", found);
            raw.top_k = sampling.integer("top_k", -1..=i32::MAX, found);
            raw.logprobs = sampling.integer("logprobs", 0..=1_000, found);
        }
        raw
    }
}

/// A distribution: `{ kind = "lognormal", mean = 1060, sigma = 0.7, cap = 4096 }`.
fn lengths(workload: &Table<'_>, key: &str, found: &mut Diagnostics) -> Option<At<Lengths>> {
    workload.get(key)?;
    let table = workload.table(key, found)?;
    let kinds = ["fixed", "uniform", "lognormal", "bimodal", "empirical"];
    let Some((kind_key, _)) = table.get("kind") else {
        found
            .at(&table.span, format!("`{}` has no `kind`", table.path))
            .help(format!("the kinds are {}", listed(kinds)));
        return None;
    };
    let kind = table.choice("kind", &kinds.map(|kind| (kind, kind)), found)?;
    let fields: &[&str] = match kind.value {
        "fixed" => &["tokens"],
        "uniform" => &["min", "max"],
        "lognormal" => &["mean", "sigma", "cap"],
        "bimodal" => &["short", "long", "long_share", "sigma", "cap"],
        _ => &["lengths"],
    };
    table.only(&[&["kind"], fields].concat(), found);
    let missing: Vec<&str> = fields
        .iter()
        .copied()
        .filter(|f| table.get(f).is_none())
        .collect();
    if !missing.is_empty() {
        found.at(
            &kind_key.span,
            format!(
                "a {} distribution also needs {}",
                kind.value,
                listed(missing)
            ),
        );
        return None;
    }
    let mut tokens = |key| Some(table.integer(key, 1..=MAX_TOKENS, found)?.value);
    let lengths = match kind.value {
        "fixed" => Lengths::Fixed {
            tokens: tokens("tokens")?,
        },
        "uniform" => Lengths::Uniform {
            min: tokens("min")?,
            max: tokens("max")?,
        },
        "lognormal" => Lengths::Lognormal {
            cap: tokens("cap")?,
            mean: number(&table, "mean", found)?,
            sigma: number(&table, "sigma", found)?,
        },
        "bimodal" => Lengths::Bimodal {
            cap: tokens("cap")?,
            short: number(&table, "short", found)?,
            long: number(&table, "long", found)?,
            long_share: number(&table, "long_share", found)?,
            sigma: number(&table, "sigma", found)?,
        },
        _ => Lengths::Empirical {
            lengths: observed(&table, found)?,
            source: None,
        },
    };
    if let Err(error) = lengths.check() {
        found.at(&table.span, error.to_string());
        return None;
    }
    Some(At::new(lengths, table.span))
}

fn number(table: &Table<'_>, key: &str, found: &mut Diagnostics) -> Option<f64> {
    Some(table.number(key, f64::is_finite, "a number", found)?.value)
}

/// `lengths = [120, 80, 990]`, in any order.
fn observed(table: &Table<'_>, found: &mut Diagnostics) -> Option<Vec<u32>> {
    let (_, value) = table.get("lengths")?;
    let wanted = "a list of lengths, each a whole number of 1 at least";
    let Some(items) = value.get_ref().as_array() else {
        wrong_type(value, &table.path_of("lengths"), wanted, found);
        return None;
    };
    let mut lengths = Vec::with_capacity(items.len());
    for item in items {
        let length = item
            .get_ref()
            .as_integer()
            .and_then(|i| i.as_str().parse::<u32>().ok());
        let Some(length) = length.filter(|l| *l >= 1) else {
            wrong_type(item, &table.path_of("lengths"), wanted, found);
            return None;
        };
        lengths.push(length);
    }
    lengths.sort_unstable();
    Some(lengths)
}

/// Lengths, where they come from, and where that stands in the document.
struct Picked {
    lengths: Sourced<Lengths>,
    span: Option<Range<usize>>,
}

impl Picked {
    fn flag(lengths: Lengths, flag: &'static str) -> Self {
        Self {
            lengths: Sourced::new(lengths, Origin::Flag(flag)),
            span: None,
        }
    }
}

impl Loader<'_> {
    pub(super) fn workload(
        &self,
        mode: Mode,
        fan_out: FanOut,
        values: &mut Values,
        found: &mut Diagnostics,
    ) -> WorkloadSpec {
        let (raw, flags) = (&self.raw.workload, &self.request.overrides);
        let sizes = [
            ("--num-prompts", flags.num_prompts),
            ("-n", flags.n),
            ("--input-len", flags.input_len),
            ("--output-len", flags.output_len),
            ("--replicas", flags.replicas),
        ];
        for (flag, given) in sizes {
            not_zero(flag, given, found);
        }
        let preset = self.preset(found);
        if let Some(preset) = &preset {
            put(values, "workload.preset", preset.value.name, &preset.origin);
        }
        let mut count = |name: &str, said: Option<&At<u32>>, flagged, flag, default| {
            let picked = self.pick(said, flagged, flag, default);
            put(
                values,
                &format!("workload.{name}"),
                picked.value,
                &picked.origin,
            );
            picked.value
        };
        let num_prompts = count(
            "num_prompts",
            raw.num_prompts.as_ref(),
            flags.num_prompts,
            "--num-prompts",
            32,
        );
        // A serving benchmark's default is one sample; what a user's own file says holds in both modes.
        let said = raw.n.as_ref().filter(|n| {
            mode == Mode::Offline
                || !matches!(self.document.origin(&n.span), Origin::BuiltIn { .. })
        });
        let usual = if mode == Mode::Online { 1 } else { 8 };
        let n = count("n", said, flags.n, "-n", usual);
        let prompt = self.prompt(preset.as_ref());
        let response = self.response(preset.as_ref(), found);
        put_lengths(values, "input_len", "prompt", &prompt.lengths);
        put_lengths(values, "output_len", "response", &response.lengths);
        let correlation = self.correlation(preset.as_ref(), &response);
        let prefix = self.pick(
            raw.shared_prefix.as_ref(),
            flags.shared_prefix,
            "--shared-prefix",
            0,
        );
        let replicas = self.pick(raw.replicas.as_ref(), flags.replicas, "--replicas", 1);
        if correlation.value != 0.0 || correlation.origin != Origin::Default {
            put(
                values,
                "workload.sibling_correlation",
                correlation.value,
                &correlation.origin,
            );
        }
        if prefix.value > 0 {
            put(
                values,
                "workload.shared_prefix",
                prefix.value,
                &prefix.origin,
            );
        }
        if replicas.value > 1 {
            put(
                values,
                "workload.replicas",
                replicas.value,
                &replicas.origin,
            );
        }
        let spec = WorkloadSpec {
            sampling: self.sampling(values),
            prompt: prompt.lengths.value,
            response: response.lengths.value,
            sibling_correlation: correlation.value,
            shared_prefix: prefix.value,
            placement: match replicas.value {
                0 | 1 => Placement::Local,
                replicas => Placement::Scatter { replicas },
            },
            preset: preset.map(|p| p.value.name.to_owned()),
            ..WorkloadSpec::fixed(num_prompts, n, 1, 1)
        };
        let whole = num_prompts > 0 && n > 0 && replicas.value > 0;
        if whole {
            check(&spec, fan_out, prompt.span, response.span, found);
        }
        spec
    }

    /// The preset that was asked for, by flag or file.
    fn preset(&self, found: &mut Diagnostics) -> Option<Sourced<Preset>> {
        let (raw, flags) = (&self.raw.workload, &self.request.overrides);
        let name = flags
            .workload
            .as_ref()
            .or(raw.preset.as_ref().map(|p| &p.value))?;
        let origin = match (&flags.workload, &raw.preset) {
            (None, Some(at)) => self.document.origin(&at.span),
            _ => Origin::Flag("--workload"),
        };
        match Preset::named(name) {
            Ok(preset) => Some(Sourced::new(preset, origin)),
            Err(error) => {
                let mistake = match (&flags.workload, &raw.preset) {
                    (None, Some(at)) => found.at(&at.span, error.to_string()),
                    _ => found.plain(format!("--workload {name}: {error}")),
                };
                if let Some(near) = error.nearest {
                    mistake.help(format!("did you mean `{near}`?"));
                }
                None
            }
        }
    }

    fn prompt(&self, preset: Option<&Sourced<Preset>>) -> Picked {
        let (raw, flags) = (&self.raw.workload, &self.request.overrides);
        let observed = flags.lengths.as_ref().and_then(|o| o.prompt.clone());
        if let Some(tokens) = flags.input_len {
            return Picked::flag(Lengths::Fixed { tokens }, "--input-len");
        }
        if let Some(lengths) = observed {
            return Picked::flag(lengths, "--lengths-from");
        }
        let preset = preset.map(|p| Sourced::new(p.value.prompt_lengths(), p.origin.clone()));
        self.written(preset, raw.prompt.as_ref(), raw.input_len.as_ref(), 512)
    }

    fn response(&self, preset: Option<&Sourced<Preset>>, found: &mut Diagnostics) -> Picked {
        let (raw, flags) = (&self.raw.workload, &self.request.overrides);
        if let Some(tokens) = flags.output_len {
            let other = match (&flags.workload, &flags.lengths) {
                (Some(name), _) if name != "fixed" => Some("--workload"),
                (_, Some(_)) => Some("--lengths-from"),
                _ => None,
            };
            if let Some(other) = other {
                found
                    .plain(format!(
                        "--output-len and {other} both say how long responses are"
                    ))
                    .help("leave one of them out");
            }
            return Picked::flag(Lengths::Fixed { tokens }, "--output-len");
        }
        if let Some(observed) = &flags.lengths {
            return Picked::flag(observed.response.clone(), "--lengths-from");
        }
        let preset = preset.map(|p| Sourced::new(p.value.response_lengths(), p.origin.clone()));
        self.written(preset, raw.response.as_ref(), raw.output_len.as_ref(), 256)
    }

    /// A preset by flag, else what the document spells out, else its preset, else `default`.
    fn written(
        &self,
        preset: Option<Sourced<Lengths>>,
        table: Option<&At<Lengths>>,
        tokens: Option<&At<u32>>,
        default: u32,
    ) -> Picked {
        let spelled = table
            .map(|at| (at.value.clone(), &at.span))
            .or_else(|| tokens.map(|at| (Lengths::Fixed { tokens: at.value }, &at.span)));
        match (preset, spelled) {
            (Some(preset), _) if matches!(preset.origin, Origin::Flag(_)) => Picked {
                lengths: preset,
                span: None,
            },
            (_, Some((lengths, span))) => Picked {
                lengths: Sourced::new(lengths, self.document.origin(span)),
                span: Some(span.clone()),
            },
            (Some(preset), None) => Picked {
                lengths: preset,
                span: None,
            },
            (None, None) => Picked {
                lengths: Sourced::new(Lengths::Fixed { tokens: default }, Origin::Default),
                span: None,
            },
        }
    }

    /// As said, else what goes with the response lengths: the preset's, or what the observed ones have.
    fn correlation(&self, preset: Option<&Sourced<Preset>>, response: &Picked) -> Sourced<f64> {
        let (raw, flags) = (&self.raw.workload, &self.request.overrides);
        let origin = &response.lengths.origin;
        let implied = match (&flags.lengths, preset) {
            (Some(observed), _) if *origin == Origin::Flag("--lengths-from") => {
                observed.sibling_correlation
            }
            (_, Some(preset)) if preset.origin == *origin => {
                Some(preset.value.sibling_correlation())
            }
            _ => None,
        };
        let said = self.pick(
            raw.sibling_correlation.as_ref(),
            flags.sibling_correlation,
            "--sibling-correlation",
            0.0,
        );
        match implied {
            Some(implied) if said.origin == Origin::Default => {
                Sourced::new(implied, origin.clone())
            }
            _ => said,
        }
    }

    fn sampling(&self, values: &mut Values) -> Sampling {
        let (raw, defaults) = (&self.raw.workload, Sampling::default());
        // verl's sampling is the default one, with the log-probability of the sampled token.
        let verl = self.request.overrides.like_verl;
        let said = |verls: f64| verl.then_some(verls);
        let flag = "--like-verl";
        let temperature = self.pick(
            raw.temperature.as_ref(),
            said(1.0),
            flag,
            defaults.temperature,
        );
        let top_p = self.pick(raw.top_p.as_ref(), said(1.0), flag, defaults.top_p);
        let top_k = self.pick(raw.top_k.as_ref(), verl.then_some(-1), flag, defaults.top_k);
        let logprobs = match &raw.logprobs {
            _ if verl => Sourced::new(Some(0), Origin::Flag(flag)),
            Some(at) => Sourced::new(Some(at.value), self.document.origin(&at.span)),
            None => Sourced::new(None, Origin::Default),
        };
        let mut put_sampling = |name: &str, value: Value, origin: &Origin| {
            put(values, &format!("workload.sampling.{name}"), value, origin);
        };
        put_sampling("temperature", temperature.value.into(), &temperature.origin);
        put_sampling("top_p", top_p.value.into(), &top_p.origin);
        put_sampling("top_k", top_k.value.into(), &top_k.origin);
        put_sampling("logprobs", logprobs.value.into(), &logprobs.origin);
        Sampling {
            temperature: temperature.value,
            top_p: top_p.value,
            top_k: top_k.value,
            logprobs: logprobs.value,
        }
    }
}

/// One length as a number, a distribution as what it is; observed lengths by their number.
fn put_lengths(values: &mut Values, short: &str, long: &str, lengths: &Sourced<Lengths>) {
    let (name, value) = match &lengths.value {
        Lengths::Fixed { tokens } => (short, Value::from(*tokens)),
        Lengths::Empirical {
            lengths: observed,
            source,
        } => (
            long,
            json!({
                "kind": "empirical",
                "count": observed.len(),
                "mean": lengths.value.mean().round(),
                "source": source,
            }),
        ),
        other => (long, serde_json::to_value(other).unwrap_or_default()),
    };
    put(values, &format!("workload.{name}"), value, &lengths.origin);
}

fn check(
    spec: &WorkloadSpec,
    fan_out: FanOut,
    prompt: Option<Range<usize>>,
    response: Option<Range<usize>>,
    found: &mut Diagnostics,
) {
    let sequences = spec.samples();
    if sequences > MAX_SEQUENCES {
        found.plain(format!(
            "{} prompts x {} samples are {sequences} sequences in one step; at most {MAX_SEQUENCES} are possible",
            spec.num_prompts, spec.n
        ));
    }
    if let Err(error) = spec.check() {
        let span = match &error {
            WorkloadError::Prompt(_) | WorkloadError::Prefix { .. } => prompt,
            WorkloadError::Response(_) => response,
            _ => None,
        };
        match span {
            Some(span) => found.at(&span, error.to_string()),
            None => found.plain(error.to_string()),
        };
    }
    // The samples of one request share its max_tokens, and its engine.
    if fan_out == FanOut::N && spec.n > 1 {
        if !spec.response.is_constant() && spec.sibling_correlation < 1.0 {
            found
                .plain("one request with n samples cannot give them different lengths")
                .help("use --fan-out requests, or a sibling correlation of 1");
        }
        if spec.placement != Placement::Local {
            found
                .plain("one request with n samples cannot scatter over replicas")
                .help("use --fan-out requests");
        }
    }
}
