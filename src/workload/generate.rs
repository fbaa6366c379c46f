//! The requests of every step, as token ids: seeded, distinct, and the same for every cell and on every machine.
//!
//! The ids come from `ChaCha20`, whose output is fixed by its algorithm, and are mapped to the vocabulary here: a
//! library's way to draw from a range may change between versions, and then two versions would not measure the same
//! thing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::batch::{Batch, Sample, Vocabulary};
use super::draw::{Slot, slots};
use super::spec::{WorkloadError, WorkloadSpec};
use crate::record::hex;

/// Step k draws its ids from stream `TOKEN_STREAM + k`, the shared prefix from `PREFIX_STREAM`.
const TOKEN_STREAM: u64 = 0x746f_6b65_0000_0000;
const PREFIX_STREAM: u64 = 0x7072_6566;

/// The requests of all steps of one engine start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requests {
    /// One batch a step, warm-up first. Lengths and siblings are the same in each, only token ids differ.
    pub steps: Vec<Arc<Batch>>,
    /// SHA-256 over all of it, in hexadecimal: equal for all cells that are compared.
    pub sha256: String,
}

/// Requests that cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestsError {
    /// The specification itself is impossible.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// Nothing to draw from.
    #[error("a vocabulary of {size} ids, {special} of them special, has no id for prompts")]
    Vocabulary {
        /// Ids in the vocabulary.
        size: u32,
        /// How many of them are special.
        special: usize,
    },
    /// There are not so many different prompts.
    #[error("{needed} different prompts of {tokens} own tokens cannot be made from {ids} ids")]
    TooMany {
        /// Prompts of that length in all steps.
        needed: u64,
        /// Their length without the shared prefix.
        tokens: u32,
        /// Ids that may be drawn.
        ids: usize,
    },
}

/// The requests of `steps` steps (warm-up and measured ones).
pub(crate) fn requests(
    spec: &WorkloadSpec,
    seed: u64,
    vocabulary: &Vocabulary,
    steps: u32,
) -> Result<Requests, RequestsError> {
    drawn(spec, seed, seed, vocabulary, steps)
}

/// The same, with a shared prefix that follows from a seed of its own.
pub(super) fn drawn(
    spec: &WorkloadSpec,
    seed: u64,
    prefix_seed: u64,
    vocabulary: &Vocabulary,
    steps: u32,
) -> Result<Requests, RequestsError> {
    spec.check()?;
    let ids = Ids::of(vocabulary)?;
    let slots = slots(spec, seed);
    let prompts: Vec<Slot> = slots
        .chunk_by(|a, b| a.prompt == b.prompt)
        .map(|group| group[0])
        .collect();
    check_variety(&prompts, spec.shared_prefix, &ids, steps)?;
    let samples = samples(&slots);

    let mut random = stream(prefix_seed, PREFIX_STREAM);
    let prefix: Vec<u32> = (0..spec.shared_prefix)
        .map(|_| ids.draw(&mut random))
        .collect();
    let mut drawn = HashSet::new();
    let batches: Vec<Arc<Batch>> = (0..steps)
        .map(|step| {
            let mut random = stream(seed, TOKEN_STREAM + u64::from(step));
            let prompts = prompts
                .iter()
                .map(|slot| {
                    let mut prompt = prefix.clone();
                    loop {
                        prompt.truncate(prefix.len());
                        prompt.resize_with(slot.prompt_tokens as usize, || ids.draw(&mut random));
                        // Two prompts with one hash are taken for equal: that costs a draw, never the distinctness.
                        if drawn.insert(fnv(&prompt)) {
                            return prompt;
                        }
                    }
                })
                .collect();
            Arc::new(Batch {
                prompts,
                samples: samples.clone(),
            })
        })
        .collect();
    let sha256 = digest(&batches);
    Ok(Requests {
        steps: batches,
        sha256,
    })
}

/// The ids that may be drawn, ascending.
struct Ids(Vec<u32>);

impl Ids {
    fn of(vocabulary: &Vocabulary) -> Result<Self, RequestsError> {
        let special: HashSet<u32> = vocabulary.special.iter().copied().collect();
        let ids: Vec<u32> = (0..vocabulary.size)
            .filter(|id| !special.contains(id))
            .collect();
        if ids.is_empty() {
            return Err(RequestsError::Vocabulary {
                size: vocabulary.size,
                special: special.len(),
            });
        }
        Ok(Self(ids))
    }

    /// Uniform, without bias: Lemire's multiplication with rejection, <https://arxiv.org/abs/1805.10941>.
    fn draw(&self, random: &mut ChaCha20Rng) -> u32 {
        let count = self.0.len() as u64;
        let threshold = (1u64 << 32) % count;
        loop {
            let product = u64::from(random.next_u32()) * count;
            if product & 0xffff_ffff >= threshold {
                let index = (product >> 32) as usize;
                return self.0[index];
            }
        }
    }
}

/// Whether there are as many different prompts of each length as all steps need.
fn check_variety(
    prompts: &[Slot],
    prefix: u32,
    ids: &Ids,
    steps: u32,
) -> Result<(), RequestsError> {
    let mut by_length: BTreeMap<u32, u64> = BTreeMap::new();
    for slot in prompts {
        *by_length.entry(slot.prompt_tokens - prefix).or_default() += u64::from(steps);
    }
    for (tokens, needed) in by_length {
        if (ids.0.len() as u64).saturating_pow(tokens) < needed {
            return Err(RequestsError::TooMany {
                needed,
                tokens,
                ids: ids.0.len(),
            });
        }
    }
    Ok(())
}

/// One row a sequence; groups are counted over the prompts that this engine serves.
fn samples(slots: &[Slot]) -> Vec<Sample> {
    (0u32..)
        .zip(slots.chunk_by(|a, b| a.prompt == b.prompt))
        .flat_map(|(group, siblings)| {
            siblings.iter().map(move |slot| Sample {
                group,
                sample: slot.sample,
                output_tokens: slot.output_tokens,
            })
        })
        .collect()
}

fn stream(seed: u64, stream: u64) -> ChaCha20Rng {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// FNV-1a, 64 bits.
fn fnv(prompt: &[u32]) -> u64 {
    prompt
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

fn digest(batches: &[Arc<Batch>]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"rollbench.requests/1");
    for batch in batches {
        hash.update((batch.prompts.len() as u64).to_le_bytes());
        for prompt in &batch.prompts {
            let bytes: Vec<u8> = prompt.iter().flat_map(|id| id.to_le_bytes()).collect();
            hash.update((prompt.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        hash.update((batch.samples.len() as u64).to_le_bytes());
        for row in &batch.samples {
            for field in [row.group, row.sample, row.output_tokens] {
                hash.update(field.to_le_bytes());
            }
        }
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Lengths, Placement};
    use proptest::prelude::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary {
            size: 100,
            special: vec![0, 1, 2, 99],
        }
    }

    fn made(spec: &WorkloadSpec, seed: u64, steps: u32) -> Requests {
        requests(spec, seed, &vocabulary(), steps).expect("possible")
    }

    /// Pinned: a change here means that results of two versions are not comparable.
    #[test]
    fn the_same_seed_gives_the_same_requests_for_ever() {
        let made = made(&WorkloadSpec::fixed(2, 2, 8, 4), 0, 2);
        insta::assert_snapshot!(
            made.steps.iter().map(|s| format!("{:?}", s.prompts)).collect::<Vec<_>>().join("\n"),
            @"
        [[70, 66, 17, 55, 73, 10, 11, 60], [88, 58, 89, 77, 6, 73, 53, 90]]
        [[18, 78, 64, 47, 45, 61, 89, 15], [30, 10, 50, 84, 33, 13, 56, 18]]
        "
        );
        insta::assert_snapshot!(made.sha256, @"cffcdbad4d0c9523c98e579546a7322b70f66e15cb857c84b43770abb78ba6eb");
    }

    #[test]
    fn requests_that_cannot_be_are_refused() {
        let refused = |spec: WorkloadSpec, vocabulary: &Vocabulary| {
            requests(&spec, 0, vocabulary, 4)
                .expect_err("impossible")
                .to_string()
        };
        assert_eq!(
            refused(WorkloadSpec::fixed(25, 1, 1, 1), &vocabulary()),
            "100 different prompts of 1 own tokens cannot be made from 96 ids"
        );
        let none = Vocabulary {
            size: 2,
            special: vec![0, 1],
        };
        assert_eq!(
            refused(WorkloadSpec::fixed(1, 1, 1, 1), &none),
            "a vocabulary of 2 ids, 2 of them special, has no id for prompts"
        );
    }

    #[test]
    fn every_prompt_that_exists_can_be_used() {
        let made = made(&WorkloadSpec::fixed(24, 1, 1, 1), 3, 4);
        let distinct: HashSet<&Vec<u32>> = made.steps.iter().flat_map(|s| &s.prompts).collect();
        assert_eq!(distinct.len(), 96);
    }

    #[test]
    fn a_shared_prefix_is_the_same_in_every_prompt_of_every_step() {
        let spec = WorkloadSpec {
            shared_prefix: 5,
            ..WorkloadSpec::fixed(4, 2, 9, 1)
        };
        let made = made(&spec, 1, 3);
        let prefix = &made.steps[0].prompts[0][..5];
        let mut prompts = made.steps.iter().flat_map(|s| &s.prompts);
        assert!(prompts.all(|p| p.len() == 9 && &p[..5] == prefix));
    }

    #[test]
    fn a_replica_gets_its_share_with_groups_counted_from_zero() {
        let spec = WorkloadSpec {
            placement: Placement::Scatter { replicas: 4 },
            ..WorkloadSpec::fixed(16, 4, 8, 1)
        };
        let made = made(&spec, 1, 1);
        let batch = &made.steps[0];
        assert_eq!(batch.samples.len(), 16);
        let groups: HashSet<u32> = batch.samples.iter().map(|s| s.group).collect();
        assert_eq!(groups.len(), batch.prompts.len());
        assert!(groups.iter().all(|g| (*g as usize) < batch.prompts.len()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn requests_hold_what_is_promised(
            num_prompts in 1u32..12,
            n in 1u32..5,
            (min, spread) in (4u32..20, 0u32..20),
            seed: u64,
            steps in 1u32..4,
        ) {
            let spec = WorkloadSpec {
                prompt: Lengths::Uniform { min, max: min + spread },
                ..WorkloadSpec::fixed(num_prompts, n, 1, 7)
            };
            let made = made(&spec, seed, steps);
            prop_assert_eq!(&made, &requests(&spec, seed, &vocabulary(), steps).expect("possible"));
            prop_assert_eq!(made.steps.len(), steps as usize);

            let mut seen = HashSet::new();
            for batch in &made.steps {
                prop_assert_eq!(&batch.samples, &made.steps[0].samples);
                let lengths = |b: &Batch| b.prompts.iter().map(Vec::len).collect::<Vec<_>>();
                prop_assert_eq!(lengths(batch), lengths(&made.steps[0]));
                prop_assert_eq!(batch.prompts.len(), num_prompts as usize);
                prop_assert_eq!(batch.samples.len(), (num_prompts * n) as usize);
                for prompt in &batch.prompts {
                    prop_assert!(seen.insert(prompt.clone()), "drawn twice");
                    prop_assert!(prompt.iter().all(|id| *id < 99 && *id > 2));
                }
            }
            // More steps leave the earlier ones as they were.
            let more = requests(&spec, seed, &vocabulary(), steps + 1).expect("possible");
            prop_assert_eq!(&more.steps[..steps as usize], &made.steps[..]);
            prop_assert_ne!(more.sha256, made.sha256);
        }
    }
}
