//! From raw records to statements that hold: quantiles, metrics, intervals, verdicts. Pure functions; knows nothing
//! of files.

mod distributions;

pub use distributions::{normal_cdf, normal_quantile, t_cdf, t_critical, t_quantile};
