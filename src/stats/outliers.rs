//! Blocks that stand out. They are flagged and the ratio is shown with and without them; nothing is dropped.
//!
//! The score is the modified Z of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993):
//! 0.6745 (x - median) / MAD. Their threshold of 3.5 flags 29 % of clean sets of three and is far too eager for all
//! small sets, so the threshold here depends on how many values there are and on how many sets are looked at: in a
//! session without any outlier, the chance of a flag is 1 %.

use super::interval::mean;

/// No flags below so many values: with five, a clean set's median deviation can be as small as anything.
const MIN_VALUES: usize = 6;

/// Numbers of sets for which the columns of [`THRESHOLDS`] are made.
const SETS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Thresholds for 6, 7, ... 25 values (rows) and 1, 2, 4 ... 32 sets (columns), by simulation of 4,000,000 clean
/// normal sets for each row: `cargo bench --bench coverage -- outliers` prints them anew. More values have the last
/// row, which is too strict for them, and more sets the last column.
#[rustfmt::skip]
const THRESHOLDS: [[f64; 6]; 20] = [
    [10.09, 12.93, 16.44, 20.84, 26.55, 33.86], // 6
    [10.70, 13.72, 17.49, 22.23, 28.08, 35.51], // 7
    [7.95, 9.67, 11.72, 14.13, 17.07, 20.49], // 8
    [8.23, 10.01, 12.10, 14.60, 17.54, 21.07], // 9
    [6.90, 8.13, 9.52, 11.15, 12.98, 15.07], // 10
    [7.08, 8.35, 9.80, 11.44, 13.41, 15.69], // 11
    [6.30, 7.28, 8.37, 9.63, 10.95, 12.49], // 12
    [6.40, 7.40, 8.51, 9.76, 11.19, 12.73], // 13
    [5.88, 6.70, 7.58, 8.57, 9.65, 10.80], // 14
    [5.96, 6.79, 7.69, 8.68, 9.76, 10.96], // 15
    [5.61, 6.32, 7.08, 7.91, 8.80, 9.77], // 16
    [5.65, 6.37, 7.14, 7.97, 8.87, 9.89], // 17
    [5.39, 6.02, 6.69, 7.40, 8.16, 9.01], // 18
    [5.44, 6.09, 6.75, 7.48, 8.24, 9.07], // 19
    [5.23, 5.81, 6.41, 7.04, 7.73, 8.45], // 20
    [5.27, 5.85, 6.46, 7.12, 7.81, 8.52], // 21
    [5.10, 5.63, 6.17, 6.74, 7.34, 7.98], // 22
    [5.14, 5.67, 6.22, 6.81, 7.41, 8.06], // 23
    [5.00, 5.49, 5.99, 6.53, 7.06, 7.63], // 24
    [5.02, 5.51, 6.03, 6.56, 7.10, 7.72], // 25
];

/// A value that stands out of its set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outlier {
    /// Its place in the set.
    pub index: usize,
    /// Its modified Z score.
    pub score: f64,
}

/// The values that stand out, where `sets` such sets of this session are looked at. Empty below `MIN_VALUES`.
pub(crate) fn outliers(values: &[f64], sets: usize) -> Vec<Outlier> {
    let Some(threshold) = threshold(values.len(), sets) else {
        return Vec::new();
    };
    modified_z(values)
        .into_iter()
        .enumerate()
        .filter(|(_, score)| *score > threshold)
        .map(|(index, score)| Outlier { index, score })
        .collect()
}

/// The mean without the flagged values; absent if none is flagged or none is left.
pub(crate) fn mean_without(values: &[f64], flagged: &[Outlier]) -> Option<f64> {
    let kept: Vec<f64> = values
        .iter()
        .enumerate()
        .filter(|(index, _)| flagged.iter().all(|o| o.index != *index))
        .map(|(_, value)| *value)
        .collect();
    (!flagged.is_empty() && !kept.is_empty()).then(|| mean(&kept))
}

fn threshold(values: usize, sets: usize) -> Option<f64> {
    let row = values.checked_sub(MIN_VALUES)?.min(THRESHOLDS.len() - 1);
    let column = SETS
        .iter()
        .position(|s| *s >= sets)
        .unwrap_or(SETS.len() - 1);
    Some(THRESHOLDS[row][column])
}

/// |modified Z| of every value. Where more than half of the values are equal, those score 0 and all others
/// infinitely.
pub(super) fn modified_z(values: &[f64]) -> Vec<f64> {
    let middle = median(values.to_vec());
    let deviations: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    let mad = median(deviations.clone());
    deviations
        .into_iter()
        .map(|d| if d == 0.0 { 0.0 } else { 0.6745 * d / mad })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[half - 1], values[half])
    } else {
        values[half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::simulate::outlier_thresholds;

    #[test]
    fn one_bad_block_is_flagged_and_the_mean_shown_without_it() {
        let d = [0.10, 0.11, 0.09, 0.102, 0.098, 0.60, 0.105];
        let flagged = outliers(&d, 1);
        assert_eq!(flagged.iter().map(|o| o.index).collect::<Vec<_>>(), [5]);
        let without = mean_without(&d, &flagged).expect("six left");
        assert!((without - 0.605 / 6.0).abs() < 1e-12);
        assert_eq!(mean_without(&d, &[]), None);
    }

    #[test]
    fn five_values_are_never_flagged() {
        assert!(outliers(&[1.0, 1.0, 1.0, 1.0, 99.0], 1).is_empty());
    }

    #[test]
    fn the_table_is_what_a_simulation_finds() {
        for n in [6, 9, 20] {
            let found = outlier_thresholds(n, &[0.01], 40_000, 9)[0];
            let table = threshold(n, 1).expect("enough");
            assert!(
                (found / table - 1.0).abs() < 0.08,
                "{n}: {found}, not {table}"
            );
        }
    }
}
