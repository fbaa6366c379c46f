//! Batches without end, for steps that send for a given time.

use std::sync::Arc;

use super::batch::{Batch, Vocabulary};
use super::generate::{RequestsError, drawn};
use super::spec::WorkloadSpec;

/// Batches by number, each with prompts of its own after the prefix that all share: a pure function of specification, seed and number.
#[derive(Debug, Clone)]
pub struct BatchStream {
    spec: WorkloadSpec,
    seed: u64,
    vocabulary: Vocabulary,
    next: u64,
}

impl BatchStream {
    /// From batch 0.
    pub fn new(spec: WorkloadSpec, seed: u64, vocabulary: Vocabulary) -> Self {
        Self {
            spec,
            seed,
            vocabulary,
            next: 0,
        }
    }

    /// The same batches, from this one.
    #[must_use]
    pub fn starting_at(self, number: u64) -> Self {
        Self {
            next: number,
            ..self
        }
    }

    /// One batch.
    pub fn batch(&self, number: u64) -> Result<Arc<Batch>, RequestsError> {
        let seed = self
            .seed
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let made = drawn(&self.spec, seed, self.seed, &self.vocabulary, 1)?;
        Ok(Arc::clone(&made.steps[0]))
    }
}

impl Iterator for BatchStream {
    type Item = Arc<Batch>;

    /// Never ends: what is impossible about a workload is so for its first batch.
    fn next(&mut self) -> Option<Arc<Batch>> {
        let batch = self.batch(self.next).ok();
        self.next += 1;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_differ_by_number_and_by_nothing_else() {
        let vocabulary = Vocabulary {
            size: 1000,
            special: Vec::new(),
        };
        let stream = || BatchStream::new(WorkloadSpec::fixed(2, 1, 8, 4), 7, vocabulary.clone());
        let first: Vec<_> = stream().take(3).map(|b| b.prompts.clone()).collect();
        assert_ne!(first[0], first[1]);
        let later = stream().starting_at(1).next().expect("without end");
        assert_eq!(later.prompts, first[1]);
    }

    #[test]
    fn all_batches_share_the_prefix_of_the_steps() {
        let vocabulary = Vocabulary {
            size: 1000,
            special: Vec::new(),
        };
        let spec = WorkloadSpec {
            shared_prefix: 5,
            ..WorkloadSpec::fixed(2, 1, 8, 4)
        };
        let steps = crate::workload::requests(&spec, 7, &vocabulary, 1).expect("possible");
        let prefix = &steps.steps[0].prompts[0][..5];
        let mut batches = BatchStream::new(spec, 7, vocabulary).take(3);
        assert!(batches.all(|batch| batch.prompts.iter().all(|p| &p[..5] == prefix)));
    }
}
