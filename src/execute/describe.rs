//! What a session is, and what is known of a cell before it runs, in the words of the record.

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Value;

use crate::config::Sourced;
use crate::plan::{Plan, PlannedCell};
use crate::record::{
    CellInfo, CellRecord, CellStatus, Fingerprint, Labels, MatrixInfo, PlanInfo, SCHEMA, Session,
    Setting, WorkloadInfo, redact,
};

/// The name of the one workload of a session.
pub(crate) const MAIN_WORKLOAD: &str = "main";
/// The name of the profiled session's workload.
pub(super) const PROFILE_WORKLOAD: &str = "profile";

/// Describes the session `id` that runs `plan`. `argv` must be redacted.
pub(crate) fn session(id: &str, plan: &Plan, argv: Vec<String>) -> Session {
    let settings = &plan.settings;
    let order = plan.order.iter().map(|block| {
        block
            .iter()
            .map(|turn| plan.cells[turn.cell].settings.id.clone())
            .collect()
    });
    Session {
        id: id.to_owned(),
        rollbench: env!("CARGO_PKG_VERSION").to_owned(),
        argv,
        started: Timestamp::now(),
        resumes: None,
        matrix: MatrixInfo {
            source: settings.matrix.source.to_string(),
            models: settings.matrix.selected_models.clone(),
            precisions: settings.matrix.selected_precisions.clone(),
            baseline: settings.matrix.baseline.clone(),
        },
        order: order.collect(),
        plan: PlanInfo {
            blocks: settings.run.blocks,
            warmup: settings.run.warmup,
            warmup_at_each_point: settings.run.points() > 1,
            steps: settings.run.steps,
            points: settings.run.points(),
        },
        seed: settings.run.seed,
        inference: settings.run.inference,
    }
}

/// The record of a cell of which nothing has been measured yet. `requests` is the digest of its requests; absent if
/// they are not known yet.
pub(crate) fn cell(
    plan: &Plan,
    planned: &PlannedCell,
    session: &Session,
    requests: Option<String>,
) -> CellRecord {
    let settings = &planned.settings;
    let workload = WorkloadInfo {
        spec: serde_json::to_value(&plan.settings.workload).unwrap_or(Value::Null),
        seed: plan.settings.run.seed,
        sha256: requests.unwrap_or_default(),
    };
    CellRecord {
        schema: SCHEMA.to_owned(),
        session: session.clone(),
        cell: CellInfo {
            id: settings.id.clone(),
            mode: plan.settings.run.mode,
            labels: Labels {
                model: settings.model_label.clone(),
                precision: settings.precision_label.clone(),
            },
            checkpoint: planned.checkpoint.clone(),
        },
        settings: resolved(plan, planned),
        fingerprint: Fingerprint {
            config: planned.fingerprint.clone(),
            checkpoint: planned.checkpoint_fingerprint.clone(),
            engine: String::new(),
        },
        workloads: IndexMap::from([(MAIN_WORKLOAD.to_owned(), workload)]),
        status: if planned.skip.is_some() {
            CellStatus::Skipped
        } else {
            CellStatus::Planned
        },
        skip: planned.skip.clone(),
        starts: Vec::new(),
    }
}

/// Every setting that holds for the cell, by dotted path.
fn resolved(plan: &Plan, planned: &PlannedCell) -> IndexMap<String, Setting> {
    let setting = |name: &str, sourced: &Sourced<Value>| Setting {
        value: redact::shown(name, sourced.value.clone()),
        origin: sourced.origin.to_string(),
    };
    let shared = plan
        .settings
        .values
        .iter()
        .map(|(path, value)| (path.clone(), setting(path, value)));
    let args = planned
        .args
        .iter()
        .map(|(name, value)| (format!("engine.args.{name}"), setting(name, value)));
    let env = planned.settings.env.iter().map(|(name, value)| {
        let value = Sourced::new(Value::from(value.value.clone()), value.origin.clone());
        (format!("engine.env.{name}"), setting(name, &value))
    });
    shared.chain(args).chain(env).collect()
}
