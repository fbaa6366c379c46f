//! The precisions to compare and where the checkpoint is.

use std::fmt::Write as _;

use super::arguments::{Arguments, ENGINE_KWARGS};
use super::settings::{Setting, Settings};
use super::toml::{dotted, literal, literal_text, put};
use super::{Entry, ROLLOUT, State};

const PATH: &str = "actor_rollout_ref.model.path";

/// Where verl keeps the settings of quantization-aware training.
const QAT: [&str; 4] = [
    "actor_rollout_ref.rollout.qat.",
    "actor_rollout_ref.actor.fsdp_config.qat.",
    "actor_rollout_ref.actor.megatron.qat.",
    "actor_rollout_ref.actor.qat.",
];

/// The rollout's precision, where that is not BF16.
struct Quantized {
    id: String,
    args: Arguments,
    note: String,
    /// The weights are the trainer's own, and no checkpoint has them yet.
    trained: bool,
}

/// Writes `[[precision]]` and `[[model]]`.
pub(super) fn write(settings: &Settings<'_>, out: &mut String) {
    let quantized = trained(settings).or_else(|| loaded(settings));
    precisions(quantized.as_ref(), out);
    model(settings, quantized.as_ref(), out);
}

/// Whether `entry`, of `engine_kwargs.vllm`, belongs to the rollout's precision rather than to all.
pub(super) fn is_of_precision(settings: &Settings<'_>, entry: &Entry) -> bool {
    let name = entry.key.strip_prefix(ENGINE_KWARGS).unwrap_or_default();
    let quantizes = |entry: &&Entry| entry.key.contains(".quantization_config");
    match name {
        "quantization" => true,
        "load_format" => loads_quantized(entry),
        _ => {
            name.starts_with("hf_overrides.")
                && settings
                    .below(&format!("{ENGINE_KWARGS}hf_overrides."))
                    .iter()
                    .any(quantizes)
        }
    }
}

fn loads_quantized(entry: &Entry) -> bool {
    matches!(entry.value.as_str(), "bitsandbytes" | "gguf")
}

/// Quantization-aware training: verl quantizes its own weights for the rollout.
fn trained(settings: &Settings<'_>) -> Option<Quantized> {
    let family = QAT
        .iter()
        .find(|family| settings.holds(&format!("{family}enable")))?;
    let mode = settings.get(&format!("{family}mode"));
    let said: Vec<String> = settings
        .below(family)
        .iter()
        .map(|entry| settings.origin(entry))
        .collect();
    let enable = settings.get(&format!("{family}enable"))?;
    settings.ask(format!(
        "line {}: {}: the rollout's weights are quantized in training: name a checkpoint quantized in the same way",
        enable.line, enable.key
    ));
    Some(Quantized {
        id: identifier(mode.map_or("w4a16", |mode| &mode.value)),
        args: Arguments::default(),
        note: format!(
            "as verl's quantization-aware training serves it: {}",
            said.join("; ")
        ),
        trained: true,
    })
}

/// Weights that are quantized as they are loaded.
fn loaded(settings: &Settings<'_>) -> Option<Quantized> {
    let mut args = Arguments::default();
    let own = format!("{ROLLOUT}quantization");
    let inner = format!("{ENGINE_KWARGS}quantization");
    let quantization = settings.value(&[&inner, &own]);
    let by_verl = quantization.is_some() && settings.get(&inner).is_none();
    let mut method = None;
    if let Some(quantization) = quantization {
        method.clone_from(&quantization.value);
        args.put("quantization".to_owned(), quantization);
    }
    for entry in settings.below(ENGINE_KWARGS) {
        let name = &entry.key[ENGINE_KWARGS.len()..];
        if name == "quantization" || !is_of_precision(settings, entry) {
            continue;
        }
        if method.is_none() && (name == "load_format" || name.ends_with(".quant_method")) {
            method = Some(entry.value.clone());
        }
        args.put(name.to_owned(), settings.said(entry));
    }
    args.iter().next()?;
    let blocks = by_verl && method.as_deref() == Some("fp8");
    Some(Quantized {
        id: identifier(method.as_deref().unwrap_or_default()),
        args,
        note: if blocks {
            "verl makes blocks of 128 x 128 and leaves the routers' gates and lm_head alone; vLLM alone has a scale a tensor"
        } else {
            "quantized as it is loaded"
        }
        .to_owned(),
        trained: false,
    })
}

fn precisions(quantized: Option<&Quantized>, out: &mut String) {
    let _ = writeln!(
        out,
        "\n[[precision]]\nname = \"bf16\"\nlabel = \"BF16\"\nbaseline = true"
    );
    let Some(quantized) = quantized else {
        let _ = writeln!(
            out,
            "\n# The precision to compare with it, and its checkpoint below:\n# [[precision]]\n# name = \"w8a8\""
        );
        return;
    };
    let _ = writeln!(out, "\n# {}", quantized.note);
    let _ = writeln!(out, "[[precision]]\nname = {}", literal_text(&quantized.id));
    let all: Vec<(String, &Setting)> = quantized.args.iter().collect();
    let known: Vec<String> = all
        .iter()
        .filter_map(|(name, setting)| {
            Some(format!("{name} = {}", literal(setting.value.as_ref()?)))
        })
        .collect();
    let origins: Vec<&str> = all
        .iter()
        .map(|(_, setting)| setting.origin.as_str())
        .collect();
    if !all.is_empty() {
        let _ = writeln!(
            out,
            "args = {{ {} }}  # {}",
            known.join(", "),
            origins.join("; ")
        );
    }
}

fn model(settings: &Settings<'_>, quantized: Option<&Quantized>, out: &mut String) {
    let entry = settings
        .last(PATH)
        .filter(|entry| entry.state != State::Elsewhere && !entry.is_null());
    let setting = settings.value(&[PATH]);
    // What is known of a path is worth more than nothing: the rest stands in it as it was written.
    let shown = match (entry, &setting) {
        (Some(entry), _) => entry.value.clone(),
        (None, Some(setting)) => setting.value.clone().unwrap_or_default(),
        (None, None) => String::new(),
    };
    let said = setting.map(|setting| setting.origin).unwrap_or_default();
    let trimmed = shown.trim_end_matches('/');
    let last = trimmed.rsplit('/').next().unwrap_or(trimmed);
    let id = model_name(last);
    // A name of the hub has one slash and is no path.
    let on_hub = shown.matches('/').count() == 1 && !shown.starts_with(['/', '.', '~', '$']);
    let location = if on_hub {
        format!("hf:{shown}")
    } else {
        shown.replacen("~/", "${HOME}/", 1)
    };
    let _ = writeln!(out, "\n[[model]]");
    put(out, "name", &literal_text(&id), &said);
    let _ = writeln!(out, "label = {}\n\n[model.checkpoints]", literal_text(last));
    put(out, "bf16", &literal_text(&location), &said);
    match quantized {
        None => {}
        Some(Quantized {
            id, trained: true, ..
        }) => {
            let _ = writeln!(
                out,
                "# {id} = \"...\"  # CHECK: a checkpoint that is quantized as the training does it"
            );
        }
        Some(Quantized { id, .. }) => put(
            out,
            &dotted(id),
            &literal_text(&location),
            "the same weights, quantized as they are loaded",
        ),
    }
}

fn model_name(folder: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    let id: String = folder
        .to_ascii_lowercase()
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    let id = id.trim_start_matches(['.', '-', '+']);
    if id.is_empty() {
        "model".to_owned()
    } else {
        id.to_owned()
    }
}

/// A method as the name of a precision.
fn identifier(method: &str) -> String {
    let id: String = method.chars().filter(char::is_ascii_alphanumeric).collect();
    let id = id.to_ascii_lowercase();
    if matches!(id.as_str(), "" | "bf16") {
        "quantized".to_owned()
    } else {
        id
    }
}
