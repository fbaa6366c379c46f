//! From an engine's log and exit status to a cause and a remedy. The table is data; every text in it was read in
//! a release of vLLM, vllm-ascend or the toolkits below them.

use super::log::parse_line;
use crate::record::ExitStatus;

/// What went wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    /// The cause.
    pub(super) cause: String,
    /// The remedy; absent if unknown.
    pub(super) hint: Option<String>,
}

/// What else is known of a death.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Death<'a> {
    /// How the process ended; absent if it did not, or is not known.
    pub(super) exit: Option<ExitStatus>,
    /// Evidence from the kernel that memory ran out (`oom::OomWatch`); absent if there is none.
    pub(super) out_of_memory: Option<&'a str>,
}

/// A line of the table: if one line of the log holds all of `texts`, this is the cause.
struct Row {
    texts: &'static [&'static str],
    cause: &'static str,
    hint: &'static str,
}

const fn row(texts: &'static [&'static str], cause: &'static str, hint: &'static str) -> Row {
    Row { texts, cause, hint }
}

/// The more telling rows first: the first row that matches anywhere wins.
const TABLE: &[Row] = &[
    row(
        &["is needed, which is larger than the available KV cache memory"],
        "max_model_len asks for more KV cache than there is memory for",
        "set a smaller max_model_len (shorter prompts or responses), or raise gpu_memory_utilization",
    ),
    row(
        &["No available memory for the cache blocks"],
        "weights and activations take the whole share of device memory, nothing is left for the KV cache",
        "raise gpu_memory_utilization or tensor_parallel_size; lower max_num_batched_tokens or max_model_len; use a smaller precision",
    ),
    row(
        &["less than desired CPU memory utilization"],
        "vLLM's CPU platform wants its share (gpu_memory_utilization) of all the host's memory to be free, and it is not",
        "lower gpu_memory_utilization (0.4 is safe on most hosts) or end what uses the memory",
    ),
    row(
        &[
            "Free memory on device",
            "is less than desired GPU memory utilization",
        ],
        "something else holds device memory, often a leftover engine",
        "`rollbench diagnostic` names the holders, `rollbench clean` ends what rollbench left; else lower gpu_memory_utilization",
    ),
    row(
        &["Error in memory profiling", "Initial free memory"],
        "another process freed or took device memory while the engine measured it",
        "let only one run use a device at a time",
    ),
    row(
        &["Insufficient_Stream_Resources"],
        "capturing graphs used up the device's streams",
        "capture fewer sizes, use cudagraph_mode FULL_DECODE_ONLY, or set enforce_eager",
    ),
    row(
        &["error code is 207008"],
        "capturing graphs used up the device's streams",
        "capture fewer sizes, use cudagraph_mode FULL_DECODE_ONLY, or set enforce_eager",
    ),
    row(
        &["out of memory", "Tried to allocate"],
        "device memory ran out while running",
        "lower gpu_memory_utilization, max_num_seqs or max_num_batched_tokens",
    ),
    row(
        &["Failed to bind the IP port"],
        "the port of the device's collective library (HCCL) is taken",
        "set HCCL_HOST_SOCKET_PORT_RANGE=auto and HCCL_NPU_SOCKET_PORT_RANGE=auto, or another HCCL_IF_BASE_PORT",
    ),
    row(
        &["EJ0003"],
        "the port of the device's collective library (HCCL) is taken",
        "set HCCL_HOST_SOCKET_PORT_RANGE=auto and HCCL_NPU_SOCKET_PORT_RANGE=auto, or another HCCL_IF_BASE_PORT",
    ),
    row(
        &["listen on ip", "port"],
        "the port of the device's collective library (HCCL) is taken",
        "set HCCL_HOST_SOCKET_PORT_RANGE=auto and HCCL_NPU_SOCKET_PORT_RANGE=auto, or another HCCL_IF_BASE_PORT",
    ),
    row(
        &["Failed to find a kernel that can implement"],
        "vLLM has no kernel for this precision on this platform",
        "mark the precision `unsupported` for this platform in the matrix, or use another precision",
    ),
    row(
        &["No compressed-tensors compatible"],
        "vLLM has no kernel for this precision on this platform",
        "mark the precision `unsupported` for this platform in the matrix, or use another precision",
    ),
    row(
        &["'_OpNamespace'", "object has no attribute"],
        "this build of vLLM lacks an operator that this precision needs",
        "mark the precision `unsupported` for this platform in the matrix, or use another vLLM",
    ),
    row(
        &["Min capability:"],
        "this device's generation has no kernel for this precision",
        "mark the precision `unsupported` for this platform in the matrix, or use another precision",
    ),
    row(
        &["Int8 not supported on SM"],
        "this device's generation has no INT8 kernel",
        "use FP8 on this device, or mark the precision `unsupported` in the matrix",
    ),
    row(
        &["Unknown quantization method"],
        "the `quantization` argument names a method that this vLLM does not have",
        "leave `quantization` out for compressed-tensors checkpoints; `ascend` needs vllm-ascend",
    ),
    row(
        &["ModelSlim Quantization Config Not Found"],
        "`quantization = \"ascend\"` was given, but the checkpoint is not quantized by ModelSlim",
        "give the ModelSlim checkpoint (it has quant_model_description.json), or take the argument away (`unset = [\"quantization\"]`)",
    ),
    row(
        &["does not match the quantization method specified in the `quantization` argument"],
        "the `quantization` argument and the checkpoint's own quantization disagree",
        "take the argument away (`unset = [\"quantization\"]`): vLLM reads the method from the checkpoint",
    ),
    row(
        &["Failed to infer device type"],
        "vLLM found no device that this build of it can use",
        "on Ascend source set_env.sh of the toolkit and of nnal/atb first; check that vLLM's build fits the device",
    ),
    row(
        &["libatb.so", "cannot open"],
        "Ascend's ATB library is not on the library path",
        "source set_env.sh of nnal/atb before starting rollbench",
    ),
    row(
        &["No module named 'vllm'"],
        "this Python has no vLLM",
        "name an interpreter that has it with --python PATH, or set `python = \"managed\"`",
    ),
    row(
        &["operator torchvision::nms does not exist"],
        "torchvision does not fit torch",
        "install the torchvision release that belongs to the installed torch",
    ),
    row(
        &["unexpected keyword argument"],
        "the installed vLLM does not know an argument that it was given",
        "compare the arguments (`rollbench plan`) with the installed version",
    ),
    row(
        &["unrecognized arguments"],
        "the installed vLLM does not know an argument that it was given",
        "compare the arguments (`rollbench plan`) with the installed version",
    ),
    row(
        &["Invalid repository ID or local directory specified"],
        "the checkpoint is neither a folder nor a repository of the hub",
        "check the checkpoint's path in the matrix and MODEL_BASE",
    ),
    row(
        &["Error while deserializing header"],
        "a weight file of the checkpoint is damaged or cut short",
        "copy or download the checkpoint again",
    ),
    row(
        &["No space left on device"],
        "a disk is full",
        "free space where the log, TMPDIR and the compile caches are",
    ),
];

/// Wrappers say that something failed, not what.
const WRAPPERS: [&str; 3] = [
    "Engine core initialization failed",
    "EngineDeadError",
    "WorkerProc initialization failed",
];

/// The cause as far as log and exit status tell; absent if they do not.
pub(super) fn diagnose(log: &str, death: Death<'_>) -> Option<Diagnosis> {
    // A kill by the kernel leaves no trace in the log; what the log holds then is older than the death.
    if let Some(evidence) = death.out_of_memory {
        return Some(Diagnosis {
            cause: format!("the kernel's out-of-memory killer ended it ({evidence})"),
            hint: Some(
                "give the host or its cgroup more memory, or lower VLLM_CPU_KVCACHE_SPACE, gpu_memory_utilization or max_num_seqs".to_owned(),
            ),
        });
    }
    from_table(log)
        .or_else(|| root_cause(log))
        .or_else(|| killed(death.exit?))
}

fn from_table(log: &str) -> Option<Diagnosis> {
    let lines: Vec<&str> = log.lines().collect();
    TABLE.iter().find_map(|row| {
        let line = lines
            .iter()
            .find(|line| row.texts.iter().all(|text| line.contains(text)))?;
        let mut hint = row.hint.to_owned();
        if let Some(longest) = number_after(line, "estimated maximum model length is ") {
            hint =
                format!("set max_model_len = {longest} or less, or raise gpu_memory_utilization");
        }
        if let Some(argument) = quoted_after(line, "unexpected keyword argument ") {
            hint = format!("`{argument}`: {hint}");
        }
        Some(Diagnosis {
            cause: row.cause.to_owned(),
            hint: Some(hint),
        })
    })
}

fn number_after(line: &str, text: &str) -> Option<u64> {
    let rest = &line[line.find(text)? + text.len()..];
    let digits: String = rest
        .chars()
        .filter(|c| *c != ',')
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

fn quoted_after<'a>(line: &'a str, text: &str) -> Option<&'a str> {
    let rest = &line[line.find(text)? + text.len()..];
    rest.strip_prefix('\'')?.split('\'').next()
}

/// The last line of the first traceback, which is what the wrappers below it wrap.
fn root_cause(log: &str) -> Option<Diagnosis> {
    let mut lines = log.lines().map(parse_line);
    let first = lines.find(|line| {
        line.message
            .starts_with("Traceback (most recent call last)")
            && line.level != "WARNING"
    })?;
    let cause = lines
        .filter(|line| line.process == first.process && line.level == first.level)
        .find(|line| is_exception(line.message))?
        .message;
    let is_wrapper = WRAPPERS.iter().any(|wrapper| cause.contains(wrapper));
    (!is_wrapper).then(|| Diagnosis {
        cause: cause.chars().take(400).collect(),
        hint: None,
    })
}

/// `ValueError: text` or `torch.OutOfMemoryError`, at the beginning of the line, as Python ends a traceback.
fn is_exception(message: &str) -> bool {
    let name = message.split(':').next().unwrap_or_default();
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()))
        && (message.contains(':') || name.ends_with("Error") || name.ends_with("Exception"))
}

fn killed(exit: ExitStatus) -> Option<Diagnosis> {
    (exit.signal == Some(9)).then(|| Diagnosis {
        cause: "it was killed (SIGKILL) and its log says nothing: most often the kernel's out-of-memory killer".to_owned(),
        hint: Some(
            "see `dmesg` and the memory limit of the container; lower VLLM_CPU_KVCACHE_SPACE or gpu_memory_utilization if memory is short".to_owned(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(log: &str) -> Diagnosis {
        diagnose(log, Death::default()).expect("a diagnosis")
    }

    #[test]
    fn the_longest_possible_model_length_is_taken_from_the_log() {
        let found = of("\
(EngineCore pid=31) ERROR 11-24 09:12:01 [core.py:946] ValueError: To serve at least one request with the models's max seq len (131072), (14.00 GiB KV cache is needed, which is larger than the available KV cache memory (2.31 GiB). Based on the available memory, the estimated maximum model length is 21,632. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}");
        assert_eq!(
            found.hint.as_deref(),
            Some("set max_model_len = 21632 or less, or raise gpu_memory_utilization")
        );
    }

    #[test]
    fn the_table_wins_over_the_wrapper_below_it() {
        let found = of("\
(EngineCore pid=4119) ERROR 11-24 10:00:00 [core.py:1040] Traceback (most recent call last):
(EngineCore pid=4119) ERROR 11-24 10:00:00 [core.py:1040]   File \"/v/kernels.py\", line 90, in choose
(EngineCore pid=4119) ERROR 11-24 10:00:00 [core.py:1040] ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons:
(EngineCore pid=4119) ERROR 11-24 10:00:00 [core.py:1040]  CPUWNA16LinearKernel cannot implement due to: only 4 bit
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}");
        assert_eq!(
            found.cause,
            "vLLM has no kernel for this precision on this platform"
        );
    }

    #[test]
    fn an_unknown_failure_is_the_last_line_of_the_first_traceback() {
        let found = of("\
(MainProcess pid=1) WARNING 11-24 10:00:00 [base.py:380] Traceback (most recent call last):
(MainProcess pid=1) WARNING 11-24 10:00:00 [base.py:380] ValueError: Tokenizer not available when `skip_tokenizer_init=True`
(EngineCore pid=2) ERROR 11-24 10:00:00 [core.py:1] Traceback (most recent call last):
(MainProcess pid=1) INFO 11-24 10:00:00 [x.py:1] Note: meanwhile
(EngineCore pid=2) ERROR 11-24 10:00:00 [core.py:1]   File \"/v/x.py\", line 1, in f
(EngineCore pid=2) ERROR 11-24 10:00:00 [core.py:1] KeyError: 'model.layers.0.q_proj'
Traceback (most recent call last):
RuntimeError: Engine core initialization failed. See root cause above.");
        assert_eq!(found.cause, "KeyError: 'model.layers.0.q_proj'");
        assert_eq!(found.hint, None);
    }

    #[test]
    fn a_wrapper_alone_tells_nothing() {
        let log = "Traceback (most recent call last):\n  File \"x\"\nvllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.";
        assert_eq!(diagnose(log, Death::default()), None);
        assert_eq!(diagnose("all went well", Death::default()), None);
    }

    #[test]
    fn a_silent_kill_points_to_memory() {
        let exit = ExitStatus {
            code: None,
            signal: Some(9),
        };
        let death = Death {
            exit: Some(exit),
            out_of_memory: None,
        };
        let found = diagnose("INFO loading", death).expect("a diagnosis");
        assert!(found.cause.contains("SIGKILL"), "{}", found.cause);
        let death = Death {
            exit: Some(exit),
            out_of_memory: Some("oom_kill rose by 1 in /sys/fs/cgroup/memory.events"),
        };
        let found = diagnose("ValueError: old", death).expect("a diagnosis");
        assert!(found.cause.starts_with("the kernel's out-of-memory killer"));
    }

    #[test]
    fn no_row_is_shadowed_by_an_earlier_one() {
        for (i, row) in TABLE.iter().enumerate() {
            let line = row.texts.join(" ... ");
            let winner = TABLE
                .iter()
                .position(|other| other.texts.iter().all(|text| line.contains(text)));
            assert_eq!(winner, Some(i), "{line}");
        }
    }

    #[test]
    fn real_tails_of_other_platforms_are_known() {
        let cases = [
            (
                "ValueError: Free memory on device (5.31/79.19 GiB) on startup is less than desired GPU memory utilization (0.9, 71.27 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
                "something else holds device memory",
            ),
            (
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 79.19 GiB",
                "device memory ran out",
            ),
            (
                "RuntimeError: NPU out of memory. Tried to allocate 1.16 GiB (NPU 0; 60.96 GiB total capacity;",
                "device memory ran out",
            ),
            (
                "[ERROR] EI0019: Failed to enable listening for the socket. Reason: listen on ip[10.0.0.7] and specific port[16666] fail",
                "(HCCL) is taken",
            ),
            (
                "TypeError: EngineArgs.__init__() got an unexpected keyword argument 'swap_space'",
                "does not know an argument",
            ),
            (
                "AssertionError: Error in memory profiling. Initial free memory 70.1 GiB, current free memory 71.3 GiB.",
                "while the engine measured it",
            ),
        ];
        for (log, cause) in cases {
            let found = of(log);
            assert!(found.cause.contains(cause), "{log}: {}", found.cause);
            assert!(found.hint.is_some());
        }
    }
}
