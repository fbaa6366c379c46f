//! How long the parts of a training step take, by verl's log.

use crate::stats::net::{StepTime, StepTimeError};
use crate::stats::quantile;

/// From the log of a verl run: the medians over its steps of `timing_s/gen` and `timing_s/step`, in whichever form
/// they are printed (`timing_s/gen:12.3`, `'timing_s/gen': 12.3`, `"timing_s/gen": 12.3`). The first step warms
/// up, so it is left out where there are others.
pub(crate) fn step_time(log: &str) -> Result<StepTime, StepTimeError> {
    let generation_s =
        typical(log, "timing_s/gen").ok_or(StepTimeError::NotInLog("timing_s/gen"))?;
    let step = typical(log, "timing_s/step").ok_or(StepTimeError::NotInLog("timing_s/step"))?;
    if generation_s == 0.0 {
        return Err(StepTimeError::NoGeneration);
    }
    Ok(StepTime {
        generation_s,
        rest_s: (step - generation_s).max(0.0),
        extra_sync_s: 0.0,
    })
}

fn typical(log: &str, name: &str) -> Option<f64> {
    let mut values: Vec<f64> = log
        .match_indices(name)
        .filter_map(|(at, _)| value(&log[at + name.len()..]))
        .collect();
    if values.len() > 1 {
        values.remove(0);
    }
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The number after a name, which must end there: `timing_s/gen` is not `timing_s/generate_sequences`.
fn value(rest: &str) -> Option<f64> {
    let rest = rest
        .trim_start_matches(['\'', '"'])
        .strip_prefix([':', '='])?
        .trim_start();
    // numpy prints np.float64(12.3).
    let rest = rest.strip_prefix("np.float64(").unwrap_or(rest);
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+')))
        .unwrap_or(rest.len());
    rest[..end]
        .parse()
        .ok()
        .filter(|v: &f64| v.is_finite() && *v >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verl_log_tells_its_medians() {
        let log = "step:1 - timing_s/gen:90.0 - timing_s/generate_sequences/max:80.0 - timing_s/step:200.0\n\
                   step:2 - timing_s/gen:60.5 - timing_s/step:np.float64(100.5)\n\
                   {'timing_s/gen': 61.5, 'timing_s/step': 101.5}\n";
        let found = step_time(log).expect("timings");
        assert!((found.generation_s - 61.0).abs() < 1e-9);
        assert!((found.rest_s - 40.0).abs() < 1e-9);
        assert_eq!(
            step_time("nothing").expect_err("none").to_string(),
            "the log has no `timing_s/gen`; verl writes it once a step"
        );
    }
}
