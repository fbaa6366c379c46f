//! The number format of a checkpoint's weights.

use std::fmt;

use serde_json::Value;

use super::quantization;

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberKind {
    /// Integers with a scale.
    Int,
    /// Floating point.
    Float,
}

/// Widths of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scheme {
    /// Of the weights.
    pub kind: NumberKind,
    /// Bits of a weight.
    pub weights: u32,
    /// Bits of an activation in the matrix product.
    pub activations: u32,
}

/// What a checkpoint's files say that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    /// In words: `BF16`, `compressed-tensors int-quantized W8A8 dynamic`, `ModelSlim W8A8_DYNAMIC` ...
    pub name: String,
    /// Absent if the words do not tell, or tell of several.
    pub scheme: Option<Scheme>,
    /// The method of the quantization, as vLLM names it: `compressed-tensors`, `fp8`, `ascend` ...; absent for floats.
    pub method: Option<String>,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Scheme {
    /// Of floats with so many bits, computed as they are stored.
    pub(super) fn float(bits: u32) -> Self {
        Self {
            kind: NumberKind::Float,
            weights: bits,
            activations: bits,
        }
    }

    pub(super) fn of_text(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let at = lower.find('w')?;
        let (weights, rest) = digits(&lower[at + 1..])?;
        let (activations, _) = digits(rest.strip_prefix('a')?)?;
        Some(Self {
            kind: NumberKind::Int,
            weights,
            activations,
        })
    }

    /// What a precision of this name is expected to be; absent for names that say nothing.
    pub(crate) fn of_precision(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "bf16" | "fp16" | "f16" => Some(Self::float(16)),
            fp8 if fp8.starts_with("fp8") => Some(Self::float(8)),
            other => other.starts_with('w').then(|| Self::of_text(other))?,
        }
    }

    /// Whether a checkpoint of this format may be called by a precision that expects `expected`. A name like `w8a8` does
    /// not say whether its numbers are integers.
    pub(crate) fn agrees_with(self, expected: Self) -> bool {
        let widths = (self.weights, self.activations) == (expected.weights, expected.activations);
        widths && (expected.kind == NumberKind::Int || self.kind == NumberKind::Float)
    }
}

impl Format {
    /// From `config.json`; absent if it does not say. A quantization may stand in the text model of a multimodal one.
    pub(crate) fn of_config(config: &Value) -> Option<Self> {
        quantization_of(config)
            .map(Self::of_quantization)
            .or_else(|| Self::of_dtype(config))
    }

    /// Whether its weights are more than stored floats.
    pub(crate) fn is_quantized(&self) -> bool {
        self.method.is_some()
    }

    fn of_dtype(config: &Value) -> Option<Self> {
        let dtype = field(config, "dtype").or_else(|| field(config, "torch_dtype"))?;
        let (name, bits) = match dtype.as_str()?.trim_start_matches("torch.") {
            "bfloat16" => ("BF16", 16),
            "float16" | "half" => ("FP16", 16),
            "float32" | "float" => ("FP32", 32),
            other => {
                return Some(Self {
                    name: other.to_owned(),
                    scheme: None,
                    method: None,
                });
            }
        };
        Some(Self {
            name: name.to_owned(),
            scheme: Some(Scheme::float(bits)),
            method: None,
        })
    }

    /// From the block that describes a quantization, wherever it stood.
    pub(crate) fn of_quantization(quantization: &Value) -> Self {
        quantization::format(quantization)
    }
}

/// The block that describes a quantization; absent if there is none.
pub(super) fn quantization_of(config: &Value) -> Option<&Value> {
    ["quantization_config", "compression_config"]
        .into_iter()
        .find_map(|name| {
            field(config, name).filter(|q| q.as_object().is_some_and(|q| !q.is_empty()))
        })
}

/// A field of `config.json`, or of the text model inside a multimodal one.
pub(crate) fn field<'a>(config: &'a Value, name: &str) -> Option<&'a Value> {
    config
        .get(name)
        .or_else(|| config.get("text_config")?.get(name))
        .filter(|value| !value.is_null())
}

fn digits(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::super::modelslim;
    use super::*;
    use serde_json::json;

    fn named(config: &Value) -> String {
        Format::of_config(config).map_or("unknown".to_owned(), |f| f.name)
    }

    fn compressed(format: &str, weights: &Value, inputs: &Value) -> Value {
        json!({"quantization_config": {
            "quant_method": "compressed-tensors", "format": format,
            "config_groups": {"group_0": {"weights": weights, "input_activations": inputs}}}})
    }

    #[test]
    fn plain_formats_are_named_by_their_dtype() {
        assert_eq!(named(&json!({"torch_dtype": "bfloat16"})), "BF16");
        assert_eq!(named(&json!({"dtype": "float16"})), "FP16");
        assert_eq!(named(&json!({"text_config": {"dtype": "float32"}})), "FP32");
        assert_eq!(named(&json!({})), "unknown");
    }

    #[test]
    fn quantized_formats_are_named_by_their_own_words() {
        let int8 = json!({"num_bits": 8, "type": "int", "group_size": null});
        let token = json!({"num_bits": 8, "type": "int", "dynamic": true});
        assert_eq!(
            named(&compressed("int-quantized", &int8, &token)),
            "compressed-tensors int-quantized W8A8 dynamic"
        );
        let int4 = json!({"num_bits": 4, "type": "int", "group_size": 64});
        assert_eq!(
            named(&compressed("pack-quantized", &int4, &Value::Null)),
            "compressed-tensors pack-quantized W4A16 group 64"
        );
        let float8 = json!({"num_bits": 8, "type": "float"});
        assert_eq!(
            named(&compressed("float-quantized", &float8, &float8)),
            "compressed-tensors float-quantized FP8 W8A8 static"
        );
        assert_eq!(
            named(&json!({"quantization_config": {"quant_method": "fp8",
                "activation_scheme": "dynamic", "weight_block_size": [128, 128]}})),
            "fp8 block 128x128 dynamic"
        );
        assert_eq!(
            named(&json!({"quantization_config":
                {"quant_method": "awq", "bits": 4, "group_size": 128}})),
            "awq W4A16 group 128"
        );
    }

    #[test]
    fn every_method_is_named_with_what_it_tells_of_widths() {
        let cases = [
            (
                json!({"quant_method": "mxfp4"}),
                "mxfp4 W4A16 group 32",
                Some((4, 16)),
            ),
            (
                json!({"quant_method": "awq", "w_bit": 4, "q_group_size": 128}),
                "awq W4A16 group 128",
                Some((4, 16)),
            ),
            (
                json!({"w_bit": 4, "q_group_size": 64, "version": "GEMM"}),
                "awq W4A16 group 64",
                Some((4, 16)),
            ),
            (
                json!({"quant_method": "auto-round", "bits": 4, "group_size": 128}),
                "auto-round W4A16 group 128",
                Some((4, 16)),
            ),
            (
                json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}),
                "bitsandbytes nf4 W4A16",
                Some((4, 16)),
            ),
            (
                json!({"quant_method": "bitsandbytes", "load_in_8bit": true}),
                "bitsandbytes 8 bit",
                None,
            ),
            (
                json!({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 128}}}}),
                "torchao Int4WeightOnlyConfig W4A16 group 128",
                Some((4, 16)),
            ),
            (
                json!({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8DynamicActivationFloat8WeightConfig"}}}),
                "torchao Float8DynamicActivationFloat8WeightConfig FP8 W8A8",
                Some((8, 8)),
            ),
            (
                json!({"quant_method": "torchao", "quant_type": "int8_dynamic_activation_int8_weight"}),
                "torchao int8_dynamic_activation_int8_weight W8A8",
                Some((8, 8)),
            ),
            (
                json!({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}, "input_tensors": {"dtype": "fp8_e4m3"}}}),
                "quark FP8 W8A8",
                Some((8, 8)),
            ),
            (
                json!({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int4", "group_size": 128}, "input_tensors": null}}),
                "quark W4A16 group 128",
                Some((4, 16)),
            ),
            (
                json!({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}),
                "modelopt FP8 W8A8, FP8 KV cache",
                Some((8, 8)),
            ),
            (
                json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": null, "group_size": 16}}),
                "modelopt NVFP4 W4A4 group 16",
                Some((4, 4)),
            ),
            (
                json!({"quantization": {"quant_algo": "W4A8_AWQ", "group_size": 128}}),
                "modelopt W4A8_AWQ group 128",
                Some((4, 8)),
            ),
            (
                json!({"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": {
                    "a": {"quant_algo": "FP8"}, "b": {"quant_algo": "NVFP4", "group_size": 16}, "c": {"quant_algo": "FP8"}}}}),
                "modelopt FP8 W8A8 + NVFP4 W4A4 group 16",
                None,
            ),
            (
                json!({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}, "input_tensors": {"dtype": "fp8_e4m3"}},
                    "layer_quant_config": {"*down_proj": {"weight": {"dtype": "int8"}, "input_tensors": {"dtype": "int8"}}}}),
                "quark FP8 W8A8 + W8A8",
                None,
            ),
            (
                json!({"quantization": {"quant_algo": "MIXED_PRECISION"}}),
                "modelopt MIXED_PRECISION",
                None,
            ),
            (json!({"quant_method": "aqlm"}), "aqlm", None),
            (
                json!({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized",
                "kv_cache_scheme": {"num_bits": 8, "type": "float"},
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16},
                    "input_activations": {"num_bits": 4, "type": "float", "dynamic": "local"}}}}),
                "compressed-tensors nvfp4-pack-quantized FP4 W4A4 dynamic group 16, FP8 KV cache",
                Some((4, 4)),
            ),
        ];
        for (quantization, name, widths) in cases {
            for config in [
                json!({"dtype": "bfloat16", "quantization_config": quantization}),
                json!({"text_config": {"dtype": "bfloat16", "quantization_config": quantization}}),
            ] {
                let format = Format::of_config(&config).expect("told");
                assert_eq!(format.name, name);
                assert_eq!(
                    format.scheme.map(|s| (s.weights, s.activations)),
                    widths,
                    "{name}"
                );
                assert!(format.is_quantized());
            }
        }
        assert_eq!(
            named(&json!({"dtype": "bfloat16", "quantization_config": {}})),
            "BF16"
        );
    }

    #[test]
    fn all_groups_are_named_and_different_ones_have_no_one_scheme() {
        let group = |bits: u32, inputs: Value| json!({"weights": {"num_bits": bits, "type": "int"}, "input_activations": inputs});
        let token = json!({"num_bits": 8, "type": "int", "dynamic": true});
        let of = |groups: Value| {
            Format::of_quantization(&json!({"quant_method": "compressed-tensors",
                "format": "mixed-precision", "config_groups": groups}))
        };
        let two = of(json!({"group_0": group(8, token.clone()), "group_1": group(4, Value::Null)}));
        assert_eq!(
            two.name,
            "compressed-tensors mixed-precision W8A8 dynamic + W4A16"
        );
        assert_eq!(two.scheme, None);
        let same = of(json!({"group_0": group(4, Value::Null), "group_1": group(4, Value::Null)}));
        assert_eq!(same.name, "compressed-tensors mixed-precision W4A16");
        assert!(same.scheme.is_some());
    }

    #[test]
    fn modelslim_is_named_by_its_description() {
        let said = json!({"model_quant_type": "W8A8_DYNAMIC", "a.weight": "FLOAT"});
        assert_eq!(modelslim::format(&said).name, "ModelSlim W8A8_DYNAMIC");
        let unsaid = json!({"a": "FLOAT", "b": "W8A16", "c": "W8A16", "d": "W8A8"});
        assert_eq!(modelslim::format(&unsaid).name, "ModelSlim W8A16 + W8A8");
    }

    #[test]
    fn a_precision_s_name_is_held_against_what_the_files_say() {
        let bf16 = Format::of_config(&json!({"dtype": "bfloat16"}))
            .and_then(|f| f.scheme)
            .expect("told");
        let agrees = |name: &str| Scheme::of_precision(name).map(|e| bf16.agrees_with(e));
        assert_eq!(agrees("bf16"), Some(true));
        assert_eq!(agrees("w8a8"), Some(false));
        assert_eq!(agrees("fp8-kv"), Some(false));
        assert_eq!(agrees("mine"), None);
    }
}
