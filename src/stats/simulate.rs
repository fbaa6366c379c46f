//! Simulated sessions, to hold the statistics to what they promise: `cargo bench --bench coverage` prints the figures
//! for 10,000 sessions of each kind, and a test below runs a short form.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::bootstrap::{MIN_BLOCKS, bca};
use super::distributions::normal_quantile;
use super::interval::{Estimate, Interval, mean, paired, two_stage};
use super::outliers::modified_z;
use super::stein::{FIRST_STAGE, total_blocks};
use super::verdict::{Judgement, judge};

/// How a simulated machine behaves. All deviations are on the logarithm of a makespan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// What all cells of a block share (the machine's state that hour).
    pub block_sd: f64,
    /// What each engine start has for itself.
    pub start_sd: f64,
    /// Innovation of the steps within a start.
    pub step_sd: f64,
    /// Correlation of successive steps: AR(1).
    pub step_correlation: f64,
    /// Change per engine start over the whole session (heat, fragmentation); the order within a block is random.
    pub drift_per_start: f64,
    /// Whether engine starts have the tails of Student's t with 5 degrees of freedom instead of the normal's.
    pub heavy_tails: bool,
}

impl Machine {
    /// Starts that differ by 2 %, hours by 3 %, steps by 1 % and alike.
    pub const TYPICAL: Self = Self {
        block_sd: 0.03,
        start_sd: 0.02,
        step_sd: 0.01,
        step_correlation: 0.6,
        drift_per_start: 0.0,
        heavy_tails: false,
    };
}

/// What a simulated session measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Design {
    /// Blocks; for a two-stage session, at most.
    pub blocks: usize,
    /// Measured steps per start.
    pub steps: usize,
    /// Cells compared with the baseline.
    pub comparisons: usize,
    /// The true speed-up of every cell.
    pub true_ratio: f64,
}

/// Shares over many sessions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Sessions in which every t interval holds the truth.
    pub t_covers: f64,
    /// Sessions in which the first comparison is called faster or slower.
    pub difference_claimed: f64,
    /// Sessions in which every interval of the two-stage rule holds the truth.
    pub stein_covers: f64,
    /// Mean number of blocks that the two-stage rule runs.
    pub stein_blocks: f64,
    /// Sessions in which the first comparison's BCa interval holds the truth; not a number below twenty blocks.
    pub bca_covers: f64,
}

/// Runs `sessions` sessions. `stein_half_width` is the half-width that two-stage sessions aim at, on the logarithm.
pub fn simulate(
    machine: Machine,
    design: Design,
    sessions: u32,
    stein_half_width: f64,
    seed: u64,
) -> Figures {
    let mut random = Random(ChaCha20Rng::seed_from_u64(seed));
    let truth = design.true_ratio;
    let mut counts = Figures::default();
    for session in 0..sessions {
        let d = differences(machine, design, &mut random);
        let estimates: Vec<Estimate> = d
            .iter()
            .filter_map(|d| paired(d, design.comparisons))
            .collect();
        counts.t_covers += share(estimates.iter().all(|e| holds(e.interval.as_ref(), truth)));
        let claimed = estimates.first().map(|e| judge(e, 0.02, None, 1));
        counts.difference_claimed += share(matches!(
            claimed,
            Some(
                Judgement::Faster
                    | Judgement::Slower
                    | Judgement::FasterUncertain
                    | Judgement::SlowerUncertain
            )
        ));
        if design.blocks >= MIN_BLOCKS {
            let interval = bca(&d[0], 1, u64::from(session));
            counts.bca_covers += share(holds(interval.as_ref(), truth));
        }
        let stage: Vec<Vec<f64>> = d
            .iter()
            .map(|d| d[..FIRST_STAGE.min(d.len())].to_vec())
            .collect();
        if let Some(total) = total_blocks(&stage, stein_half_width, 60) {
            // The second stage is of the same machine; the first blocks are kept.
            let longer = Design {
                blocks: total.blocks - stage[0].len(),
                ..design
            };
            let second = differences(machine, longer, &mut random);
            let covered = stage.iter().zip(&second).all(|(first, second)| {
                let all: Vec<f64> = first.iter().chain(second).copied().collect();
                let estimate = two_stage(&all, first.len(), design.comparisons);
                holds(estimate.and_then(|e| e.interval).as_ref(), truth)
            });
            counts.stein_covers += share(covered);
            counts.stein_blocks += total.blocks as f64;
        }
    }
    let sessions = f64::from(sessions);
    Figures {
        t_covers: counts.t_covers / sessions,
        difference_claimed: counts.difference_claimed / sessions,
        stein_covers: counts.stein_covers / sessions,
        stein_blocks: counts.stein_blocks / sessions,
        bca_covers: if design.blocks >= MIN_BLOCKS {
            counts.bca_covers / sessions
        } else {
            f64::NAN
        },
    }
}

fn share(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn holds(interval: Option<&Interval>, truth: f64) -> bool {
    interval.is_some_and(|i| i.low <= truth && truth <= i.high)
}

/// y(baseline) - y(cell) per comparison and block, from steps in a random order of cells per block.
fn differences(machine: Machine, design: Design, random: &mut Random) -> Vec<Vec<f64>> {
    let cells = design.comparisons + 1;
    let mut result = vec![Vec::with_capacity(design.blocks); design.comparisons];
    for block in 0..design.blocks {
        let hour = machine.block_sd * random.normal();
        let mut y = vec![0.0; cells];
        for (position, cell) in random.order(cells).into_iter().enumerate() {
            let place = (block * cells + position) as f64;
            let effect = if cell == 0 {
                0.0
            } else {
                design.true_ratio.ln()
            };
            let start = hour - effect
                + machine.start_sd * random.start(machine.heavy_tails)
                + machine.drift_per_start * place;
            y[cell] = mean(&random.steps(start, machine, design.steps));
        }
        for (cell, d) in result.iter_mut().enumerate() {
            d.push(y[0] - y[cell + 1]);
        }
    }
    result
}

/// The threshold on the modified Z score that a share `rates[i]` of clean normal sets of `n` exceeds with their most
/// extreme value: how the table of `outliers` is made.
pub fn outlier_thresholds(n: usize, rates: &[f64], draws: usize, seed: u64) -> Vec<f64> {
    let mut random = Random(ChaCha20Rng::seed_from_u64(seed));
    let mut extremes: Vec<f64> = (0..draws)
        .map(|_| {
            let set: Vec<f64> = (0..n).map(|_| random.normal()).collect();
            modified_z(&set).into_iter().fold(0.0, f64::max)
        })
        .collect();
    extremes.sort_unstable_by(f64::total_cmp);
    rates
        .iter()
        .map(|rate| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share"
            )]
            let above = (rate * draws as f64).round() as usize;
            extremes[draws - above.clamp(1, draws)]
        })
        .collect()
}

struct Random(ChaCha20Rng);

impl Random {
    fn normal(&mut self) -> f64 {
        normal_quantile(((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64)
    }

    /// Standard deviation 1 either way.
    fn start(&mut self, heavy_tails: bool) -> f64 {
        let z = self.normal();
        if !heavy_tails {
            return z;
        }
        let chi_squared: f64 = (0..5).map(|_| self.normal().powi(2)).sum();
        z / (chi_squared / 5.0).sqrt() * (3.0_f64 / 5.0).sqrt()
    }

    /// Log makespans.
    fn steps(&mut self, start: f64, machine: Machine, steps: usize) -> Vec<f64> {
        let phi = machine.step_correlation;
        let mut error = machine.step_sd / (1.0 - phi * phi).sqrt() * self.normal();
        (0..steps)
            .map(|_| {
                let log_makespan = start + error;
                error = phi * error + machine.step_sd * self.normal();
                log_makespan
            })
            .collect()
    }

    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut keyed: Vec<(u64, usize)> = (0..count).map(|i| (self.0.next_u64(), i)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, i)| i).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_cover_and_equal_arms_are_called_equal() {
        let design = Design {
            blocks: 6,
            steps: 3,
            comparisons: 1,
            true_ratio: 1.0,
        };
        let found = simulate(Machine::TYPICAL, design, 3000, 1.03_f64.ln(), 1);
        assert!((0.93..=0.97).contains(&found.t_covers), "{found:?}");
        assert!(found.difference_claimed <= 0.06, "{found:?}");
        assert!(found.stein_covers >= 0.94, "{found:?}");
    }

    #[test]
    fn drift_and_heavy_tails_do_not_break_three_comparisons() {
        let machine = Machine {
            drift_per_start: 0.002,
            heavy_tails: true,
            ..Machine::TYPICAL
        };
        let design = Design {
            blocks: 6,
            steps: 3,
            comparisons: 3,
            true_ratio: 1.1,
        };
        let found = simulate(machine, design, 2000, 1.03_f64.ln(), 2);
        assert!(found.t_covers >= 0.94, "{found:?}");
        assert!(found.stein_covers >= 0.94, "{found:?}");
    }
}
