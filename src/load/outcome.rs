//! From what was seen of each request to the columns of a record.

use super::exchange::{Answer, Choice};
use super::facts::{Reading, bottleneck};
use super::pacing::{Limit, Pacing};
use super::run::Load;
use crate::record::{
    Arrivals, ChunkTokens, ClientFacts, Counted, Counters, FinishSource, OnlineColumns, Point,
    Role, Sequences, ServerSeries, Step, StepStatus, Submitted, TokenRow, TokenTimes,
};

/// Everything measured in one run, one row a sequence in the order of the requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When the clock started.
    pub begin_mono_ns: u64,
    /// From there to the end of the last stream.
    pub makespan_ns: u64,
    /// What was sent.
    pub submitted: Submitted,
    /// Beside what should have been.
    pub arrivals: Arrivals,
    /// Lengths and times of the sequences.
    pub sequences: Sequences,
    /// The client's view of them.
    pub online: OnlineColumns,
    /// The client's own error.
    pub client: ClientFacts,
    /// The times of all chunks.
    pub tokens: TokenTimes,
    /// Whether it can be used.
    pub status: StepStatus,
    /// Why not, or with what doubt.
    pub reasons: Vec<String>,
}

impl Outcome {
    pub(super) fn new(load: &Load, begin_ns: u64, answers: Vec<Answer>, reading: Reading) -> Self {
        let since = |at_ns: u64| at_ns.saturating_sub(begin_ns);
        let mut outcome = Self {
            begin_mono_ns: begin_ns,
            makespan_ns: 0,
            submitted: Submitted {
                requests: answers.len() as u64,
                prompt_tokens: 0,
            },
            arrivals: Arrivals {
                offered: answers.len() as u64,
                sent: answers.len() as u64,
                ..Arrivals::default()
            },
            sequences: Sequences::default(),
            online: OnlineColumns::default(),
            client: ClientFacts {
                cpu_s: reading.cpu_ns as f64 / 1e9,
                read_lag: reading.reads,
                ..ClientFacts::default()
            },
            tokens: TokenTimes::default(),
            status: StepStatus::Ok,
            reasons: Vec::new(),
        };
        outcome.client.peak_streams = peak(&answers);
        outcome.client.asked_streams = asked(load, answers.len() as u64);
        outcome.makespan_ns = answers
            .iter()
            .filter_map(|a| a.close_ns.map(since))
            .max()
            .unwrap_or(0);
        for answer in answers {
            outcome.add(answer, since);
        }
        outcome.judge();
        outcome
    }

    /// As a step of a record.
    pub fn into_step(
        self,
        index: u32,
        role: Role,
        workload: String,
        point: Option<Point>,
        server: Option<ServerSeries>,
    ) -> Step {
        Step {
            index,
            role,
            workload,
            point,
            duration_s: None,
            status: self.status,
            reasons: self.reasons,
            begin_mono_ns: self.begin_mono_ns,
            makespan_ns: self.makespan_ns,
            finish_source: FinishSource::Client,
            submitted: self.submitted,
            arrivals: Some(self.arrivals),
            prefix_cache_reset: None,
            counters: Counters::default(),
            sequences: self.sequences,
            online: Some(self.online),
            client: Some(self.client),
            server,
            timeline: None,
            detail: None,
            tokens: Some(self.tokens),
        }
    }

    /// Requests that failed.
    pub fn failed(&self) -> usize {
        self.sequences.error.iter().flatten().count()
    }

    fn add(&mut self, answer: Answer, since: impl Fn(u64) -> u64 + Copy) {
        let choices = answer.choices.len();
        let prompt_tokens = match answer.usage {
            Some(usage) if usage.prompt_tokens > 0 => usage.prompt_tokens,
            _ => answer
                .choices
                .first()
                .map_or(0, |c| c.expected.prompt_tokens),
        };
        self.submitted.prompt_tokens += u64::from(prompt_tokens);
        if let Some(sent_ns) = answer.sent_ns {
            let lag_ns = sent_ns.saturating_sub(answer.due_ns);
            self.client.send_lag_ns.push(lag_ns);
        }
        for choice in answer.choices {
            let usage_tokens = answer
                .usage
                .filter(|_| choices == 1)
                .map(|u| u.completion_tokens);
            // A response that broke off has no usage to send: that says nothing of the server.
            let mut broken = Counted::default();
            let counted = match answer.error {
                None => &mut self.client.counted,
                Some(_) => &mut broken,
            };
            let (output_tokens, tokens) = count(&choice, usage_tokens, counted);
            let columns = &mut self.sequences;
            columns.group.push(choice.expected.group);
            columns.sample.push(choice.expected.sample);
            columns.prompt_tokens.push(prompt_tokens);
            columns
                .requested_tokens
                .push(choice.expected.requested_tokens);
            columns.output_tokens.push(output_tokens);
            let after_role = usize::from(choice.role_ns.is_some());
            columns
                .first_ns
                .push(choice.chunk_ns.get(after_role).copied().map(since));
            columns
                .finish_ns
                .push(choice.chunk_ns.last().copied().map(since));
            columns.error.push(answer.error.clone());
            let online = &mut self.online;
            online.scheduled_ns.push(since(answer.scheduled_ns));
            online.due_ns.push(since(answer.due_ns));
            online.sent_ns.push(answer.sent_ns.map(since));
            online.connected_ns.push(answer.connected_ns.map(since));
            online.first_byte_ns.push(answer.first_byte_ns.map(since));
            online.role_ns.push(choice.role_ns.map(since));
            online
                .first_choice_ns
                .push(choice.chunk_ns.first().copied().map(since));
            online.close_ns.push(answer.close_ns.map(since));
            online.http_status.push(answer.status);
            online.usage_tokens.push(usage_tokens);
            let chunk_ns = choice.chunk_ns.into_iter().map(since).collect();
            self.tokens.rows.push(TokenRow { chunk_ns, tokens });
        }
    }

    fn judge(&mut self) {
        let failed = self.failed();
        let rows = self.sequences.len();
        if failed == 0 {
            self.sequences.error = Vec::new();
        } else {
            let first = self.sequences.error.iter().flatten().next();
            let first = first.map_or("", String::as_str);
            self.reasons.push(format!(
                "{failed} of {rows} sequences failed, the first: {first}"
            ));
            self.status = if failed == rows {
                StepStatus::Failed
            } else {
                StepStatus::Invalid
            };
        }
        let ok = |row: usize| self.sequences.error.get(row).is_none_or(Option::is_none);
        let other_length = (0..rows)
            .filter(|row| ok(*row))
            .filter(|row| {
                self.sequences.output_tokens[*row] != self.sequences.requested_tokens[*row]
            })
            .count();
        if other_length > 0 {
            self.reasons.push(format!(
                "{other_length} of {rows} sequences have another length than asked for"
            ));
        }
        if self.client.counted.chunks > 0 {
            self.reasons.push(format!(
                "the tokens of {} of {rows} sequences are counted from chunks: the server sends no usage",
                self.client.counted.chunks
            ));
        }
        let mut ttft: Vec<u64> = (0..rows)
            .filter(|row| ok(*row))
            .filter_map(|row| {
                Some(self.online.first_choice_ns[row]?.saturating_sub(self.online.start(row)))
            })
            .collect();
        ttft.sort_unstable();
        let median = ttft.get(ttft.len() / 2).copied();
        let slow = bottleneck(&self.client, self.makespan_ns, median);
        self.client.saturated = !slow.is_empty();
        self.reasons.extend(slow);
        if !self.reasons.is_empty() && self.status == StepStatus::Ok {
            self.status = StepStatus::Invalid;
        }
    }
}

/// Tokens of a choice, and how they are spread over its chunks.
fn count(choice: &Choice, usage: Option<u32>, counted: &mut Counted) -> (u32, ChunkTokens) {
    let chunks = choice.chunk_ns.len();
    if !choice.token_ids.is_empty() {
        let ids = choice.token_ids.iter().sum();
        let mut counts = choice.token_ids.clone();
        counts.resize(chunks, 0);
        counted.token_ids += u64::from(usage.is_none());
        counted.usage += u64::from(usage.is_some());
        return (usage.unwrap_or(ids), ChunkTokens::Counted(counts));
    }
    let after_role = choice.role_ns.is_some();
    let with_token = to_u32(chunks - usize::from(after_role));
    let without_end = with_token.saturating_sub(u32::from(choice.empty_end));
    let Some(usage) = usage else {
        counted.chunks += 1;
        return (without_end, ChunkTokens::Unknown);
    };
    counted.usage += 1;
    let spread = if usage == with_token {
        if after_role {
            ChunkTokens::OneEachAfterRole
        } else {
            ChunkTokens::OneEach
        }
    } else if usage == without_end {
        let counts = (0..chunks)
            .map(|i| u32::from(!(after_role && i == 0) && i + 1 < chunks))
            .collect();
        ChunkTokens::Counted(counts)
    } else {
        ChunkTokens::Unknown
    };
    (usage, spread)
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Most requests that were sent and not over at one time.
fn peak(answers: &[Answer]) -> u32 {
    let mut changes: Vec<(u64, i32)> = answers
        .iter()
        .filter_map(|answer| Some((answer.sent_ns?, answer.close_ns?)))
        .flat_map(|(sent, close)| [(sent, 1), (close, -1)])
        .collect();
    // At equal times an end comes before a beginning.
    changes.sort_unstable();
    let (mut open, mut peak) = (0_i32, 0);
    for (_, change) in changes {
        open += change;
        peak = peak.max(open);
    }
    u32::try_from(peak).unwrap_or(0)
}

/// Streams that should have been open at once; absent where the schedule decides that.
fn asked(load: &Load, requests: u64) -> Option<u32> {
    let all = match load.limit {
        Limit::Count(count) => count.min(requests),
        Limit::Duration(_) => u64::MAX,
    };
    match (load.pacing, load.max_concurrency) {
        (Pacing::AllAtOnce, Some(limit)) => Some(limit.min(u32::try_from(all).unwrap_or(u32::MAX))),
        (Pacing::AllAtOnce, None) => u32::try_from(all).ok(),
        _ => None,
    }
}
