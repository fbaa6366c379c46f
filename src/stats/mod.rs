//! From raw records to statements that hold: quantiles, metrics, intervals, verdicts. Pure functions; knows nothing
//! of files.

pub mod blocks;
mod bootstrap;
mod cell_metrics;
pub(crate) mod compare;
mod distributions;
mod drift;
pub(crate) mod fidelity;
mod geomean;
mod interval;
mod iterations;
pub(crate) mod judged;
mod latency;
mod latency_logs;
pub(crate) mod mismatch;
pub(crate) mod net;
mod online;
mod outliers;
pub(crate) mod pace;
pub(crate) mod predict;
mod quantiles;
mod resolution;
pub(crate) mod schedule;
pub mod simulate;
mod stein;
mod step_metrics;
pub(crate) mod tail;
mod validity;
mod verdict;

pub(crate) use bootstrap::bca;
pub use cell_metrics::block_logs;
pub(crate) use cell_metrics::{BlockLog, CellMetrics, StepRow, cost_s, step_rows};
pub(crate) use distributions::{normal_cdf, normal_quantile};
pub(crate) use drift::{Steadiness, drift, steadiness};
pub(crate) use geomean::{GeometricMean, geometric_mean};
pub use interval::paired;
pub(crate) use interval::{Estimate, Interval};
pub(crate) use iterations::{decode_iterations_ns, digests};
pub(crate) use latency::Latency;
pub(crate) use online::{Slo, good_requests};
pub(crate) use outliers::{mean_without, outliers};
pub(crate) use quantiles::Distribution;
pub use quantiles::quantile;
pub(crate) use resolution::{Resolution, Soundness, resolution};
pub(crate) use step_metrics::ResponseLength;
pub use step_metrics::StepMetrics;
pub(crate) use validity::cell_reasons;
pub(crate) use verdict::{
    Evidence, Judgement, RatioWords, Ratios, SMALLEST_EFFECT, Verdict, ends, verdict,
};
