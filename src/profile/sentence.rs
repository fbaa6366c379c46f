//! The account in one line.

use std::fmt::Write as _;

use super::explain::{CategoryChange, Explanation};

/// Changes below this share of the step are not worth a word.
const WORTH_A_WORD: f64 = 0.01;
/// So many categories are named besides linear layers and idle.
const MOST_NAMED: usize = 3;

/// Linear layers first, then what else moved, idle, and what follows.
pub(super) fn sentence(made: &Explanation) -> String {
    let mut parts = Vec::new();
    parts.extend(
        made.categories
            .iter()
            .find(|row| row.category == "linear")
            .map(linear),
    );
    let mut moved: Vec<&CategoryChange> = made
        .categories
        .iter()
        .filter(|row| !matches!(row.category.as_str(), "linear" | "idle"))
        .filter(|row| row.of_the_step.abs() >= WORTH_A_WORD && !row.unchanged())
        .collect();
    moved.sort_by(|a, b| b.of_the_step.abs().total_cmp(&a.of_the_step.abs()));
    parts.extend(
        moved
            .iter()
            .take(MOST_NAMED)
            .map(|row| format!("{} {}", words(&row.category), points(row.of_the_step))),
    );
    if let Some(idle) = made.categories.iter().find(|row| row.category == "idle") {
        let kernels = made.other.kernels - made.base.kernels;
        let counted = match kernels.round() {
            0.0 => String::new(),
            more if more > 0.0 => format!(" ({more} more kernels)"),
            fewer => format!(" ({} fewer kernels)", -fewer),
        };
        parts.push(format!("idle {}{counted}", points(idle.of_the_step)));
    }
    let ratio = |estimate: Option<super::Estimate>| {
        estimate.map_or_else(|| "?".to_owned(), |e| format!("{:.2}x", e.value))
    };
    let mut said = format!(
        "{}: {} as profiled, {} on the device",
        parts.join(", "),
        ratio(made.as_profiled),
        ratio(made.on_device)
    );
    if let Some(measured) = &made.measured {
        let _ = write!(said, "; measured {:.2}x", measured.ratio.value);
    }
    said
}

fn linear(row: &CategoryChange) -> String {
    let change = points(row.of_the_step);
    if row.base_us <= 0.0 || row.other_us <= 0.0 {
        return format!("linear layers {change}");
    }
    if row.unchanged() {
        return "linear layers unchanged".to_owned();
    }
    if row.other_us <= row.base_us {
        format!(
            "linear layers {:.2}x faster ({change} of the step)",
            row.base_us / row.other_us
        )
    } else {
        format!(
            "linear layers {:.2}x slower ({change} of the step)",
            row.other_us / row.base_us
        )
    }
}

/// A share with its sign: `-14.1 %`.
pub(crate) fn points(share: f64) -> String {
    format!("{:+.1} %", 100.0 * share)
}

/// A category as prose names it.
pub(crate) fn words(category: &str) -> &str {
    match category {
        "linear" => "linear layers",
        "activation_quant" => "activation quantization",
        "norm_act_fused_quant" => "norm or activation fused with quantization",
        "kv_cache" => "KV write",
        "moe_gemm" => "experts",
        "moe_routing" => "routing of experts",
        "embedding_prepare" => "embedding and preparation",
        "copy" => "copies",
        other => other,
    }
}
