//! Workloads that have the shape of real rollouts.

use super::lengths::Lengths;

/// A named shape: prompt lengths, response lengths, and how alike siblings are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Preset {
    /// What `--workload` takes.
    pub name: &'static str,
    /// Prompt length in tokens.
    pub prompt: u32,
    /// The response limit of the recipe.
    pub cap: u32,
    /// Mean response length after the cut.
    pub mean: f64,
    /// Standard deviation of the logarithm of the response length; assumed, not published. 0: all the same.
    pub sigma: f64,
    /// Where mean and cap are from.
    pub source: &'static str,
}

/// Correlation between the samples of one prompt; assumed, not published.
const SIBLING_CORRELATION: f64 = 0.5;

/// All presets. Every sigma and the sibling correlation are assumptions, and so are the means marked so; the caps
/// and the other means are from the sources.
pub(crate) const PRESETS: [Preset; 6] = [
    Preset {
        name: "fixed",
        prompt: 512,
        cap: 256,
        mean: 256.0,
        sigma: 0.0,
        source: "the default",
    },
    Preset {
        name: "gsm8k",
        prompt: 150,
        cap: 1024,
        mean: 300.0,
        sigma: 0.5,
        source: "verl's GSM8K example, 512 prompts x 5 (mean assumed)",
    },
    Preset {
        name: "math-4k",
        prompt: 200,
        cap: 4096,
        mean: 1060.0,
        sigma: 0.7,
        source: "NeMo-RL, Llama-8B",
    },
    Preset {
        name: "dapo-8k",
        prompt: 200,
        cap: 8192,
        mean: 4170.0,
        sigma: 0.8,
        source: "UniRL issue 40",
    },
    Preset {
        name: "dapo-20k",
        prompt: 200,
        cap: 20_480,
        mean: 4500.0,
        sigma: 0.9,
        source: "verl's FP8 documentation (mean assumed)",
    },
    Preset {
        name: "cot-32k",
        prompt: 2048,
        cap: 32_768,
        mean: 12_800.0,
        sigma: 0.8,
        source: "verl's documentation of asynchronous training",
    },
];

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no workload `{name}`; there are {}", names().join(", "))]
pub(crate) struct UnknownPreset {
    /// The name asked for.
    pub name: String,
    /// The preset with the nearest name; absent if none is near.
    pub nearest: Option<&'static str>,
}

/// The names of all presets.
fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|p| p.name).collect()
}

impl Preset {
    /// The preset called `name`.
    pub(crate) fn named(name: &str) -> Result<Self, UnknownPreset> {
        PRESETS
            .into_iter()
            .find(|p| p.name == name)
            .ok_or_else(|| UnknownPreset {
                name: name.to_owned(),
                nearest: names()
                    .into_iter()
                    .map(|known| (strsim::damerau_levenshtein(known, name), known))
                    .filter(|(distance, _)| *distance <= 3)
                    .min()
                    .map(|(_, known)| known),
            })
    }

    /// Its prompt lengths.
    pub(crate) fn prompt_lengths(&self) -> Lengths {
        Lengths::Fixed {
            tokens: self.prompt,
        }
    }

    /// Its response lengths.
    pub(crate) fn response_lengths(&self) -> Lengths {
        if self.sigma == 0.0 {
            Lengths::Fixed { tokens: self.cap }
        } else {
            Lengths::Lognormal {
                mean: self.mean,
                sigma: self.sigma,
                cap: self.cap,
            }
        }
    }

    /// How alike the samples of one prompt are.
    pub(crate) fn sibling_correlation(&self) -> f64 {
        if self.sigma == 0.0 {
            0.0
        } else {
            SIBLING_CORRELATION
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{WorkloadSpec, describe};

    /// Name, p50, p90, p99, percent at the cap: computed from mu and sigma as published with the presets, by hand
    /// and independently of this code.
    const TABLE: [(&str, u32, u32, u32, f64); 6] = [
        ("fixed", 256, 256, 256, 100.0),
        ("gsm8k", 265, 504, 850, 0.3),
        ("math-4k", 842, 2070, 4096, 1.2),
        ("dapo-8k", 3604, 8192, 8192, 15.0),
        ("dapo-20k", 3119, 9917, 20_480, 1.8),
        ("cot-32k", 10_175, 28_447, 32_768, 7.2),
    ];

    #[test]
    fn presets_have_the_quantiles_of_their_table() {
        for (name, p50, p90, p99, at_cap) in TABLE {
            let preset = Preset::named(name).expect("there");
            let lengths = preset.response_lengths();
            lengths.check().expect("possible");
            let quantiles = lengths.quantiles();
            for (u, expected) in [(0.5, p50), (0.9, p90), (0.99, p99)] {
                let found = quantiles.at(u);
                let error = (f64::from(found) / f64::from(expected) - 1.0).abs();
                assert!(error < 0.015, "{name} at {u}: {found}, not {expected}");
            }
            let found = 100.0 * quantiles.share_at(preset.cap);
            assert!(
                (found - at_cap).abs() < 0.5,
                "{name} at the cap: {found}, not {at_cap}"
            );
        }
    }

    #[test]
    fn a_drawn_preset_has_its_mean() {
        for preset in PRESETS {
            let spec = WorkloadSpec {
                prompt: preset.prompt_lengths(),
                response: preset.response_lengths(),
                sibling_correlation: preset.sibling_correlation(),
                ..WorkloadSpec::fixed(32, 8, 1, 1)
            };
            let mean = describe(&spec, 0).response.mean;
            assert!(
                (mean / preset.mean - 1.0).abs() < 0.01,
                "{} {mean}",
                preset.name
            );
        }
    }

    #[test]
    fn a_near_miss_names_the_nearest() {
        let error = Preset::named("math4k").expect_err("a typo");
        assert_eq!(error.nearest, Some("math-4k"));
        assert_eq!(
            error.to_string(),
            "there is no workload `math4k`; there are fixed, gsm8k, math-4k, dapo-8k, dapo-20k, cot-32k"
        );
    }
}
