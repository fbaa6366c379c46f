//! Steps that are sent over HTTP: what a server that we started and one that only runs have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{LoadShape, StepRequest};
use crate::background;
use crate::clock;
use crate::config::FanOut;
use crate::event::{Event, EventSink};
use crate::load::{
    Control, Driven, Expected, Glimpse, Limit, Load, LoadError, Request, RequestEncoder, Timeouts,
    UnequalLengths, allow_streams, drive, groups, made_ahead,
};
use crate::record::{FailureKind, Step};

/// Ids that every vocabulary has.
const PROOF: [u32; 8] = [100, 101, 102, 103, 104, 105, 106, 107];
const PROOF_TOKENS: u32 = 2;

/// Sends the requests of steps to one server and measures its answers.
#[derive(Clone)]
pub(crate) struct Client {
    /// For everything but the requests themselves.
    pub(crate) control: Control,
    /// Makes the requests.
    pub(crate) encoder: RequestEncoder,
    fan_out: FanOut,
    timeouts: Timeouts,
    /// Whether it was said that the prefix cache cannot be reset.
    cache_noted: Arc<AtomicBool>,
}

/// Why a step could not be sent. A request that fails is part of a step, not one of these.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// One request cannot ask for the samples of a prompt.
    #[error(transparent)]
    Encode(#[from] UnequalLengths),
    /// The load could not be put on the server.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl ClientError {
    /// What it is in the words of the record.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Encode(_) | Self::Load(LoadError::Streams(_) | LoadError::Pacing(_)) => {
                FailureKind::Arguments
            }
            Self::Load(_) => FailureKind::Engine,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Encode(_) => Some("use --fan-out requests, as verl does"),
            Self::Load(LoadError::Streams(_)) => Some(
                "raise it (`ulimit -Hn`, or the container's --ulimit nofile=...), or lower --max-concurrency",
            ),
            Self::Load(LoadError::Connect { .. }) => {
                Some("is the server up, and is this its host and port?")
            }
            Self::Load(_) => None,
        }
    }
}

impl Client {
    /// Asks with `control`, sends what `encoder` makes of samples that become requests by `fan_out`, and gives each
    /// request `timeouts`.
    pub(crate) fn new(
        control: Control,
        encoder: RequestEncoder,
        fan_out: FanOut,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            control,
            encoder,
            fan_out,
            timeouts,
            cache_noted: Arc::default(),
        }
    }

    /// Raises the limit on open files for `requests` requests in the shape of `shape`.
    pub(crate) fn allow_streams(
        &self,
        shape: &LoadShape,
        requests: usize,
    ) -> Result<(), LoadError> {
        Ok(allow_streams(self.load(shape, requests).streams_at_once())?)
    }

    /// Whether the server makes tokens: `/health` and `/v1/models` can answer while its engine is dead. The server's
    /// words if it does not.
    pub(crate) async fn prove(&self) -> Result<Result<(), String>, LoadError> {
        let ids: Vec<u32> = PROOF.to_vec();
        let choice = Expected {
            group: 0,
            sample: 0,
            prompt_tokens: 8,
            requested_tokens: PROOF_TOKENS,
        };
        let request = vec![self.encoder.encode(&ids, vec![choice])];
        let load = self.load(&LoadShape::default(), 1);
        let driven = drive(load, request.into_iter(), &self.control, |_| {}).await?;
        let error = driven.outcome.sequences.error.into_iter().flatten().next();
        Ok(error.map_or(Ok(()), Err))
    }

    /// Whether all steps can be encoded: what cannot is better said before the first.
    pub(crate) fn check(&self, steps: &[StepRequest]) -> Result<(), ClientError> {
        for step in steps {
            groups(&step.batch, self.n_in_one())?;
        }
        Ok(())
    }

    /// Empties the prefix cache, sends the step and waits for its end.
    pub(crate) async fn run(
        &self,
        step: &StepRequest,
        events: &EventSink,
    ) -> Result<Step, ClientError> {
        let reset = self.control.reset_prefix_cache().await;
        if !reset && !self.cache_noted.swap(true, Ordering::Relaxed) {
            let text =
                "the server does not reset its prefix cache; the steps have different prompts";
            events.emit(Event::Note {
                text: text.to_owned(),
            });
        }
        let (encoder, n_in_one) = (self.encoder.clone(), self.n_in_one());
        let batch = Arc::clone(&step.batch);
        // Before the step's clock, and beside the loop that hears signals.
        let batch = background::run(move || encoder.encode_batch(&batch, n_in_one)).await?;
        let load = self.load(&step.load, batch.len());
        let requests = self.with_more(batch, step).map_err(LoadError::from)?;
        let begin_ns = clock::mono_ns();
        let look = |glimpse: Glimpse| {
            events.emit(Event::Progress {
                finished: glimpse.finished,
                tokens: glimpse.chunks,
                elapsed_ns: clock::mono_ns() - begin_ns,
            });
        };
        let Driven {
            outcome,
            server,
            counters,
        } = drive(load, requests, &self.control, look).await?;
        let mut done = outcome.into_step(
            step.index,
            step.role,
            step.workload.clone(),
            Some(step.load.point),
            server,
        );
        let timed = step.load.timed.as_ref();
        done.duration_s = timed.map(|timed| timed.duration.as_secs_f64());
        done.counters = counters;
        done.prefix_cache_reset = Some(reset);
        Ok(done)
    }

    /// The batch and, if the step ends by time, as many more requests as it takes.
    fn with_more(
        &self,
        batch: Vec<Request>,
        step: &StepRequest,
    ) -> std::io::Result<Box<dyn Iterator<Item = Request> + Send>> {
        let Some(timed) = &step.load.timed else {
            return Ok(Box::new(batch.into_iter()));
        };
        let (encoder, n_in_one) = (self.encoder.clone(), self.n_in_one());
        // The first batch was encoded without fault, and the others differ in nothing but their ids and lengths.
        let more = timed.more.clone();
        let more = more.map_while(move |batch| encoder.encode_batch(&batch, n_in_one).ok());
        Ok(Box::new(
            batch.into_iter().chain(made_ahead(more.flatten())?),
        ))
    }

    fn load(&self, shape: &LoadShape, requests: usize) -> Load {
        Load {
            target: self.encoder.target.clone(),
            pacing: shape.pacing,
            limit: match &shape.timed {
                Some(timed) => Limit::Duration(timed.duration),
                None => Limit::Count(requests as u64),
            },
            max_concurrency: shape.point.concurrency,
            timeouts: self.timeouts,
            seed: shape.seed,
        }
    }

    fn n_in_one(&self) -> bool {
        self.fan_out == FanOut::N
    }
}

/// No limit on a whole request, and `stall` on every wait in it.
pub(super) fn stalling_after(stall: Duration) -> Timeouts {
    Timeouts {
        first_token: stall,
        between_tokens: stall,
        total: Duration::MAX,
        ..Timeouts::default()
    }
}
