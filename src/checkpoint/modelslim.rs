//! ModelSlim's description of a checkpoint: from the name of each tensor to how it is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::format::{Format, Scheme, field};

/// The file that vllm-ascend reads.
pub(super) const DESCRIPTION: &str = "quant_model_description.json";

/// Whether a file of this name is a description; older ModelSlim put the precision into the name.
pub(super) fn is_description(name: &str) -> bool {
    name.strip_prefix("quant_model_description")
        .is_some_and(|rest| rest.strip_suffix(".json").is_some())
}

/// The format that a description tells of.
pub(super) fn format(description: &Value) -> Format {
    let named = description.get("model_quant_type").and_then(Value::as_str);
    let mut kinds = by_frequency(description);
    if kinds.is_empty() {
        kinds.extend(named.or(Some("FLOAT")));
    }
    let kind = kinds.join(" + ");
    let schemes: BTreeSet<Option<(u32, u32)>> = kinds
        .iter()
        .map(|kind| Scheme::of_text(kind).map(|s| (s.weights, s.activations)))
        .collect();
    let cache = ["kv_quant_type", "kv_cache_type", "fa_quant_type"]
        .into_iter()
        .find_map(|name| description.get(name)?.as_str());
    let cache = cache.map_or(String::new(), |cache| format!(", {cache} KV cache"));
    let float = kind == "FLOAT";
    Format {
        scheme: if float || schemes.len() > 1 {
            None
        } else {
            Scheme::of_text(&kind)
        },
        name: format!("ModelSlim {kind}{cache}"),
        method: Some("ascend".to_owned()),
    }
}

/// How many tensors are stored in which way, those that are quantized or left as floats.
fn layers(description: &Value) -> impl Iterator<Item = (&str, &str)> {
    let layers = description.as_object().into_iter().flatten();
    layers
        .filter_map(|(name, kind)| Some((name.as_str(), kind.as_str()?)))
        .filter(|(_, kind)| *kind == "FLOAT" || Scheme::of_text(kind).is_some())
}

/// The formats of the layers that are not plain floats, the commonest first.
fn by_frequency(description: &Value) -> Vec<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, kind) in layers(description).filter(|(_, kind)| *kind != "FLOAT") {
        *counts.entry(kind).or_default() += 1;
    }
    let mut kinds: Vec<(&str, usize)> = counts.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    kinds.into_iter().map(|(kind, _)| kind).collect()
}

/// Layers that vLLM runs as one, which therefore have to be stored in one way.
const FUSED: [&[&str]; 3] = [
    &["q_proj", "k_proj", "v_proj"],
    &["gate_proj", "up_proj"],
    &["q_a_proj", "kv_a_proj_with_mqa"],
];

/// What will not load, or not as it seems, in words; `name` is that of the description's file.
pub(super) fn doubts(name: &str, description: &Value, config: &Value) -> Vec<String> {
    let mut doubts = Vec::new();
    if name != DESCRIPTION {
        doubts.push(format!(
            "vllm-ascend reads {DESCRIPTION}, the checkpoint has {name}: link or rename it"
        ));
    }
    let kinds: BTreeMap<&str, &str> = layers(description)
        .filter_map(|(name, kind)| Some((name.strip_suffix(".weight")?, kind)))
        .collect();
    if let Some((layer, kinds)) = mixed(&kinds) {
        doubts.push(format!(
            "{layer} is described in different ways ({kinds}), and vLLM runs it as one layer: it will refuse it"
        ));
    }
    let depth = field(config, "num_hidden_layers").and_then(Value::as_u64);
    let beyond = |name: &&&str| {
        let number = name
            .split("layers.")
            .nth(1)?
            .split('.')
            .next()?
            .parse::<u64>();
        Some(number.ok()? >= depth?)
    };
    // Layers that predict several tokens follow the others.
    let predictors = field(config, "num_nextn_predict_layers").is_some();
    if let Some(name) = kinds
        .keys()
        .find(|name| beyond(name) == Some(true) && !predictors)
    {
        doubts.push(format!(
            "the description names {name}, which a model of {} layers does not have: it belongs to another model",
            depth.unwrap_or_default()
        ));
    }
    let tied = field(config, "tie_word_embeddings").and_then(Value::as_bool) == Some(true);
    if !kinds.is_empty() && !kinds.contains_key("lm_head") && !tied {
        doubts.push(
            "the description does not name lm_head.weight: vllm-ascend up to 0.18 fails with KeyError: 'lm_head.weight'"
                .to_owned(),
        );
    }
    doubts
}

/// The first layer that is described in more than one way, and these ways.
fn mixed(kinds: &BTreeMap<&str, &str>) -> Option<(String, String)> {
    kinds.keys().find_map(|name| {
        let (parent, own) = name.rsplit_once('.')?;
        let parts = FUSED.into_iter().find(|parts| parts[0] == own)?;
        let told: Vec<(&str, &str)> = parts
            .iter()
            .filter_map(|part| Some((*part, *kinds.get(format!("{parent}.{part}").as_str())?)))
            .collect();
        let different: BTreeSet<&str> = told.iter().map(|(_, kind)| *kind).collect();
        let words: Vec<String> = told
            .iter()
            .map(|(part, kind)| format!("{part} {kind}"))
            .collect();
        (different.len() > 1).then(|| (parent.to_owned(), words.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mixed_checkpoint_names_every_scheme() {
        let mixed = json!({"model_quant_type": "W8A8_DYNAMIC", "lm_head.weight": "FLOAT",
            "a.weight": "W8A8_DYNAMIC", "b.weight": "W4A8_DYNAMIC", "c.weight": "W4A8_DYNAMIC"});
        let found = format(&mixed);
        assert_eq!(found.name, "ModelSlim W4A8_DYNAMIC + W8A8_DYNAMIC");
        assert_eq!(found.scheme, None);
        // Static and dynamic activations of one width are one scheme.
        let widths = json!({"a.weight": "W8A8_DYNAMIC", "b.weight": "W8A8"});
        assert_eq!(format(&widths).scheme, Scheme::of_text("W8A8"));
        assert_eq!(
            format(&json!({"model_quant_type": "W8A8"})).name,
            "ModelSlim W8A8"
        );
    }

    #[test]
    fn a_description_that_will_not_load_is_doubted() {
        let config = json!({"num_hidden_layers": 2});
        let sound = json!({"model_quant_type": "W8A8_DYNAMIC", "lm_head.weight": "FLOAT",
            "model.layers.0.self_attn.q_proj.weight": "W8A8_DYNAMIC",
            "model.layers.0.self_attn.k_proj.weight": "W8A8_DYNAMIC"});
        assert_eq!(doubts(DESCRIPTION, &sound, &config), [""; 0]);
        let bad = json!({
            "model.layers.0.self_attn.q_proj.weight": "W8A8",
            "model.layers.0.self_attn.k_proj.weight": "FLOAT",
            "model.layers.7.mlp.down_proj.weight": "W8A8"});
        insta::assert_snapshot!(doubts("quant_model_description_w8a8.json", &bad, &config).join("\n"), @"
        vllm-ascend reads quant_model_description.json, the checkpoint has quant_model_description_w8a8.json: link or rename it
        model.layers.0.self_attn is described in different ways (q_proj W8A8, k_proj FLOAT), and vLLM runs it as one layer: it will refuse it
        the description names model.layers.7.mlp.down_proj, which a model of 2 layers does not have: it belongs to another model
        the description does not name lm_head.weight: vllm-ascend up to 0.18 fails with KeyError: 'lm_head.weight'
        ");
    }
}
