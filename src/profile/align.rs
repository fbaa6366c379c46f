//! How much of two steps is the same work in the same order, whatever the kernels are called.

/// Entries of one sequence compared with those of another: beyond this many pairs, nothing is said.
const MOST_PAIRS: usize = 40_000_000;

/// The share of time that is in entries with a partner, by a longest common subsequence of categories weighed by time.
/// Quantization has no partner by nature and is left out; its fused forms are partners of what they are fused with.
pub(super) fn aligned(base: &[(String, u64)], other: &[(String, u64)]) -> Option<f64> {
    let (a, b) = (kept(base), kept(other));
    let all: u64 = a.iter().chain(&b).map(|(_, ns)| ns).sum();
    if all == 0 || a.len() * b.len() > MOST_PAIRS {
        return None;
    }
    // The best weight of partners within the first i of a and the first j of b.
    let mut best = vec![0u64; b.len() + 1];
    for (x, x_ns) in &a {
        let mut diagonal = 0;
        for (j, (y, y_ns)) in b.iter().enumerate() {
            let above = best[j + 1];
            let matched = if partners(x, y) {
                diagonal + x_ns + y_ns
            } else {
                0
            };
            best[j + 1] = matched.max(above).max(best[j]);
            diagonal = above;
        }
    }
    Some(best[b.len()] as f64 / all as f64)
}

fn kept(sequence: &[(String, u64)]) -> Vec<(&str, u64)> {
    let kept = sequence
        .iter()
        .filter(|(category, _)| category != "activation_quant");
    kept.map(|(category, ns)| (category.as_str(), *ns))
        .collect()
}

fn partners(x: &str, y: &str) -> bool {
    let fused =
        |x: &str, y: &str| x == "norm_act_fused_quant" && matches!(y, "norm" | "activation");
    x == y || fused(x, y) || fused(y, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insertions_do_not_count_and_strangers_do() {
        let of = |text: &str| -> Vec<(String, u64)> {
            let name = |c: char| match c {
                'q' => "activation_quant",
                'f' => "norm_act_fused_quant",
                'n' => "norm",
                'L' => "linear",
                _ => "attention",
            };
            text.chars().map(|c| (name(c).to_owned(), 10)).collect()
        };
        assert_eq!(aligned(&of("nLAL"), &of("nqLAqL")), Some(1.0));
        assert_eq!(aligned(&of("nLAL"), &of("fLAL")), Some(1.0));
        assert_eq!(aligned(&of("nLAL"), &of("nLA")), Some(6.0 / 7.0));
        assert_eq!(aligned(&of(""), &of("q")), None);
    }
}
