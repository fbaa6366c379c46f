//! What a faster rollout means for the whole training step.

use serde::Serialize;

use super::interval::{Estimate, Interval};

/// Where the time of a training step goes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepTime {
    /// Generation: verl's `timing_s/gen`.
    pub generation_s: f64,
    /// Everything else that stays as it is.
    pub rest_s: f64,
    /// The weight sync of the low precision (quantizing included) minus that of the baseline; 0 if equal.
    pub extra_sync_s: f64,
}

/// A step time that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StepTimeError {
    /// Not `name=seconds`.
    #[error("`{0}` is not `gen=SECONDS`, `rest=SECONDS` or `sync=SECONDS`")]
    Part(String),
    /// Not a time.
    #[error("{name}={value}: a time is a number of seconds, 0 at least")]
    Value {
        /// Its name.
        name: String,
        /// What was said.
        value: String,
    },
    /// Said twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// Not said.
    #[error("`{0}=SECONDS` is missing")]
    Missing(&'static str),
    /// A step without generation.
    #[error("gen=0: a step without generation has nothing to gain")]
    NoGeneration,
    /// Generation does not wait for training, nor training for it.
    #[error(
        "generation overlaps training in this log ({0}), so a step does not get shorter by what generation saves, and \
         these times give no speed-up of the step"
    )]
    Overlapping(String),
    /// A log without timings.
    #[error("the log has no `{0}`; verl writes it once a step")]
    NotInLog(&'static str),
}

impl std::str::FromStr for StepTime {
    type Err = StepTimeError;

    /// `gen=100,rest=60[,sync=3]`.
    fn from_str(text: &str) -> Result<Self, StepTimeError> {
        let mut known: [Option<f64>; 3] = [None; 3];
        for part in text.split(',') {
            let unknown = || StepTimeError::Part(part.trim().to_owned());
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            let (name, value) = (name.trim(), value.trim());
            let place = ["gen", "rest", "sync"]
                .iter()
                .position(|n| *n == name)
                .ok_or_else(unknown)?;
            let seconds: f64 = value.trim_end_matches('s').parse().unwrap_or(f64::NAN);
            // A weight sync may also be faster than the baseline's.
            if !seconds.is_finite() || (seconds < 0.0 && name != "sync") {
                return Err(StepTimeError::Value {
                    name: name.to_owned(),
                    value: value.to_owned(),
                });
            }
            if known[place].replace(seconds).is_some() {
                return Err(StepTimeError::Twice(name.to_owned()));
            }
        }
        let generation_s = known[0].ok_or(StepTimeError::Missing("gen"))?;
        if generation_s == 0.0 {
            return Err(StepTimeError::NoGeneration);
        }
        Ok(Self {
            generation_s,
            rest_s: known[1].ok_or(StepTimeError::Missing("rest"))?,
            extra_sync_s: known[2].unwrap_or(0.0),
        })
    }
}

/// The whole training step, faster or slower.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NetEffect {
    /// Speed-up of the step.
    pub ratio: f64,
    /// From the interval of the generation's speed-up; absent without one.
    pub interval: Option<Interval>,
    /// What the step saves, in seconds; below 0: loses.
    pub saved_s: f64,
    /// The extra cost of a weight sync at which nothing is won; below 0 if generation is slower already.
    pub break_even_sync_s: f64,
}

/// The step's speed-up when generation is faster by `speed_up`: Amdahl's law with the extra weight sync.
pub(crate) fn net_effect(time: StepTime, speed_up: &Estimate) -> NetEffect {
    let before = time.generation_s + time.rest_s;
    let after = |ratio: f64| time.generation_s / ratio + time.rest_s + time.extra_sync_s;
    NetEffect {
        ratio: before / after(speed_up.ratio),
        interval: speed_up.interval.map(|i| Interval {
            low: before / after(i.low),
            high: before / after(i.high),
            ..i
        }),
        saved_s: before - after(speed_up.ratio),
        break_even_sync_s: time.generation_s * (1.0 - 1.0 / speed_up.ratio),
    }
}

impl NetEffect {
    /// What a summary says of it.
    pub fn sentence(&self, cell: &str, time: StepTime) -> String {
        let share = 100.0 * time.generation_s / (time.generation_s + time.rest_s);
        let interval = self
            .interval
            .map(|i| format!(" ({:.3}-{:.3})", i.low, i.high))
            .unwrap_or_default();
        let sync = if self.break_even_sync_s > 0.0 {
            format!(
                "nothing is won once a weight sync costs {:.1} s more",
                self.break_even_sync_s
            )
        } else {
            "no weight sync is cheap enough to win".to_owned()
        };
        format!(
            "{cell}: the whole training step {:.3}x as fast{interval}, generation being {share:.0} % of it; {sync}",
            self.ratio
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::interval::paired;
    use proptest::prelude::*;

    #[test]
    fn amdahl_limits_what_a_rollout_wins() {
        let time: StepTime = "gen=100,rest=60".parse().expect("a time");
        let speed_up = paired(&[1.25_f64.ln()], 1).expect("a block");
        let found = net_effect(time, &speed_up);
        assert!((found.ratio - 160.0 / 140.0).abs() < 1e-12);
        assert!((found.break_even_sync_s - 20.0).abs() < 1e-9);
        assert_eq!(found.interval, None);
        insta::assert_snapshot!(found.sentence("W8A8", time), @"W8A8: the whole training step 1.143x as fast, generation being 62 % of it; nothing is won once a weight sync costs 20.0 s more");
    }

    #[test]
    fn a_slow_sync_eats_the_gain_and_the_interval_follows() {
        let time: StepTime = "gen=100, rest=60, sync=20s".parse().expect("a time");
        let d: Vec<f64> = [1.2_f64, 1.3, 1.25].iter().map(|x| x.ln()).collect();
        let speed_up = paired(&d, 1).expect("blocks");
        let found = net_effect(time, &speed_up);
        assert!((found.ratio - 1.0).abs() < 0.01);
        let interval = found.interval.expect("blocks");
        assert!(interval.low < found.ratio && found.ratio < interval.high);
        let slower = net_effect(time, &paired(&[-0.1], 1).expect("a block"));
        insta::assert_snapshot!(slower.sentence("W8A16", time), @"W8A16: the whole training step 0.840x as fast, generation being 62 % of it; no weight sync is cheap enough to win");
    }

    #[test]
    fn impossible_times_are_refused() {
        let said = |text: &str| text.parse::<StepTime>().expect_err("refused").to_string();
        insta::assert_snapshot!(said("gen=-3,rest=60"), @"gen=-3: a time is a number of seconds, 0 at least");
        insta::assert_snapshot!(said("gen=NaN,rest=60"), @"gen=NaN: a time is a number of seconds, 0 at least");
        insta::assert_snapshot!(said("gen=100"), @"`rest=SECONDS` is missing");
        insta::assert_snapshot!(said("gen=100,rest=6,gen=2"), @"`gen` is given twice");
        insta::assert_snapshot!(said("gen=0,rest=6"), @"gen=0: a step without generation has nothing to gain");
        insta::assert_snapshot!(said("100"), @"`100` is not `gen=SECONDS`, `rest=SECONDS` or `sync=SECONDS`");
    }

    proptest! {
        #[test]
        fn break_even_is_where_the_step_stays_as_it_is(generation in 1.0f64..500.0, rest in 0.0f64..500.0, d in -0.3f64..0.6) {
            let speed_up = paired(&[d], 1).expect("a block");
            let time = StepTime { generation_s: generation, rest_s: rest, extra_sync_s: 0.0 };
            let sync = net_effect(time, &speed_up).break_even_sync_s;
            let even = net_effect(StepTime { extra_sync_s: sync, ..time }, &speed_up);
            prop_assert!((even.ratio - 1.0).abs() < 1e-9);
        }
    }
}
