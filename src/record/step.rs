//! One step: a closed batch of requests, everything submitted at once, as raw columns.

use serde::{Deserialize, Serialize};

use super::point::Point;
use super::tokens::TokenTimes;

/// One step of an engine start.
///
/// All times are nanoseconds of `CLOCK_MONOTONIC`; those in columns count from `begin_mono_ns`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 0 over warm-up and measured steps alike; the same index has the same requests in every cell.
    pub index: u32,
    /// What it was for.
    pub role: Role,
    /// The name of its workload (`main`).
    pub workload: String,
    /// How its requests were sent; absent offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// For how many seconds requests were sent; absent where their number was fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Whether it counts.
    pub status: StepStatus,
    /// Why not; empty if it does.
    pub reasons: Vec<String>,
    /// The first submit.
    pub begin_mono_ns: u64,
    /// First submit to the last sequence's end.
    pub makespan_ns: u64,
    /// Where the finish times come from.
    pub finish_source: FinishSource,
    /// What was handed to the engine.
    pub submitted: Submitted,
    /// What its schedule offered and what was sent of that; absent offline, and where it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
    /// Whether the server emptied its prefix cache before the step; absent where it was not asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_cache_reset: Option<bool>,
    /// The engine's own counters over the step.
    pub counters: Counters,
    /// One row a sequence.
    pub sequences: Sequences,
    /// Client-side times; absent offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<OnlineColumns>,
    /// The client's own error; absent offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientFacts>,
    /// The server's counters over time; absent offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSeries>,
    /// Running sequences and tokens over time; absent if the engine does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// The file with every token's time; absent offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Sidecar>,
    /// What that file holds, while it is in memory: just measured, or read for a summary.
    #[serde(skip)]
    pub tokens: Option<TokenTimes>,
}

/// What a step was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To warm up; never in statistics.
    Warmup,
    /// To be measured.
    Measured,
    /// Run under a profiler; never in statistics.
    Profiled,
}

/// Whether a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// It does.
    Ok,
    /// It was measured, but the number does not hold.
    Invalid,
    /// Nothing of it came back.
    Failed,
}

/// Where finish times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishSource {
    /// `RequestOutput.metrics.last_token_ts`.
    RequestMetrics,
    /// The engine's per-iteration statistics.
    IterationStats,
    /// The client's clock.
    Client,
    /// The engine tells none: only the makespan is known.
    None,
}

/// What was handed to the engine in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Requests (with `fan_out = "n"`: one a prompt).
    pub requests: u64,
    /// Prompt tokens, once per request.
    pub prompt_tokens: u64,
}

/// The requests of an online step's schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arrivals {
    /// Requests that were due within the step: `sent` and `unsent`.
    pub offered: u64,
    /// Requests that were begun, those that failed among them. Each has its rows.
    pub sent: u64,
    /// Requests that were due and never sent, because the limit on concurrency held them back until the step's time was
    /// over.
    pub unsent: u64,
    /// When each of these was scheduled, ascending, in nanoseconds from the step's begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsent_scheduled_ns: Vec<u64>,
}

/// The engine's counters over one step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Preemptions; absent if not told.
    pub preemptions: Option<u64>,
    /// Prompt tokens looked up in the prefix cache; absent if not told.
    pub prefix_queries: Option<u64>,
    /// Prompt tokens found there; absent if not told.
    pub prefix_hits: Option<u64>,
    /// The highest share of the KV cache in use, 0 to 1; absent if not told.
    pub kv_peak: Option<f64>,
}

/// Columns, one row a sequence. Columns that cannot be known are empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sequences {
    /// The prompt it answers.
    pub group: Vec<u32>,
    /// Which of that prompt's samples it is.
    pub sample: Vec<u32>,
    /// Length of its prompt in tokens.
    pub prompt_tokens: Vec<u32>,
    /// Tokens asked for.
    pub requested_tokens: Vec<u32>,
    /// Tokens that came back.
    pub output_tokens: Vec<u32>,
    /// First token.
    pub first_ns: Vec<Option<u64>>,
    /// Last token.
    pub finish_ns: Vec<Option<u64>>,
    /// Why it failed; the whole column is empty if none did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<Option<String>>,
}

/// Client-side times of an online step, one row a sequence, aligned with [`Sequences`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OnlineColumns {
    /// When the schedule wanted it sent.
    pub scheduled_ns: Vec<u64>,
    /// When it was due: scheduled, and a place under the concurrency limit was free.
    #[serde(default)]
    pub due_ns: Vec<u64>,
    /// When its first byte was handed to the kernel, on an open connection. TTFT and E2EL count from here; what lies
    /// between being due and this is the client's own lateness.
    pub sent_ns: Vec<Option<u64>>,
    /// When its connection was open (earlier than `scheduled_ns` on a kept-alive one).
    pub connected_ns: Vec<Option<u64>>,
    /// First byte of the response.
    pub first_byte_ns: Vec<Option<u64>>,
    /// Chat's role-only chunk; absent where there is none.
    pub role_ns: Vec<Option<u64>>,
    /// First chunk with a non-empty `choices`: vLLM's TTFT.
    pub first_choice_ns: Vec<Option<u64>>,
    /// The stream's end.
    pub close_ns: Vec<Option<u64>>,
    /// HTTP status; absent if none came.
    pub http_status: Vec<Option<u16>>,
    /// `usage.completion_tokens`; absent if the server sent none.
    pub usage_tokens: Vec<Option<u32>>,
}

/// How good the client itself was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientFacts {
    /// Processor seconds of the client, user and system.
    pub cpu_s: f64,
    /// Lateness of each send against the schedule.
    pub send_lag_ns: Vec<u64>,
    /// Most streams open at once.
    pub peak_streams: u32,
    /// Streams asked for.
    pub asked_streams: Option<u32>,
    /// Whether the client was the bottleneck.
    pub saturated: bool,
    /// How long arrived bytes waited to be read.
    #[serde(default)]
    pub read_lag: ReadLag,
    /// Where the token counts come from.
    #[serde(default)]
    pub counted: Counted,
}

/// How long bytes waited in the kernel until the client read them. Arrivals are stamped by the kernel where it does
/// that, so this lag is in no latency then; where it does not, it is measured from the client's wake-up, and is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadLag {
    /// Reads that brought bytes.
    pub reads: u64,
    /// Those among them that the kernel had stamped.
    pub stamped: u64,
    /// Mean lag.
    pub mean_ns: u64,
    /// Greatest lag.
    pub max_ns: u64,
}

/// How many sequences had their tokens counted in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// By the server's `usage`.
    pub usage: u64,
    /// By the token ids in the chunks.
    pub token_ids: u64,
    /// By the chunks with text, because the server told neither: a chunk can hold several tokens.
    pub chunks: u64,
}

/// The server's counters, scraped about once a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServerSeries {
    /// When.
    pub t_ns: Vec<u64>,
    /// Requests running.
    pub running: Vec<f64>,
    /// Requests waiting.
    pub waiting: Vec<f64>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv: Vec<f64>,
}

/// Running sequences and tokens made so far, over the step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// When.
    pub t_ns: Vec<u64>,
    /// Sequences running.
    pub running: Vec<u32>,
    /// Output tokens made since the step began.
    pub tokens: Vec<u64>,
}

/// A file beside the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Its name, relative to the record.
    pub file: String,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// A step with more failed requests than this share says nothing of a sound engine.
const MAX_FAILED_SHARE: f64 = 0.01;

impl Step {
    /// Sequences in one request: all requests of a step ask for the same number.
    pub fn per_request(&self) -> u64 {
        (self.sequences.len() as u64 / self.submitted.requests.max(1)).max(1)
    }

    /// Requests of which a sequence failed.
    pub fn failed_requests(&self) -> u64 {
        let rows = 0..self.sequences.len();
        let failed = rows.filter(|row| self.sequences.has_failed(*row));
        if self.per_request() == 1 {
            return failed.count() as u64;
        }
        let groups = failed.filter_map(|row| self.sequences.group.get(row));
        groups.collect::<std::collections::BTreeSet<_>>().len() as u64
    }

    /// Prompt tokens of the sequences that did not fail, once per request, and the tokens that came back of them.
    pub fn answered_tokens(&self) -> (u64, u64) {
        let sum = |column: &[u32]| -> u64 {
            let rows = column.iter().enumerate();
            rows.filter(|(row, _)| !self.sequences.has_failed(*row))
                .map(|(_, tokens)| u64::from(*tokens))
                .sum()
        };
        let prompt = match self.failed_requests() {
            0 => self.submitted.prompt_tokens,
            _ => sum(&self.sequences.prompt_tokens) / self.per_request(),
        };
        (prompt, sum(&self.sequences.output_tokens))
    }

    /// Whether so many requests failed that the measurement is no success, whatever is kept of it.
    pub fn too_many_failed(&self) -> bool {
        let failed = self.sequences.error.iter().flatten().count();
        failed as f64 > MAX_FAILED_SHARE * self.sequences.len() as f64
    }

    /// Why the step's latencies do not hold, although its throughput may; absent if nothing speaks against them.
    pub fn latency_doubt(&self) -> Option<String> {
        let arrivals = self.arrivals.as_ref().filter(|a| a.unsent > 0)?;
        Some(format!(
            "{} of {} requests were due and never sent: the limit on concurrency held them back until the time was over, and \
             the latencies are those of the others",
            arrivals.unsent, arrivals.offered
        ))
    }
}

impl OnlineColumns {
    /// When sequence `row` was due; records of other tools know only when it was scheduled.
    pub fn due(&self, row: usize) -> u64 {
        self.due_ns
            .get(row)
            .or_else(|| self.scheduled_ns.get(row))
            .copied()
            .unwrap_or(0)
    }

    /// When the latencies of sequence `row` begin: it was sent, or, where that is not known, due.
    pub fn start(&self, row: usize) -> u64 {
        let sent = self.sent_ns.get(row).copied().flatten();
        sent.unwrap_or_else(|| self.due(row))
    }
}

impl Sequences {
    /// Whether sequence `row` failed.
    pub fn has_failed(&self, row: usize) -> bool {
        self.error.get(row).is_some_and(Option::is_some)
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.output_tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.output_tokens.is_empty()
    }
}
