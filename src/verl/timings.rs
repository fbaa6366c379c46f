//! How long the parts of a training step take, by verl's log.

use crate::stats::net::{StepTime, StepTimeError};
use crate::stats::quantile;

/// What the trainer does one after the other in a step, beside generation; each is in `timing_s/step`.
const SERIAL: [&str; 6] = [
    "timing_s/old_log_prob",
    "timing_s/ref",
    "timing_s/values",
    "timing_s/adv",
    "timing_s/update_critic",
    "timing_s/update_actor",
];

/// What only trainers log whose generation runs beside training: one step off, and fully asynchronous.
const BESIDE: [&str; 2] = ["timing_s/wait_prev_gen", "fully_async/"];

/// The parts of a serial step may exceed it by so much: each is a median of its own.
const ROUNDING: f64 = 1.02;

/// From the log of a verl run: the medians over its steps of `timing_s/gen` and `timing_s/step`, in whichever form
/// they are printed (`timing_s/gen:12.3`, `'timing_s/gen': 12.3`, `"timing_s/gen": 12.3`). The first step warms
/// up, so it is left out where there are others.
///
/// # Errors
/// Also where generation overlaps training: then Amdahl's law does not hold.
pub(crate) fn step_time(log: &str) -> Result<StepTime, StepTimeError> {
    let overlapping = |why: String| Err(StepTimeError::Overlapping(why));
    if let Some(name) = BESIDE.into_iter().find(|name| log.contains(name)) {
        return overlapping(format!("it has `{name}`"));
    }
    let step = typical(log, "timing_s/step").ok_or(StepTimeError::NotInLog("timing_s/step"))?;
    let Some(generation_s) = typical(log, "timing_s/gen") else {
        return overlapping("its steps have no `timing_s/gen`".to_owned());
    };
    if generation_s == 0.0 {
        return Err(StepTimeError::NoGeneration);
    }
    let others = SERIAL.iter().filter_map(|name| typical(log, name));
    let serial_s = generation_s + others.sum::<f64>();
    if generation_s > step || serial_s > ROUNDING * step {
        return overlapping(format!(
            "generation and the other parts take {serial_s:.1} s, the step {step:.1} s"
        ));
    }
    Ok(StepTime {
        generation_s,
        rest_s: step - generation_s,
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
            "the log has no `timing_s/step`; verl writes it once a step"
        );
    }

    #[test]
    fn generation_beside_training_gives_no_speed_up() {
        for log in [
            "timing_s/wait_prev_gen:3.0 - timing_s/gen:50.0 - timing_s/step:60.0",
            "fully_async/count/stale:1 - timing_s/gen:50.0 - timing_s/step:60.0",
            "timing_s/update_actor:50.0 - timing_s/step:60.0",
            "timing_s/gen:70.0 - timing_s/step:60.0",
            "timing_s/gen:40.0 - timing_s/ref:5.0 - timing_s/update_actor:30.0 - timing_s/step:60.0",
        ] {
            let found = step_time(log);
            assert!(
                matches!(found, Err(StepTimeError::Overlapping(_))),
                "{log}: {found:?}"
            );
        }
        let serial = "timing_s/gen:40.0 - timing_s/update_actor:20.0 - timing_s/step:60.0";
        assert!((step_time(serial).expect("serial").rest_s - 20.0).abs() < 1e-9);
    }
}
