//! The workload, after what one setting says about another.

use std::ops::Range;

use serde_json::{Value, json};

use super::context::{Context, said_by_flags};
use super::declared::{
    INPUT_LEN, LENGTHS_FROM, LOGPROBS, N, NUM_PROMPTS, OUTPUT_LEN, PRESET, PROMPT, REPLICAS,
    RESPONSE, SHARED_PREFIX, SIBLING_CORRELATION, TEMPERATURE, TOP_K, TOP_P,
};
use super::diagnostic::Diagnostics;
use super::setting::Setting;
use super::values::Values;
use super::{ConfigErrors, FanOut, Given, LoadRequest, Origin, Sourced};
use crate::units::Mode;
use crate::workload::{
    Lengths, Observed, Placement, Preset, Sampling, WorkloadError, WorkloadSpec,
};

/// More sequences than this in a step is a typo, not a workload.
const MAX_SEQUENCES: u64 = 10_000_000;

/// Lengths, where they come from, and where that stands in the document.
struct Picked {
    lengths: Sourced<Lengths>,
    span: Option<Range<usize>>,
}

impl Picked {
    fn new(lengths: Lengths, origin: Origin) -> Self {
        Self {
            lengths: Sourced::new(lengths, origin),
            span: None,
        }
    }
}

pub(super) fn workload(
    context: &mut Context<'_>,
    mode: Mode,
    fan_out: FanOut,
    found: &mut Diagnostics,
) -> WorkloadSpec {
    let lengths = Observations {
        counted: context.request.lengths.as_ref(),
        uncounted: is_uncounted(context.request),
    };
    samples(&mut context.values, mode);
    resolve(&mut context.values, lengths, fan_out, found)
}

/// The measured workload with what flags say of it.
///
/// # Errors
/// Every mistake at once.
pub(crate) fn changed(
    measured: WorkloadSpec,
    flags: &Given,
    observed: Option<&Observed>,
) -> Result<WorkloadSpec, ConfigErrors> {
    let mut found = Diagnostics::default();
    let mut values = said_by_flags(flags, &mut found);
    let lengths = |lengths: &Lengths| serde_json::to_value(lengths).unwrap_or_default();
    values.set_default(&NUM_PROMPTS, measured.num_prompts);
    values.set_default(&N, measured.n);
    values.set_default(&PROMPT, lengths(&measured.prompt));
    values.set_default(&RESPONSE, lengths(&measured.response));
    values.set_default(&SIBLING_CORRELATION, measured.sibling_correlation);
    values.set_default(&SHARED_PREFIX, measured.shared_prefix);
    values.set_default(&REPLICAS, measured.placement.replicas());
    let lengths = Observations {
        counted: observed,
        uncounted: false,
    };
    let mut spec = resolve(&mut values, lengths, FanOut::Requests, &mut found);
    spec.sampling = measured.sampling;
    if (&spec.prompt, &spec.response) == (&measured.prompt, &measured.response) {
        spec.preset = measured.preset;
    }
    if found.is_empty() {
        Ok(spec)
    } else {
        Err(found.into_errors(None))
    }
}

/// What `--lengths-from` tells.
#[derive(Clone, Copy)]
struct Observations<'a> {
    counted: Option<&'a Observed>,
    /// Whether texts are still to be counted.
    uncounted: bool,
}

fn resolve(
    values: &mut Values,
    lengths: Observations<'_>,
    fan_out: FanOut,
    found: &mut Diagnostics,
) -> WorkloadSpec {
    let preset = preset(values, found);
    let prompt = prompt(values, preset.as_ref(), lengths);
    let response = response(values, preset.as_ref(), lengths, found);
    correlation(values, preset.as_ref(), &response, lengths);
    show(values, &INPUT_LEN, &PROMPT, &prompt.lengths);
    if lengths.uncounted {
        values.forget(&OUTPUT_LEN);
        values.set(&RESPONSE, "counted when the run begins", OBSERVED);
    } else {
        show(values, &OUTPUT_LEN, &RESPONSE, &response.lengths);
    }
    let spec = WorkloadSpec {
        sampling: Sampling {
            temperature: values.get(&TEMPERATURE),
            top_p: values.get(&TOP_P),
            top_k: values.get(&TOP_K),
            logprobs: values.get(&LOGPROBS),
        },
        prompt: prompt.lengths.value,
        response: response.lengths.value,
        sibling_correlation: values.get(&SIBLING_CORRELATION),
        shared_prefix: values.get(&SHARED_PREFIX),
        placement: match values.get(&REPLICAS) {
            1 => Placement::Local,
            replicas => Placement::Scatter { replicas },
        },
        preset: preset.map(|p| p.value.name.to_owned()),
        ..WorkloadSpec::fixed(values.get(&NUM_PROMPTS), values.get(&N), 1, 1)
    };
    if !values.is_unreadable("workload.") {
        check(values, &spec, fan_out, prompt.span, response.span, found);
    }
    spec
}

/// A serving benchmark's default is one sample; what a user's own file says holds in both modes.
fn samples(values: &mut Values, mode: Mode) {
    let origin = values.origin(&N);
    if mode == Mode::Online && matches!(origin, Origin::BuiltIn { .. } | Origin::Default) {
        values.set(&N, 1, Origin::Default);
    }
}

/// The preset that was asked for, by flag or file.
fn preset(values: &mut Values, found: &mut Diagnostics) -> Option<Sourced<Preset>> {
    let Sourced { value, origin } = values.if_said(&PRESET)?;
    let name = value?;
    match Preset::named(&name) {
        Ok(preset) => Some(Sourced::new(preset, origin)),
        Err(error) => {
            let mistake = match values.span(&PRESET) {
                Some(span) => found.at(&span, error.to_string()),
                None => found.plain(format!("--workload {name}: {error}")),
            };
            if let Some(near) = error.nearest {
                mistake.help(format!("did you mean `{near}`?"));
            }
            None
        }
    }
}

/// Whether lengths are to be taken from texts that nobody has counted yet.
pub(super) fn is_uncounted(request: &LoadRequest) -> bool {
    request.flags.has(&LENGTHS_FROM) && request.lengths.is_none()
}

/// What stands for response lengths that are not counted yet.
const UNCOUNTED: Lengths = Lengths::Fixed { tokens: 32 };

const OBSERVED: Origin = Origin::Flag("--lengths-from");

fn prompt(values: &Values, preset: Option<&Sourced<Preset>>, lengths: Observations<'_>) -> Picked {
    match lengths.counted.and_then(|o| o.prompt.clone()) {
        Some(lengths) if !values.is_flag(&INPUT_LEN) => Picked::new(lengths, OBSERVED),
        _ => {
            let preset = preset.map(|p| Sourced::new(p.value.prompt_lengths(), p.origin.clone()));
            written(values, preset, &PROMPT, &INPUT_LEN)
        }
    }
}

fn response(
    values: &Values,
    preset: Option<&Sourced<Preset>>,
    lengths: Observations<'_>,
    found: &mut Diagnostics,
) -> Picked {
    if values.is_flag(&OUTPUT_LEN) {
        let other = match preset {
            Some(preset) if values.is_flag(&PRESET) && preset.value.name != "fixed" => {
                Some("--workload")
            }
            _ if values.said(&LENGTHS_FROM).is_some() => Some("--lengths-from"),
            _ => None,
        };
        if let Some(other) = other {
            found
                .plain(format!(
                    "--output-len and {other} both say how long responses are"
                ))
                .help("leave one of them out");
        }
    } else if let Some(observed) = lengths.counted {
        return Picked::new(observed.response.clone(), OBSERVED);
    } else if lengths.uncounted {
        return Picked::new(UNCOUNTED, OBSERVED);
    }
    let preset = preset.map(|p| Sourced::new(p.value.response_lengths(), p.origin.clone()));
    written(values, preset, &RESPONSE, &OUTPUT_LEN)
}

/// A length by flag, else a preset by flag, else what the document spells out, else its preset, else the default.
fn written(
    values: &Values,
    preset: Option<Sourced<Lengths>>,
    table: &Setting<Option<Lengths>>,
    length: &Setting<u32>,
) -> Picked {
    let of_length = || {
        let Sourced { value, origin } = values.sourced(length);
        Picked {
            lengths: Sourced::new(Lengths::Fixed { tokens: value }, origin),
            span: values.span(length),
        }
    };
    let is_flag = |preset: &Sourced<Lengths>| matches!(preset.origin, Origin::Flag(_));
    match (preset, values.get(table)) {
        _ if values.is_flag(length) => of_length(),
        (Some(preset), _) if is_flag(&preset) => Picked::new(preset.value, preset.origin),
        (_, Some(lengths)) => Picked {
            lengths: Sourced::new(lengths, values.origin(table)),
            span: values.span(table),
        },
        (Some(preset), None) if values.said(length).is_none() => {
            Picked::new(preset.value, preset.origin)
        }
        _ => of_length(),
    }
}

/// As said, else what goes with the response lengths: the preset's, or what the observed ones have.
fn correlation(
    values: &mut Values,
    preset: Option<&Sourced<Preset>>,
    response: &Picked,
    lengths: Observations<'_>,
) {
    let origin = &response.lengths.origin;
    let implied = match (lengths.counted, preset) {
        (Some(observed), _) if *origin == OBSERVED => observed.sibling_correlation,
        (_, Some(preset)) if preset.origin == *origin => Some(preset.value.sibling_correlation()),
        _ => None,
    };
    if let Some(implied) = implied
        && values.origin(&SIBLING_CORRELATION) == Origin::Default
    {
        values.set(&SIBLING_CORRELATION, implied, origin.clone());
    }
}

/// One length as a number, a distribution as what it is; observed lengths by their number.
fn show(
    values: &mut Values,
    length: &Setting<u32>,
    table: &Setting<Option<Lengths>>,
    lengths: &Sourced<Lengths>,
) {
    values.forget(length);
    values.forget(table);
    let origin = lengths.origin.clone();
    match &lengths.value {
        Lengths::Fixed { tokens } => values.set(length, *tokens, origin),
        Lengths::Empirical {
            lengths: observed,
            source,
        } => {
            let value = json!({
                "kind": "empirical",
                "count": observed.len(),
                "mean": lengths.value.mean().round(),
                "source": source,
            });
            values.set(table, value, origin);
        }
        other => {
            let value: Value = serde_json::to_value(other).unwrap_or_default();
            values.set(table, value, origin);
        }
    }
}

fn check(
    values: &Values,
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
            WorkloadError::Correlation(_) => values.span(&SIBLING_CORRELATION),
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
