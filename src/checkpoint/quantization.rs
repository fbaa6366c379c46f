//! What a quantization is, from the block in which its library describes it.

use serde_json::Value;

use super::format::{Format, NumberKind, Scheme};

/// Methods that quantize the weights alone, and say with how many bits.
const WEIGHT_ONLY: [&str; 9] = [
    "gptq",
    "gptq_marlin",
    "awq",
    "awq_marlin",
    "auto-round",
    "auto_round",
    "inc",
    "hqq",
    "eetq",
];

/// The format that `quantization` (of `config.json`, or a file of its own) describes.
pub(super) fn format(quantization: &Value) -> Format {
    // ModelOpt's own file holds the block within another one; old AWQ files name no method.
    let inner = quantization.get("quantization").unwrap_or(quantization);
    let method = match text(quantization, "quant_method") {
        Some(method) => method,
        None if inner.get("quant_algo").is_some() => "modelopt",
        None if inner.get("w_bit").is_some() => "awq",
        None if inner.get("bits").is_some() => "gptq",
        None => "unknown method",
    };
    let (words, scheme) = match method {
        "compressed-tensors" => compressed_tensors(quantization),
        "fp8" | "fbgemm_fp8" => fp8(quantization),
        "modelopt" | "modelopt_fp4" | "modelopt_mxfp8" | "modelopt_mixed" => model_opt(inner),
        "mxfp4" | "gpt_oss_mxfp4" => {
            let scheme = weight_only(NumberKind::Float, 4);
            (format!("{} group 32", widths(scheme)), Some(scheme))
        }
        "bitsandbytes" => bits_and_bytes(quantization),
        "torchao" => torch_ao(quantization),
        "quark" => quark(quantization),
        method if WEIGHT_ONLY.contains(&method) => packed(quantization),
        _ => (String::new(), None),
    };
    let mut name = format!("{method} {words}").trim_end().to_owned();
    if has_fp8_cache(quantization) || has_fp8_cache(inner) {
        name.push_str(", FP8 KV cache");
    }
    Format {
        name,
        scheme,
        method: Some(method.to_owned()),
    }
}

type Described = (String, Option<Scheme>);

fn weight_only(kind: NumberKind, bits: u32) -> Scheme {
    Scheme {
        kind,
        weights: bits,
        activations: 16,
    }
}

/// `W8A8`.
fn widths(scheme: Scheme) -> String {
    format!("W{}A{}", scheme.weights, scheme.activations)
}

/// `FP8 W8A8`, `W8A8`.
fn kind_and_widths(scheme: Scheme) -> String {
    match scheme.kind {
        NumberKind::Float => format!("FP{} {}", scheme.weights, widths(scheme)),
        NumberKind::Int => widths(scheme),
    }
}

fn packed(quantization: &Value) -> Described {
    let bits = number(quantization, "bits").or_else(|| number(quantization, "w_bit"));
    let size = number(quantization, "group_size").or_else(|| number(quantization, "q_group_size"));
    let scheme = bits.map(|bits| weight_only(NumberKind::Int, bits));
    (
        scheme.map(widths).unwrap_or_default() + &group(size),
        scheme,
    )
}

fn fp8(quantization: &Value) -> Described {
    let activations = text(quantization, "activation_scheme").unwrap_or("dynamic");
    let block = quantization
        .get("weight_block_size")
        .and_then(Value::as_array)
        .map(|sides| {
            let sides: Vec<String> = sides.iter().map(Value::to_string).collect();
            format!("block {} ", sides.join("x"))
        });
    let words = format!("{}{activations}", block.unwrap_or_default());
    (words, Some(Scheme::float(8)))
}

fn model_opt(quantization: &Value) -> Described {
    // MIXED_PRECISION: each layer names its own.
    let layers = quantization
        .get("quantized_layers")
        .and_then(Value::as_object);
    if let Some(layers) = layers.filter(|layers| !layers.is_empty()) {
        return several(layers.values().map(model_opt));
    }
    let algorithm = text(quantization, "quant_algo").unwrap_or("without an algorithm");
    let scheme = match algorithm {
        "FP8" | "FP8_PER_CHANNEL_PER_TOKEN" | "FP8_PB_REAL" | "MXFP8" => Some(Scheme::float(8)),
        "NVFP4" => Some(Scheme::float(4)),
        "FP8_PB_WO" => Some(weight_only(NumberKind::Float, 8)),
        "NVFP4_AWQ" | "W4A16_NVFP4" => Some(weight_only(NumberKind::Float, 4)),
        other => Scheme::of_text(other),
    };
    let says_it = Scheme::of_text(algorithm).is_some();
    let mut words = algorithm.to_owned();
    if let Some(scheme) = scheme.filter(|_| !says_it) {
        words = format!("{words} {}", widths(scheme));
    }
    (words + &group(number(quantization, "group_size")), scheme)
}

fn bits_and_bytes(quantization: &Value) -> Described {
    let is = |name: &str| {
        let set = |name: &str| quantization.get(name).and_then(Value::as_bool);
        set(name).or_else(|| set(&format!("_{name}"))) == Some(true)
    };
    if is("load_in_4bit") {
        let kind = text(quantization, "bnb_4bit_quant_type").unwrap_or("fp4");
        let scheme = weight_only(NumberKind::Int, 4);
        return (format!("{kind} {}", widths(scheme)), Some(scheme));
    }
    // Of activations it keeps outliers as floats: neither W8A8 nor W8A16.
    let words = if is("load_in_8bit") { "8 bit" } else { "" };
    (words.to_owned(), None)
}

/// Named by the class or the function that quantized: `Int8DynamicActivationInt8WeightConfig`, `int4_weight_only`.
fn torch_ao(quantization: &Value) -> Described {
    let kind = quantization.get("quant_type");
    let kind = kind.and_then(|k| k.get("default")).or(kind);
    let Some(name) = kind.and_then(|k| text(k, "_type").or(k.as_str())) else {
        return (String::new(), None);
    };
    let flat = name.to_lowercase().replace('_', "");
    let bits = |after: &str| {
        let (kind, at) = [("int", NumberKind::Int), ("float", NumberKind::Float)]
            .into_iter()
            .find_map(|(word, kind)| Some((kind, after.strip_prefix(word)?)))?;
        let digits: String = at.chars().take_while(char::is_ascii_digit).collect();
        Some((kind, digits.parse::<u32>().ok()?))
    };
    let scheme = match flat.split_once("dynamicactivation") {
        Some((activations, weights)) => bits(activations).zip(bits(weights)).map(|(a, w)| Scheme {
            kind: w.0,
            weights: w.1,
            activations: a.1,
        }),
        None if flat.contains("weightonly") => {
            bits(&flat).map(|(kind, bits)| weight_only(kind, bits))
        }
        None => None,
    };
    let size = kind
        .and_then(|k| k.get("_data"))
        .and_then(|d| number(d, "group_size"));
    let shown = scheme.map_or(String::new(), |s| format!(" {}", kind_and_widths(s)));
    (format!("{name}{shown}{}", group(size)), scheme)
}

fn quark(quantization: &Value) -> Described {
    let layers = quantization
        .get("layer_quant_config")
        .and_then(Value::as_object);
    let layers = layers.into_iter().flat_map(|layers| layers.values());
    let all = quantization
        .get("global_quant_config")
        .into_iter()
        .chain(layers);
    several(all.map(quark_layer))
}

fn quark_layer(layer: &Value) -> Described {
    let part = |name: &str| layer.get(name).filter(|part| part.is_object());
    let width = |part: &Value| {
        let dtype = text(part, "dtype")?;
        let at = dtype.find(|c: char| c.is_ascii_digit())?;
        let digits: String = dtype[at..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let kind = if dtype.contains("int") {
            NumberKind::Int
        } else {
            NumberKind::Float
        };
        Some((kind, digits.parse::<u32>().ok()?))
    };
    let Some((kind, weights)) = part("weight").and_then(width) else {
        return ("unquantized".to_owned(), None);
    };
    let inputs = part("input_tensors");
    let scheme = Scheme {
        kind,
        weights,
        activations: inputs.and_then(width).map_or(16, |(_, bits)| bits),
    };
    let size = part("weight").and_then(|w| number(w, "group_size"));
    (kind_and_widths(scheme) + &group(size), Some(scheme))
}

fn compressed_tensors(quantization: &Value) -> Described {
    let groups = quantization.get("config_groups").and_then(Value::as_object);
    let groups = groups.into_iter().flat_map(|groups| groups.values());
    let described = groups.map(compressed_group);
    let (words, scheme) = several(described);
    let format = text(quantization, "format").unwrap_or_default();
    (format!("{format} {words}").trim().to_owned(), scheme)
}

/// Every way in which layers are stored, each once; the scheme only where there is one.
fn several(described: impl IntoIterator<Item = Described>) -> Described {
    let mut all: Vec<Described> = Vec::new();
    for found in described {
        if !all.contains(&found) {
            all.push(found);
        }
    }
    let words: Vec<&str> = all.iter().map(|(words, _)| words.as_str()).collect();
    let scheme = match all.as_slice() {
        [(_, scheme)] => *scheme,
        _ => None,
    };
    (words.join(" + "), scheme)
}

fn compressed_group(group_of: &Value) -> Described {
    let part = |name: &str| group_of.get(name).filter(|part| part.is_object());
    let (weights, inputs) = (part("weights"), part("input_activations"));
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
    let mut words: Vec<String> = scheme.map(kind_and_widths).into_iter().collect();
    if let Some(inputs) = inputs {
        let dynamic = match inputs.get("dynamic") {
            Some(Value::Bool(false)) | None => "static",
            Some(_) => "dynamic",
        };
        words.push(dynamic.to_owned());
    }
    let size = group(weights.and_then(|w| number(w, "group_size")));
    (words.join(" ") + &size, scheme)
}

/// However the libraries say it.
fn has_fp8_cache(quantization: &Value) -> bool {
    let cache = [
        "kv_cache_scheme",
        "kv_cache_quant_algo",
        "kv_cache_quant_config",
    ]
    .into_iter()
    .find_map(|name| quantization.get(name).filter(|value| !value.is_null()));
    match cache {
        Some(Value::String(algorithm)) => algorithm.to_uppercase().contains("FP8"),
        Some(scheme @ Value::Object(_)) => {
            let bits = number(scheme, "num_bits") == Some(8);
            let float = text(scheme, "type") == Some("float");
            (bits && float) || scheme.to_string().contains("fp8")
        }
        _ => false,
    }
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
