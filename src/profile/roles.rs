//! Which place in a layer a product of matrices has, told by what surrounds it: names differ between precisions, the
//! order of a layer does not.

use serde::{Deserialize, Serialize};

/// Places of linear layers in a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Before attention.
    Qkv,
    /// After attention.
    O,
    /// Before the activation.
    GateUp,
    /// After the activation.
    Down,
    /// Scores experts.
    Router,
    /// The experts themselves.
    Experts,
    /// After the last layer.
    LmHead,
}

impl Role {
    /// As tables name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Qkv => "qkv",
            Self::O => "o",
            Self::GateUp => "gate_up",
            Self::Down => "down",
            Self::Router => "router",
            Self::Experts => "experts",
            Self::LmHead => "lm_head",
        }
    }
}

/// What matters of a kernel here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Linear,
    /// Adds up the parts of the product before it, or is the rest of it.
    Reduction,
    Quantization,
    Attention,
    Activation,
    Routing,
    Experts,
    Other,
}

impl Token {
    /// Of a category and a kernel's name.
    pub(super) fn of(category: &str, name: &str) -> Self {
        match category {
            "linear" if name.contains("splitKreduce") || name.contains("splitk_reduce") => {
                Self::Reduction
            }
            "linear" => Self::Linear,
            "activation_quant" => Self::Quantization,
            // Prepared once a step, not in a layer.
            "attention" if name.contains("prepare_varlen") || name.contains("metadata") => {
                Self::Other
            }
            "attention" => Self::Attention,
            // The activation's fused form quantizes what goes into `down`.
            "activation" => Self::Activation,
            "norm_act_fused_quant"
                if ["silu", "act_and_mul", "wi"]
                    .iter()
                    .any(|act| name.contains(act)) =>
            {
                Self::Activation
            }
            "moe_routing" => Self::Routing,
            "moe_gemm" => Self::Experts,
            _ => Self::Other,
        }
    }
}

/// The role of each token of a step; quantizations have that of the product they are for. All absent where there is no
/// attention to tell layers by.
pub(super) fn roles(tokens: &[Token]) -> Vec<Option<Role>> {
    let mut found = vec![None; tokens.len()];
    let layers = attentions(tokens);
    let (Some(first), Some(last)) = (layers.first(), layers.last()) else {
        return found;
    };
    let products = |from: usize, to: usize| {
        (from..to)
            .filter(|at| matches!(tokens[*at], Token::Linear))
            .collect::<Vec<_>>()
    };
    for at in products(0, first.0) {
        found[at] = Some(Role::Qkv);
    }
    let ends = layers[1..].iter().map(|next| next.0).chain([tokens.len()]);
    for ((_, from), to) in layers.iter().zip(ends) {
        between(tokens, *from, to, &products(*from, to), &mut found);
        if *from == last.1 {
            // Behind the last layer there is no next one to project for.
            for at in products(*from, to) {
                if found[at] == Some(Role::Qkv) {
                    found[at] = Some(Role::LmHead);
                }
            }
        }
    }
    spread(tokens, &mut found);
    found
}

/// Runs of attention kernels without a product between them: where each begins, and behind its end.
fn attentions(tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut apart = true;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Attention if apart => runs.push((at, at + 1)),
            Token::Attention => {
                if let Some(run) = runs.last_mut() {
                    run.1 = at + 1;
                }
            }
            Token::Linear | Token::Experts => {
                apart = true;
                continue;
            }
            _ => continue,
        }
        apart = false;
    }
    runs
}

/// From one attention to the next: o, then gate and up, the activation, down (or router and experts), and the next
/// layer's projections.
fn between(
    tokens: &[Token],
    from: usize,
    to: usize,
    products: &[usize],
    found: &mut [Option<Role>],
) {
    let place = |wanted: Token| (from..to).find(|at| tokens[*at] == wanted);
    let activation = place(Token::Activation);
    let experts = (from..to).rev().find(|at| tokens[*at] == Token::Experts);
    let routing = place(Token::Routing);
    let mut down = false;
    for (n, at) in products.iter().copied().enumerate() {
        found[at] = Some(if n == 0 {
            Role::O
        } else if let Some(experts) = experts {
            match routing {
                Some(routing) if at < routing => Role::Router,
                _ if at < experts => Role::GateUp,
                _ => Role::Qkv,
            }
        } else {
            match activation {
                Some(activation) if at < activation => Role::GateUp,
                Some(_) if !std::mem::replace(&mut down, true) => Role::Down,
                // Without an activation to be seen, only the order is left.
                None if n == 1 => Role::GateUp,
                None if n == 2 => Role::Down,
                _ => Role::Qkv,
            }
        });
    }
    for at in from..to {
        if tokens[at] == Token::Experts {
            found[at] = Some(Role::Experts);
        }
    }
}

/// Reductions belong to the product before them, quantizations to the one behind them.
fn spread(tokens: &[Token], found: &mut [Option<Role>]) {
    let mut latest = None;
    for at in 0..tokens.len() {
        match tokens[at] {
            Token::Linear | Token::Experts => latest = found[at],
            Token::Reduction => found[at] = latest,
            _ => {}
        }
    }
    let mut next = None;
    for at in (0..tokens.len()).rev() {
        match tokens[at] {
            Token::Linear | Token::Experts => next = found[at],
            Token::Quantization => found[at] = next,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let token = |c: char| match c {
            'L' => Token::Linear,
            'R' => Token::Reduction,
            'q' => Token::Quantization,
            'A' => Token::Attention,
            's' => Token::Activation,
            'r' => Token::Routing,
            'E' => Token::Experts,
            _ => Token::Other,
        };
        let tokens: Vec<Token> = text.chars().map(token).collect();
        let roles = roles(&tokens);
        let named = roles.iter().map(|role| role.map_or("-", Role::name));
        named.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_dense_layer_with_and_without_quantization() {
        assert_eq!(
            shown("nLkALnLsLnLkALnLsLnLt"),
            "- qkv - - o - gate_up - down - qkv - - o - gate_up - down - lm_head -"
        );
        assert_eq!(
            shown("nqLkAqLnqLsqLRnLt"),
            "- qkv qkv - - o o - gate_up gate_up - down down down - lm_head -"
        );
    }

    #[test]
    fn a_layer_of_experts() {
        assert_eq!(
            shown("nLkALnLrEsEnLkALnLrEsEnL"),
            "- qkv - - o - router - experts - experts - qkv - - o - router - experts - experts - lm_head"
        );
    }

    #[test]
    fn without_attention_nothing_is_claimed() {
        assert_eq!(shown("nLsL"), "- - - -");
    }
}
