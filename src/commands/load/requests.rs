//! The requests of the steps: other prompts in each, the same from the same seed.

use super::options::LoadOptions;
use crate::config::FanOut;
use crate::error::CommandError;
use crate::load::{Expected, Limit, Request, RequestEncoder, Target, made_ahead};
use crate::workload::BatchStream;

/// Makes the requests of one step after the other.
pub(super) struct Source {
    encoder: RequestEncoder,
    n_in_one: bool,
    /// Batches, each with prompts of its own.
    batches: BatchStream,
    made: u64,
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
            n_in_one: options.fan_out == FanOut::N,
            batches: BatchStream::new(
                options.spec.clone(),
                options.seed,
                options.vocabulary.clone(),
            ),
            made: 0,
        };
        // Whatever is impossible about the workload is so for every batch.
        source.batch(0)?;
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
        let first = self.made;
        match limit {
            Limit::Count(_) => {
                self.made += 1;
                Ok(Box::new(self.batch(first)?.into_iter()))
            }
            Limit::Duration(_) => {
                // Far more than can be sent in one step, so that two steps never share a prompt.
                self.made += 1 << 32;
                let (encoder, n_in_one) = (self.encoder.clone(), self.n_in_one);
                let batches = self.batches.clone().starting_at(first);
                let requests =
                    batches.map_while(move |batch| encoder.encode_batch(&batch, n_in_one).ok());
                let requests = made_ahead(requests.flatten()).map_err(anyhow::Error::from)?;
                Ok(Box::new(requests))
            }
        }
    }

    fn batch(&self, number: u64) -> Result<Vec<Request>, CommandError> {
        let batch = self.batches.batch(number).map_err(CommandError::usage)?;
        self.encoder
            .encode_batch(&batch, self.n_in_one)
            .map_err(CommandError::usage)
    }
}
