//! The number format of a checkpoint's weights, from `config.json` or `ModelSlim`'s description.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

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
    /// Absent if the words do not tell.
    pub scheme: Option<Scheme>,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Scheme {
    fn of_text(text: &str) -> Option<Self> {
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
        let float = |bits| Self {
            kind: NumberKind::Float,
            weights: bits,
            activations: bits,
        };
        match name.to_lowercase().as_str() {
            "bf16" | "fp16" | "f16" => Some(float(16)),
            fp8 if fp8.starts_with("fp8") => Some(float(8)),
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
    /// From `ModelSlim`'s `quant_model_description.json`.
    pub(crate) fn of_modelslim(description: &Value) -> Self {
        let named = description.get("model_quant_type").and_then(Value::as_str);
        let kind = named.map_or_else(|| most_frequent(description), str::to_owned);
        Self {
            scheme: Scheme::of_text(&kind),
            name: format!("ModelSlim {kind}"),
        }
    }

    /// From `config.json`; absent if it does not say.
    pub(crate) fn of_config(config: &Value) -> Option<Self> {
        let quantization = config
            .get("quantization_config")
            .or_else(|| config.get("compression_config"))
            .filter(|q| q.is_object());
        match quantization {
            Some(quantization) => Some(Self::of_quantization(quantization)),
            None => Self::of_dtype(config),
        }
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
                });
            }
        };
        Some(Self {
            name: name.to_owned(),
            scheme: Some(Scheme {
                kind: NumberKind::Float,
                weights: bits,
                activations: bits,
            }),
        })
    }

    fn of_quantization(quantization: &Value) -> Self {
        let method = text(quantization, "quant_method").unwrap_or("unknown method");
        match method {
            "compressed-tensors" => Self::of_compressed_tensors(quantization),
            "fp8" | "fbgemm_fp8" => Self::of_fp8(method, quantization),
            "gptq" | "awq" => {
                let bits = number(quantization, "bits").or_else(|| number(quantization, "w_bit"));
                let group = group(number(quantization, "group_size"));
                let scheme = bits.map(|bits| Scheme {
                    kind: NumberKind::Int,
                    weights: bits,
                    activations: 16,
                });
                let widths = bits.map_or(String::new(), |bits| format!(" W{bits}A16"));
                Self {
                    name: format!("{method}{widths}{group}"),
                    scheme,
                }
            }
            other => Self {
                name: other.to_owned(),
                scheme: None,
            },
        }
    }

    fn of_fp8(method: &str, quantization: &Value) -> Self {
        let activations = text(quantization, "activation_scheme").unwrap_or("dynamic");
        let block = quantization
            .get("weight_block_size")
            .and_then(Value::as_array)
            .map(|sides| {
                let sides: Vec<String> = sides.iter().map(Value::to_string).collect();
                format!(" block {}", sides.join("x"))
            });
        Self {
            name: format!("{method}{} {activations}", block.unwrap_or_default()),
            scheme: Some(Scheme {
                kind: NumberKind::Float,
                weights: 8,
                activations: 8,
            }),
        }
    }

    fn of_compressed_tensors(quantization: &Value) -> Self {
        let format = text(quantization, "format").unwrap_or("");
        let group_0 = quantization
            .get("config_groups")
            .and_then(Value::as_object)
            .and_then(|groups| groups.values().next());
        let weights = group_0.and_then(|g| g.get("weights"));
        let inputs = group_0
            .and_then(|g| g.get("input_activations"))
            .filter(|inputs| inputs.is_object());
        let mut words = vec!["compressed-tensors".to_owned()];
        if !format.is_empty() {
            words.push(format.to_owned());
        }
        let kind = match weights.and_then(|w| text(w, "type")) {
            Some("float") => NumberKind::Float,
            _ => NumberKind::Int,
        };
        let scheme = weights
            .and_then(|w| number(w, "num_bits"))
            .map(|bits| Scheme {
                kind,
                weights: bits,
                activations: inputs.and_then(|i| number(i, "num_bits")).unwrap_or(16),
            });
        if let Some(scheme) = scheme {
            if scheme.kind == NumberKind::Float {
                words.push(format!("FP{}", scheme.weights));
            }
            words.push(format!("W{}A{}", scheme.weights, scheme.activations));
        }
        if let Some(inputs) = inputs {
            let dynamic = match inputs.get("dynamic") {
                Some(Value::Bool(false)) | None => "static",
                Some(_) => "dynamic",
            };
            words.push(dynamic.to_owned());
        }
        let group = group(weights.and_then(|w| number(w, "group_size")));
        Self {
            name: words.join(" ") + &group,
            scheme,
        }
    }
}

/// A field of `config.json`, or of the text model inside a multimodal one.
pub(crate) fn field<'a>(config: &'a Value, name: &str) -> Option<&'a Value> {
    config
        .get(name)
        .or_else(|| config.get("text_config")?.get(name))
        .filter(|value| !value.is_null())
}

fn group(size: Option<u32>) -> String {
    size.map_or(String::new(), |size| format!(" group {size}"))
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn number(value: &Value, name: &str) -> Option<u32> {
    value.get(name)?.as_u64()?.try_into().ok()
}

fn digits(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The commonest format among the layers that are not plain floats.
fn most_frequent(description: &Value) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in description
        .as_object()
        .into_iter()
        .flat_map(|layers| layers.values())
        .filter_map(Value::as_str)
        .filter(|kind| *kind != "FLOAT" && Scheme::of_text(kind).is_some())
    {
        *counts.entry(kind).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map_or("FLOAT", |(kind, _)| kind)
        .to_owned()
}

#[cfg(test)]
mod tests {
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
    fn modelslim_is_named_by_its_description() {
        let said = json!({"model_quant_type": "W8A8_DYNAMIC", "a.weight": "FLOAT"});
        assert_eq!(Format::of_modelslim(&said).name, "ModelSlim W8A8_DYNAMIC");
        let unsaid = json!({"a": "FLOAT", "b": "W8A16", "c": "W8A16", "d": "W8A8"});
        assert_eq!(Format::of_modelslim(&unsaid).name, "ModelSlim W8A16");
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
