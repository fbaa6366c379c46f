//! From an engine's log and exit status to a cause and a remedy. What is known is data (`causes.toml`); here is where
//! it is looked for.

use std::sync::LazyLock;

use regex::Regex;

use super::causes::{CAUSES, KnownCause, fill};
use super::log::parse_line;
use super::traceback::Traceback;
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
    let vllm = version(log);
    let tracebacks = Traceback::all(log);
    let root = root(&tracebacks);
    let known = root.and_then(|root| known(&root.lines, &vllm));
    if let Some((row, found)) = &known
        && !row.vague
    {
        return Some(found.clone());
    }
    // An exception that says what is wrong is not overruled by other lines, which may be of errors that were handled.
    if let (Some(root), None) = (root, &known) {
        return Some(Diagnosis {
            cause: cut(&root.exception()),
            hint: None,
        });
    }
    let errors: Vec<&str> = log
        .lines()
        .map(parse_line)
        .filter(|line| !line.is_harmless())
        .map(|line| line.message)
        .collect();
    match (known, self::known(&errors, &vllm)) {
        (_, Some((row, found))) if !row.vague => Some(found),
        (Some((_, found)), _) | (None, Some((_, found))) => Some(found),
        (None, None) => died_of(death.exit?.signal?),
    }
}

/// What the others wrap: the first below a line that says that something is lost, else the first at all.
fn root<'t, 'a>(tracebacks: &'t [Traceback<'a>]) -> Option<&'t Traceback<'a>> {
    let own = || tracebacks.iter().filter(|found| !found.is_wrapper());
    own().find(|found| found.fatal).or_else(|| own().next())
}

/// The first row of the table that is for one of the lines; the telling ones come before the vague ones.
fn known(lines: &[&str], vllm: &str) -> Option<(&'static KnownCause, Diagnosis)> {
    let rows = || CAUSES.row.iter();
    rows()
        .filter(|row| !row.vague)
        .chain(rows().filter(|row| row.vague))
        .find_map(|row| {
            let (line, found) = row.find(lines)?;
            let line = cut(line.trim());
            let filled = |text: &str| fill(text, &found, &line, vllm);
            let diagnosis = Diagnosis {
                cause: filled(&row.cause),
                hint: Some(filled(&row.hint)),
            };
            Some((row, diagnosis))
        })
}

/// `vLLM 0.26.0`, from what it says at its start.
fn version(log: &str) -> String {
    static SAID: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?:LLM engine \(v|API server version )([\w.+-]+)").expect("a constant")
    });
    match SAID.captures(log) {
        Some(said) => format!("vLLM {}", &said[1]),
        None => "its version is in the record".to_owned(),
    }
}

/// Fit for one line of a report.
fn cut(text: &str) -> String {
    text.chars().take(400).collect()
}

fn died_of(signal: i32) -> Option<Diagnosis> {
    let known = CAUSES.signal.iter().find(|known| known.number == signal)?;
    Some(Diagnosis {
        cause: known.cause.clone(),
        hint: Some(known.hint.clone()),
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

    /// Tails of logs as users bring them, each with what its cause and its hint must say.
    #[test]
    fn logs_that_users_bring_are_understood() {
        let cases = [
            (
                "pydarch",
                "does not know the model type qwen3_next",
                "upgrade transformers",
            ),
            (
                "pydlen",
                "max_model_len 40960 exceeds the model's 32768",
                "set max_model_len = 32768",
            ),
            (
                "mincap",
                "fp8 needs compute capability 90, the device has 86",
                "`unsupported`",
            ),
            (
                "oomwarn",
                "KeyError: 'lm_head.weight'",
                "quant_model_description.json",
            ),
            (
                "lmhead",
                "KeyError: 'lm_head.weight'",
                "the release that it was made for",
            ),
            ("w1bias", "a fault inside vLLM", "version"),
            (
                "ei0006",
                "HCCL timed out connecting the ranks (EI0006)",
                "HCCL_CONNECT_TIMEOUT",
            ),
            (
                "noimage",
                "no kernel for this device's architecture",
                "wheel",
            ),
            (
                "fp8blocktp",
                "192 (a layer's share at this tensor_parallel_size) is not divisible by the quantization's block block_k = 128",
                "enable_expert_parallel",
            ),
            ("eaddr", "port 29500 is taken", "MASTER_PORT"),
            ("triton", "wants 102400 bytes of shared memory", "backend"),
            (
                "failed-but-alive",
                "CUBLAS_STATUS_EXECUTION_FAILED",
                "fuse_allreduce_rms = false",
            ),
        ];
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/logs");
        for (name, cause, hint) in cases {
            let found = of(&std::fs::read_to_string(folder.join(name)).expect("a case"));
            assert!(found.cause.contains(cause), "{name}: {}", found.cause);
            let told = found.hint.expect(name);
            assert!(told.contains(hint), "{name}: {told}");
        }
        let slow = std::fs::read_to_string(folder.join("fallback-kernels")).expect("a case");
        assert_eq!(diagnose(&slow, Death::default()), None);
    }

    #[test]
    fn what_was_handled_is_not_the_cause() {
        let found = of("\
ERROR 11-24 10:00:00 [utils.py:1] Traceback (most recent call last):
ERROR 11-24 10:00:00 [utils.py:1] ImportError: no optional package
RuntimeError: CUDA out of memory. Tried to allocate 4.00 GiB
(EngineCore pid=2) ERROR 11-24 10:00:00 [core.py:1] EngineCore failed to start.
(EngineCore pid=2) ERROR 11-24 10:00:00 [core.py:1] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-24 10:00:00 [core.py:1] ValueError: nothing that is known");
        assert_eq!(found.cause, "ValueError: nothing that is known");
    }

    #[test]
    fn a_vague_exception_yields_to_a_telling_line_elsewhere() {
        let found = of("\
host:91:120 [1] misc/shmutils.cc:72 NCCL WARN Call to ftruncate or shm open failed
(Worker_TP1 pid=2) ERROR 11-24 10:00:00 [m.py:1] WorkerProc failed to start.
(Worker_TP1 pid=2) ERROR 11-24 10:00:00 [m.py:1] Traceback (most recent call last):
(Worker_TP1 pid=2) ERROR 11-24 10:00:00 [m.py:1] RuntimeError: NCCL error: unhandled system error");
        assert_eq!(
            found.cause,
            "NCCL got no shared memory: /dev/shm is too small"
        );
    }

    #[test]
    fn vllm_is_named_where_the_fault_is_its_own() {
        let found = of("\
(EngineCore pid=2) INFO 11-24 10:00:00 [core.py:69] Initializing a V1 LLM engine (v0.19.1) with config: model='/m'
Traceback (most recent call last):
  File \"/v/site-packages/vllm/v1/core.py\", line 9, in f
AttributeError: 'NoneType' object has no attribute 'shape'");
        assert!(
            found.cause.starts_with("a fault inside vLLM"),
            "{}",
            found.cause
        );
        let hint = found.hint.expect("one");
        assert!(hint.contains("(vLLM 0.19.1)"), "{hint}");
    }
}
