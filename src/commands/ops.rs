//! `rollbench ops CHECKPOINT`: the linear layers of a model alone, by every path that the engine's Python has on this
//! device: what a precision can gain at which number of tokens, before anything around it is counted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::common::python_named;
use crate::error::{CommandError, Exit, PathError};
use crate::output;
use crate::profile::{self, Digest, Rules};
use crate::report::{Format, OpsReport, OpsRow, render_ops};

const SCRIPT: &str = include_str!("ops.py");

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// A folder with a `config.json`.
    pub(crate) checkpoint: PathBuf,
    /// The interpreter, or `managed`.
    pub(crate) python: String,
    /// Tokens at once, at most.
    pub(crate) up_to: u32,
    /// Sequences that decode.
    pub(crate) batch: u32,
    /// A profile of the baseline: how much of a step linear layers are.
    pub(crate) against: Option<PathBuf>,
}

/// Exit 3 if the engine's Python cannot time anything.
pub(crate) fn run(options: &Options, format: Format) -> Result<Exit, CommandError> {
    let shapes = shapes(&options.checkpoint)?;
    let python = python_named(&options.python)?;
    let mut tokens: Vec<u32> = (0..=13)
        .map(|power| 1 << power)
        .filter(|m| *m <= options.up_to)
        .collect();
    if !tokens.contains(&options.batch) {
        tokens.push(options.batch);
        tokens.sort_unstable();
    }
    let order = json!({ "shapes": shapes, "m": tokens });
    let timed = Command::new(&python)
        .arg("-c")
        .arg(SCRIPT)
        .arg(order.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|source| {
            CommandError::new(Exit::Environment, PathError::on("run", &python)(source))
        })?;
    let told: Value = serde_json::from_slice(&timed.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&timed.stderr);
        let last = said
            .lines()
            .next_back()
            .unwrap_or("it said nothing")
            .to_owned();
        CommandError::environment(format!("{} timed nothing: {last}", python.display()))
            .hint("--python names the interpreter that has vLLM (or torch_npu)")
    })?;
    let rows: Vec<OpsRow> =
        serde_json::from_value(told["rows"].clone()).map_err(anyhow::Error::from)?;
    let absent = told["absent"].as_object().into_iter().flatten();
    let report = OpsReport {
        device: told["device"].as_str().unwrap_or("").to_owned(),
        batch: options.batch,
        rows,
        absent: absent
            .map(|(path, why)| (path.clone(), why.as_str().unwrap_or("").to_owned()))
            .collect(),
        linear_share: options.against.as_deref().map(linear_share).transpose()?,
    };
    let shown = render_ops(&report, format).map_err(anyhow::Error::from)?;
    output::data(shown)?;
    Ok(Exit::Done)
}

/// Role, rows and columns of the weights of one layer, as a dense transformer's configuration says.
fn shapes(checkpoint: &Path) -> Result<Vec<(&'static str, u64, u64)>, CommandError> {
    let path = checkpoint.join("config.json");
    let text = std::fs::read(&path).map_err(|source| {
        CommandError::new(Exit::Environment, PathError::on("read", &path)(source))
    })?;
    let config: Value = serde_json::from_slice(&text)
        .map_err(|error| CommandError::environment(format!("{}: {error}", path.display())))?;
    let number = |key: &str| config[key].as_u64();
    let known = || {
        let (hidden, heads) = (number("hidden_size")?, number("num_attention_heads")?);
        let head = number("head_dim").or_else(|| hidden.checked_div(heads))?;
        let groups = number("num_key_value_heads").unwrap_or(heads);
        let inner = number("intermediate_size")?;
        Some(vec![
            ("qkv", (heads + 2 * groups) * head, hidden),
            ("o", hidden, heads * head),
            ("gate_up", 2 * inner, hidden),
            ("down", hidden, inner),
        ])
    };
    known().ok_or_else(|| {
        CommandError::environment(format!(
            "{} does not describe a dense transformer",
            path.display()
        ))
        .hint("hidden_size, intermediate_size and num_attention_heads are needed")
    })
}

/// The quantizable linear layers' share of a decode step, in the profile of a baseline.
fn linear_share(path: &Path) -> Result<f64, CommandError> {
    let read = profile::read(path, Rules::built_in()).map_err(|source| {
        CommandError::new(Exit::Environment, PathError::on("read", path)(source))
    })?;
    let share = |digest: &Digest| {
        let decode = digest.decode.as_ref()?;
        let period: u64 = decode.period_ns.iter().sum();
        let head = |role: profile::Role| role == profile::Role::LmHead;
        let linear: u64 = decode
            .roles
            .iter()
            .filter(|column| !head(column.role))
            .flat_map(|column| &column.ns)
            .sum();
        // Roles are of the first steps only.
        let steps = decode.period_ns.len() as f64 / digest.steps_listed.max(1) as f64;
        (period > 0).then(|| linear as f64 * steps / period as f64)
    };
    read.digests.iter().find_map(share).ok_or_else(|| {
        CommandError::environment(format!(
            "{} has no decode steps that can be told apart",
            path.display()
        ))
    })
}
