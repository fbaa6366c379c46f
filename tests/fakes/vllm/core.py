"""The engine core: a spawned process that makes tokens at a set speed, and its worker."""

import collections
import hashlib
import os
import signal
import subprocess
import sys
import time

from . import settings

# Iterations are not made shorter than this, so that many sequences cost few messages.
ITERATION_SECONDS = 0.005


def log(level, text, who="EngineCore"):
    for line in text.splitlines():
        print(f"({who} pid={os.getpid()}) {level} 11-24 12:00:00 [core.py:1] {line}", flush=True)


def main(connection, model, max_num_seqs):
    """Answers ("requests", [(id, tokens)]) with iterations, until ("exit",) or the pipe's end."""
    fault = settings.fault(model)
    rate = settings.speed(model)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    load(model, fault)
    start_worker(fault)
    connection.send("ready")
    step = -1
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if message == "exit":
            return
        step += 1
        due = fault["fault"] if fault.get("step", 0) == step else None
        run(connection, message, rate, max_num_seqs, due)


def load(model, fault):
    time.sleep(settings.SETTINGS.get("load_s", 0))
    name = fault["fault"]
    if name in TRACEBACKS:
        log("ERROR", f"EngineCore failed to start.\nTraceback (most recent call last):\n{TRACEBACKS[name]}")
        sys.exit(1)
    if name == "failed_but_alive":
        # As on four H100s: a worker's CUDA error, and then everybody waits for everybody.
        log("ERROR", f"WorkerProc hit an exception.\nTraceback (most recent call last):\n{CUDA_ERROR}", "Worker_TP0")
        log("ERROR", f"EngineCore failed to start.\nTraceback (most recent call last):\n{WORKER_FAILED}")
        time.sleep(3600)
    if name == "handled_traceback":
        log("ERROR", f"An optional part is missing.\nTraceback (most recent call last):\n{CUDA_ERROR}")
        time.sleep(fault.get("silence", 60))
    if name == "fatal_but_busy":
        log("ERROR", f"WorkerProc hit an exception.\nTraceback (most recent call last):\n{CUDA_ERROR}", "Worker_TP0")
        until = time.monotonic() + fault.get("busy", 13)
        while time.monotonic() < until:
            hashlib.sha256(b"work" * 1000)
    if name == "print_forever" and os.fork() == 0:
        while True:
            print("the same line again and again", flush=True)
    log("INFO", f"Starting to load model {model}...")
    if "w8a8" in model:
        log("INFO", "Selected FakeInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8", "Worker")
    log("INFO", "Model loading took 1.5 GiB memory and 0.1 seconds", "Worker")


CUDA_ERROR = (
    '  File "gpu_model_runner.py", line 6084, in _dummy_run\n'
    "RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb, m, n, k)`"
)
WORKER_FAILED = (
    '  File "core.py", line 1330, in run_engine_core\n'
    "RuntimeError: Worker failed with error 'CUDA error: an illegal memory access was encountered', "
    "please check the stack trace above for the root cause"
)
TRACEBACKS = {
    "unknown_cause": '  File "core.py", line 1, in load\nKeyError: "model.layers.0.self_attn.qkv_proj.weight"',
    "oom": '  File "core.py", line 1, in load\n'
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 79.19 GiB",
    "no_kernel": '  File "core.py", line 1, in load\n'
    "ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons:",
    "too_long": '  File "core.py", line 1, in load\n'
    "ValueError: To serve at least one request with the models's max seq len (131072), (14.00 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (2.31 GiB). Based on the available memory, the estimated "
    "maximum model length is 21632.",
}


def start_worker(fault):
    """A grandchild of the driver, as every real worker is; it ends with the core unless the fault says otherwise."""
    ready = "import sys, signal, time; print(flush=True)"
    wait = f"{ready}; sys.stdin.read()"
    if fault["fault"] == "ignore_sigterm_worker":
        wait = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {ready}; time.sleep(600)"
    worker = subprocess.Popen([sys.executable, "-c", wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    worker.stdout.readline()
    if fault["fault"] == "double_fork_daemon":
        # Its parent is gone at once, and it has a session of its own: no process group reaches it.
        code = "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  time.sleep(600)"
        subprocess.run([sys.executable, "-c", code], check=True)
    if fault["fault"] == "fork_burst":
        for _ in range(fault.get("count", 200)):
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(600)
                os._exit(0)


def spend(tokens, rate):
    """The time that tokens take, or with `work` so many rounds of hashing for each: the same for the same tokens."""
    work = settings.SETTINGS.get("work")
    if work is None:
        time.sleep(tokens / rate)
        return
    digest = b""
    for _ in range(tokens * work):
        digest = hashlib.sha256(digest).digest()


def run(connection, requests, rate, max_num_seqs, due):
    """Every running sequence gets its share of an iteration's tokens; waiting ones follow as others end."""
    waiting = collections.deque(requests)
    running = {}
    made, total = 0, sum(tokens for _, tokens in requests)
    while waiting or running:
        while waiting and len(running) < max_num_seqs:
            name, tokens = waiting.popleft()
            running[name] = [tokens, tokens, None]
        share = max(1, round(rate * ITERATION_SECONDS / len(running)))
        share = min(share, min(left for left, _, _ in running.values()))
        if any(first is None for _, _, first in running.values()):
            share = 1
        spend(share * len(running), rate)
        made += share * len(running)
        if due == "kill_core_in_step" and made > total / 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if due == "hang_in_step" and made > total / 2:
            time.sleep(3600)
        now = time.monotonic() + (1e6 if due == "foreign_clock" else 0)
        finished = []
        for name in list(running):
            sequence = running[name]
            sequence[0] -= share
            sequence[2] = sequence[2] or now
            if sequence[0] == 0:
                finished.append((name, sequence[1], sequence[2], now))
                del running[name]
        connection.send((share * (len(running) + len(finished)), len(running), len(waiting), finished))
