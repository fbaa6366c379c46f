//! The requests of a session's steps: made once per vocabulary, shared by all cells that have the same one.

use std::sync::Arc;

use super::describe::MAIN_WORKLOAD;
use crate::background;
use crate::config::LoadPoint;
use crate::engine::{LoadShape, StepRequest, Timed};
use crate::plan::Plan;
use crate::workload::{self, BatchStream, RequestsError, Vocabulary};

/// The steps of the vocabulary that was last asked for: the cells of a model run next to each other and share them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    made: Option<(Vocabulary, Steps)>,
}

/// The steps of one engine start.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    /// At each point of a sweep, warm-up first.
    pub(crate) requests: Arc<[StepRequest]>,
    /// SHA-256 over all of them, in hexadecimal.
    pub(crate) sha256: String,
}

impl Requests {
    /// The vocabulary of the steps that were last asked for.
    pub(super) fn vocabulary(&self) -> Option<&Vocabulary> {
        self.made.as_ref().map(|(vocabulary, _)| vocabulary)
    }

    /// Warm-up and measured steps for `vocabulary`.
    pub(crate) async fn steps(
        &mut self,
        plan: &Plan,
        vocabulary: &Vocabulary,
    ) -> Result<Steps, RequestsError> {
        if let Some((_, steps)) = self.made.as_ref().filter(|(of, _)| of == vocabulary) {
            return Ok(steps.clone());
        }
        let run = &plan.settings.run;
        let (spec, seed) = (plan.settings.workload.clone(), run.seed);
        let (ids, steps) = (vocabulary.clone(), run.steps_of_a_start());
        // This may take a minute, in which signals have to be heard.
        let made = background::run(move || workload::requests(&spec, seed, &ids, steps)).await?;
        let points = run.online.points();
        let stream = BatchStream::new(plan.settings.workload.clone(), run.seed, vocabulary.clone());
        let requests = (0..).zip(made.steps).map(|(index, batch): (u32, _)| {
            let place = run.place(index);
            let LoadPoint { pacing, point } = points[place.point as usize];
            StepRequest {
                index,
                role: place.role,
                workload: MAIN_WORKLOAD.to_owned(),
                batch,
                load: LoadShape {
                    pacing,
                    point,
                    seed: run.seed,
                    timed: run.online.duration.map(|duration| Timed {
                        duration,
                        // Far more than can be sent in one step, so that two steps never share a prompt.
                        more: stream.clone().starting_at((u64::from(index) << 32) + 1),
                    }),
                },
            }
        });
        let steps = Steps {
            requests: requests.collect(),
            sha256: made.sha256,
        };
        self.made = Some((vocabulary.clone(), steps.clone()));
        Ok(steps)
    }
}
