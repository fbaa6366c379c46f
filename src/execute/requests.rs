//! The requests of a session's steps: made once per vocabulary, shared by all cells that have the same one.

use std::sync::Arc;

use super::describe::MAIN_WORKLOAD;
use crate::engine::StepRequest;
use crate::plan::Plan;
use crate::record::Role;
use crate::workload::{self, RequestsError, Vocabulary};

/// The steps of the vocabulary that was last asked for: the cells of a model run next to each other and share them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    made: Option<(Vocabulary, Steps)>,
}

/// The steps of one engine start.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    /// Warm-up first.
    pub(crate) requests: Arc<[StepRequest]>,
    /// SHA-256 over all of them, in hexadecimal.
    pub(crate) sha256: String,
}

impl Requests {
    /// Warm-up and measured steps for `vocabulary`.
    pub(crate) fn steps(
        &mut self,
        plan: &Plan,
        vocabulary: &Vocabulary,
    ) -> Result<Steps, RequestsError> {
        if let Some((_, steps)) = self.made.as_ref().filter(|(of, _)| of == vocabulary) {
            return Ok(steps.clone());
        }
        let run = &plan.settings.run;
        let made = workload::requests(
            &plan.settings.workload,
            run.seed,
            vocabulary,
            run.warmup + run.steps,
        )?;
        let requests = (0..).zip(made.steps).map(|(index, batch)| StepRequest {
            index,
            role: if index < run.warmup {
                Role::Warmup
            } else {
                Role::Measured
            },
            workload: MAIN_WORKLOAD.to_owned(),
            batch,
        });
        let steps = Steps {
            requests: requests.collect(),
            sha256: made.sha256,
        };
        self.made = Some((vocabulary.clone(), steps.clone()));
        Ok(steps)
    }
}
