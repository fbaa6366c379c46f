//! The loader as a whole: text, environment and flags in, settings or mistakes out.

use std::collections::BTreeMap;
use std::path::Path;

use super::declared::*;
use super::source::BUILT_IN;
use super::*;
use crate::device::Platform;

fn request(dir: &Path) -> LoadRequest {
    LoadRequest {
        flags: Given::default(),
        lengths: None,
        env: BTreeMap::new(),
        cwd: dir.to_owned(),
        platform: Platform::Cpu,
        elsewhere: false,
    }
}

/// Loads `text` as ./rollbench.toml.
fn load_text(text: &str, change: impl FnOnce(&mut LoadRequest)) -> Result<Settings, ConfigErrors> {
    let dir = tempfile::tempdir().expect("temporary folder");
    std::fs::write(dir.path().join("rollbench.toml"), text).expect("written");
    let mut request = request(dir.path());
    change(&mut request);
    load(&request)
}

fn mistakes(text: &str, change: impl FnOnce(&mut LoadRequest)) -> String {
    load_text(text, change)
        .expect_err("has mistakes")
        .render(false)
}

fn built_in(name: &str, change: impl FnOnce(&mut LoadRequest)) -> Settings {
    let mut request = request(Path::new("/work"));
    request.flags.give(&CONFIG, [name]);
    request.env.insert("MODEL_BASE".to_owned(), "/m".to_owned());
    change(&mut request);
    load(&request).expect("loads")
}

const SMALL: &str = r#"schema = 1
[engine]
python = "python3"
args = { dtype = "bfloat16", enforce_eager = true }
[[precision]]
name = "bf16"
baseline = true
[[precision]]
name = "w8a8"
args = { quantization = "ascend" }
[[model]]
name = "tiny"
checkpoints = { bf16 = "tiny", w8a8 = "${BASE}/tiny-W8A8" }
"#;

fn small(extra: &str) -> String {
    format!("{SMALL}{extra}\n")
}

#[test]
fn the_reference_matrix_has_nine_cells_and_one_without_a_checkpoint() {
    let settings = built_in("ascend", |_| {});
    let without: Vec<String> = settings
        .cells
        .iter()
        .filter(|c| c.checkpoint.is_none())
        .map(|c| c.id.to_string())
        .collect();
    assert_eq!(settings.cells.len(), 9);
    assert_eq!(without, ["qwen3-30b-a3b_w8a16"]);
    assert_eq!(settings.matrix.source.why(), "flag --config");
}

#[test]
fn the_reference_matrix_gives_each_model_its_share_and_parallelism() {
    let settings = built_in("ascend", |_| {});
    let of = |id: &str, arg: &str| {
        let cell = settings.cells.iter().find(|c| c.id.to_string() == id);
        cell.and_then(|c| c.args.get(arg)).map(|v| v.value.clone())
    };
    assert_eq!(
        of("qwen3-1.7b_bf16", "gpu_memory_utilization"),
        Some(0.4.into())
    );
    assert_eq!(
        of("pangu-7b_w8a16", "gpu_memory_utilization"),
        Some(0.6.into())
    );
    assert_eq!(
        of("qwen3-30b-a3b_w8a8", "tensor_parallel_size"),
        Some(4.into())
    );
    assert_eq!(
        of("qwen3-30b-a3b_w8a8", "quantization"),
        Some("ascend".into())
    );
    assert_eq!(of("qwen3-30b-a3b_bf16", "quantization"), None);
    assert_eq!(of("qwen3-1.7b_bf16", "max_model_len"), Some(768.into()));
}

#[test]
fn every_built_in_matrix_loads() {
    for (name, _) in BUILT_IN {
        let settings = built_in(name, |_| {});
        assert_eq!(settings.matrix.baseline.as_str(), "bf16", "{name}");
    }
}

#[test]
fn the_cpu_matrix_leaves_fp8_out_until_it_is_asked_for() {
    let ids = |settings: &Settings| -> Vec<String> {
        settings
            .cells
            .iter()
            .map(|c| c.id.precision.to_string())
            .collect()
    };
    let plain = built_in("cpu", |_| {});
    assert_eq!(ids(&plain), ["bf16", "w8a8", "w4a16", "w8a16"]);
    let asked = built_in("cpu", |r| {
        r.flags.give(&PRECISIONS, ["fp8", "bf16"]);
    });
    assert_eq!(ids(&asked), ["bf16", "fp8"]);
}

#[test]
fn the_managed_engine_is_a_cpu_engine_on_any_machine() {
    let settings = built_in("cpu", |r| r.platform = Platform::Cuda);
    assert_eq!(settings.platform, Platform::Cpu);
    let own = built_in("cpu", |r| {
        r.platform = Platform::Cuda;
        r.flags.give(&PYTHON, ["python3"]);
    });
    assert_eq!(own.platform, Platform::Cuda);
}

#[test]
fn the_accelerator_chooses_the_matrix_when_nothing_else_does() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut request = request(dir.path());
    request.env.insert("MODEL_BASE".into(), "/m".into());
    let mut chosen = Vec::new();
    for platform in [Platform::Npu, Platform::Cuda, Platform::Cpu] {
        request.platform = platform;
        let source = load(&request).expect("loads").matrix.source;
        chosen.push(format!("{source}: {}", source.why()));
    }
    assert_eq!(
        chosen,
        [
            "built-in ascend: Ascend NPU found",
            "built-in nvidia: NVIDIA GPU found",
            "built-in cpu: no accelerator found"
        ]
    );
}

#[test]
fn a_flag_beats_the_variable_and_the_variable_beats_the_found_file() {
    let with = |config: Option<&str>, var: Option<&str>| {
        load_text(&small(""), |r| {
            r.env.insert("BASE".into(), "/b".into());
            r.env.insert("MODEL_BASE".into(), "/m".into());
            if let Some(config) = config {
                r.flags.give(&CONFIG, [config]);
            }
            if let Some(var) = var {
                r.env.insert("ROLLBENCH_CONFIG".into(), var.into());
            }
        })
        .expect("loads")
        .matrix
        .source
        .to_string()
    };
    assert_eq!(with(None, None), "rollbench.toml");
    assert_eq!(with(None, Some("nvidia")), "built-in nvidia");
    assert_eq!(with(Some("cpu"), Some("nvidia")), "built-in cpu");
}

#[test]
fn every_layer_lies_over_the_one_below_and_says_where_it_stands() {
    let text = small(
        r#"args = { dtype = "float16", max_num_seqs = 8 }
unset = ["enforce_eager"]
limits = { start_s = 10 }
cells.w8a8 = { args = { max_num_seqs = 4 }, env = { A = "1" } }"#,
    );
    let settings = load_text(&text, |r| {
        r.env.insert("BASE".into(), "/b".into());
        r.flags.give(&GPU_MEM_UTIL, ["0.5"]);
    })
    .expect("loads");
    let cell = &settings.cells[1];
    let args: Vec<String> = cell
        .args
        .iter()
        .map(|(name, v)| format!("{name} = {} ({})", v.value, v.origin))
        .collect();
    insta::assert_snapshot!(args.join("\n"), @r#"
    dtype = "float16" (file rollbench.toml:14)
    max_num_seqs = 4 (file rollbench.toml:17)
    quantization = "ascend" (file rollbench.toml:10)
    gpu_memory_utilization = 0.5 (flag --gpu-mem-util)
    max_model_len = 768 (derived: longest prompt + response)
    generation_config = "vllm" (derived: the checkpoint's own sampling defaults stay out)
    "#);
    assert_eq!(cell.env["A"].value, "1");
    assert_eq!(cell.limits.start.as_secs(), 10);
    assert_eq!(cell.limits.stall, Limits::default().stall);
    assert_eq!(settings.cells[0].args["max_num_seqs"].value, 8);
}

#[test]
fn checkpoints_are_expanded_and_relative_to_their_file() {
    let dir = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(dir.path().join("sub")).expect("made");
    std::fs::write(dir.path().join("sub/my.toml"), SMALL).expect("written");
    let mut request = request(dir.path());
    request.flags.give(&CONFIG, ["sub/my.toml"]);
    request.env.insert("BASE".into(), "/b".into());
    let settings = load(&request).expect("loads");
    let at: Vec<String> = settings
        .cells
        .iter()
        .filter_map(|c| c.checkpoint.as_ref())
        .map(|c| c.value.location.clone())
        .collect();
    let tiny = dir.path().join("sub/tiny").display().to_string();
    assert_eq!(at, [tiny, "/b/tiny-W8A8".to_owned()]);
}

#[test]
fn a_variable_is_needed_only_by_the_cells_that_are_selected() {
    assert!(load_text(&small(""), |_| {}).is_err());
    let settings = load_text(&small(""), |r| r.flags.give(&PRECISIONS, ["bf16"]));
    assert_eq!(settings.expect("loads").cells.len(), 1);
}

#[test]
fn values_carry_their_origin() {
    let text = small("[run]\nsteps = 5");
    let settings = load_text(&text, |r| {
        r.env.insert("BASE".into(), "/b".into());
        r.env.insert("BENCH_BASE_DIR".into(), "/results".into());
        r.flags.give(&N, ["2"]);
    })
    .expect("loads");
    let shown: Vec<String> = settings
        .values
        .iter()
        .map(|(path, v)| format!("{path} = {} ({})", v.value, v.origin))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    run.mode = "offline" (default)
    run.steps = 5 (file rollbench.toml:15)
    run.warmup = 1 (default)
    run.blocks = 1 (default)
    run.calibrate = false (default)
    run.smallest_effect = 0.02 (default)
    run.seed = 0 (default)
    run.fan_out = "requests" (default)
    run.gate_timeout_s = 60.0 (default)
    workload.num_prompts = 32 (default)
    workload.n = 2 (flag -n)
    workload.input_len = 512 (default)
    workload.output_len = 256 (default)
    workload.sampling.temperature = 1.0 (default)
    workload.sampling.top_p = 1.0 (default)
    workload.sampling.top_k = -1 (default)
    workload.sampling.logprobs = null (default)
    engine.python = "python3" (file rollbench.toml:3)
    out = "/results" (env BENCH_BASE_DIR)
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one file with every mistake in it")]
fn every_mistake_in_a_file_is_shown_at_once() {
    let text = r#"schema = 2
colour = "red"
[run]
step = 3
warmup = -1
blocks = 0
fan_out = "m"
[workload]
num_prompts = 0
n = "eight"
[engine]
args = { gpu_memory_utilization = 1.5, "max-num-seqs" = 3, model = "x" }
limits = { start = 3 }
[[precision]]
name = "bf_16"
[[precision]]
name = "w8a8"
unset = ["enforce_eagr"]
[[precision]]
name = "w8a8"
[[model]]
label = "no name"
[[model]]
name = "tiny"
checkpoints = { bf16 = "a", w8a88 = "b", w8a8 = 3 }
[[workloads]]
name = "long"
[online]
request_rates = 4
max_concurrency = []
ramp = "5"
duration_s = -1
goodput = { tttf_ms = 5 }
api = "chats"
"#;
    insta::assert_snapshot!(mistakes(text, |_| {}), @r#"
    error: this rollbench reads schema 1, not 2
     --> rollbench.toml:1:10
      |
    1 | schema = 2
      |          ^
      |
      = help: the file is for a newer rollbench

    error: unknown key `colour` at the top of the file
     --> rollbench.toml:2:1
      |
    2 | colour = "red"
      | ^^^^^^
      |
      = help: the keys here are `schema`, `select`, `run`, `online`, `workload`, `fidelity`, `engine`, `precision`, `model` and `workloads`

    error: unknown key `step` in `run`
     --> rollbench.toml:4:1
      |
    4 | step = 3
      | ^^^^ did you mean `steps`?

    error: `run.warmup` is out of range
     --> rollbench.toml:5:10
      |
    5 | warmup = -1
      |          ^^ must be from 0 to 10000

    error: `run.blocks` is out of range
     --> rollbench.toml:6:10
      |
    6 | blocks = 0
      |          ^ must be from 1 to 10000

    error: `run.fan_out` cannot be `m`
     --> rollbench.toml:7:11
      |
    7 | fan_out = "m"
      |           ^^^ one of `requests` and `n`

    error: `workload.num_prompts` is out of range
     --> rollbench.toml:9:15
      |
    9 | num_prompts = 0
      |               ^ must be from 1 to 1000000

    error: `workload.n` has the wrong type
      --> rollbench.toml:10:5
       |
    10 | n = "eight"
       |     ^^^^^^^ this is a text; it must be a whole number

    error: `engine.args.gpu_memory_utilization` is out of range
      --> rollbench.toml:12:35
       |
    12 | args = { gpu_memory_utilization = 1.5, "max-num-seqs" = 3, model = "x" }
       |                                   ^^^ must be above 0 and at most 1

    error: `max-num-seqs` is no name of an engine argument
      --> rollbench.toml:12:40
       |
    12 | args = { gpu_memory_utilization = 1.5, "max-num-seqs" = 3, model = "x" }
       |                                        ^^^^^^^^^^^^^^ by its Python name: `max_num_seqs`

    error: `model` cannot be set in `args`
      --> rollbench.toml:12:60
       |
    12 | args = { gpu_memory_utilization = 1.5, "max-num-seqs" = 3, model = "x" }
       |                                                            ^^^^^ a cell's model is its checkpoint: set it in `checkpoints`

    error: unknown key `start` in `engine.limits`
      --> rollbench.toml:13:12
       |
    13 | limits = { start = 3 }
       |            ^^^^^ did you mean `start_s`?

    error: `bf_16` is not an id: use letters, digits, `.`, `+` and `-`
      --> rollbench.toml:15:8
       |
    15 | name = "bf_16"
       |        ^^^^^^^ `_` parts model from precision in file names

    error: no precision is the baseline
      --> rollbench.toml:17:8
       |
    17 | name = "w8a8"
       |        ^^^^^^
       |
       = help: add `baseline = true` to the one that the others are compared with

    error: nothing sets `enforce_eagr`, so it cannot be unset
      --> rollbench.toml:18:10
       |
    18 | unset = ["enforce_eagr"]
       |          ^^^^^^^^^^^^^^

    error: precision `w8a8` is declared twice
      --> rollbench.toml:20:8
       |
    17 | name = "w8a8"
       |        ------ first here
    ...
    20 | name = "w8a8"
       |        ^^^^^^ again here

    error: this model has no `name`
      --> rollbench.toml:21:1
       |
    21 | [[model]]
       | ^^^^^^^^^
       |
       = help: add `name = "..."`: the id of the model in flags and file names

    error: unknown precision `bf16`
      --> rollbench.toml:25:17
       |
    25 | checkpoints = { bf16 = "a", w8a88 = "b", w8a8 = 3 }
       |                 ^^^^
       |
       = help: the precisions here are `w8a8`

    error: unknown precision `w8a88`
      --> rollbench.toml:25:29
       |
    25 | checkpoints = { bf16 = "a", w8a88 = "b", w8a8 = 3 }
       |                             ^^^^^ did you mean `w8a8`?

    error: `model.checkpoints.w8a8` has the wrong type
      --> rollbench.toml:25:49
       |
    25 | checkpoints = { bf16 = "a", w8a88 = "b", w8a8 = 3 }
       |                                                 ^ this is a number; it must be a text, { path, revision, tokenizer } or { shapes_of, scheme }

    error: `workloads` is not supported yet
      --> rollbench.toml:26:3
       |
    26 | [[workloads]]
       |   ^^^^^^^^^ reserved for several workloads on one loaded engine

    error: unknown key `request_rates` in `online`
      --> rollbench.toml:29:1
       |
    29 | request_rates = 4
       | ^^^^^^^^^^^^^ did you mean `request_rate`?

    error: `online.max_concurrency` is empty
      --> rollbench.toml:30:19
       |
    30 | max_concurrency = []
       |                   ^^ must be a whole number, or a list of them

    error: `online.ramp` is no ramp
      --> rollbench.toml:31:8
       |
    31 | ramp = "5"
       |        ^^^ write "FROM:TO" or "FROM:TO:exponential", in requests per second

    error: `online.duration_s` is out of range
      --> rollbench.toml:32:14
       |
    32 | duration_s = -1
       |              ^^ must be a number of seconds above 0

    error: unknown key `tttf_ms` in `online.goodput`
      --> rollbench.toml:33:13
       |
    33 | goodput = { tttf_ms = 5 }
       |             ^^^^^^^ did you mean `ttft_ms`?

    error: `online.api` cannot be `chats`
      --> rollbench.toml:34:7
       |
    34 | api = "chats"
       |       ^^^^^^^ one of `completions` and `chat`
    "#);
}

/// Every online setting with its origin.
fn online(settings: &Settings) -> String {
    let values = settings.values.iter();
    let online = values.filter(|(path, _)| path.starts_with("online."));
    let lines = online.map(|(path, v)| format!("{path} = {} ({})", v.value, v.origin));
    lines.collect::<Vec<_>>().join("\n")
}

const ONLINE: &str = r"[online]
request_rate = [1, 2.5, inf]
max_concurrency = 8
burstiness = 0.5
goodput = { ttft_ms = 500 }
duration_s = 30
";

#[test]
fn an_online_table_is_merged_with_flags_and_waits_for_its_mode() {
    let load_text = |text: &str, change: &dyn Fn(&mut LoadRequest)| {
        load_text(text, |r| {
            r.env.insert("BASE".to_owned(), "/m".to_owned());
            change(r);
        })
    };
    let text = small(ONLINE);
    let offline = load_text(&text, &|_| {}).expect("sound");
    assert_eq!(online(&offline), "");
    assert_eq!(offline.run.points(), 1);
    let settings = load_text(&text, &|r| r.flags.give(&MODE, ["online"])).expect("sound");
    insta::assert_snapshot!(online(&settings), @r#"
    online.request_rate = [1.0,2.5,"inf"] (file rollbench.toml:15)
    online.burstiness = 0.5 (file rollbench.toml:17)
    online.max_concurrency = 8 (file rollbench.toml:16)
    online.duration_s = 30.0 (file rollbench.toml:19)
    online.goodput = {"ttft_ms":500.0} (file rollbench.toml:18)
    online.api = "completions" (default)
    "#);
    let points: Vec<String> = settings
        .run
        .online
        .points()
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(points.join("\n"), @"
    1 requests/s, burstiness 0.5, at most 8 at a time
    2.5 requests/s, burstiness 0.5, at most 8 at a time
    all at once, at most 8 at a time
    ");
    assert_eq!(settings.run.steps_of_a_start(), (1 + 3) * 3);
    let settings = load_text(&text, &|r| {
        r.flags.give(&MODE, ["online"]);
        r.flags.give(&NUM_PROMPTS, ["5"]);
        r.flags.give(&RAMP, ["1:20:exponential"]);
        r.flags.give(&GOODPUT, ["tpot:50,e2el:9000"]);
    });
    // A flag displaces what it cannot be combined with: the file's rates and its duration.
    insta::assert_snapshot!(online(&settings.expect("sound")), @r#"
    online.ramp = "1:20:exponential" (flag --ramp)
    online.burstiness = 0.5 (file rollbench.toml:17)
    online.max_concurrency = 8 (file rollbench.toml:16)
    online.goodput = {"tpot_ms":50.0,"e2el_ms":9000.0} (flag --goodput)
    online.api = "completions" (default)
    "#);
}

#[test]
fn mistakes_in_flags_are_shown_with_those_of_the_file() {
    let text = small("[run]\nsteps = 0");
    insta::assert_snapshot!(mistakes(&text, |r| {
        r.flags.give(&MODELS, ["tinny", "qwen3-1.7b"]);
        r.flags.give(&PRECISIONS, ["fp8"]);
        r.flags.give(&GPU_MEM_UTIL, ["1.2"]);
        r.flags.give(&N, ["0"]);
        r.flags.give(&GATE_TIMEOUT, ["NaN"]);
    }), @"
    error: --gpu-mem-util 1.2: must be above 0 and at most 1

    error: --gate-timeout NaN: must be a number of seconds above 0

    error: -n 0: must be at least 1

    error: unknown model `tinny` in --models
     |
     = help: did you mean `tiny`?
     = help: the models of rollbench.toml are `tiny`

    error: unknown model `qwen3-1.7b` in --models
     |
     = help: the models of rollbench.toml are `tiny`
     = help: the built-in matrix `ascend` has it: --config ascend
     = help: the built-in matrix `nvidia` has it: --config nvidia

    error: unknown precision `fp8` in --quants
     |
     = help: the precisions of rollbench.toml are `bf16` and `w8a8`
     = help: the built-in matrix `nvidia` has it: --config nvidia
     = help: the built-in matrix `cpu` has it: --config cpu

    error: `run.steps` is out of range
      --> rollbench.toml:15:9
       |
    15 | steps = 0
       |         ^ must be from 1 to 10000
    ");
}

#[test]
fn an_unset_variable_is_one_mistake_however_many_cells_need_it() {
    let mut request = request(Path::new("/"));
    request.flags.give(&CONFIG, ["ascend"]);
    let errors = load(&request).expect_err("MODEL_BASE is not set");
    insta::assert_snapshot!(errors.render(false), @r#"
    error: the variable MODEL_BASE is not set
      --> built-in ascend.toml:65:20
       |
    65 | checkpoints.bf16 = "${MODEL_BASE}/qwen3-1.7b"
       |                    ^^^^^^^^^^^^^^^^^^^^^^^^^^ needed here and in 5 more places
       |
       = help: export MODEL_BASE, or pass --model-base DIR: the folder that holds the checkpoints
    "#);
}

#[test]
fn two_baselines_and_text_that_is_not_toml_are_mistakes() {
    let two = SMALL.replace("name = \"w8a8\"", "name = \"w8a8\"\nbaseline = true");
    let both = [
        mistakes(&two, |r| {
            r.env.insert("BASE".into(), "/b".into());
        }),
        mistakes("schema = \n[[model]\nname = \"x\"\n", |_| {}),
    ];
    insta::assert_snapshot!(both.join("\n----\n"), @"
    error: two precisions are the baseline
      --> rollbench.toml:10:12
       |
     7 | baseline = true
       |            ---- the first one
    ...
    10 | baseline = true
       |            ^^^^ the second one
    ----
    error: not TOML: string values must be quoted, expected literal string
     --> rollbench.toml:1:10
      |
    1 | schema = 
      |          ^

    error: not TOML: unclosed array table, expected `]`
     --> rollbench.toml:2:9
      |
    2 | [[model]
      |         ^
    ");
}

#[test]
fn a_max_model_len_that_the_workload_does_not_fit_into_is_a_mistake() {
    let text = small("args = { max_model_len = 100 }");
    let with_base = |r: &mut LoadRequest| {
        r.env.insert("BASE".into(), "/b".into());
    };
    insta::assert_snapshot!(mistakes(&text, with_base), @"
    error: max_model_len is shorter than the longest prompt + response, 768 tokens
      --> rollbench.toml:14:26
       |
    14 | args = { max_model_len = 100 }
       |                          ^^^
    ");
    let fits = load_text(&small("args = { max_model_len = 768 }"), with_base).expect("loads");
    assert_eq!(fits.cells[0].args["max_model_len"].value, 768);
    assert!(load_text(&small("args = { max_model_len = -1 }"), with_base).is_ok());
}

#[test]
fn chat_leaves_room_for_its_template() {
    let settings = load_text(&small(""), |r| {
        r.env.insert("BASE".into(), "/b".into());
        r.flags.give(&API, ["chat"]);
        r.flags.give(&MODE, ["online"]);
    })
    .expect("loads");
    let len = &settings.cells[0].args["max_model_len"];
    insta::assert_snapshot!(format!("{} ({})", len.value, len.origin), @"1408 (derived: longest prompt + response, and room for the chat template)");
}

#[test]
fn a_configuration_that_cannot_be_read_says_so() {
    let dir = tempfile::tempdir().expect("temporary folder");
    std::fs::write(dir.path().join("latin1.toml"), b"schema = 1 # \xe9").expect("written");
    let mut shown = Vec::new();
    for config in ["nvida", "latin1.toml", "missing.toml", "."] {
        let mut request = request(dir.path());
        request.flags.give(&CONFIG, [config]);
        shown.push(load(&request).expect_err("unreadable").render(false));
    }
    insta::assert_snapshot!(shown.join("\n"), @r#"
    error: --config: there is no file `nvida`
     |
     = help: did you mean the built-in matrix `nvidia`?
    error: latin1.toml is not UTF-8 text (byte 13)
     |
     = help: TOML is UTF-8; save the file in that encoding
    error: --config: there is no file `missing.toml`
     |
     = help: the built-in matrices are `ascend`, `nvidia` and `cpu`
    error: cannot read .: Is a directory (os error 21)
    "#);
}

mod robust {
    use super::source::BUILT_IN;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A file cut anywhere, or with anything in it, gives settings or mistakes, never a panic.
        #[test]
        fn no_text_panics(cut in 0usize..4000, noise in "\\PC{0,20}") {
            let whole = BUILT_IN[0].1;
            let mut at = cut.min(whole.len());
            while !whole.is_char_boundary(at) {
                at -= 1;
            }
            let text = format!("{}{noise}{}", &whole[..at], &whole[at..]);
            for text in [text, whole[..at].to_owned()] {
                if let Err(errors) = load_text(&text, |_| {}) {
                    prop_assert!(!errors.render(true).is_empty());
                }
            }
        }
    }
}

#[test]
fn ray_is_refused_once_a_place_unless_asked_for() {
    let text = small("args = { distributed_executor_backend = \"ray\" }");
    let with_base = |r: &mut LoadRequest| {
        r.env.insert("BASE".into(), "/b".into());
    };
    insta::assert_snapshot!(mistakes(&text, with_base), @r#"
    error: distributed_executor_backend = "ray" takes the engine's workers out of reach
      --> rollbench.toml:14:41
       |
    14 | args = { distributed_executor_backend = "ray" }
       |                                         ^^^^^ Ray starts them: rollbench can neither end them nor prove that they are gone
       |
       = help: use "mp" on one machine
       = help: or say allow_ray = true in [engine], and look after them yourself
    "#);
    let asked = text.replace("[engine]", "[engine]\nallow_ray = true");
    assert!(load_text(&asked, with_base).expect("loads").get(&ALLOW_RAY));
    let mp = text.replace("\"ray\"", "\"mp\"");
    assert!(!load_text(&mp, with_base).expect("loads").get(&ALLOW_RAY));
}
