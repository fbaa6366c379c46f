//! How many engine starts are needed for an interval of a given width: Stein's two-stage rule.
//!
//! C. Stein, "A two-sample test for a linear hypothesis whose power is independent of the variance", Annals of
//! Mathematical Statistics 16 (1945). The number is computed once, from the first blocks alone, and then run; looking
//! at the width after every block and stopping when it happens to be small would cover 92 to 94 % instead of 95 %.

use super::distributions::t_critical;
use super::interval::{simultaneous, standard_deviation};

/// Blocks of the first stage.
pub(crate) const FIRST_STAGE: usize = 6;

/// The number of blocks that the first stage asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Blocks in total, the first stage included.
    pub blocks: usize,
    /// What the rule asks for; above `blocks` where `max_blocks` was reached, and then the interval will be wider
    /// than asked for.
    pub wanted: usize,
}

/// The total number of blocks for intervals no wider than `exp(+-half_width_log)`, for all comparisons at once.
///
/// `first_stage` holds the differences of logarithms of each comparison over the blocks run so far. Absent if a
/// comparison has fewer than two blocks.
pub(crate) fn total_blocks(
    first_stage: &[Vec<f64>],
    half_width_log: f64,
    max_blocks: usize,
) -> Option<Total> {
    let level = simultaneous(first_stage.len());
    let mut wanted = 0;
    for differences in first_stage {
        let sd = standard_deviation(differences)?;
        let critical = t_critical(level, (differences.len() - 1) as f64);
        wanted = wanted
            .max(ceiling((critical * sd / half_width_log).powi(2)))
            .max(differences.len());
    }
    let run = first_stage.iter().map(Vec::len).max()?;
    Some(Total {
        blocks: wanted.min(max_blocks).max(run),
        wanted,
    })
}

/// About how many more blocks would bring the half-width below `target_log`, if the standard deviation stays `sd`.
/// Absent if more than `limit`.
pub(crate) fn more_blocks(
    sd: f64,
    blocks: usize,
    target_log: f64,
    comparisons: usize,
    limit: usize,
) -> Option<usize> {
    let level = simultaneous(comparisons);
    (1..=limit).find(|more| {
        let total = blocks + more;
        total >= 2
            && t_critical(level, (total - 1) as f64) * sd / (total as f64).sqrt() < target_log
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates"
)]
fn ceiling(value: f64) -> usize {
    value.ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_follows_the_first_stage() {
        // s = 0.02: (2.5705818 * 0.02 / ln 1.02)^2 = 6.74 -> 7
        let d: Vec<f64> = [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]
            .map(|x| 0.1 + x * 0.02 * (5.0_f64 / 6.0).sqrt())
            .to_vec();
        let total =
            |m: usize, max| total_blocks(&vec![d.clone(); m], 1.02_f64.ln(), max).expect("blocks");
        assert_eq!(
            total(1, 50),
            Total {
                blocks: 7,
                wanted: 7
            }
        );
        // Three comparisons: (3.5341107 * 0.02 / ln 1.02)^2 = 12.74
        assert_eq!(
            total(3, 50),
            Total {
                blocks: 13,
                wanted: 13
            }
        );
        assert_eq!(
            total(3, 10),
            Total {
                blocks: 10,
                wanted: 13
            }
        );
        assert_eq!(total(3, 4).blocks, 6, "what was run is never taken back");
    }

    #[test]
    fn a_quiet_machine_needs_no_second_stage() {
        let quiet = vec![vec![0.1, 0.1001, 0.0999, 0.1, 0.1, 0.1]];
        assert_eq!(
            total_blocks(&quiet, 1.02_f64.ln(), 50)
                .expect("blocks")
                .blocks,
            6
        );
        assert_eq!(total_blocks(&[vec![0.1]], 0.02, 50), None);
    }

    #[test]
    fn more_blocks_reach_the_target_and_not_before() {
        let more = more_blocks(0.03, 6, 0.02, 1, 500).expect("few");
        let half = |n: usize| t_critical(0.95, (n - 1) as f64) * 0.03 / (n as f64).sqrt();
        assert!(half(6 + more) < 0.02 && half(5 + more) >= 0.02);
        assert_eq!(more_blocks(0.03, 6, 1e-6, 1, 500), None);
    }
}
