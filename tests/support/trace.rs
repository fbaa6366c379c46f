//! Synthetic traces whose account is known exactly: every kernel's time and every gap is put there on purpose.

use std::fmt::Write as _;

/// One kernel: its name, and its time in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel(pub(crate) &'static str, pub(crate) u64);

/// A model as a sequence of kernels: what comes once in front, what each layer runs, what comes once behind.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) layers: usize,
    pub(crate) layer: Vec<Kernel>,
    pub(crate) tail: Vec<Kernel>,
    /// Between kernels, in nanoseconds.
    pub(crate) gap: u64,
    /// Behind the last kernel of a step.
    pub(crate) rest: u64,
}

const NVJET: &str = "nvjet_tst_128x64_64x10_1x2_h_bz_coopB_TNT";
const CUTLASS: &str = "void cutlass::device_kernel<vllm::cutlass_3x_gemm<signed char, cutlass::bfloat16_t, vllm::c3x::ScaledEpilogue>::GemmKernel>()";
const QUANT: &str = "void vllm::dynamic_scaled_int8_quant_kernel<c10::BFloat16, float>()";
const NORM: &str = "triton_red_fused_add_mean_mul_pow_rsqrt_0";
const ROPE: &str = "void vllm::rotary_embedding_kernel<c10::BFloat16, true>()";
const CACHE: &str = "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16>()";
const FA3: &str =
    "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<x>>>()";
const SILU: &str =
    "void vllm::act_and_mul_kernel<c10::BFloat16, &vllm::silu_kernel<c10::BFloat16>, true>()";
const ARGMAX: &str = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps<float>>>()";

#[allow(dead_code, reason = "each program that shares this uses a part of it")]
impl Model {
    /// A dense model in BF16: products of 9 us.
    pub(crate) fn bf16() -> Self {
        let product = Kernel(NVJET, 9_000);
        Self {
            layers: 4,
            layer: vec![
                Kernel(NORM, 2_000),
                product,
                Kernel(ROPE, 1_000),
                Kernel(CACHE, 1_000),
                Kernel(FA3, 14_000),
                product,
                Kernel(NORM, 2_000),
                product,
                Kernel(SILU, 2_000),
                product,
            ],
            tail: vec![product, Kernel(ARGMAX, 3_000)],
            gap: 700,
            rest: 50_000,
        }
    }

    /// The same in W8A8: products of 6 us, each with a quantization of 2 us in front.
    pub(crate) fn w8a8() -> Self {
        let base = Self::bf16();
        let quantized = |kernel: &Kernel| match kernel.0 {
            NVJET => vec![Kernel(QUANT, 2_000), Kernel(CUTLASS, 6_000)],
            _ => vec![*kernel],
        };
        Self {
            layer: base.layer.iter().flat_map(quantized).collect(),
            ..base
        }
    }

    /// Kernels of one step in order.
    pub(crate) fn step(&self) -> Vec<Kernel> {
        let layers = std::iter::repeat_n(&self.layer, self.layers).flatten();
        layers.chain(&self.tail).copied().collect()
    }

    /// Start of a step to the start of the next, in nanoseconds.
    pub(crate) fn period(&self) -> u64 {
        let step = self.step();
        step.iter().map(|kernel| kernel.1).sum::<u64>()
            + (step.len() as u64 - 1) * self.gap
            + self.rest
    }

    /// A trace of a GPU: `steps` decode steps of `batch` sequences by graph launches, annotated, and one step more whose
    /// end is not known.
    pub(crate) fn chrome(&self, steps: u64, batch: u32) -> String {
        let mut text = String::from(
            "{\"schemaVersion\": 1, \"deviceProperties\": [{\"id\": 0, \"name\": \"a card\"}], \"vllm_version\": \"0.32.0\", \"traceEvents\": [\n",
        );
        let us = |ns: u64| format!("{}.{:03}", ns / 1000, ns % 1000);
        for n in 0..=steps {
            let begin = 1_000_000_000 + n * self.period();
            let launch = begin - 20_000;
            let _ = writeln!(
                text,
                "{{\"ph\":\"X\",\"cat\":\"cuda_runtime\",\"name\":\"cudaGraphLaunch\",\"pid\":9,\"tid\":9,\"ts\":{},\"dur\":5.000,\"args\":{{\"correlation\": {}}}}},",
                us(launch),
                n + 1
            );
            let mut at = begin;
            for kernel in self.step() {
                let _ = writeln!(
                    text,
                    "{{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"{}\",\"pid\":0,\"tid\":7,\"ts\":{},\"dur\":{},\"args\":{{\"stream\": 7, \"correlation\": {}, \"grid\": [1, 1, 1]}}}},",
                    kernel.0,
                    us(at),
                    us(kernel.1),
                    n + 1
                );
                at += kernel.1 + self.gap;
            }
            let _ = writeln!(
                text,
                "{{\"ph\":\"X\",\"cat\":\"gpu_user_annotation\",\"name\":\"execute_context_0(0)_generation_{batch}({batch})\",\"pid\":0,\"tid\":7,\"ts\":{},\"dur\":{},\"args\":{{}}}},",
                us(begin),
                us(at - begin)
            );
        }
        text.push_str("{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":0,\"args\":{\"name\":\"python\"}}\n], \"traceName\": \"x\"}\n");
        text
    }

    /// The same as Ascend's `kernel_details.csv`: nothing tells steps but what repeats.
    pub(crate) fn ascend(&self, steps: u64, batch: u32) -> String {
        let mut text = String::from(
            "Device_id,Name,Type,Accelerator Core,Start Time(us),Duration(us),Wait Time(us),Input Shapes\n",
        );
        for n in 0..=steps {
            let mut at = 1_774_670_741_777_000_027 + n * self.period();
            for kernel in self.step() {
                let op_type = match kernel.0 {
                    NVJET => "MatMulV2",
                    CUTLASS => "QuantBatchMatmulV3",
                    QUANT => "DynamicQuant",
                    NORM => "AddRmsNorm",
                    ROPE => "RotaryMul",
                    CACHE => "ReshapeAndCache",
                    FA3 => "FusedInferAttentionScore",
                    SILU => "SwiGlu",
                    _ => "ArgMaxV2",
                };
                let _ = writeln!(
                    text,
                    "0,aclnn_{op_type},{op_type},AI_CORE,{}.{:03}\t,{}.{:03},0.02,\"\"\"{batch},4096;4096,4096\"\"\"",
                    at / 1000,
                    at % 1000,
                    kernel.1 / 1000,
                    kernel.1 % 1000
                );
                at += kernel.1 + self.gap;
            }
        }
        text
    }
}
