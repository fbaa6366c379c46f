//! How a closed batch runs through an engine with continuous batching, in iterations instead of seconds.
//!
//! Every running sequence makes one token an iteration; at most `slots` run together; a slot that gets free is taken
//! by the next sequence in the order of submission. Prompts are thought of as processed when their sequence gets its
//! slot. Preemption and speculative decoding are not described.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What an engine has done up to some moment. Everything that is linear in these is cheap to predict.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Work {
    /// Prompt tokens processed.
    pub prompt_tokens: f64,
    /// Decoding iterations.
    pub iterations: f64,
    /// Tokens made: running sequences, summed over iterations.
    pub tokens: f64,
    /// Context that was attended to: prompt and response so far of the running sequences, summed over iterations.
    pub context: f64,
}

impl Work {
    pub(super) fn features(self) -> [f64; 4] {
        [
            self.prompt_tokens,
            self.iterations,
            self.tokens,
            self.context,
        ]
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens - earlier.prompt_tokens,
            iterations: self.iterations - earlier.iterations,
            tokens: self.tokens - earlier.tokens,
            context: self.context - earlier.context,
        }
    }
}

/// A sequence to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Length of its prompt.
    pub prompt_tokens: u32,
    /// Length of its response.
    pub output_tokens: u32,
}

/// The course of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Course {
    /// The work done when each sequence ended, in the order of submission.
    pub at_end: Vec<Work>,
    /// The work of the whole batch.
    pub total: Work,
    /// Most sequences that ran together.
    pub peak_running: usize,
    /// Most tokens that had to be kept at once.
    pub peak_context: f64,
}

/// Runs `requests`, in the order of submission, through an engine with `slots` slots (at least 1).
pub(crate) fn course(requests: &[Request], slots: usize) -> Course {
    let slots = slots.max(1);
    let mut waiting = requests.iter().enumerate();
    // The iteration in which each running sequence ends, earliest first.
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::with_capacity(slots);
    let mut at_end = vec![Work::default(); requests.len()];
    let mut done = Work::default();
    let (mut now, mut context) = (0u64, 0.0f64);
    let (mut peak_running, mut peak_context) = (0, 0.0f64);
    loop {
        while ends.len() < slots
            && let Some((row, request)) = waiting.next()
        {
            let prompt = f64::from(request.prompt_tokens);
            done.prompt_tokens += prompt;
            context += prompt;
            ends.push(Reverse((
                now + u64::from(request.output_tokens.max(1)),
                row,
            )));
        }
        peak_running = peak_running.max(ends.len());
        let Some(Reverse((end, _))) = ends.peek().copied() else {
            break;
        };
        let (iterations, running) = ((end - now) as f64, ends.len() as f64);
        done.iterations += iterations;
        done.tokens += iterations * running;
        // The context grows by `running` every iteration.
        done.context += iterations * (context + running * (iterations - 1.0) / 2.0);
        context += iterations * running;
        peak_context = peak_context.max(context);
        now = end;
        while let Some(Reverse((at, row))) = ends.peek().copied()
            && at == now
        {
            ends.pop();
            at_end[row] = done;
            let request = requests[row];
            context -= f64::from(request.prompt_tokens) + f64::from(request.output_tokens.max(1));
        }
    }
    Course {
        at_end,
        total: done,
        peak_running,
        peak_context,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(prompt_tokens: u32, output_tokens: u32) -> Request {
        Request {
            prompt_tokens,
            output_tokens,
        }
    }

    #[test]
    fn without_queueing_the_longest_decides() {
        let course = course(&[request(10, 2), request(10, 5), request(10, 5)], 8);
        assert_eq!(course.peak_running, 3);
        assert_eq!(
            course.total,
            // Two iterations with three running (contexts 30, 33), then three with two (24, 26, 28).
            Work {
                prompt_tokens: 30.0,
                iterations: 5.0,
                tokens: 12.0,
                context: 63.0 + 78.0
            }
        );
        assert!((course.at_end[0].iterations - 2.0).abs() < f64::EPSILON);
        assert!((course.peak_context - 36.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_free_slot_is_taken_at_once() {
        let course = course(&[request(1, 4), request(1, 2), request(1, 3)], 2);
        assert_eq!(course.peak_running, 2);
        let ends: Vec<f64> = course.at_end.iter().map(|w| w.iterations).collect();
        assert_eq!(ends, [4.0, 2.0, 5.0]);
    }

    proptest! {
        #[test]
        fn every_token_is_made_once(
            lengths in prop::collection::vec((1u32..50, 1u32..200), 1..60),
            slots in 1usize..40,
        ) {
            let requests: Vec<Request> = lengths.iter().map(|(p, o)| request(*p, *o)).collect();
            let course = course(&requests, slots);
            let tokens: u32 = lengths.iter().map(|(_, o)| o).sum();
            let prompts: u32 = lengths.iter().map(|(p, _)| p).sum();
            prop_assert!((course.total.tokens - f64::from(tokens)).abs() < 1e-6);
            prop_assert!((course.total.prompt_tokens - f64::from(prompts)).abs() < 1e-6);
            // Each sequence of length L and prompt P attends to P, P + 1, ... P + L - 1.
            let context: f64 = lengths
                .iter()
                .map(|(p, o)| f64::from(*o) * (f64::from(*p) + (f64::from(*o) - 1.0) / 2.0))
                .sum();
            prop_assert!((course.total.context / context - 1.0).abs() < 1e-9);
            prop_assert!(course.peak_running <= slots);
        }
    }
}
