//! `[run]`, the interpreter and the output folder, after what one of them says about another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cells;
use super::context::Context;
use super::declared::{
    AS_BASELINE, BLOCKS, BOTH_WAYS, CALIBRATE, COLD_STARTS, CORRECTABLE, FAN_OUT, FIDELITY,
    FIDELITY_BEST, FIDELITY_OUTPUT_LEN, FIDELITY_TOKENS, GATE_TIMEOUT, KEEP_RAW, MAX_BLOCKS, MODE,
    MODEL_BASE, OUT, PROFILE, PROFILE_OUTPUT_LEN, PROFILE_PROMPTS, PROMPTS, PYTHON, SCORE, SEED,
    SMALLEST_EFFECT, START, STEPS, UNTIL, WARMUP,
};
use super::diagnostic::Diagnostics;
use super::expand::{ExpandError, expand};
use super::values::Values;
use super::{
    FidelitySettings, OnlineSettings, Origin, ProfileSettings, Python, RunSettings, Sourced, Start,
};
use crate::record::Inference;
use crate::stats::fidelity::Thresholds;

/// Blocks of the first stage of `--until`: always the same, since its coverage rests on that.
const FIRST_BLOCKS: u32 = 6;

/// The settings of a run whose requests are sent as `online` says.
pub(super) fn run(
    values: &mut Values,
    online: OnlineSettings,
    found: &mut Diagnostics,
) -> RunSettings {
    let until = until(values, found);
    let staged = until.is_some();
    RunSettings {
        mode: values.get(&MODE),
        online,
        steps: values.get(&STEPS),
        warmup: values.get(&WARMUP),
        blocks: values.get(&BLOCKS),
        seed: values.get(&SEED),
        fan_out: values.get(&FAN_OUT),
        inference: Inference {
            smallest_effect: values.get(&SMALLEST_EFFECT),
            calibrate: values.get(&CALIBRATE),
            until,
            first_stage: staged.then_some(FIRST_BLOCKS),
            max_blocks: staged.then(|| values.get(&MAX_BLOCKS)),
        },
        start: if values.get(&COLD_STARTS) {
            Start::Cold
        } else {
            values.get(&START)
        },
        gate_timeout: values.get(&GATE_TIMEOUT).0,
        fidelity: fidelity(values),
        profile: values.get(&PROFILE).then(|| ProfileSettings {
            prompts: values.get(&PROFILE_PROMPTS),
            output_len: values.get(&PROFILE_OUTPUT_LEN),
            keep_raw: values.get(&KEEP_RAW),
        }),
    }
}

fn fidelity(values: &Values) -> FidelitySettings {
    FidelitySettings {
        measure: values.get(&FIDELITY),
        tokens: values.get(&FIDELITY_TOKENS),
        output_len: values.get(&FIDELITY_OUTPUT_LEN),
        prompts: values.get(&PROMPTS).map(PathBuf::from),
        best: values.get(&FIDELITY_BEST),
        both_ways: values.get(&BOTH_WAYS),
        score: values.get(&SCORE),
        thresholds: Thresholds {
            as_baseline: values.get(&AS_BASELINE),
            correctable: values.get(&CORRECTABLE),
        },
    }
}

/// The half-width that a two-stage session aims at; absent if the number of blocks is fixed.
fn until(values: &mut Values, found: &mut Diagnostics) -> Option<f64> {
    if values.is_flag(&UNTIL) && values.is_flag(&BLOCKS) {
        found
            .plain("--until decides how many engine starts there are, and so does --blocks")
            .help("leave one of them out; --max-blocks limits what --until may run");
    }
    let max = values.get(&MAX_BLOCKS);
    if values.is_flag(&MAX_BLOCKS) && max < FIRST_BLOCKS {
        found.plain(format!(
            "--max-blocks {max}: the first stage of --until alone has {FIRST_BLOCKS} blocks"
        ));
    }
    // A number of blocks on the command line is nearer than a rule in the file.
    if values.is_flag(&BLOCKS) && !values.is_flag(&UNTIL) {
        values.forget(&UNTIL);
    }
    let Some(until) = values.if_said(&UNTIL) else {
        values.forget(&MAX_BLOCKS);
        return None;
    };
    values.set(&BLOCKS, FIRST_BLOCKS, until.origin);
    let origin = values.origin(&MAX_BLOCKS);
    values.set(&MAX_BLOCKS, max, origin);
    until.value
}

impl Context<'_> {
    pub(super) fn python(&mut self, found: &mut Diagnostics) -> Sourced<Python> {
        let Sourced { mut value, origin } = self.values.sourced(&PYTHON);
        if let Some(span) = self.values.span(&PYTHON) {
            match expand(&value, &self.request.env) {
                Ok(expanded) => value = expanded,
                Err(ExpandError::Unset(_)) if self.request.elsewhere => {}
                Err(error) => cells::cannot_expand(&error, &span, 0, found),
            }
        }
        let base = match origin {
            Origin::Flag(_) => self.request.cwd.clone(),
            _ => self.base(),
        };
        let python = match value.as_str() {
            "managed" => Python::Managed,
            name if name.contains('/') => Python::Interpreter(base.join(name)),
            name => Python::Interpreter(PathBuf::from(name)),
        };
        if let Python::Interpreter(path) = &python {
            self.values
                .set(&PYTHON, path.display().to_string(), origin.clone());
        }
        Sourced::new(python, origin)
    }

    pub(super) fn out(&mut self) -> Sourced<PathBuf> {
        let origin = self.values.origin(&OUT);
        let out = match origin {
            Origin::Default => self.request.cwd.clone(),
            _ => self.request.cwd.join(self.values.get(&OUT)),
        };
        self.values
            .set(&OUT, out.display().to_string(), origin.clone());
        Sourced::new(out, origin)
    }

    /// The environment as `${VAR}` sees it: with `--model-base` in it.
    pub(super) fn variables(&mut self) -> BTreeMap<String, String> {
        let mut vars = self.request.env.clone();
        if self.values.is_flag(&MODEL_BASE)
            && let Some(base) = self.values.get(&MODEL_BASE)
        {
            let base = self.request.cwd.join(base).display().to_string();
            let origin = self.values.origin(&MODEL_BASE);
            self.values.set(&MODEL_BASE, base.clone(), origin);
            vars.insert("MODEL_BASE".to_owned(), base);
        }
        vars
    }
}
