//! Engine arguments by their Python names as the command line of `vllm serve`.

use indexmap::IndexMap;
use serde_json::Value;

/// A plain switch (`store_true`) in every vLLM: "false" is its absence. All other booleans know `--no-...` since 0.9.
const SWITCH: &str = "disable_log_stats";

/// The command line after `vllm serve`, for a server at `port` of this machine alone that calls its model `name`.
pub(super) fn flags(args: &IndexMap<String, Value>, port: u16, name: &str) -> Vec<String> {
    let mut flags = Vec::new();
    if let Some(model) = args.get("model") {
        flags.push(scalar(model));
    }
    flags.extend(["--host".to_owned(), "127.0.0.1".to_owned()]);
    flags.extend(["--port".to_owned(), port.to_string()]);
    flags.extend(["--served-model-name".to_owned(), name.to_owned()]);
    // One line per request is no news and costs time.
    flags.push("--disable-uvicorn-access-log".to_owned());
    for (name, value) in args {
        if name == "model" || name == "served_model_name" {
            continue;
        }
        let dashed = name.replace('_', "-");
        match value {
            Value::Null => {}
            Value::Bool(true) => flags.push(format!("--{dashed}")),
            Value::Bool(false) if name == SWITCH => {}
            Value::Bool(false) => flags.push(format!("--no-{dashed}")),
            Value::Array(items) if !items.iter().any(|i| i.is_object() || i.is_array()) => {
                flags.push(format!("--{dashed}"));
                flags.extend(items.iter().map(scalar));
            }
            // `=` keeps a value that begins with a dash from being taken for a flag.
            other => flags.push(format!("--{dashed}={}", scalar(other))),
        }
    }
    flags
}

/// Strings bare, everything else as JSON.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_become_flags() {
        let args = json!({
            "model": "/m/qwen",
            "dtype": "bfloat16",
            "max_model_len": 2048,
            "gpu_memory_utilization": 0.4,
            "enforce_eager": true,
            "enable_prefix_caching": false,
            "disable_log_stats": false,
            "quantization": null,
            "compilation_config": {"cudagraph_capture_sizes": [1, 2]},
            "lora_modules": ["a", "b"],
            "seed": -1,
        });
        let args: IndexMap<String, Value> = serde_json::from_value(args).expect("a map");
        assert_eq!(
            flags(&args, 8123, "m").join(" "),
            "/m/qwen --host 127.0.0.1 --port 8123 --served-model-name m --disable-uvicorn-access-log \
             --dtype=bfloat16 --max-model-len=2048 --gpu-memory-utilization=0.4 --enforce-eager \
             --no-enable-prefix-caching --compilation-config={\"cudagraph_capture_sizes\":[1,2]} \
             --lora-modules a b --seed=-1"
        );
    }
}
