//! The record of a `load`: one cell, one engine start that is not ours, a step for each point.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::options::LoadOptions;
use crate::clock;
use crate::config::LoadPoint;
use crate::device;
use crate::error::CommandError;
use crate::load::{Driven, Target};
use crate::output::note;
use crate::record::{
    Arm, CellInfo, CellRecord, CellStatus, EngineFacts, EngineStart, Fingerprint, Gate, Inference,
    Labels, MatrixInfo, PlanInfo, Role, SCHEMA, Session, Setting, StartStatus, Step, Store,
    WorkloadInfo, hex, record_name, redact,
};
use crate::stats::{OnlineMetrics, Slo};
use crate::units::{CellId, Mode, ModelId, is_id};

const WORKLOAD: &str = "main";

/// Writes every step as it ends.
pub(super) struct Recorder {
    store: Store,
    cell: CellId,
    start: EngineStart,
    /// For how long each step sends; absent if it sends so many requests.
    duration_s: Option<f64>,
    steps: u32,
}

impl Recorder {
    pub(super) fn open(
        options: &LoadOptions,
        target: &Target,
        model: &str,
        version: Option<String>,
    ) -> Result<Self, CommandError> {
        let cell = CellId {
            model: model_id(model),
            precision: options.label.clone(),
        };
        let session = session(options, &cell);
        let mut store = Store::open(&options.out, &session)?;
        let start = start(&session, version);
        let record = record(options, target, model, &cell, session);
        // A write that fails is tried again at every later one, and said at the end.
        let _ = store.put_cell(record);
        let _ = store.begin_start(&cell, Mode::Online, start.clone())?;
        Ok(Self {
            store,
            cell,
            start,
            duration_s: options.online.duration.map(|d| d.as_secs_f64()),
            steps: 0,
        })
    }

    /// Makes a step of a run and puts it on disk.
    pub(super) fn step(
        &mut self,
        role: Role,
        plan: &LoadPoint,
        driven: Driven,
        slo: Option<&Slo>,
    ) -> Result<(Step, Option<OnlineMetrics>), CommandError> {
        let index = self.steps;
        self.steps += 1;
        let mut step = driven.outcome.into_step(
            index,
            role,
            WORKLOAD.to_owned(),
            Some(plan.point),
            driven.server,
        );
        step.counters = driven.counters;
        step.duration_s = self.duration_s;
        // Before the token times go to their file.
        let metrics = OnlineMetrics::of(&step, slo);
        if let Err(error) = self
            .store
            .keep_tokens(&self.cell, &self.start.id, &mut step)
        {
            note(format!(
                "warning: the token times are lost: {error}: {}",
                error.source
            ));
        }
        let _ = self
            .store
            .append_step(&self.cell, Mode::Online, &self.start.id, &step)?;
        Ok((step, metrics))
    }

    /// Ends the record; where it is.
    pub(super) fn close(mut self, status: StartStatus) -> Result<PathBuf, CommandError> {
        self.start.status = status;
        let _ = self.store.end_start(&self.cell, Mode::Online, self.start)?;
        let path = self
            .store
            .results()
            .join(record_name(&self.cell, Mode::Online));
        self.store.close()?;
        Ok(path)
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

fn session(options: &LoadOptions, cell: &CellId) -> Session {
    let argv: Vec<String> = std::env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    Session {
        id: random_id(),
        rollbench: env!("CARGO_PKG_VERSION").to_owned(),
        argv: redact::argv(&argv),
        started: Timestamp::now(),
        resumes: None,
        matrix: MatrixInfo {
            source: "a running server".to_owned(),
            models: vec![cell.model.clone()],
            precisions: vec![cell.precision.clone()],
            baseline: cell.precision.clone(),
        },
        order: vec![vec![cell.clone()]],
        plan: PlanInfo {
            blocks: 1,
            warmup: options.warmup,
            steps: options.steps,
            points: u32::try_from(options.points.len()).unwrap_or(u32::MAX),
        },
        seed: options.seed,
        inference: Inference::default(),
    }
}

fn record(
    options: &LoadOptions,
    target: &Target,
    model: &str,
    cell: &CellId,
    session: Session,
) -> CellRecord {
    let spec = serde_json::to_value(&options.spec).unwrap_or(Value::Null);
    let mut settings = vec![
        ("load.url", json!(target.to_string())),
        ("load.model", json!(model)),
        ("load.ignore_eos", json!(options.ignore_eos)),
        ("load.token_ids", json!(options.token_ids)),
        ("load.fan_out", json!(options.fan_out)),
        ("load.vocab_size", json!(options.vocabulary.size)),
    ];
    settings.extend(options.online.values());
    let digest = Sha256::digest(json!([spec, options.seed, settings]).to_string());
    CellRecord {
        schema: SCHEMA.to_owned(),
        cell: CellInfo {
            id: cell.clone(),
            mode: Mode::Online,
            labels: Labels {
                model: model.to_owned(),
                precision: cell.precision.to_string(),
            },
            checkpoint: None,
        },
        settings: settings
            .into_iter()
            .map(|(name, value)| {
                let origin = "flags of load".to_owned();
                (name.to_owned(), Setting { value, origin })
            })
            .collect(),
        fingerprint: Fingerprint {
            config: hex(&digest),
            checkpoint: String::new(),
            engine: String::new(),
        },
        workloads: IndexMap::from([(
            WORKLOAD.to_owned(),
            WorkloadInfo {
                spec,
                seed: options.seed,
                sha256: String::new(),
            },
        )]),
        status: CellStatus::Planned,
        skip: None,
        starts: Vec::new(),
        session,
    }
}

fn start(session: &Session, version: Option<String>) -> EngineStart {
    let version = version.map(|version| ("vllm".to_owned(), version));
    EngineStart {
        id: random_id(),
        session: session.id.clone(),
        block: 0,
        position: 0,
        arm: Arm::Main,
        attempt: 0,
        status: StartStatus::Running,
        split: false,
        host: device::host(),
        devices: Vec::new(),
        env: BTreeMap::new(),
        neighbours: Vec::new(),
        clock: clock::stamp(),
        gate: Gate::default(),
        engine: Some(EngineFacts {
            kind: "server".to_owned(),
            versions: version.into_iter().collect(),
            ..EngineFacts::default()
        }),
        steps: Vec::new(),
        profile: None,
        stop: None,
        failure: None,
    }
}

fn random_id() -> String {
    format!("{:012x}", rand::random::<u64>() >> 16)
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
