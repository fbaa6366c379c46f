//! Quantizations, as their libraries describe them in `config.json`.

use serde_json::{Value, json};

use super::super::format::field;

/// The precisions that `--shapes` declares: a scheme each.
pub(crate) const PRECISIONS: &str = include_str!("../../../configs/shapes/precisions.toml");

/// How weights would be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShapeScheme {
    /// As they are.
    Bf16,
    /// INT8 per channel, INT8 activations dynamic per token.
    W8a8,
    /// INT8 per channel.
    W8a16,
    /// INT4 in groups of 128.
    W4a16,
    /// FP8 per channel, FP8 activations dynamic per token.
    Fp8,
    /// FP8 in blocks of 128 x 128, FP8 activations dynamic.
    Fp8Block,
    /// FP4 in groups of 16, FP4 activations.
    Nvfp4,
}

impl ShapeScheme {
    const ALL: [Self; 7] = [
        Self::Bf16,
        Self::W8a16,
        Self::W8a8,
        Self::Fp8,
        Self::Fp8Block,
        Self::W4a16,
        Self::Nvfp4,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::W8a8 => "w8a8",
            Self::W8a16 => "w8a16",
            Self::W4a16 => "w4a16",
            Self::Fp8 => "fp8",
            Self::Fp8Block => "fp8-block",
            Self::Nvfp4 => "nvfp4",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> + Clone {
        Self::ALL.into_iter().map(Self::name)
    }

    /// The word of `ModelSlim` for it; absent where rollbench knows none.
    pub(super) fn of_model_slim(self) -> Option<&'static str> {
        match self {
            Self::W8a8 => Some("W8A8_DYNAMIC"),
            Self::W8a16 => Some("W8A16"),
            _ => None,
        }
    }

    /// The `quantization_config` of a model with this config; absent for plain weights. The head, the router's gate and
    /// the embeddings stay as they are.
    pub(in crate::checkpoint) fn quantization(self, config: &Value) -> Option<Value> {
        let (format, weights, inputs) = match self {
            Self::Bf16 => return None,
            Self::Fp8Block => return Some(blocks(config)),
            Self::W8a8 => (
                "int-quantized",
                numbers("int", 8, "channel", None),
                dynamic("int", 8, "token", None, true),
            ),
            Self::W8a16 => (
                "pack-quantized",
                numbers("int", 8, "channel", None),
                Value::Null,
            ),
            Self::W4a16 => (
                "pack-quantized",
                numbers("int", 4, "group", Some(128)),
                Value::Null,
            ),
            Self::Fp8 => (
                "float-quantized",
                numbers("float", 8, "channel", None),
                dynamic("float", 8, "token", None, true),
            ),
            Self::Nvfp4 => (
                "nvfp4-pack-quantized",
                numbers("float", 4, "tensor_group", Some(16)),
                dynamic("float", 4, "tensor_group", Some(16), "local"),
            ),
        };
        Some(json!({
            "quant_method": "compressed-tensors",
            "format": format,
            "quantization_status": "compressed",
            "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": weights,
                "input_activations": inputs,
            }},
            "ignore": ["lm_head", "re:.*mlp\\.gate$"],
        }))
    }
}

fn numbers(kind: &str, bits: u32, strategy: &str, group: Option<u32>) -> Value {
    dynamic(kind, bits, strategy, group, false)
}

fn dynamic(
    kind: &str,
    bits: u32,
    strategy: &str,
    group: Option<u32>,
    dynamic: impl Into<Value>,
) -> Value {
    json!({
        "num_bits": bits,
        "type": kind,
        "strategy": strategy,
        "group_size": group,
        "symmetric": true,
        "dynamic": dynamic.into(),
    })
}

/// vLLM compares these names as they are: each gate by its own.
fn blocks(config: &Value) -> Value {
    let gates = match field(config, "num_experts") {
        Some(_) => field(config, "num_hidden_layers").and_then(Value::as_u64),
        None => None,
    };
    let gates = (0..gates.unwrap_or(0)).map(|layer| format!("model.layers.{layer}.mlp.gate"));
    let kept: Vec<String> = std::iter::once("lm_head".to_owned()).chain(gates).collect();
    json!({
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": kept,
    })
}
