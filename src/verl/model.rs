//! The precisions to compare and where the checkpoint is.

use std::fmt::Write as _;

use super::Entry;
use super::settings::Settings;
use super::toml::{literal_text, put};

/// Writes `[[precision]]` and `[[model]]`.
pub(super) fn write(settings: &Settings<'_>, out: &mut String) {
    precisions(settings, out);
    model(settings, out);
}

fn precisions(settings: &Settings<'_>, out: &mut String) {
    let _ = writeln!(
        out,
        "\n[[precision]]\nname = \"bf16\"\nlabel = \"BF16\"\nbaseline = true"
    );
    match quantized(settings) {
        Some((id, entry)) => {
            let _ = writeln!(out, "\n[[precision]]\nname = {}", literal_text(&id));
            let _ = writeln!(
                out,
                "args = {{ quantization = {} }}  # {}",
                literal_text(&entry.value),
                settings.origin(entry)
            );
        }
        None => {
            let _ = writeln!(
                out,
                "\n# The precision to compare with it, and its checkpoint below:\n# [[precision]]\n# name = \"w8a8\""
            );
        }
    }
}

fn model(settings: &Settings<'_>, out: &mut String) {
    let path = settings.get("actor_rollout_ref.model.path");
    let shown = path.map_or("~/models/deepseek-llm-7b-chat", |p| p.value.as_str());
    let said = path.map_or_else(
        || settings.by_default("actor_rollout_ref.model.path"),
        |p| settings.origin(p),
    );
    let last = shown
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(shown);
    let id: String = last
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let id = id.trim_start_matches(['.', '-']);
    let id = if id.is_empty() { "model" } else { id };
    // A name of the hub has one slash and is no path.
    let on_hub = shown.matches('/').count() == 1 && !shown.starts_with(['/', '.', '~', '$']);
    let location = if on_hub {
        format!("hf:{shown}")
    } else {
        shown.replacen("~/", "${HOME}/", 1)
    };
    let _ = writeln!(out, "\n[[model]]");
    put(out, "name", &literal_text(id), &said);
    let _ = writeln!(out, "label = {}\n\n[model.checkpoints]", literal_text(last));
    put(out, "bf16", &literal_text(&location), &said);
    if let Some((id, _)) = quantized(settings) {
        put(
            out,
            &id,
            &literal_text(&location),
            "the same weights, quantized as they are loaded",
        );
    }
}

/// The rollout's precision: a name for it, and the setting.
fn quantized<'a>(settings: &Settings<'a>) -> Option<(String, &'a Entry)> {
    let entry = settings.get("actor_rollout_ref.rollout.quantization")?;
    let id: String = entry
        .value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let id = if matches!(id.as_str(), "" | "bf16") {
        "quantized".to_owned()
    } else {
        id.to_ascii_lowercase()
    };
    Some((id, entry))
}
