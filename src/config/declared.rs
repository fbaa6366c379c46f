//! Every setting, once. A new one is an entry here: its flag, its key in TOML, its line in `plan` and in the record,
//! its place in the schema and in docs/settings.md follow, and [`super::Settings::get`] reads it.
#![expect(
    clippy::doc_markdown,
    reason = "these are help texts, read in a terminal"
)]

use serde_json::Value;

use super::pacing::RATES;
use super::setting::{Declaration, LOAD, PREDICT, Setting, Shown};
use super::shapes::{
    GOODPUT_TABLE, LAYER_TABLE, LENGTHS_TABLE, MAX_TOKENS, RAMP_TEXT, SELECTION, TEXT_TABLE,
};
use super::values::{Extended, Seconds};
use crate::config::{FanOut, Start};
use crate::load::Api;
use crate::units::Mode;
use crate::workload::Lengths;

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $name:ident: $type:ty = $how:expr;)+) => {
        $(
            $(#[doc = $help])+
            pub(crate) static $name: Setting<$type> = $how.help(concat!($($help, "\n"),+));
        )+

        /// Every setting, in the order in which `plan` and the reference show them.
        pub(crate) static ALL: &[&Declaration] = &[$(&$name.declaration),+];

        #[cfg(test)]
        fn read_every_default() {
            $(let _ = $name.default_of();)+
        }
    };
}

settings! {
    /// A TOML file, or a built-in matrix: ascend, nvidia, cpu
    CONFIG: Option<String> = Setting::path("config").flag("Matrix", "--config <FILE>").env("ROLLBENCH_CONFIG")
        .default_words("./rollbench.toml, else a parent folder's, else the built-in matrix for the accelerator found").shown(Shown::Never);
    /// Only these models, by id
    MODELS: Vec<String> = Setting::own("select.models", SELECTION).many()
        .flag("Matrix", "--models <ID>...").shown(Shown::Never);
    /// Only these precisions, by id
    PRECISIONS: Vec<String> = Setting::own("select.precisions", SELECTION).many()
        .flag("Matrix", "--quants --precisions <ID>...").shown(Shown::Never);
    /// Known architectures without weights, in place of the configuration's models: speed, not text
    ///
    /// Names: qwen3-1.7b, qwen3-4b, qwen3-8b, qwen3-32b, qwen3-30b-a3b, pangu-7b, qwen2.5-7b, llama-3.1-8b; or the folder of a
    /// config.json (./NAME). --quants: bf16, w8a16, w8a8, fp8 (these are the default), fp8-block, w4a16, nvfp4.
    SHAPES: Vec<String> = Setting::text("shapes").many().flag("Matrix", "--shapes <NAME>...").shown(Shown::Never);
    /// tensor_parallel_size of every cell
    TENSOR_PARALLEL: Option<u32> = Setting::whole("tensor_parallel", 1, 1_024).flag("Engine", "--tp <N>")
        .shown(Shown::Never);
    /// gpu_memory_utilization of every cell, in (0, 1]
    GPU_MEM_UTIL: Option<f64> = Setting::number("gpu_mem_util", share_of_memory)
        .flag("Engine", "--gpu-mem-util <SHARE>").shown(Shown::Never);

    /// Whether the engine is driven in-process or served
    MODE: Mode = Setting::either("run.mode", &[
        ("--offline", "Drive the engine in-process with LLM.generate; this is the default"),
        ("--online", "Start `vllm serve` for each cell and drive it over HTTP with the streaming client: TTFT, TPOT, ITL, E2EL"),
    ]).flag("Mode", "--offline").default("offline").not_in_file();
    /// Measured steps per engine start, at each point of a sweep
    STEPS: u32 = Setting::whole("run.steps", 1, 10_000).flag("Measurement", "--steps <K>").default("3")
        .load_default("1");
    /// Unmeasured full steps before them
    WARMUP: u32 = Setting::whole("run.warmup", 0, 10_000).flag("Measurement", "--warmup <K>").default("1")
        .also(LOAD);
    /// Engine starts per cell, in a seeded random order per block; 6 give an interval
    BLOCKS: u32 = Setting::whole("run.blocks", 1, 10_000).flag("Measurement", "--blocks <B>").default("1");
    /// Also start the baseline a second time in every block: the A/A difference shows what this machine can resolve
    CALIBRATE: bool = Setting::switch("run.calibrate").flag("Measurement", "--calibrate");
    /// The smallest speed-up that matters, fixed before measuring: 2% or 0.02
    SMALLEST_EFFECT: f64 = Setting::share("run.smallest_effect").flag("Measurement", "--smallest-effect <SHARE>")
        .default("0.02").default_words("2%");
    /// As many engine starts as intervals of this half-width need, such as 2%: decided once, after 6 blocks
    UNTIL: Option<f64> = Setting::share("run.until").flag("Measurement", "--until <SHARE>").shown(Shown::Said);
    /// Most blocks that --until runs
    MAX_BLOCKS: u32 = Setting::whole("run.max_blocks", 2, 10_000).flag("Measurement", "--max-blocks <B>")
        .default("30").shown(Shown::Said);
    /// Seed of prompts, arrivals and orders
    SEED: u64 = Setting::whole("run.seed", 0, u64::MAX as i128).flag("Measurement", "--seed <SEED>").default("0")
        .also(LOAD);
    /// How samples become requests: each its own, as verl does, or one request with n
    FAN_OUT: FanOut = Setting::choice("run.fan_out", &[
        ("requests", "Each sample a request of its own"),
        ("n", "One request per prompt with n samples"),
    ]).flag("Workload", "--fan-out <HOW>")
        .default("requests").also(LOAD);
    /// Import vLLM once a block and fork each engine start from it, or import it anew for each
    START: Start = Setting::choice("run.start", &[
        ("warm", "Forked from an interpreter that has imported vLLM and serves one block"),
        ("cold", "Python is executed and imports vLLM"),
    ]).default("cold").shown(Shown::Said);
    /// Import vLLM anew for every engine start, whatever the configuration says
    COLD_STARTS: bool = Setting::switch("run.cold_starts").flag("Engine", "--cold-starts").not_in_file().shown(Shown::Said);
    /// How long to wait for device memory to come back between cells, in seconds
    GATE_TIMEOUT: Seconds = Setting::number("run.gate_timeout_s", seconds).flag("Engine", "--gate-timeout <SECONDS>")
        .default("60");

    /// Add a profiled session to each engine start, after its measured steps; `rollbench profile` reads the traces
    PROFILE: bool = Setting::switch("run.profile").flag("Profile", "--profile").shown(Shown::Said);
    /// Sequences that decode in it
    PROFILE_PROMPTS: Option<u32> = Setting::whole("run.profile_prompts", 1, 1_000_000)
        .flag("Profile", "--profile-prompts <N>")
        .default_words("those of the workload, as many as the engine decodes at once").shown(Shown::Said);
    /// Length of their responses
    PROFILE_OUTPUT_LEN: Option<u32> = Setting::whole("run.profile_output_len", 1, MAX_TOKENS)
        .flag("Profile", "--profile-output-len <TOKENS>")
        .default_words("what 24 iterations of pure decode take").shown(Shown::Said);
    /// Leave its traces uncompressed
    KEEP_RAW: bool = Setting::switch("run.keep_raw").flag("Profile", "--keep-raw").shown(Shown::Said);

    /// Requests per second, or `inf` for all at once; several make a sweep on one server
    REQUEST_RATE: Vec<Extended> = Setting::number("online.request_rate", rate).many()
        .flag("Online load", "--request-rate <RATE>").default_words("inf").also(LOAD).shown(Shown::Never);
    /// Requests in flight at most; several make a sweep on one server
    MAX_CONCURRENCY: Vec<u32> = Setting::whole("online.max_concurrency", 1, 1_000_000).many()
        .flag("Online load", "--max-concurrency <N>").default_words("no limit").also(LOAD).shown(Shown::Never);
    /// Regularity of arrivals at a rate: 1 Poisson, less in bursts, more more even, `inf` equal gaps
    BURSTINESS: Extended = Setting::number("online.burstiness", burstiness).flag("Online load", "--burstiness <B>")
        .default("1").hint("1 is a Poisson process, `inf` is equal gaps").also(LOAD).shown(Shown::Never);
    /// A rate that grows over the step: FROM:TO or FROM:TO:exponential, in requests per second
    RAMP: Option<String> = Setting::own("online.ramp", RAMP_TEXT).flag("Online load", "--ramp <RAMP>").also(LOAD)
        .shown(Shown::Never);
    /// Send for so many seconds instead of a number of prompts; throughput is then what is compared
    DURATION: Option<Seconds> = Setting::number("online.duration_s", seconds).flag("Online load", "--duration <SECONDS>")
        .also(LOAD).shown(Shown::Never);
    /// Count requests that keep these objectives, in ms: ttft:500 tpot:50 e2el:9000
    GOODPUT: Vec<String> = Setting::own("online.goodput", GOODPUT_TABLE).many()
        .flag("Online load", "--goodput <SLO>...").also(LOAD).shown(Shown::Never);
    /// The endpoint: completions sends token ids (exact lengths), chat sends text (prompt lengths approximate)
    API: Api = Setting::choice("online.api", &[
        ("completions", "`/v1/completions`"),
        ("chat", "`/v1/chat/completions`"),
    ]).flag("Online load", "--api <API>")
        .default("completions").also(LOAD).shown(Shown::Never);

    /// Lengths shaped like those of a real rollout: fixed, gsm8k, math-4k, dapo-8k, dapo-20k, cot-32k
    PRESET: Option<String> = Setting::text("workload.preset").flag("Workload", "--workload <NAME>").also(PREDICT)
        .shown(Shown::Said);
    /// Response lengths as observed: verl's rollout dumps ({step}.jsonl), a column of numbers, ShareGPT-like JSON
    LENGTHS_FROM: Vec<String> = Setting::path("lengths_from").many().flag("Workload", "--lengths-from <FILE>...")
        .also(PREDICT).shown(Shown::Never);
    /// Prompts per step
    NUM_PROMPTS: u32 = Setting::whole("workload.num_prompts", 1, 1_000_000).flag("Workload", "--num-prompts <N>")
        .default("32").load_default("100").also(PREDICT);
    /// Samples per prompt
    N: u32 = Setting::whole("workload.n", 1, 100_000).flag("Workload", "-n --samples <N>").default("8")
        .default_words("8; online 1").load_default("1").also(PREDICT);
    /// Prompt length in tokens
    INPUT_LEN: u32 = Setting::whole("workload.input_len", 1, MAX_TOKENS).flag("Workload", "--input-len <TOKENS>")
        .default("512").also(PREDICT | LOAD).shown(Shown::Said);
    /// Response length in tokens, exact
    OUTPUT_LEN: u32 = Setting::whole("workload.output_len", 1, MAX_TOKENS).flag("Workload", "--output-len <TOKENS>")
        .default("256").also(PREDICT | LOAD).shown(Shown::Said);
    /// Prompt lengths as a distribution
    PROMPT: Option<Lengths> = Setting::own("workload.prompt", LENGTHS_TABLE).shown(Shown::Said);
    /// Response lengths as a distribution
    RESPONSE: Option<Lengths> = Setting::own("workload.response", LENGTHS_TABLE).shown(Shown::Said);
    /// How alike the response lengths of one prompt's samples are, 0 to 1
    SIBLING_CORRELATION: f64 = Setting::number("workload.sibling_correlation", finite)
        .flag("Workload", "--sibling-correlation <RHO>").default("0").default_words("the preset's, else 0").also(PREDICT)
        .shown(Shown::Said);
    /// Tokens that all prompts begin with
    SHARED_PREFIX: u32 = Setting::whole("workload.shared_prefix", 0, MAX_TOKENS)
        .flag("Workload", "--shared-prefix <TOKENS>").default("0").shown(Shown::Said);
    /// Spread a step over this many engines as verl does, and measure the share of one
    REPLICAS: u32 = Setting::whole("workload.replicas", 1, 100_000).flag("Workload", "--replicas <R>").default("1")
        .also(PREDICT).shown(Shown::Said);
    /// Randomness of sampling; 0 is greedy
    TEMPERATURE: f64 = Setting::number("workload.sampling.temperature", at_least_0).default("1");
    /// Share of the probability that is sampled from
    TOP_P: f64 = Setting::number("workload.sampling.top_p", share_of_memory).default("1");
    /// Tokens that are sampled from; -1: all
    TOP_K: i32 = Setting::whole("workload.sampling.top_k", -1, i32::MAX as i128).default("-1");
    /// Log-probabilities asked for per token; 0: the sampled token's
    LOGPROBS: Option<u32> = Setting::whole("workload.sampling.logprobs", 0, 1_000);

    /// Measure fidelity after the blocks: how far each precision's policy is from the baseline's, and whether trainers accept that
    ///
    /// In engine starts of their own, each cell one a block. `rollbench fidelity` measures it alone.
    FIDELITY: bool = Setting::switch("fidelity.measure").flag("Fidelity", "--fidelity").shown(Shown::Said);
    /// Sampled tokens of a cell, at most: the more, the narrower the interval
    FIDELITY_TOKENS: u64 = Setting::whole("fidelity.tokens", 100, 100_000_000).flag("Fidelity", "--fidelity-tokens <TOKENS>")
        .default("20000").shown(Shown::Said);
    /// Most tokens of a response
    FIDELITY_OUTPUT_LEN: Option<u32> = Setting::whole("fidelity.output_len", 1, MAX_TOKENS)
        .flag("Fidelity", "--fidelity-output-len <TOKENS>").default_words("256, less where --fidelity-tokens is small")
        .shown(Shown::Said);
    /// Your prompts instead of the built-in problems: JSON Lines (prompt, text, messages, prompt_token_ids, ShareGPT, verl's dumps) or verl's parquet
    PROMPTS: Option<String> = Setting::path("fidelity.prompts").flag("Fidelity", "--prompts <FILE>").shown(Shown::Said);
    /// How many of the best tokens are kept at each position
    FIDELITY_BEST: u32 = Setting::whole("fidelity.best", 1, 200).default("20").shown(Shown::Said);
    /// Quantized cells score the baseline's samples too, in one more engine start each
    BOTH_WAYS: bool = Setting::switch("fidelity.both_ways").flag("Fidelity", "--both-ways").shown(Shown::Said);
    /// Check the answers: the share that is right, beside the baseline's
    SCORE: bool = Setting::switch("fidelity.score").flag("Fidelity", "--score").shown(Shown::Said);
    /// Excess of k3_kl over the floor below which a policy is as the baseline's, in nats a token
    AS_BASELINE: f64 = Setting::number("fidelity.as_baseline", nats).default("0.001").shown(Shown::Said);
    /// Excess beyond which no importance correction helps
    CORRECTABLE: f64 = Setting::number("fidelity.correctable", nats).default("0.01").shown(Shown::Said);

    /// The Python that has vLLM, or `managed` for an environment of rollbench's own (CPU)
    PYTHON: String = Setting::path("engine.python").flag("Engine", "--python <PYTHON>").default("python3");
    /// Whether an engine's workers may be Ray's, which rollbench can neither end nor prove gone
    ALLOW_RAY: bool = Setting::switch("engine.allow_ray").shown(Shown::Said);
    /// Engine arguments by their Python names
    ARGS: Option<Value> = Setting::own("engine.args", LAYER_TABLE).layered();
    /// Environment variables of the engine
    ENV: Option<Value> = Setting::own("engine.env", TEXT_TABLE).layered();
    /// Engine arguments that a layer below set and this one takes back
    UNSET: Option<Value> = Setting::own("engine.unset", SELECTION).layered();
    /// From launch to ready; beyond it a start fails as `timeout`
    START_LIMIT: Seconds = Setting::number("engine.limits.start_s", seconds).default("1800").layered();
    /// In a step, without a token or a finished sequence
    STALL_LIMIT: Seconds = Setting::number("engine.limits.stall_s", seconds).default("600").layered();
    /// From the polite request to stop to the sweep
    STOP_LIMIT: Seconds = Setting::number("engine.limits.stop_s", seconds).default("15").layered();
    /// For the profiler to write its trace
    FLUSH_LIMIT: Seconds = Setting::number("engine.limits.profile_flush_s", seconds).default("600").layered();
    /// Engine arguments and sampling as verl passes them; `plan --like-verl` lists what that changes
    LIKE_VERL: bool = Setting::switch("like_verl").flag("Engine", "--like-verl").shown(Shown::Never);
    /// Where benchmark_results/ and benchmark_logs/ are made
    OUT: String = Setting::path("out").flag("Output", "--out <DIR>").env("BENCH_BASE_DIR").default(".");
    /// Replaces ${MODEL_BASE} in checkpoint paths
    MODEL_BASE: Option<String> = Setting::path("model_base").flag("Matrix", "--model-base <DIR>").env("MODEL_BASE")
        .shown(Shown::Said);
}

/// The setting of a key.
pub(crate) fn declaration(key: &str) -> Option<&'static Declaration> {
    ALL.iter().copied().find(|setting| setting.key == key)
}

fn check(fits: bool, must: &'static str) -> Result<(), &'static str> {
    if fits { Ok(()) } else { Err(must) }
}

/// A century is enough.
pub(super) fn seconds(s: f64) -> Result<(), &'static str> {
    check(s > 0.0 && s < 3.2e9, "a number of seconds above 0")
}

/// Also what an engine's `gpu_memory_utilization` must be.
pub(super) fn share_of_memory(share: f64) -> Result<(), &'static str> {
    check(share > 0.0 && share <= 1.0, "above 0 and at most 1")
}

fn nats(limit: f64) -> Result<(), &'static str> {
    check(limit > 0.0 && limit.is_finite(), "above 0")
}

fn finite(number: f64) -> Result<(), &'static str> {
    check(number.is_finite(), "a finite number")
}

fn at_least_0(number: f64) -> Result<(), &'static str> {
    check(number >= 0.0 && number.is_finite(), "0 or above")
}

/// Beyond this, gaps are as good as equal, or all requests come at once.
fn burstiness(b: f64) -> Result<(), &'static str> {
    check(b > 0.0, "above 0")?;
    check(
        b.is_infinite() || (0.001..=1e6).contains(&b),
        "from 0.001 to 1000000, or `inf`",
    )
}

fn rate(rate: f64) -> Result<(), &'static str> {
    check(rate > 0.0, "above 0; `inf` sends all at once")?;
    check(
        rate.is_infinite() || RATES.contains(&rate),
        "from 0.000001 to 1000000 requests per second, or `inf`",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Args as _;

    use super::*;
    use crate::config::setting::Kind;
    use crate::config::{Given, LoadRequest, MatrixFlags, Origin, json_schema, load, reference};
    use crate::device::Platform;

    #[test]
    fn every_default_is_a_value_of_its_type() {
        for setting in ALL {
            let text = setting.default.unwrap_or_default();
            assert!(
                setting.default.is_none() || setting.read_text("", text).is_ok(),
                "{}",
                setting.key
            );
        }
        read_every_default();
    }

    /// A value that is not the default, as a flag has it; absent where only code of its own knows one.
    fn sample(setting: &Declaration) -> Option<String> {
        Some(match (setting.kind, setting.key) {
            (_, "workload.preset") => "gsm8k".to_owned(),
            (Kind::Whole(least, _), _) => (least.max(1) + 1).to_string(),
            (Kind::Number(_) | Kind::Share, _) => "0.5".to_owned(),
            (Kind::Switch, _) => "true".to_owned(),
            (Kind::Choice(of), _) => of.last()?.0.to_owned(),
            (Kind::Either(of), _) => of.last()?.0.trim_start_matches('-').to_owned(),
            (Kind::Text | Kind::Path, _) => "python".to_owned(),
            (Kind::Own(_), _) => return None,
        })
    }

    /// What `plan` and the record say of a setting, by file or by flag.
    fn origin(setting: &'static Declaration, by_flag: bool) -> Option<Origin> {
        let sample = sample(setting).expect("it has one");
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut text = vec!["schema = 1".to_owned()];
        if let (false, Some((table, key))) = (by_flag, setting.key.rsplit_once('.')) {
            let value = match setting.kind {
                Kind::Choice(_) | Kind::Text | Kind::Path => format!("{sample:?}"),
                _ => sample.clone(),
            };
            text.push(format!("[{table}]\n{key} = {value}"));
            if setting.key == MAX_BLOCKS.declaration.key {
                text.push("until = 0.1".to_owned());
            }
        }
        text.push(
            "[[precision]]\nname = \"bf16\"\nbaseline = true\n[[model]]\nname = \"tiny\""
                .to_owned(),
        );
        std::fs::write(dir.path().join("rollbench.toml"), text.join("\n")).expect("written");
        let mut request = LoadRequest {
            flags: Given::default(),
            lengths: None,
            env: BTreeMap::new(),
            cwd: dir.path().to_owned(),
            platform: Platform::Cpu,
            elsewhere: false,
        };
        if setting.key.starts_with("online.") {
            request.flags.give(&MODE, ["online"]);
            request.flags.give(&REQUEST_RATE, ["1"]);
        }
        if setting.key == MAX_BLOCKS.declaration.key && by_flag {
            request.flags.give(&UNTIL, ["0.1"]);
        }
        if by_flag {
            let sample = match setting.key {
                "run.max_blocks" => "7".to_owned(),
                _ => sample,
            };
            request.flags.say(setting, [sample]);
        }
        if !by_flag && setting.key == REQUEST_RATE.declaration.key {
            request.flags.forget(&REQUEST_RATE);
        }
        let settings = load(&request).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        settings
            .values
            .get(setting.key)
            .map(|value| value.origin.clone())
    }

    /// One declaration is all that a setting needs: it is in every place that the user sees.
    #[test]
    fn a_declared_setting_is_everywhere() {
        let (schema, page) = (json_schema(), reference());
        let mut command = MatrixFlags::augment_args(clap::Command::new("run"));
        let help = command.render_long_help().to_string();
        for setting in ALL {
            let key = setting.key;
            assert!(
                page.contains(&format!("| {} |", setting.help_cell())),
                "{key}"
            );
            if setting.is_in_file() {
                assert!(
                    schema.contains(&format!("\"{}\": {{", setting.last_key())),
                    "{key}"
                );
            }
            if let Some(flag) = setting.flag_name() {
                assert!(help.contains(flag), "{key}");
            }
            let seen = setting.shown != Shown::Never || key.starts_with("online.");
            if !seen || sample(setting).is_none() {
                continue;
            }
            if setting.is_in_file() {
                let said = origin(setting, false);
                assert!(matches!(said, Some(Origin::File { .. })), "{key}: {said:?}");
            }
            if setting.flag.is_some() {
                let said = origin(setting, true);
                assert!(matches!(said, Some(Origin::Flag(_))), "{key}: {said:?}");
            }
        }
    }
}
