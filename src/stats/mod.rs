//! From raw records to statements that hold: quantiles, metrics, intervals, verdicts. Pure functions; knows nothing
//! of files.

pub mod blocks;
mod bootstrap;
mod cell_metrics;
pub mod compare;
mod distributions;
mod drift;
mod geomean;
mod interval;
mod latency;
pub mod net;
mod online;
mod outliers;
pub mod predict;
mod quantiles;
mod resolution;
pub mod schedule;
pub mod simulate;
mod stein;
mod step_metrics;
pub mod tail;
mod validity;
mod verdict;

pub use bootstrap::bca;
pub use cell_metrics::{
    BlockLog, CellMetrics, StepRow, block_logs, cost_s, counted_starts, counted_steps, step_rows,
};
pub use distributions::{normal_cdf, normal_quantile, t_cdf, t_critical, t_quantile};
pub use drift::{Drift, Steadiness, drift, steadiness};
pub use geomean::{GeometricMean, geometric_mean};
pub use interval::{CONFIDENCE, Estimate, Interval, paired, simultaneous, two_stage, unpaired};
pub use latency::Latency;
pub use online::{OnlineMetrics, Slo, Steady};
pub use outliers::{Outlier, mean_without, outliers};
pub use quantiles::{Distribution, quantile};
pub use resolution::{Resolution, Soundness, resolution};
pub use stein::{FIRST_STAGE, Total, more_blocks, total_blocks};
pub use step_metrics::{ResponseLength, StepMetrics};
pub use validity::{reasons, token_reasons, workload_reasons};
pub use verdict::{
    Evidence, Judgement, RatioWords, Ratios, SMALLEST_EFFECT, Verdict, judge, verdict,
};
