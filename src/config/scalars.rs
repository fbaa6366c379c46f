//! The settings that are single values: `[run]`, the interpreter, the output folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

use super::cells;
use super::diagnostic::Diagnostics;
use super::document::{At, Name};
use super::layer::{is_effect, is_seconds, is_share};
use super::load::Loader;
use super::{FanOut, Origin, Python, RunSettings, Sourced};
use crate::record::Inference;
use crate::units::Mode;

/// Blocks of the first stage of `--until`.
const FIRST_BLOCKS: u32 = 6;

/// Most blocks that `--until` runs unless told otherwise.
const MAX_BLOCKS: u32 = 30;

/// Values by dotted path.
pub(super) type Values = IndexMap<String, Sourced<Value>>;

impl Loader<'_> {
    pub(super) fn run(&self, values: &mut Values, found: &mut Diagnostics) -> RunSettings {
        let (raw, flags) = (&self.raw.run, &self.request.overrides);
        if let Some(share) = flags.gpu_mem_util
            && !is_share(share)
        {
            found.plain(format!(
                "--gpu-mem-util {share}: must be above 0 and at most 1"
            ));
        }
        for (flag, given) in [("--steps", flags.steps), ("--blocks", flags.blocks)] {
            not_zero(flag, given, found);
        }
        if let Some(seconds) = flags.gate_timeout
            && !is_seconds(seconds)
        {
            found.plain(format!(
                "--gate-timeout {seconds}: must be a number of seconds above 0"
            ));
        }
        if let Some(effect) = flags.smallest_effect
            && !is_effect(effect)
        {
            found.plain(format!(
                "--smallest-effect {effect}: must be above 0 and below 1 (or 100%)"
            ));
        }
        let mode = self.pick(None, flags.mode, "--online", Mode::Offline);
        let mode = match mode.value {
            Mode::Offline if mode.origin != Origin::Default => {
                Sourced::new(mode.value, Origin::Flag("--offline"))
            }
            _ => mode,
        };
        let online = self.online(mode.value, values, found);
        let steps = self.pick(raw.steps.as_ref(), flags.steps, "--steps", 3);
        let warmup = self.pick(raw.warmup.as_ref(), flags.warmup, "--warmup", 1);
        let blocks = self.pick(raw.blocks.as_ref(), flags.blocks, "--blocks", 1);
        let calibrate = self.pick(
            raw.calibrate.as_ref(),
            flags.calibrate.then_some(true),
            "--calibrate",
            false,
        );
        let effect = self.pick(
            raw.smallest_effect.as_ref(),
            flags.smallest_effect,
            "--smallest-effect",
            Inference::default().smallest_effect,
        );
        let until = self.until(found);
        // The first stage of a two-stage session is always the same size: its coverage rests on that.
        let blocks = match &until {
            Some(until) => Sourced::new(FIRST_BLOCKS, until.origin.clone()),
            None => blocks,
        };
        let max_blocks = self.pick(
            raw.max_blocks.as_ref(),
            flags.max_blocks,
            "--max-blocks",
            MAX_BLOCKS,
        );
        let seed = self.pick(raw.seed.as_ref(), flags.seed, "--seed", 0);
        let fan_out = if flags.like_verl && flags.fan_out.is_none() {
            Sourced::new(FanOut::Requests, Origin::Flag("--like-verl"))
        } else {
            self.pick(
                raw.fan_out.as_ref(),
                flags.fan_out,
                "--fan-out",
                FanOut::Requests,
            )
        };
        let gate = self.pick(
            raw.gate_timeout.as_ref(),
            flags.gate_timeout,
            "--gate-timeout",
            60.0,
        );
        put(values, "run.mode", mode.value.to_string(), &mode.origin);
        put(values, "run.steps", steps.value, &steps.origin);
        put(values, "run.warmup", warmup.value, &warmup.origin);
        put(values, "run.blocks", blocks.value, &blocks.origin);
        put(values, "run.calibrate", calibrate.value, &calibrate.origin);
        put(values, "run.smallest_effect", effect.value, &effect.origin);
        if let Some(until) = &until {
            put(values, "run.until", until.value, &until.origin);
            put(
                values,
                "run.max_blocks",
                max_blocks.value,
                &max_blocks.origin,
            );
        }
        put(values, "run.seed", seed.value, &seed.origin);
        put(values, "run.fan_out", fan_out.value.name(), &fan_out.origin);
        put(values, "run.gate_timeout_s", gate.value, &gate.origin);
        RunSettings {
            mode: mode.value,
            online,
            steps: steps.value,
            warmup: warmup.value,
            blocks: blocks.value,
            seed: seed.value,
            fan_out: fan_out.value,
            inference: Inference {
                smallest_effect: effect.value,
                calibrate: calibrate.value,
                until: until.as_ref().map(|u| u.value),
                first_stage: until.as_ref().map(|_| FIRST_BLOCKS),
                max_blocks: until.as_ref().map(|_| max_blocks.value),
            },
            // Out of range only beside a diagnostic, and then nobody waits.
            gate_timeout: Duration::try_from_secs_f64(gate.value).unwrap_or_default(),
        }
    }

    /// The half-width that a two-stage session aims at; absent if the number of blocks is fixed.
    fn until(&self, found: &mut Diagnostics) -> Option<Sourced<f64>> {
        let (raw, flags) = (&self.raw.run, &self.request.overrides);
        if let Some(share) = flags.until
            && !is_effect(share)
        {
            found.plain(format!(
                "--until {share}: must be above 0 and below 1 (or 100%)"
            ));
        }
        if flags.until.is_some() && flags.blocks.is_some() {
            found
                .plain("--until decides how many engine starts there are, and so does --blocks")
                .help("leave one of them out; --max-blocks limits what --until may run");
        }
        if let Some(max) = flags.max_blocks
            && max < FIRST_BLOCKS
        {
            found.plain(format!(
                "--max-blocks {max}: the first stage of --until alone has {FIRST_BLOCKS} blocks"
            ));
        }
        // A number of blocks on the command line is nearer than a rule in the file.
        let file = raw.until.as_ref().filter(|_| flags.blocks.is_none());
        let said = flags.until.is_some() || file.is_some();
        said.then(|| self.pick(file, flags.until, "--until", 0.02))
    }

    pub(super) fn python(&self, values: &mut Values, found: &mut Diagnostics) -> Sourced<Python> {
        let (text, origin, base) = match (&self.request.overrides.python, &self.raw.python) {
            (Some(flag), _) => (
                flag.clone(),
                Origin::Flag("--python"),
                self.request.cwd.clone(),
            ),
            (None, Some(said)) => {
                let origin = self.document.origin(&said.span);
                let expanded = super::expand::expand(&said.value, &self.request.env);
                match expanded {
                    Ok(text) => (text, origin, self.base()),
                    Err(error) => {
                        cells::cannot_expand(&error, &said.span, 0, found);
                        (said.value.clone(), origin, self.base())
                    }
                }
            }
            (None, None) => ("python3".to_owned(), Origin::Default, self.base()),
        };
        let python = match text.as_str() {
            "managed" => Python::Managed,
            name if name.contains('/') => Python::Interpreter(base.join(name)),
            name => Python::Interpreter(PathBuf::from(name)),
        };
        let shown = match &python {
            Python::Managed => "managed".to_owned(),
            Python::Interpreter(path) => path.display().to_string(),
        };
        put(values, "engine.python", shown, &origin);
        Sourced::new(python, origin)
    }

    pub(super) fn out(&self, values: &mut Values) -> Sourced<PathBuf> {
        let cwd = &self.request.cwd;
        let out = match (
            &self.request.overrides.out,
            self.request.var("BENCH_BASE_DIR"),
        ) {
            (Some(out), _) => Sourced::new(cwd.join(out), Origin::Flag("--out")),
            (None, Some(dir)) => Sourced::new(cwd.join(dir), Origin::Env("BENCH_BASE_DIR")),
            (None, None) => Sourced::new(cwd.clone(), Origin::Default),
        };
        put(values, "out", out.value.display().to_string(), &out.origin);
        out
    }

    /// The environment as `${VAR}` sees it: with `--model-base` in it.
    pub(super) fn variables(&self, values: &mut Values) -> BTreeMap<String, String> {
        let mut vars = self.request.env.clone();
        if let Some(base) = &self.request.overrides.model_base {
            let base = self.request.cwd.join(base).display().to_string();
            put(
                values,
                "model_base",
                base.clone(),
                &Origin::Flag("--model-base"),
            );
            vars.insert("MODEL_BASE".to_owned(), base);
        } else if let Some(base) = self.request.var("MODEL_BASE") {
            put(values, "model_base", base, &Origin::Env("MODEL_BASE"));
        }
        vars
    }

    /// The folder that relative paths of the document start from: the file's own.
    pub(super) fn base(&self) -> PathBuf {
        match &self.document.name {
            Name::File(path) => self
                .request
                .cwd
                .join(path)
                .parent()
                .map_or_else(|| self.request.cwd.clone(), Path::to_owned),
            Name::BuiltIn(_) => self.request.cwd.clone(),
        }
    }

    pub(super) fn pick<T: Clone>(
        &self,
        file: Option<&At<T>>,
        flagged: Option<T>,
        flag: &'static str,
        default: T,
    ) -> Sourced<T> {
        match (flagged, file) {
            (Some(value), _) => Sourced::new(value, Origin::Flag(flag)),
            (None, Some(at)) => Sourced::new(at.value.clone(), self.document.origin(&at.span)),
            (None, None) => Sourced::new(default, Origin::Default),
        }
    }
}

pub(super) fn put(values: &mut Values, path: &str, value: impl Into<Value>, origin: &Origin) {
    values.insert(path.to_owned(), Sourced::new(value.into(), origin.clone()));
}

pub(super) fn not_zero(flag: &str, given: Option<u32>, found: &mut Diagnostics) {
    if given == Some(0) {
        found.plain(format!("{flag} 0: must be at least 1"));
    }
}
