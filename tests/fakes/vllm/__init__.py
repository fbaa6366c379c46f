"""A stand-in for vLLM: the surface that rollbench's driver uses, made of real processes, without a model.

Put this folder's parent on PYTHONPATH. `LLM(...)` starts an engine core as a spawned child (and that one a worker, as
vLLM's multiprocessing executor does), `generate` streams token counts from it at a set speed, statistics and
timestamps come by the same attributes as vLLM's. Only the standard library is needed; loading takes some 0.1 s.

`FAKE_VLLM` in the environment is a JSON object, all of it optional:

    speed     output tokens per second of the whole engine (default 1,000,000)
    speeds    {"part of a model's path": speed}: for matrices whose precisions differ
    load_s    how long loading takes (default 0)
    import_s  how long importing takes (default 0)
    thread_at_import  importing leaves a thread
    print_arguments   the engine prints its arguments (as vLLM does) and its environment
    platform  what current_platform.device_type says (default "cpu")
    executor  the distributed_executor_backend that it chooses by itself (default "mp")
    version   what __version__ says
    faults    a list of {"fault": NAME, "model": "part of a model's path", ...}; the first whose `model` (absent: any)
              is in the path happens. `fault` and its keys may also stand at top level.

Faults while loading: die_in_load (exit code 1), killed_in_load (SIGKILL), exit0_in_load, hang_before_ready,
unknown_cause (an exception in the core, wrapped as vLLM wraps it), oom (CUDA's words), no_kernel (of W8A16 on CPU),
too_long (no room for max_model_len), failed_but_alive (a fatal error, and all processes live on), handled_traceback
(one, then `silence` seconds without a word, default 60, and all is well), fatal_but_busy (a fatal line and `busy` seconds
of work, default 13, and all is well), garbage (nonsense on the event pipe), wrong_protocol, unknown_event.
Faults in a step, of the `step`-th generate() counted from 0 (default 0): hang_in_step, kill_core_in_step,
exit0_without_done, raise_in_step, short_counts (one token less), missing_sequence, foreign_clock.
Faults of processes, from loading on: print_forever, ignore_sigterm_worker, double_fork_daemon, hold_event_pipe,
fork_burst (`count`, default 200). Fault of the end: hang_at_exit.
`vllm serve` (`entrypoints/cli/main.py`) has faults of its own.
"""

from .settings import SETTINGS

__version__ = SETTINGS.get("version", "0.32.0+fake")

if SETTINGS.get("import_s"):
    import time

    time.sleep(SETTINGS["import_s"])
if SETTINGS.get("thread_at_import"):
    import threading

    threading.Thread(target=threading.Event().wait, daemon=True).start()

from .arguments import EngineArgs, SamplingParams  # noqa: E402
from .llm import LLM  # noqa: E402

__all__ = ["LLM", "EngineArgs", "SamplingParams", "__version__"]
