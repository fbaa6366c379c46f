//! Whether an engine runs what the checkpoint is.

use crate::record::{CheckpointInfo, EngineFacts};

/// Failed before it is measured: the number would be one of floats under the name of a quantization.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TakenAsFloat {
    pub(super) message: String,
    pub(super) hint: String,
}

/// Holds what vLLM resolved against what the checkpoint's files say; absent if they agree, or one of them is unknown.
/// vLLM 0.13 takes a `ModelSlim` checkpoint for floats, without a word, unless it is told.
pub(super) fn taken_as_float(
    checkpoint: Option<&CheckpointInfo>,
    facts: &EngineFacts,
) -> Option<TakenAsFloat> {
    let checkpoint = checkpoint?;
    let method = checkpoint.method.as_ref()?;
    let told = ["quantization", "quant_config"];
    // An engine that tells nothing of its configuration cannot be held to it.
    if facts.effective.is_empty() || told.iter().any(|name| facts.effective.contains_key(*name)) {
        return None;
    }
    let format = checkpoint.format.as_deref().unwrap_or(method);
    Some(TakenAsFloat {
        message: format!(
            "the checkpoint is {format}, but vLLM took it for floats: it resolved no quantization"
        ),
        hint: format!("set quantization = \"{method}\" in the precision's args"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quantized_checkpoint_that_runs_as_floats_is_found() {
        let checkpoint = |method: Option<&str>| CheckpointInfo {
            path: "m".to_owned(),
            format: Some("ModelSlim W8A8_DYNAMIC".to_owned()),
            bytes: None,
            sha256_config: None,
            shape_only: false,
            method: method.map(str::to_owned),
            mismatch: None,
        };
        let told = |effective: serde_json::Value, method| {
            let effective = serde_json::from_value(effective).expect("a map");
            let facts = EngineFacts {
                effective,
                ..EngineFacts::default()
            };
            taken_as_float(Some(&checkpoint(method)), &facts)
        };
        let found = told(json!({"dtype": "bfloat16"}), Some("ascend")).expect("taken as float");
        assert!(
            found
                .message
                .contains("is ModelSlim W8A8_DYNAMIC, but vLLM took it for floats")
        );
        assert_eq!(
            found.hint,
            "set quantization = \"ascend\" in the precision's args"
        );
        assert_eq!(
            told(
                json!({"dtype": "x", "quantization": "ascend"}),
                Some("ascend")
            ),
            None
        );
        assert_eq!(
            told(
                json!({"dtype": "x", "quant_config": "AscendQuantConfig"}),
                Some("ascend")
            ),
            None
        );
        assert_eq!(told(json!({"dtype": "x"}), None), None);
        assert_eq!(told(json!({}), Some("ascend")), None);
    }
}
