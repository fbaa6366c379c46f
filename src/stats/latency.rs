//! Latencies of an online step: as `vllm bench serve` defines them, and what it does not tell beside them.

use serde::Serialize;

use super::quantiles::Distribution;
use crate::record::{ChunkTokens, OnlineColumns, Sequences, Step, TokenRow, TokenTimes};

/// Client-side latencies in milliseconds; failed sequences are left out. They count from the moment at which the request,
/// encoded before, was handed to the kernel on an open connection, unless their name says otherwise.
///
/// The first four are those of `vllm bench serve` 0.32 (`benchmarks/serve.py`, `calculate_metrics`). Its clock starts
/// where it calls its HTTP library: a place under the concurrency limit is free by then, as here, but encoding and
/// taking or opening a connection are still to come, and so are in its TTFT.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Latency {
    /// To the first chunk with a non-empty `choices`.
    pub ttft_ms: Option<Distribution>,
    /// (`E2EL` - `TTFT`) / (tokens - 1), sequences of one token left out.
    pub tpot_ms: Option<Distribution>,
    /// Gaps between chunks, all sequences pooled; absent without the times of the chunks.
    pub itl_ms: Option<Distribution>,
    /// To the last chunk with a non-empty `choices`.
    pub e2el_ms: Option<Distribution>,
    /// To the first chunk that holds a token: without chat's role-only chunk.
    pub ttft_content_ms: Option<Distribution>,
    /// Gaps between tokens: a chunk of k tokens counts as k gaps of its k-th part. Absent without the times of the
    /// chunks, or if the server does not tell how many tokens they hold.
    pub itl_token_ms: Option<Distribution>,
    /// To the end of the response, which comes after the last token.
    pub close_ms: Option<Distribution>,
    /// From being scheduled to being due: the wait for a place under the concurrency limit.
    pub queue_ms: Option<Distribution>,
    /// From being scheduled to the first chunk: what a user who came by the schedule would see, however late the
    /// request was sent. Sequences of requests that were due and never sent count as censored: they took at least from
    /// their schedule to the end of the sending.
    pub ttft_from_schedule_ms: Option<Distribution>,
    /// From being scheduled to the last token; likewise.
    pub e2el_from_schedule_ms: Option<Distribution>,
    /// From being due to being sent: the client's own lateness.
    pub send_lag_ms: Option<Distribution>,
    /// The part of it in which the connection was not open yet; 0 on a kept-alive one.
    pub connect_ms: Option<Distribution>,
}

/// Gaps between tokens. There can be millions, and mostly they are those between chunks.
#[derive(Debug, Clone, Default)]
enum TokenGaps {
    /// Every chunk so far held one token.
    #[default]
    AsChunks,
    Own(Vec<f64>),
    Unknown,
}

/// Latencies before they are summarised, so that steps can be pooled.
#[derive(Debug, Clone, Default)]
pub(super) struct LatencySample {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    itl: Option<Vec<f64>>,
    e2el: Vec<f64>,
    ttft_content: Vec<f64>,
    itl_token: TokenGaps,
    close: Vec<f64>,
    queue: Vec<f64>,
    first_from_schedule: Vec<f64>,
    from_schedule: Vec<f64>,
    /// What the sequences that were never sent took at least, from their schedule.
    never_sent: Vec<f64>,
    send_lag: Vec<f64>,
    connect: Vec<f64>,
    begun: bool,
}

impl LatencySample {
    /// Adds an online step; an offline one has none. Without `tokens` for one step, gaps are known for none.
    pub(super) fn add(&mut self, step: &Step, tokens: Option<&TokenTimes>) {
        let (sequences, Some(online)) = (&step.sequences, &step.online) else {
            return;
        };
        if !self.begun {
            self.begun = true;
            self.itl = Some(Vec::new());
        }
        let tokens = tokens.filter(|t| t.rows.len() == sequences.len());
        if let (Some(tokens), Some(itl)) = (tokens, &mut self.itl) {
            itl.reserve_exact(tokens.rows.iter().map(|row| row.chunk_ns.len()).sum());
        }
        for row in 0..online.scheduled_ns.len() {
            if sequences.error.get(row).is_some_and(Option::is_some) {
                continue;
            }
            self.add_row(row, sequences, online);
            self.add_gaps(tokens.map(|t| &t.rows[row]));
        }
        self.add_never_sent(step);
    }

    fn add_never_sent(&mut self, step: &Step) {
        let makespan_s = step.makespan_ns as f64 / 1e9;
        let until_ms = 1e3 * step.duration_s.unwrap_or(makespan_s);
        let unsent = step.arrivals.iter().flat_map(|a| &a.unsent_scheduled_ns);
        for &scheduled_ns in unsent {
            let least = (until_ms - millis(0, scheduled_ns)).max(0.0);
            let sequences = 0..step.per_request();
            self.never_sent.extend(sequences.map(|_| least));
        }
    }

    /// A row whose gaps are not known makes them unknown for all: part of a pool would be a pool of something else.
    fn add_gaps(&mut self, row: Option<&TokenRow>) {
        let (Some(itl), Some(row)) = (&mut self.itl, row) else {
            (self.itl, self.itl_token) = (None, TokenGaps::Unknown);
            return;
        };
        if matches!(self.itl_token, TokenGaps::AsChunks) && row.tokens != ChunkTokens::OneEach {
            self.itl_token = TokenGaps::Own(itl.clone());
        }
        itl.extend(chunk_gaps_ms(row));
        if let TokenGaps::Own(gaps) = &mut self.itl_token {
            match token_gaps_ms(row) {
                Some(more) => gaps.extend(more),
                None => self.itl_token = TokenGaps::Unknown,
            }
        }
    }

    fn add_row(&mut self, row: usize, sequences: &Sequences, online: &OnlineColumns) {
        let cell = |column: &[Option<u64>]| column.get(row).copied().flatten();
        let (due_ns, start_ns) = (online.due(row), online.start(row));
        let since_due = |to: Option<u64>| Some(millis(due_ns, to?));
        let since = |to: Option<u64>| Some(millis(start_ns, to?));
        let scheduled_ns = online.scheduled_ns[row];
        let finish_ns = cell(&sequences.finish_ns);
        let (ttft, e2el) = (since(cell(&online.first_choice_ns)), since(finish_ns));
        self.ttft.extend(ttft);
        self.e2el.extend(e2el);
        if let (Some(ttft), Some(e2el)) = (ttft, e2el) {
            self.tpot
                .extend(tpot_ms(ttft, e2el, sequences.output_tokens[row]));
        }
        self.ttft_content.extend(since(cell(&sequences.first_ns)));
        self.close.extend(since(cell(&online.close_ns)));
        self.queue.push(millis(scheduled_ns, due_ns));
        let first_ns = cell(&online.first_choice_ns);
        self.first_from_schedule
            .extend(first_ns.map(|to| millis(scheduled_ns, to)));
        self.from_schedule
            .extend(finish_ns.map(|to| millis(scheduled_ns, to)));
        self.send_lag.extend(since_due(cell(&online.sent_ns)));
        self.connect.extend(since_due(cell(&online.connected_ns)));
    }

    pub(super) fn summarise(self) -> Latency {
        let itl_ms = self.itl.and_then(Distribution::of);
        Latency {
            ttft_ms: Distribution::of(self.ttft),
            tpot_ms: Distribution::of(self.tpot),
            itl_ms,
            e2el_ms: Distribution::of(self.e2el),
            ttft_content_ms: Distribution::of(self.ttft_content),
            itl_token_ms: match self.itl_token {
                TokenGaps::AsChunks => itl_ms,
                TokenGaps::Own(gaps) => Distribution::of(gaps),
                TokenGaps::Unknown => None,
            },
            close_ms: Distribution::of(self.close),
            queue_ms: Distribution::of(self.queue),
            ttft_from_schedule_ms: Distribution::censored(
                self.first_from_schedule,
                &self.never_sent,
            ),
            e2el_from_schedule_ms: Distribution::censored(self.from_schedule, &self.never_sent),
            send_lag_ms: Distribution::of(self.send_lag),
            connect_ms: Distribution::of(self.connect),
        }
    }
}

/// Time per output token after the first; absent for sequences of fewer than two.
pub(super) fn tpot_ms(ttft_ms: f64, e2el_ms: f64, tokens: u32) -> Option<f64> {
    (tokens > 1).then(|| (e2el_ms - ttft_ms) / f64::from(tokens - 1))
}

pub(super) fn millis(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}

fn chunk_gaps_ms(row: &TokenRow) -> impl Iterator<Item = f64> {
    row.chunk_ns.windows(2).map(|w| millis(w[0], w[1]))
}

fn token_gaps_ms(row: &TokenRow) -> Option<Vec<f64>> {
    let mut gaps = Vec::with_capacity(row.chunk_ns.len());
    let mut last_ns = None;
    for (index, at_ns) in row.chunk_ns.iter().enumerate() {
        let tokens = row.tokens_in(index)?;
        if tokens == 0 {
            continue;
        }
        if let Some(last_ns) = last_ns {
            let gap = millis(last_ns, *at_ns) / f64::from(tokens);
            gaps.extend(std::iter::repeat_n(gap, tokens as usize));
        }
        last_ns = Some(*at_ns);
    }
    Some(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_sent_is_censored_in_the_latencies_from_the_schedule() {
        // Ten answered in half a second each; two more were due at 0.6 s and 0.9 s of the second in which requests were sent.
        let mut step = crate::record::builder::paced(10.0, 10, |_| 0.5);
        step.duration_s = Some(1.0);
        step.arrivals = Some(crate::record::Arrivals {
            offered: 12,
            sent: 10,
            unsent: 2,
            unsent_scheduled_ns: vec![600_000_000, 900_000_000],
        });
        let mut sample = LatencySample::default();
        sample.add(&step, None);
        let latency = sample.summarise();
        let e2el = latency.e2el_from_schedule_ms.expect("known");
        assert_eq!((e2el.count, e2el.censored.expect("some").count), (12, 2));
        assert!(e2el.is_bound(0.99));
        assert_eq!(latency.e2el_ms.expect("known").censored, None);
        assert!(
            step.latency_doubt()
                .is_some_and(|said| said.starts_with("2 of 12 requests"))
        );
    }

    #[test]
    fn a_chunk_of_several_tokens_is_several_short_gaps() {
        let row = |tokens| TokenRow {
            chunk_ns: vec![0, 30_000_000, 40_000_000, 100_000_000],
            tokens,
        };
        let counted = row(ChunkTokens::Counted(vec![0, 2, 0, 3]));
        assert!(chunk_gaps_ms(&counted).eq([30.0, 10.0, 60.0]));
        // 70 ms between the second and the fourth chunk, for three tokens.
        assert_eq!(token_gaps_ms(&counted), Some(vec![70.0 / 3.0; 3]));
        let role = row(ChunkTokens::OneEachAfterRole);
        assert_eq!(token_gaps_ms(&role), Some(vec![10.0, 60.0]));
        assert_eq!(token_gaps_ms(&row(ChunkTokens::Unknown)), None);
    }
    #[test]
    fn one_row_of_several_tokens_a_chunk_parts_the_two_kinds_of_gaps() {
        let row = |tokens| TokenRow {
            chunk_ns: vec![0, 10_000_000, 30_000_000],
            tokens,
        };
        let gaps = |rows: [ChunkTokens; 2]| {
            let mut sample = LatencySample {
                itl: Some(Vec::new()),
                ..LatencySample::default()
            };
            for tokens in rows {
                sample.add_gaps(Some(&row(tokens)));
            }
            let latency = sample.summarise();
            let told = |d: Option<Distribution>| d.map(|d| (d.count, d.mean));
            (told(latency.itl_ms), told(latency.itl_token_ms))
        };
        let chunks = Some((4, 15.0));
        let counted = ChunkTokens::Counted(vec![1, 2, 1]);
        assert_eq!(
            gaps([ChunkTokens::OneEach, ChunkTokens::OneEach]),
            (chunks, chunks)
        );
        assert_eq!(
            gaps([ChunkTokens::OneEach, counted]),
            (chunks, Some((5, 12.0)))
        );
        assert_eq!(
            gaps([ChunkTokens::Unknown, ChunkTokens::OneEach]),
            (chunks, None)
        );
    }
}
