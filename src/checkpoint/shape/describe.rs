//! The description that `ModelSlim` would write of a decoder with dense or sparse layers.

use serde_json::{Map, Value};

use super::super::format::field;

const ATTENTION: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];
const MLP: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// From the name of each tensor to how it is stored: `word` for the linear layers, `FLOAT` for the rest.
pub(super) fn description(config: &Value, word: &str) -> Value {
    let number = |name: &str| field(config, name).and_then(Value::as_u64).unwrap_or(0);
    let mut tensors = Map::new();
    let mut say = |name: String, word: &str| tensors.insert(name, Value::from(word));
    say("model_quant_type".to_owned(), word);
    say("model.embed_tokens.weight".to_owned(), "FLOAT");
    for layer in 0..number("num_hidden_layers") {
        let layer = format!("model.layers.{layer}");
        let mut linear = |below: &str| {
            for part in ["weight", "weight_scale", "weight_offset"] {
                say(format!("{layer}.{below}.{part}"), word);
            }
        };
        for name in ATTENTION {
            linear(&format!("self_attn.{name}"));
        }
        let experts = number("num_experts");
        for name in MLP {
            if experts == 0 {
                linear(&format!("mlp.{name}"));
            }
            for expert in 0..experts {
                linear(&format!("mlp.experts.{expert}.{name}"));
            }
        }
        if experts > 0 {
            say(format!("{layer}.mlp.gate.weight"), "FLOAT");
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            say(format!("{layer}.{norm}.weight"), "FLOAT");
        }
    }
    say("model.norm.weight".to_owned(), "FLOAT");
    say("lm_head.weight".to_owned(), "FLOAT");
    Value::Object(tensors)
}
