//! A load as a plan: one cell, one engine start, on a server that runs already.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::options::LoadOptions;
use crate::config::{
    CellSettings, FidelitySettings, Limits, Matrix, MatrixSource, ModelSettings, Origin,
    PrecisionSettings, Python, RunSettings, Settings, Sourced, Start,
};
use crate::device::Platform;
use crate::load::Target;
use crate::plan::{Plan, PlannedCell, Turn, fingerprint};
use crate::record::{Arm, Inference};
use crate::units::{CellId, Mode, ModelId, is_id};

/// The plan of `options` for the model that the server at `target` calls `model`.
pub(super) fn plan(options: &LoadOptions, target: &Target, model: &str) -> Plan {
    let id = CellId {
        model: model_id(model),
        precision: options.label.clone(),
    };
    let server = server_values(options, target, model);
    let cell = cell(&id, model);
    let settings = settings(options, &id, model, &server);
    let planned = PlannedCell {
        fingerprint: fingerprint(&settings, &cell, &server),
        settings: cell,
        checkpoint: None,
        skip: None,
        args: IndexMap::new(),
        vocabulary: Some(options.vocabulary.clone()),
        checkpoint_fingerprint: String::new(),
    };
    let turn = Turn {
        cell: 0,
        arm: Arm::Main,
    };
    Plan {
        settings,
        cells: vec![planned],
        order: vec![vec![turn]],
        estimate: None,
        notes: Vec::new(),
    }
}

/// A server's name for a model as an id: `org/Model_7B` becomes `Model-7B`.
fn model_id(name: &str) -> ModelId {
    let last = name
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(name);
    let id: String = last
        .chars()
        .map(|c| if is_id(&format!("x{c}")) { c } else { '-' })
        .collect();
    let id = id.trim_start_matches(['-', '.']);
    id.parse()
        .unwrap_or_else(|_| "model".parse().expect("`model` is an id"))
}

/// What only a load has, by dotted path.
fn server_values(
    options: &LoadOptions,
    target: &Target,
    model: &str,
) -> IndexMap<String, Sourced<Value>> {
    let values = [
        ("load.url", json!(target.to_string())),
        ("load.model", json!(model)),
        ("load.ignore_eos", json!(options.ignore_eos)),
        ("load.token_ids", json!(options.token_ids)),
        ("load.fan_out", json!(options.fan_out)),
        ("load.vocab_size", json!(options.vocabulary.size)),
    ];
    sourced(values)
}

fn sourced(
    values: impl IntoIterator<Item = (&'static str, Value)>,
) -> IndexMap<String, Sourced<Value>> {
    values
        .into_iter()
        .map(|(path, value)| (path.to_owned(), Sourced::new(value, Origin::Load)))
        .collect()
}

fn cell(id: &CellId, model: &str) -> CellSettings {
    CellSettings {
        id: id.clone(),
        model_label: model.to_owned(),
        precision_label: id.precision.to_string(),
        checkpoint: None,
        args: IndexMap::new(),
        env: IndexMap::new(),
        limits: Limits::default(),
        unsupported: BTreeMap::new(),
    }
}

fn settings(
    options: &LoadOptions,
    id: &CellId,
    model: &str,
    server: &IndexMap<String, Sourced<Value>>,
) -> Settings {
    let mut values = server.clone();
    values.extend(sourced(options.online.values()));
    Settings {
        matrix: Matrix {
            source: MatrixSource::Server,
            models: vec![ModelSettings {
                id: id.model.clone(),
                label: model.to_owned(),
            }],
            precisions: vec![PrecisionSettings {
                id: id.precision.clone(),
                label: id.precision.to_string(),
            }],
            baseline: id.precision.clone(),
            selected_models: vec![id.model.clone()],
            selected_precisions: vec![id.precision.clone()],
        },
        run: RunSettings {
            mode: Mode::Online,
            online: options.online.clone(),
            steps: options.steps,
            warmup: options.warmup,
            blocks: 1,
            seed: options.seed,
            fan_out: options.fan_out,
            inference: Inference::default(),
            start: Start::Cold,
            gate_timeout: std::time::Duration::ZERO,
            fidelity: FidelitySettings::default(),
            profile: None,
        },
        workload: options.spec.clone(),
        uncounted: false,
        elsewhere: false,
        // Nothing is started: the three that follow have no effect.
        python: Sourced::new(Python::Managed, Origin::Default),
        platform: Platform::Cpu,
        like_verl: Vec::new(),
        out: Sourced::new(options.out.clone(), Origin::Load),
        cells: vec![cell(id, model)],
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_model_makes_an_id() {
        let ids = ["Qwen/Qwen3-1.7B", "/models/my_model/", "模型", "..", "a b"]
            .map(|name| model_id(name).to_string());
        assert_eq!(ids, ["Qwen3-1.7B", "my-model", "model", "model", "a-b"]);
    }
}
