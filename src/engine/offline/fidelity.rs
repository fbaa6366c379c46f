//! What an engine does for fidelity, as `fidelity.py` understands it.

use std::path::PathBuf;

use serde::Serialize;

use super::protocol::{Counted, Event};
use super::session::{OfflineSession, encode};
use crate::event::{Event as RunEvent, EventSink};
use crate::record::{Failure, Phase};

/// One job. Files that are written appear whole or not at all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum FidelityJob {
    /// Prompts (JSON Lines of `text`, `messages` or `prompt_token_ids`, or verl's parquet) as token ids, through a
    /// tokenizer's chat template.
    Encode {
        file: PathBuf,
        /// Of a parquet, the first so many.
        count: u32,
        tokenizer: String,
        trust: bool,
        /// Longer prompts are left out, and counted.
        longest: u32,
        out: PathBuf,
    },
    /// One response to each prompt, with the log-probabilities of its tokens and of the `k` best.
    Sample {
        prompts: PathBuf,
        temperature: f64,
        max_tokens: u32,
        k: u32,
        out: PathBuf,
        /// Where the responses go as text, one JSON string a line; absent if nobody reads them.
        text: Option<PathBuf>,
        tokenizer: String,
        trust: bool,
    },
    /// The log-probabilities of recorded responses.
    Score {
        responses: PathBuf,
        k: u32,
        out: PathBuf,
    },
}

/// As the driver reads it.
#[derive(Serialize)]
struct Numbered<'a> {
    id: u64,
    #[serde(flatten)]
    job: &'a FidelityJob,
}

impl OfflineSession {
    /// Does `job` on a ready engine.
    pub(crate) async fn fidelity(
        &mut self,
        job: &FidelityJob,
        events: &EventSink,
    ) -> Result<Counted, Failure> {
        let id = self.enter(Phase::Fidelity);
        self.send(encode(&Numbered { id, job })).await;
        let mut patience = self.stall();
        loop {
            match self
                .next(&mut patience, "the engine makes no progress")
                .await?
            {
                Event::Counted(counted) => return Ok(counted),
                Event::Progress(progress) => {
                    patience.renew();
                    events.emit(RunEvent::Progress {
                        finished: progress.finished,
                        tokens: progress.tokens,
                        elapsed_ns: progress.elapsed_ns,
                    });
                }
                other => return Err(self.unexpected(&other, "the end of a job for fidelity")),
            }
        }
    }
}
