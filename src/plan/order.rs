//! In which order the cells of a block run.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Block k draws its order from stream `ORDER_STREAM + k`.
const ORDER_STREAM: u64 = 0x6f72_6465_0000_0000;

/// For each block the running cells, model by model in the order of declaration, the cells of a model in a seeded
/// random order: what runs later on a device finds it warmer, and a fixed order would give that to one precision.
///
/// `models` holds one list of cells a model.
pub(super) fn orders<T: Copy + Ord>(models: &[Vec<T>], blocks: u32, seed: u64) -> Vec<Vec<T>> {
    (0..blocks)
        .map(|block| {
            let mut random = ChaCha20Rng::seed_from_u64(seed);
            random.set_stream(ORDER_STREAM + u64::from(block));
            models
                .iter()
                .flat_map(|cells| shuffled(cells, &mut random))
                .collect()
        })
        .collect()
}

fn shuffled<T: Copy + Ord>(cells: &[T], random: &mut ChaCha20Rng) -> Vec<T> {
    let mut keyed: Vec<(u64, T)> = cells
        .iter()
        .map(|cell| (random.next_u64(), *cell))
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, cell)| cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_block_holds_every_cell_once_and_keeps_models_together() {
        let models = [vec![0, 1, 2], vec![4, 5]];
        for order in orders(&models, 20, 7) {
            let (first, second) = order.split_at(3);
            assert_eq!(
                first.iter().copied().collect::<BTreeSet<_>>(),
                [0, 1, 2].into()
            );
            assert_eq!(
                second.iter().copied().collect::<BTreeSet<_>>(),
                [4, 5].into()
            );
        }
    }

    #[test]
    fn every_order_comes_about_equally_often() {
        let all = orders(&[vec![0, 1, 2]], 6000, 0);
        let mut counts = std::collections::BTreeMap::new();
        for order in all {
            *counts.entry(order).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|n| (850..1150).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn more_blocks_leave_the_earlier_orders_as_they_were() {
        let models = [vec![0, 1, 2, 3]];
        assert_eq!(orders(&models, 2, 3)[..], orders(&models, 6, 3)[..2]);
        assert_ne!(orders(&models, 6, 3), orders(&models, 6, 4));
    }
}
