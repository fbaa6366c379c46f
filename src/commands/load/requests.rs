//! The requests of the steps: other prompts in each, the same from the same seed.

use super::options::LoadOptions;
use crate::config::FanOut;
use crate::error::CommandError;
use crate::load::{Expected, Limit, Request, RequestEncoder, Target};
use crate::workload::{self, Vocabulary, WorkloadSpec};

/// Requests that wait for an endless run to take them.
const MADE_AHEAD: usize = 1024;

/// Makes the requests of one step after the other.
pub(super) struct Source {
    encoder: RequestEncoder,
    spec: WorkloadSpec,
    vocabulary: Vocabulary,
    n_in_one: bool,
    seed: u64,
    /// Batches made so far; each has prompts of its own.
    batches: u64,
}

impl Source {
    pub(super) fn new(
        options: &LoadOptions,
        target: &Target,
        model: &str,
    ) -> Result<Self, CommandError> {
        let source = Self {
            encoder: RequestEncoder {
                target: target.clone(),
                model: model.to_owned(),
                sampling: options.spec.sampling.clone(),
                ignore_eos: options.ignore_eos,
                token_ids: options.token_ids,
                api_key: options.api_key.clone(),
                headers: options.headers.clone(),
            },
            spec: options.spec.clone(),
            vocabulary: options.vocabulary.clone(),
            n_in_one: options.fan_out == FanOut::N,
            seed: options.seed,
            batches: 0,
        };
        // Whatever is impossible about the workload is so for every batch.
        batch(&source, 0)?;
        Ok(source)
    }

    /// A request of two tokens, to see whether the server takes one.
    pub(super) fn probe(&self) -> Request {
        let ids: Vec<u32> = (1000..1008).collect();
        let choice = Expected {
            group: 0,
            sample: 0,
            prompt_tokens: 8,
            requested_tokens: 2,
        };
        self.encoder.encode(&ids, vec![choice])
    }

    /// The requests of the next step: one batch, or batches without end.
    pub(super) fn step(
        &mut self,
        limit: Limit,
    ) -> Result<Box<dyn Iterator<Item = Request> + Send>, CommandError> {
        let first = self.batches;
        match limit {
            Limit::Count(_) => {
                self.batches += 1;
                Ok(Box::new(batch(self, first)?.into_iter()))
            }
            Limit::Duration(_) => {
                // Far more than can be sent in one step, so that two steps never share a prompt.
                self.batches += 1 << 32;
                let source = self.copy();
                // The first batch was made without fault, and the others differ in nothing but their ids.
                let batches = (first..).map_while(move |number| batch(&source, number).ok());
                Ok(Box::new(made_ahead(batches.flatten())?))
            }
        }
    }

    fn copy(&self) -> Self {
        Self {
            encoder: self.encoder.clone(),
            spec: self.spec.clone(),
            vocabulary: self.vocabulary.clone(),
            ..*self
        }
    }
}

/// `requests`, made on a thread of their own so that the load never waits for them to be drawn and encoded. The
/// thread ends when nobody takes them any more.
fn made_ahead(
    requests: impl Iterator<Item = Request> + Send + 'static,
) -> Result<impl Iterator<Item = Request> + Send, CommandError> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(MADE_AHEAD);
    let thread = std::thread::Builder::new().name("requests".to_owned());
    thread
        .spawn(move || {
            for request in requests {
                if sender.send(request).is_err() {
                    return;
                }
            }
        })
        .map_err(anyhow::Error::from)?;
    Ok(receiver.into_iter())
}

fn batch(source: &Source, number: u64) -> Result<Vec<Request>, CommandError> {
    let seed = source
        .seed
        .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let made = workload::requests(&source.spec, seed, &source.vocabulary, 1)
        .map_err(CommandError::usage)?;
    let batch = &made.steps[0];
    source
        .encoder
        .encode_batch(batch, source.n_in_one)
        .map_err(CommandError::usage)
}
