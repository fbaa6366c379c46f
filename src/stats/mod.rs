//! From raw records to statements that hold: quantiles, metrics, intervals, verdicts. Pure functions; knows nothing
//! of files.

mod cell_metrics;
mod distributions;
mod quantiles;
mod step_metrics;

pub use cell_metrics::{
    BlockLog, CellMetrics, StepRow, block_logs, counted_starts, counted_steps, step_rows,
};
pub use distributions::{normal_cdf, normal_quantile, t_cdf, t_critical, t_quantile};
pub use quantiles::{Distribution, quantile};
pub use step_metrics::{Latency, ResponseLength, StepMetrics};
