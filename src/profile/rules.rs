//! Rules from names to categories, as a TOML file that users can put their own before.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Regex, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::trace::Class;

/// The rules that come with rollbench.
const BUILT_IN: &str = include_str!("rules.toml");
/// Names of ten kilobytes exist, and so do patterns for them.
const REGEX_SIZE: usize = 64 << 20;

/// What sort of name a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// Kernels of a GPU.
    Gpu,
    /// Operator types of Ascend; where none matches, names.
    Npu,
    /// Operators on a CPU.
    Cpu,
}

/// Index of a label.
pub(super) type LabelId = u16;

/// What a name is counted as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    pub(super) category: String,
    /// By which code path, where that matters: `marlin`, `int8 scaled_mm` ...
    pub(super) path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Rule>,
    /// Categories whose kernels are the same in every precision.
    #[serde(default)]
    control: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    category: String,
    path: Option<String>,
    re: String,
    /// All, if left out.
    on: Option<Scope>,
}

/// All rules, in their order.
#[derive(Debug)]
pub(crate) struct Rules {
    labels: Vec<Label>,
    sets: [(RegexSet, Vec<LabelId>); 3],
    control: BTreeSet<String>,
}

/// A rule file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RulesError(String);

impl Rules {
    /// The built-in rules, with those of `own` (a TOML text) before them.
    pub(crate) fn new(own: Option<&str>) -> Result<Self, RulesError> {
        let mut files = Vec::new();
        if let Some(own) = own {
            files.push(toml::from_str::<File>(own).map_err(|error| RulesError(error.to_string()))?);
        }
        let built_in: File =
            toml::from_str(BUILT_IN).map_err(|error| RulesError(error.to_string()))?;
        files.push(built_in);
        let control = files.iter().flat_map(|file| file.control.clone()).collect();
        let rules: Vec<Rule> = files.into_iter().flat_map(|file| file.rule).collect();
        let mut labels = vec![Label {
            category: "other".to_owned(),
            path: None,
        }];
        let mut ids = Vec::new();
        for rule in &rules {
            // One at a time first: a set does not say which pattern is wrong.
            Regex::new(&rule.re)
                .map_err(|error| RulesError(format!("rule for {}: {error}", rule.category)))?;
            let label = Label {
                category: rule.category.clone(),
                path: rule.path.clone(),
            };
            let id = labels.iter().position(|l| *l == label).unwrap_or_else(|| {
                labels.push(label);
                labels.len() - 1
            });
            ids.push(
                LabelId::try_from(id).map_err(|_| RulesError("too many categories".to_owned()))?,
            );
        }
        let set = |scope: Scope| -> Result<_, RulesError> {
            let mine = || {
                rules
                    .iter()
                    .zip(&ids)
                    .filter(|(rule, _)| rule.on.is_none_or(|on| on == scope))
            };
            let set = RegexSetBuilder::new(mine().map(|(rule, _)| &rule.re))
                .size_limit(REGEX_SIZE)
                .build()
                .map_err(|error| RulesError(error.to_string()))?;
            Ok((set, mine().map(|(_, id)| *id).collect()))
        };
        Ok(Self {
            sets: [set(Scope::Gpu)?, set(Scope::Npu)?, set(Scope::Cpu)?],
            labels,
            control,
        })
    }

    /// Without rules of a user's own.
    pub(crate) fn built_in() -> &'static Self {
        static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(None).expect("tested"));
        &RULES
    }

    /// What `name` is counted as: by the first rule that matches it, or else `second`. 0 is `other`.
    pub(super) fn label(&self, scope: Scope, name: &str, second: Option<&str>) -> LabelId {
        let (set, ids) = &self.sets[scope as usize];
        let first = |name: &str| set.matches(name).iter().next().map(|n| ids[n]);
        first(name).or_else(|| second.and_then(first)).unwrap_or(0)
    }

    pub(super) fn get(&self, id: LabelId) -> &Label {
        self.at(id as usize)
    }

    /// The label with this number, counted from 0 to [`Rules::count`].
    pub(super) fn at(&self, number: usize) -> &Label {
        &self.labels[number]
    }

    pub(super) fn count(&self) -> usize {
        self.labels.len()
    }

    /// How what is counted so yields to other work.
    pub(super) fn class(&self, id: LabelId) -> Class {
        match self.labels[id as usize].category.as_str() {
            "communication" => Class::Communication,
            "copy" => Class::Copy,
            _ => Class::Compute,
        }
    }

    /// Whether the category's kernels are the same in every precision.
    pub(super) fn is_control(&self, category: &str) -> bool {
        self.control.contains(category)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(scope: Scope, name: &str) -> String {
        let rules = Rules::new(None).expect("the built-in rules");
        let label = rules.get(rules.label(scope, name, None)).clone();
        label.path.map_or(label.category.clone(), |path| {
            format!("{}: {path}", label.category)
        })
    }

    #[test]
    fn kernels_of_a_gpu() {
        let shown: Vec<String> = [
            "nvjet_tst_128x64_64x10_1x2_h_bz_coopB_TNT",
            "void cutlass::device_kernel<vllm::cutlass_3x_gemm<signed char, cutlass::bfloat16_t, vllm::c3x::ScaledEpilogue>::GemmKernel>()",
            "void cutlass::device_kernel<vllm::cutlass_3x_gemm_sm90_fp8<cutlass::float_e4m3_t, cutlass::bfloat16_t>>()",
            "void marlin::Marlin<__nv_bfloat16, 1125899906910216l, 256>()",
            "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<machete::MacheteCollectiveMma<int>>>()",
            "sm90_fp8_gemm_1d2d_impl<128>",
            "void vllm::dynamic_scaled_int8_quant_kernel<c10::BFloat16, float>()",
            "void vllm::rms_norm_dynamic_per_token_quant_kernel<c10::BFloat16>()",
            "triton_red_fused_add_mean_mul_pow_rsqrt_0",
            "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<int>>>()",
            "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
            "Memcpy DtoH (Device -> Pinned)",
            "my_own_kernel",
        ]
        .iter()
        .map(|name| label(Scope::Gpu, name))
        .collect();
        assert_eq!(
            shown,
            [
                "linear: bf16 gemm",
                "linear: int8 scaled_mm",
                "linear: fp8 scaled_mm",
                "linear: marlin",
                "linear: machete",
                "linear: deepgemm",
                "activation_quant",
                "norm_act_fused_quant",
                "norm",
                "attention: fa3",
                "communication",
                "copy",
                "other",
            ]
        );
    }

    #[test]
    fn operators_of_ascend_and_cpu() {
        for (scope, name, wanted) in [
            (Scope::Npu, "MatMulV2", "linear: matmul"),
            (Scope::Npu, "QuantBatchMatmulV3", "linear: quantbatchmatmul"),
            (
                Scope::Npu,
                "WeightQuantBatchMatmulV2",
                "linear: weightquantbatchmatmul",
            ),
            (Scope::Npu, "DynamicQuant", "activation_quant"),
            (
                Scope::Npu,
                "FusedInferAttentionScore",
                "attention: fused_infer",
            ),
            (Scope::Npu, "hcom_allReduce__123_0_1", "communication"),
            (Scope::Npu, "AddRmsNorm", "norm"),
            (Scope::Cpu, "_C::onednn_mm", "linear: bf16 gemm"),
            (
                Scope::Cpu,
                "_C::int8_scaled_mm_with_quant",
                "linear: int8 scaled_mm",
            ),
            (Scope::Cpu, "_C::cpu_attention_with_kv_cache", "attention"),
            (Scope::Cpu, "_C::fused_gumbel_argmax", "sampling"),
            (Scope::Cpu, "aten::copy_", "elementwise"),
        ] {
            assert_eq!(label(scope, name), wanted, "{name}");
        }
    }

    #[test]
    fn own_rules_come_first_and_a_wrong_one_is_named() {
        let rules =
            Rules::new(Some("[[rule]]\ncategory = 'mine'\nre = '^nvjet_'\n")).expect("right");
        let id = rules.label(Scope::Gpu, "nvjet_tst", None);
        assert_eq!(rules.get(id).category, "mine");
        let error = Rules::new(Some("[[rule]]\ncategory = 'mine'\nre = '('\n")).expect_err("wrong");
        assert!(error.to_string().contains("rule for mine"), "{error}");
    }
}
