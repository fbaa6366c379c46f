//! Plans as a whole: configuration and checkpoints on disk in, cells, skips, notes and text out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::estimate::Basis;
use super::*;
use crate::checkpoint::HubCache;
use crate::config::declared::*;
use crate::config::{Given, LoadRequest, load};
use crate::device::Platform;
use crate::error::{CommandError, Exit};
use crate::record::{Arm, Skip, builder};

/// A folder with a configuration and checkpoints.
struct Site {
    dir: tempfile::TempDir,
    env: BTreeMap<String, String>,
    flags: Given,
    platform: Platform,
    elsewhere: bool,
}

const BF16: &str = r#""dtype": "bfloat16""#;
const W8A8: &str = r#""quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int"},
    "input_activations": {"num_bits": 8, "type": "int", "dynamic": true}}}}"#;

impl Site {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("temporary folder"),
            env: BTreeMap::new(),
            flags: Given::default(),
            platform: Platform::Cpu,
            elsewhere: false,
        }
    }

    /// The reference matrix with all its checkpoints below `MODEL_BASE`.
    fn reference() -> Self {
        let mut site = Self::new();
        site.flags.give(&CONFIG, ["ascend"]);
        site.platform = Platform::Npu;
        let base = site.dir.path().join("m");
        site.env
            .insert("MODEL_BASE".into(), base.display().to_string());
        for model in ["qwen3-1.7b", "pangu-7b", "qwen3-30b-a3b"] {
            site.checkpoint(&format!("m/{model}"), BF16);
            for (suffix, kind) in [("W8A16", "W8A16"), ("W8A8D", "W8A8_DYNAMIC")] {
                let name = format!("m/{model}-{suffix}");
                site.checkpoint(&name, BF16);
                let description = format!(r#"{{"model_quant_type": "{kind}"}}"#);
                site.write(
                    &format!("{name}/quant_model_description.json"),
                    &description,
                );
            }
        }
        site
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn checkpoint(&self, name: &str, format: &str) {
        let config =
            format!(r#"{{"vocab_size": 1000, "max_position_embeddings": 2048, {format}}}"#);
        self.write(&format!("{name}/config.json"), &config);
        self.write(&format!("{name}/model.safetensors"), "0123456789");
    }

    fn try_plan(&self) -> Result<Plan, PlanErrors> {
        let settings = load(&LoadRequest {
            flags: self.flags.clone(),
            lengths: None,
            env: self.env.clone(),
            cwd: self.dir.path().to_owned(),
            platform: self.platform,
            elsewhere: self.elsewhere,
        })
        .unwrap_or_else(|errors| panic!("{errors}"));
        make(settings, &HubCache::from_env(&self.env), &|made| {
            let (Cached::Demo(name) | Cached::Shape(name)) = made;
            Ok(PathBuf::from("/cache").join(name))
        })
    }

    fn plan(&self) -> Plan {
        self.try_plan().unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn shown(&self, text: &str) -> String {
        text.replace(&self.dir.path().display().to_string(), "DIR")
    }

    /// Without the alignment, which depends on how long the temporary folder's name is.
    fn unaligned(&self, text: &str) -> String {
        let line = |line: &str| {
            let indent = line.len() - line.trim_start().len();
            let words: Vec<&str> = line
                .split("  ")
                .map(str::trim)
                .filter(|w| !w.is_empty())
                .collect();
            format!("{}{}", &line[..indent], words.join("  "))
        };
        let lines: Vec<String> = self.shown(text).lines().map(line).collect();
        lines.join("\n")
    }
}

const TWO: &str = r#"schema = 1
[workload]
num_prompts = 4
n = 2
input_len = 16
output_len = 8
[engine]
args = { dtype = "bfloat16" }
[[precision]]
name = "bf16"
baseline = true
[[precision]]
name = "w8a8"
unsupported = { npu = "not yet" }
[[model]]
name = "tiny"
checkpoints = { bf16 = "tiny", w8a8 = "tiny-W8A8" }
"#;

fn two() -> Site {
    let site = Site::new();
    site.write("rollbench.toml", TWO);
    site.checkpoint("tiny", BF16);
    site.checkpoint("tiny-W8A8", W8A8);
    site
}

fn skips(plan: &Plan) -> Vec<String> {
    plan.skips()
        .map(|(cell, skip)| format!("{}: {skip}", cell.settings.id))
        .collect()
}

#[test]
fn the_reference_matrix_is_eight_runs_and_one_skip() {
    let plan = Site::reference().plan();
    assert_eq!(plan.runs().count(), 8);
    assert_eq!(
        skips(&plan),
        ["qwen3-30b-a3b_w8a16: no checkpoint configured"]
    );
    assert_eq!(plan.order[0].len(), 8);
    assert_eq!(plan.notes, Vec::<String>::new());
}

#[test]
fn a_calibration_starts_the_baseline_of_every_model_twice_a_block() {
    let mut site = Site::reference();
    site.flags.give(&CALIBRATE, ["true"]);
    site.flags.give(&BLOCKS, ["2"]);
    let plan = site.plan();
    for block in &plan.order {
        assert_eq!(block.len(), 8 + 3);
        let again: Vec<_> = block
            .iter()
            .filter(|turn| turn.arm == Arm::Calibration)
            .collect();
        assert_eq!(again.len(), 3);
        assert!(
            again
                .iter()
                .all(|turn| plan.cells[turn.cell].settings.id.precision.as_str() == "bf16")
        );
    }
}

#[test]
fn unsupported_comes_before_missing() {
    let mut site = two();
    std::fs::remove_dir_all(site.dir.path().join("tiny-W8A8")).expect("removed");
    let skip = |plan: &Plan| plan.cells[1].skip.clone().expect("skipped");
    assert!(matches!(skip(&site.plan()), Skip::CheckpointMissing { .. }));
    site.platform = Platform::Npu;
    assert!(matches!(skip(&site.plan()), Skip::Unsupported { .. }));
}

#[test]
fn the_plan_of_the_reference_matrix_reads_well() {
    let site = Site::reference();
    insta::assert_snapshot!(site.unaligned(&to_text(&site.plan())), @r#"
    matrix  built-in ascend (flag --config)
    cells  8 to run, 1 skipped

                     BF16 *  W8A16  W8A8
      Qwen3-1.7B  run, 10 B  run, 10 B  run, 10 B
      openPangu-7B  run, 10 B  run, 10 B  run, 10 B
      Qwen3-30B-A3B  run, 10 B  skip  run, 10 B
      * the baseline that the others are compared with

    skipped: qwen3-30b-a3b_w8a16: no checkpoint configured

    a step  offline: 32 prompts x 8 = 256 sequences, 512 tokens in, 256 out
                each sample is a request of its own, as in verl
    steps  1 warm-up + 3 measured on each engine start; 1 engine start a cell
    order  qwen3-1.7b: w8a8, bf16, w8a16; pangu-7b: w8a8, bf16, w8a16; qwen3-30b-a3b: bf16, w8a8
                random within each model, by seed 0
    results  DIR/benchmark_results
    estimate  about 34 min, assuming what such engines usually take

    engine arguments of all cells
      dtype = "bfloat16"  built-in ascend.toml:38
      trust_remote_code = true  built-in ascend.toml:38
      max_num_seqs = 256  built-in ascend.toml:38
      max_num_batched_tokens = 8192  built-in ascend.toml:38
      enable_prefix_caching = true  built-in ascend.toml:38
      max_model_len = 768  derived: longest prompt + response
      generation_config = "vllm"  derived: the checkpoint's own sampling defaults stay out

    engine environment of all cells
      VLLM_NO_USAGE_STATS = "1"  built-in ascend.toml:39
      DO_NOT_TRACK = "1"  built-in ascend.toml:39
      HCCL_HOST_SOCKET_PORT_RANGE = "auto"  built-in ascend.toml:39
      HCCL_NPU_SOCKET_PORT_RANGE = "auto"  built-in ascend.toml:39

    time limits: 1800 s to start, 600 s without progress, 15 s to stop

    qwen3-1.7b_bf16: DIR/m/qwen3-1.7b, BF16, 10 B
      model = "DIR/m/qwen3-1.7b"  built-in ascend.toml:65
      tensor_parallel_size = 1  built-in ascend.toml:64
      gpu_memory_utilization = 0.4  built-in ascend.toml:64

    qwen3-1.7b_w8a16: DIR/m/qwen3-1.7b-W8A16, ModelSlim W8A16, 10 B
      model = "DIR/m/qwen3-1.7b-W8A16"  built-in ascend.toml:66
      tensor_parallel_size = 1  built-in ascend.toml:64
      gpu_memory_utilization = 0.4  built-in ascend.toml:64
      quantization = "ascend"  built-in ascend.toml:52

    qwen3-1.7b_w8a8: DIR/m/qwen3-1.7b-W8A8D, ModelSlim W8A8_DYNAMIC, 10 B
      model = "DIR/m/qwen3-1.7b-W8A8D"  built-in ascend.toml:67
      tensor_parallel_size = 1  built-in ascend.toml:64
      gpu_memory_utilization = 0.4  built-in ascend.toml:64
      quantization = "ascend"  built-in ascend.toml:58

    pangu-7b_bf16: DIR/m/pangu-7b, BF16, 10 B
      model = "DIR/m/pangu-7b"  built-in ascend.toml:73
      tensor_parallel_size = 1  built-in ascend.toml:72
      gpu_memory_utilization = 0.6  built-in ascend.toml:72

    pangu-7b_w8a16: DIR/m/pangu-7b-W8A16, ModelSlim W8A16, 10 B
      model = "DIR/m/pangu-7b-W8A16"  built-in ascend.toml:74
      tensor_parallel_size = 1  built-in ascend.toml:72
      gpu_memory_utilization = 0.6  built-in ascend.toml:72
      quantization = "ascend"  built-in ascend.toml:52

    pangu-7b_w8a8: DIR/m/pangu-7b-W8A8D, ModelSlim W8A8_DYNAMIC, 10 B
      model = "DIR/m/pangu-7b-W8A8D"  built-in ascend.toml:75
      tensor_parallel_size = 1  built-in ascend.toml:72
      gpu_memory_utilization = 0.6  built-in ascend.toml:72
      quantization = "ascend"  built-in ascend.toml:58

    qwen3-30b-a3b_bf16: DIR/m/qwen3-30b-a3b, BF16, 10 B
      model = "DIR/m/qwen3-30b-a3b"  built-in ascend.toml:82
      tensor_parallel_size = 4  built-in ascend.toml:81
      gpu_memory_utilization = 0.8  built-in ascend.toml:81

    qwen3-30b-a3b_w8a8: DIR/m/qwen3-30b-a3b-W8A8D, ModelSlim W8A8_DYNAMIC, 10 B
      model = "DIR/m/qwen3-30b-a3b-W8A8D"  built-in ascend.toml:83
      tensor_parallel_size = 4  built-in ascend.toml:81
      gpu_memory_utilization = 0.8  built-in ascend.toml:81
      quantization = "ascend"  built-in ascend.toml:58

    settings
      run.mode = "offline"  default
      run.steps = 3  built-in ascend.toml:15
      run.warmup = 1  built-in ascend.toml:16
      run.blocks = 1  built-in ascend.toml:17
      run.calibrate = false  default
      run.smallest_effect = 0.02  default
      run.seed = 0  built-in ascend.toml:18
      run.fan_out = "requests"  built-in ascend.toml:19
      run.gate_timeout_s = 60.0  built-in ascend.toml:20
      workload.num_prompts = 32  built-in ascend.toml:23
      workload.n = 8  built-in ascend.toml:24
      workload.input_len = 512  built-in ascend.toml:25
      workload.output_len = 256  built-in ascend.toml:26
      workload.sampling.temperature = 1.0  built-in ascend.toml:29
      workload.sampling.top_p = 1.0  built-in ascend.toml:30
      workload.sampling.top_k = -1  built-in ascend.toml:31
      workload.sampling.logprobs = null  default
      engine.python = "python3"  built-in ascend.toml:37
      out = "DIR"  default
      model_base = "DIR/m"  env MODEL_BASE
    "#);
}

#[test]
fn the_plan_of_the_cpu_matrix_reads_well() {
    let mut site = Site::new();
    site.flags.give(&BLOCKS, ["2"]);
    site.flags.give(&OUT, ["/results"]);
    insta::assert_snapshot!(site.shown(&to_text(&site.plan())), @r#"
    matrix      built-in cpu (no accelerator found)
    cells       3 to run, 1 skipped

                             BF16 *  W8A8  W4A16  W8A16
      SmolLM2-135M-Instruct  run     run   run    skip
      * the baseline that the others are compared with

    skipped: smollm2-135m_w8a16: unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel

    a step      offline: 8 prompts x 4 = 32 sequences, 64 tokens in, 32 out
                each sample is a request of its own, as in verl
    steps       1 warm-up + 3 measured on each engine start; 2 engine starts a cell
    order       block 1: smollm2-135m: w4a16, bf16, w8a8
                block 2: smollm2-135m: bf16, w4a16, w8a8
                random within each model, by seed 0
    results     /results/benchmark_results
    estimate    about 10 min, assuming what such engines usually take

    note: 3 demo checkpoints are not made yet: `run` makes what is missing first

    engine arguments of all cells
      dtype = "bfloat16"            built-in cpu.toml:39
      enforce_eager = true          built-in cpu.toml:39
      max_num_seqs = 32             built-in cpu.toml:39
      gpu_memory_utilization = 0.4  built-in cpu.toml:39
      max_model_len = 96            derived: longest prompt + response
      generation_config = "vllm"    derived: the checkpoint's own sampling defaults stay out

    engine environment of all cells
      VLLM_CPU_KVCACHE_SPACE = "1"  built-in cpu.toml:40
      VLLM_NO_USAGE_STATS = "1"     built-in cpu.toml:40
      DO_NOT_TRACK = "1"            built-in cpu.toml:40

    time limits: 600 s to start, 300 s without progress, 15 s to stop

    smollm2-135m_bf16: managed:smollm2-135m-bf16
      model = "/cache/smollm2-135m-bf16"  derived: made by `rollbench setup`

    smollm2-135m_w8a8: managed:smollm2-135m-w8a8
      model = "/cache/smollm2-135m-w8a8"  derived: made by `rollbench setup`

    smollm2-135m_w4a16: managed:smollm2-135m-w4a16
      model = "/cache/smollm2-135m-w4a16"  derived: made by `rollbench setup`

    settings
      run.mode = "offline"                 default
      run.steps = 3                        built-in cpu.toml:17
      run.warmup = 1                       built-in cpu.toml:18
      run.blocks = 2                       flag --blocks
      run.calibrate = false                default
      run.smallest_effect = 0.02           default
      run.seed = 0                         built-in cpu.toml:20
      run.fan_out = "requests"             built-in cpu.toml:21
      run.gate_timeout_s = 60.0            built-in cpu.toml:22
      workload.num_prompts = 8             built-in cpu.toml:25
      workload.n = 4                       built-in cpu.toml:26
      workload.input_len = 64              built-in cpu.toml:27
      workload.output_len = 32             built-in cpu.toml:28
      workload.sampling.temperature = 1.0  built-in cpu.toml:31
      workload.sampling.top_p = 1.0        built-in cpu.toml:32
      workload.sampling.top_k = -1         built-in cpu.toml:33
      workload.sampling.logprobs = null    default
      engine.python = "managed"            built-in cpu.toml:38
      out = "/results"                     flag --out
    "#);
}

#[test]
fn one_cell_alone_shows_everything_of_it() {
    let mut site = two();
    site.flags.give(&PRECISIONS, ["w8a8"]);
    insta::assert_snapshot!(site.unaligned(&to_text(&site.plan())), @r#"
    matrix  rollbench.toml (found in the current directory)
    cells  1 to run, 0 skipped

            w8a8
      tiny  run, 10 B

    a step  offline: 4 prompts x 2 = 8 sequences, 16 tokens in, 8 out
                each sample is a request of its own, as in verl
    steps  1 warm-up + 3 measured on each engine start; 1 engine start a cell
    order  tiny: w8a8
                random within each model, by seed 0
    results  DIR/benchmark_results
    estimate  about 80 s, assuming what such engines usually take

    note: the baseline bf16 is not selected: there will be no speed-up, only rates

    tiny_w8a8: DIR/tiny-W8A8, compressed-tensors int-quantized W8A8 dynamic, 10 B
      model = "DIR/tiny-W8A8"  file rollbench.toml:17
      dtype = "bfloat16"  file rollbench.toml:8
      max_model_len = 24  derived: longest prompt + response
      generation_config = "vllm"  derived: the checkpoint's own sampling defaults stay out
      time limits: 1800 s to start, 600 s without progress, 15 s to stop

    settings
      run.mode = "offline"  default
      run.steps = 3  default
      run.warmup = 1  default
      run.blocks = 1  default
      run.calibrate = false  default
      run.smallest_effect = 0.02  default
      run.seed = 0  default
      run.fan_out = "requests"  default
      run.gate_timeout_s = 60.0  default
      workload.num_prompts = 4  file rollbench.toml:3
      workload.n = 2  file rollbench.toml:4
      workload.input_len = 16  file rollbench.toml:5
      workload.output_len = 8  file rollbench.toml:6
      workload.sampling.temperature = 1.0  default
      workload.sampling.top_p = 1.0  default
      workload.sampling.top_k = -1  default
      workload.sampling.logprobs = null  default
      engine.python = "python3"  default
      out = "DIR"  default
    "#);
}

#[test]
fn the_json_holds_what_the_text_says() {
    let site = two();
    let json = to_json(&site.plan());
    let keys: Vec<&String> = json.as_object().expect("object").keys().collect();
    assert_eq!(
        keys,
        [
            "schema", "matrix", "platform", "settings", "workload", "cells", "order", "estimate",
            "notes"
        ]
    );
    assert_eq!(json["order"][0].as_array().expect("cells").len(), 2);
    assert_eq!(json["settings"]["run.steps"]["origin"], "default");
    assert_eq!(json["workload"]["step"]["output_tokens"], 64);
    let mut cell = json["cells"][1].clone();
    for (path, name) in [("/fingerprint", "config"), ("/fingerprint", "checkpoint")] {
        let digest = cell.pointer(path).and_then(|f| f[name].as_str());
        assert_eq!(digest.expect("digest").len(), 64);
    }
    for name in ["fingerprint", "limits", "env"] {
        cell.as_object_mut().expect("object").remove(name);
    }
    cell["checkpoint"]["sha256_config"] = "SHA".into();
    insta::assert_snapshot!(site.shown(&format!("{cell:#}")), @r#"
    {
      "model": "tiny",
      "precision": "w8a8",
      "labels": {
        "model": "tiny",
        "precision": "w8a8"
      },
      "skip": null,
      "checkpoint": {
        "path": "DIR/tiny-W8A8",
        "format": "compressed-tensors int-quantized W8A8 dynamic",
        "bytes": 10,
        "sha256_config": "SHA",
        "shape_only": false,
        "method": "compressed-tensors"
      },
      "args": {
        "model": {
          "value": "DIR/tiny-W8A8",
          "origin": "file rollbench.toml:17"
        },
        "dtype": {
          "value": "bfloat16",
          "origin": "file rollbench.toml:8"
        },
        "max_model_len": {
          "value": 24,
          "origin": "derived: longest prompt + response"
        },
        "generation_config": {
          "value": "vllm",
          "origin": "derived: the checkpoint's own sampling defaults stay out"
        }
      }
    }
    "#);
}

#[test]
fn all_precisions_of_a_model_draw_from_one_vocabulary() {
    let site = two();
    site.write(
        "tiny-W8A8/config.json",
        &format!(r#"{{"vocab_size": 960, "eos_token_id": 7, {W8A8}}}"#),
    );
    for cell in site.plan().cells {
        let vocabulary = cell.vocabulary.expect("known");
        assert_eq!((vocabulary.size, vocabulary.special), (960, vec![7]));
    }
}

#[test]
fn fingerprints_follow_what_changes_a_measurement_and_nothing_else() {
    let print = |change: &dyn Fn(&mut Site)| {
        let mut site = two();
        change(&mut site);
        site.plan().cells[0].fingerprint.clone()
    };
    let one = print(&|_| {});
    assert_eq!(one, print(&|s| s.flags.give(&BLOCKS, ["6"])));
    assert_eq!(one, print(&|s| s.flags.give(&PRECISIONS, ["bf16"])));
    assert_ne!(one, print(&|s| s.flags.give(&STEPS, ["5"])));
    assert_ne!(one, print(&|s| s.flags.give(&GPU_MEM_UTIL, ["0.5"])));
    assert_ne!(one, print(&|s| s.flags.give(&SEED, ["1"])));
}

#[test]
fn a_checkpoint_that_is_not_what_its_precision_says_is_noted() {
    let site = two();
    site.checkpoint("tiny-W8A8", BF16);
    assert_eq!(
        site.plan()
            .notes
            .iter()
            .map(|n| site.shown(n))
            .collect::<Vec<_>>(),
        ["tiny_w8a8: the checkpoint is BF16, whatever the precision is called (DIR/tiny-W8A8)"]
    );
}

#[test]
fn a_baseline_that_is_quantized_is_noted_and_its_record_says_so() {
    let quantized = [
        (
            r#""text_config": {"dtype": "bfloat16", "quantization_config": {"quant_method": "mxfp4"}}"#,
            "",
            "mxfp4 W4A16 group 32",
        ),
        (
            r#""dtype": "bfloat16", "quantization_config": {"quant_method": "aqlm"}"#,
            "",
            "aqlm",
        ),
        (
            BF16,
            r#", quantization = "fp8""#,
            "BF16, quantized while it is loaded (fp8)",
        ),
        (
            BF16,
            r#", load_format = "bitsandbytes""#,
            "BF16, quantized while it is loaded (bitsandbytes)",
        ),
    ];
    for (config, argument, said) in quantized {
        let site = two();
        site.checkpoint("tiny", config);
        let args = r#"args = { dtype = "bfloat16""#;
        site.write(
            "rollbench.toml",
            &TWO.replace(args, &format!("{args}{argument}")),
        );
        let plan = site.plan();
        let told = format!("the checkpoint is {said}, whatever the precision is called");
        let first = &plan.notes[0];
        assert!(first.starts_with(&format!("tiny_bf16: {told}")), "{first}");
        let info = plan.cells[0].checkpoint.as_ref().expect("it is here");
        assert_eq!(info.mismatch.as_deref(), Some(told.as_str()));
    }
    let sound = two().plan();
    assert_eq!(
        sound.cells[0]
            .checkpoint
            .as_ref()
            .and_then(|c| c.mismatch.clone()),
        None
    );
}

#[test]
fn what_is_no_folder_of_the_hub_s_layout_says_what_is_accepted() {
    let site = two();
    site.write("tiny.gguf", "GGUF");
    site.write("one.safetensors", "{}");
    for (location, said, hint) in [
        ("tiny.gguf", "is a file", "GGUF is not accepted"),
        (
            "one.safetensors",
            "is a file",
            "name the folder that holds config.json",
        ),
    ] {
        site.write(
            "rollbench.toml",
            &TWO.replace("bf16 = \"tiny\"", &format!("bf16 = \"{location}\"")),
        );
        let errors: CommandError = site.try_plan().expect_err("not accepted").into();
        let text = format!("{errors:?}");
        assert!(text.contains(said) && text.contains(hint), "{text}");
    }
    site.write(
        "rollbench.toml",
        &TWO.replace("bf16 = \"tiny\"", "bf16 = \"Qwen/Qwen3-0.6B\""),
    );
    let skip = site.plan().cells[0]
        .skip
        .clone()
        .expect("it is missing")
        .to_string();
    assert!(skip.contains("written hf:Qwen/Qwen3-0.6B"), "{skip}");
}

#[test]
fn one_checkpoint_for_two_precisions_is_noted_unless_arguments_tell_them_apart() {
    let site = two();
    let same = TWO
        .replace("\"tiny-W8A8\"", "\"tiny\"")
        .replace("w8a8", "mine");
    site.write("rollbench.toml", &same);
    assert_eq!(
        site.plan()
            .notes
            .iter()
            .map(|n| site.shown(n))
            .collect::<Vec<_>>(),
        ["tiny_bf16 and tiny_mine are the same checkpoint with the same arguments: DIR/tiny"]
    );
    let online = same
        .replace(
            "name = \"mine\"",
            "name = \"fp8\"\nargs = { quantization = \"fp8\" }",
        )
        .replace("mine =", "fp8 =");
    site.write("rollbench.toml", &online);
    assert_eq!(site.plan().notes, Vec::<String>::new());
}

#[test]
fn a_config_without_weights_needs_dummy_weights() {
    let site = two();
    std::fs::remove_file(site.dir.path().join("tiny/model.safetensors")).expect("removed");
    assert!(site.plan().notes[0].contains("a config and no weights"));
    site.write(
        "rollbench.toml",
        &TWO.replace("args = { dtype", "args = { load_format = \"dummy\", dtype"),
    );
    assert_eq!(site.plan().notes, Vec::<String>::new());
}

#[test]
fn a_workload_beyond_the_model_and_a_broken_checkpoint_are_both_reported() {
    let mut site = two();
    site.flags.give(&OUTPUT_LEN, ["4096"]);
    site.write("tiny-W8A8/config.json", "{\"vocab_si");
    let errors = site.try_plan().expect_err("impossible");
    let failure = CommandError::from(errors);
    assert_eq!(failure.exit, Exit::Usage);
    insta::assert_snapshot!(site.shown(&failure.to_string()), @"
    error: the checkpoint of tiny_w8a8 cannot be used: DIR/tiny-W8A8/config.json is not valid JSON: EOF while parsing a string at line 1 column 10
    error: tiny takes 2048 tokens (its config.json says so), and the longest prompt + response is 4112
    hint: the file is damaged or half copied: copy the checkpoint again; or leave the cell out with --models or --quants (tiny_w8a8)
    hint: --input-len plus --output-len, and max_model_len, must be at most 2048
    ");
}

#[test]
fn a_hub_checkpoint_is_found_in_the_cache_or_left_to_vllm() {
    let mut site = two();
    let text = TWO.replace(
        "\"tiny-W8A8\"",
        "{ path = \"hf:org/tiny\", revision = \"v1\", tokenizer = \"hf-tok\" }",
    );
    site.write("rollbench.toml", &text);
    site.env
        .insert("HF_HUB_CACHE".into(), site.dir.path().display().to_string());
    let args = |site: &Site| -> Vec<String> {
        let plan = site.plan();
        let all = plan.cells[1].args.iter().take(3);
        all.map(|(name, v)| site.shown(&format!("{name} = {}", v.value)))
            .collect()
    };
    assert_eq!(
        args(&site),
        [
            "model = \"org/tiny\"",
            "tokenizer = \"hf-tok\"",
            "revision = \"v1\""
        ]
    );
    site.checkpoint("models--org--tiny/snapshots/v1", W8A8);
    assert_eq!(
        args(&site)[0],
        "model = \"DIR/models--org--tiny/snapshots/v1\""
    );
}

#[test]
fn earlier_records_make_the_estimate() {
    let mut site = two();
    let assumed = site.plan().estimate.expect("runs");
    assert_eq!(assumed.basis, Basis::Assumed);

    let record = builder::done("tiny", "bf16", &[&[100.0, 100.0]]);
    let text = serde_json::to_string(&record).expect("JSON");
    site.write("benchmark_results/tiny_bf16.json", &text);
    let mixed = site.plan().estimate.expect("runs");
    assert_eq!(mixed.basis, Basis::Mixed);

    site.flags.give(&PRECISIONS, ["bf16"]);
    let recorded = site.plan().estimate.expect("runs");
    assert_eq!(recorded.basis, Basis::Records);
    site.flags.give(&BLOCKS, ["3"]);
    let thrice = site.plan().estimate.expect("runs");
    assert!((thrice.total_s - 3.0 * recorded.total_s).abs() < 1e-6);
}

#[test]
fn shapes_need_no_checkpoint_and_no_configuration() {
    let mut site = Site::new();
    site.platform = Platform::Cuda;
    site.flags.give(&SHAPES, ["qwen3-1.7b", "qwen3-30b-a3b"]);
    site.flags.give(&PRECISIONS, ["bf16", "w8a8", "fp8-block"]);
    let plan = site.plan();
    let cells = plan.cells.iter().map(|cell| {
        let said = |name: &str| cell.args.get(name).map(|said| said.value.to_string());
        match &cell.skip {
            Some(skip) => format!("{}: {skip}", cell.settings.id),
            None => format!(
                "{}: {} {:?} {:?}",
                cell.settings.id,
                cell.checkpoint
                    .as_ref()
                    .and_then(|c| c.format.as_deref())
                    .unwrap_or_default(),
                said("load_format"),
                said("tensor_parallel_size"),
            ),
        }
    });
    insta::assert_snapshot!(cells.collect::<Vec<_>>().join("\n"), @r#"
    qwen3-1.7b_bf16: BF16 Some("\"dummy\"") Some("1")
    qwen3-1.7b_w8a8: compressed-tensors int-quantized W8A8 dynamic Some("\"dummy\"") Some("1")
    qwen3-1.7b_fp8-block: fp8 block 128x128 dynamic Some("\"dummy\"") Some("1")
    qwen3-30b-a3b_bf16: BF16 Some("\"dummy\"") Some("4")
    qwen3-30b-a3b_w8a8: compressed-tensors int-quantized W8A8 dynamic Some("\"dummy\"") Some("4")
    qwen3-30b-a3b_fp8-block: unsupported on cuda: weights in groups of 128: moe_intermediate_size is 768, of which each of 4 devices gets 192, no multiple of 128
    "#);
    assert!(
        plan.cells[0]
            .checkpoint
            .as_ref()
            .is_some_and(|c| c.shape_only)
    );
}

#[test]
fn another_machine_is_planned_for_without_its_files() {
    let mut site = Site::new();
    site.elsewhere = true;
    let skips = |site: &Site| {
        let plan = site.plan();
        assert!(plan.notes[0].starts_with("planned for another machine"));
        let skips = plan
            .skips()
            .map(|(cell, skip)| format!("{}: {skip}", cell.settings.id));
        let skips = skips.collect::<Vec<_>>().join("\n");
        format!("{} run\n{skips}", plan.runs().count())
    };
    site.platform = Platform::Npu;
    insta::assert_snapshot!(skips(&site), @"
    8 run
    qwen3-30b-a3b_w8a16: no checkpoint configured
    ");
    site.flags.give(&CONFIG, ["ascend"]);
    site.platform = Platform::Cpu;
    insta::assert_snapshot!(skips(&site), @"
    6 run
    qwen3-1.7b_w8a16: unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel
    pangu-7b_w8a16: unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel
    qwen3-30b-a3b_w8a16: unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel
    ");
    // The built-in matrix of CPUs asks for the managed engine, which the platform asked for overrules.
    site.flags.give(&CONFIG, ["cpu"]);
    site.platform = Platform::Cuda;
    insta::assert_snapshot!(skips(&site), @"
    3 run
    smollm2-135m_w8a16: no checkpoint configured
    ");
}
