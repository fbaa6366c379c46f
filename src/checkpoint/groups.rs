//! Weights that share a scale in groups: each device's part of a layer has to be a multiple of them.

use serde_json::Value;

use super::format::{field, quantization_of};

/// Groups, and the widths that tensor parallelism divides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Weights in a group along a width.
    size: u64,
    /// What is divided, by its key in the config; of a sparse model the width of its experts.
    widths: Vec<(&'static str, u64)>,
}

impl Groups {
    /// From `config.json`; absent if its quantization has no groups of a fixed size.
    pub(super) fn of(config: &Value) -> Option<Self> {
        let quantization = quantization_of(config)?;
        let block = || quantization.get("weight_block_size")?.get(0)?.as_u64();
        let group = || {
            let groups = quantization.get("config_groups")?.as_object()?;
            groups
                .values()
                .find_map(|group| group.get("weights")?.get("group_size")?.as_u64())
        };
        let size = block().or_else(group).filter(|size| *size > 1)?;
        let number = |name| field(config, name).and_then(Value::as_u64);
        let mlp = ["moe_intermediate_size", "intermediate_size"]
            .into_iter()
            .find_map(|name| Some((name, number(name)?)));
        let heads = number("num_attention_heads").zip(number("head_dim"));
        let attention =
            heads.map(|(heads, width)| ("num_attention_heads x head_dim", heads * width));
        Some(Self {
            size,
            widths: mlp.into_iter().chain(attention).collect(),
        })
    }

    /// Why so many devices cannot share a layer, in words; absent if they can.
    pub(crate) fn refusal(&self, devices: u64) -> Option<String> {
        if devices <= 1 {
            return None;
        }
        let (name, width) = self
            .widths
            .iter()
            .find(|(_, width)| width % (devices * self.size) != 0)?;
        let part = width / devices;
        Some(format!(
            "weights in groups of {}: {name} is {width}, of which each of {devices} devices gets {part}, no multiple of {}",
            self.size, self.size
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Known, ShapeScheme};
    use super::*;

    fn refusal(name: &str, scheme: ShapeScheme, devices: u64) -> Option<String> {
        let mut config = Known::of(name).expect("known").config;
        config["quantization_config"] = scheme.quantization(&config)?;
        Groups::of(&config)?.refusal(devices)
    }

    #[test]
    fn what_a_device_gets_is_whole_groups() {
        insta::assert_snapshot!(refusal("qwen3-30b-a3b", ShapeScheme::Fp8Block, 4).expect("refused"), @"weights in groups of 128: moe_intermediate_size is 768, of which each of 4 devices gets 192, no multiple of 128");
        for (name, scheme, devices) in [
            ("qwen3-30b-a3b", ShapeScheme::Fp8Block, 2),
            ("qwen3-30b-a3b", ShapeScheme::Fp8Block, 1),
            ("qwen3-30b-a3b", ShapeScheme::Fp8, 4),
            ("qwen3-30b-a3b", ShapeScheme::Nvfp4, 4),
            ("qwen3-32b", ShapeScheme::Fp8Block, 4),
            ("qwen3-1.7b", ShapeScheme::W4a16, 4),
        ] {
            assert_eq!(refusal(name, scheme, devices), None, "{name} {scheme:?}");
        }
        assert!(refusal("qwen3-30b-a3b", ShapeScheme::W4a16, 4).is_some());
    }
}
