//! A plan as JSON, for scripts.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{Plan, PlannedCell, Turn};
use crate::config::{Limits, Sourced};
use crate::record::{Setting, Skip, redact};
use crate::workload::describe;

/// The version of the format.
const SCHEMA: &str = "rollbench.plan/1";

/// The whole plan. Every value has its origin beside it.
pub(crate) fn to_json(plan: &Plan) -> Value {
    let settings = &plan.settings;
    let matrix = &settings.matrix;
    let turn = |turn: &Turn| json!({ "cell": plan.cells[turn.cell].settings.id.to_string(), "arm": turn.arm });
    let order: Vec<Vec<Value>> = plan
        .order
        .iter()
        .map(|block| block.iter().map(turn).collect())
        .collect();
    let known = !settings.uncounted;
    json!({
        "schema": SCHEMA,
        "matrix": {
            "source": matrix.source.to_string(),
            "why": matrix.source.why(),
            "models": matrix.selected_models,
            "precisions": matrix.selected_precisions,
            "baseline": matrix.baseline,
        },
        "platform": settings.platform,
        "settings": sourced(&settings.values),
        "workload": {
            "spec": known.then_some(&settings.workload),
            "step": known.then(|| describe(&settings.workload, settings.run.seed)),
        },
        "cells": plan.cells.iter().map(|planned| cell(planned, known)).collect::<Vec<_>>(),
        "order": order,
        "estimate": plan.estimate,
        "notes": plan.notes,
    })
}

fn cell(cell: &PlannedCell, known: bool) -> Value {
    let Limits {
        start,
        stall,
        stop,
        profile_flush,
    } = cell.settings.limits;
    let limits: BTreeMap<&str, f64> = [
        ("start_s", start),
        ("stall_s", stall),
        ("stop_s", stop),
        ("profile_flush_s", profile_flush),
    ]
    .map(|(name, limit)| (name, limit.as_secs_f64()))
    .into();
    json!({
        "model": cell.settings.id.model,
        "precision": cell.settings.id.precision,
        "labels": {
            "model": cell.settings.model_label,
            "precision": cell.settings.precision_label,
        },
        "skip": cell.skip.as_ref().map(skip),
        "checkpoint": cell.checkpoint,
        "args": sourced(&cell.args),
        "env": sourced(&cell.settings.env),
        "limits": limits,
        "fingerprint": {
            "config": known.then_some(&cell.fingerprint),
            "checkpoint": cell.checkpoint_fingerprint,
        },
    })
}

/// The reason, and the same in words.
fn skip(skip: &Skip) -> Value {
    let mut value = json!(skip);
    value["text"] = skip.to_string().into();
    value
}

/// Values with their origins, in order.
fn sourced<T: Clone + Into<Value>>(values: &IndexMap<String, Sourced<T>>) -> Map<String, Value> {
    values
        .iter()
        .map(|(name, value)| {
            let setting = Setting {
                value: redact::shown(name, value.value.clone().into()),
                origin: value.origin.to_string(),
            };
            (name.clone(), json!(setting))
        })
        .collect()
}
