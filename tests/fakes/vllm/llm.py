"""`LLM` and the parts of its engine that are looked at from outside."""

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

from . import core, settings
from .arguments import EngineArgs


class EngineDeadError(Exception):
    """As vLLM's: an echo, not a cause."""


class LLM:
    def __init__(self, model, **kwargs):
        kwargs.setdefault("disable_log_stats", True)
        arguments = EngineArgs(model=model, **kwargs)
        if settings.SETTINGS.get("print_arguments"):
            print(f"INFO 11-24 12:00:00 [utils.py:1] non-default args: {kwargs}", flush=True)
            print(f"INFO 11-24 12:00:00 [utils.py:2] environment: {dict(os.environ)}", flush=True)
        self.fault = settings.fault(model)
        before_loading(self.fault)
        self.llm_engine = Engine(arguments)
        self.steps = 0

    def generate(self, prompts, sampling_params, use_tqdm=True):
        due = self.fault["fault"] if self.fault.get("step", 0) == self.steps else None
        self.steps += 1
        if due == "exit0_without_done":
            os._exit(0)
        if due == "raise_in_step":
            raise ValueError("a made-up failure in the middle of a step")
        engine = self.llm_engine
        engine.submit(prompts, sampling_params)
        outputs = []
        while engine.has_unfinished_requests():
            outputs.extend(engine.step())
        outputs.sort(key=lambda output: int(output.request_id))
        if due == "short_counts":
            outputs[0].outputs[0].token_ids.pop()
        if due == "missing_sequence":
            outputs.pop()
        return outputs

    def get_metrics(self):
        return [SimpleNamespace(name=name, value=value) for name, value in self.llm_engine.counters.items()]

    def reset_prefix_cache(self):
        return True

    def start_profile(self):
        self.profiling = True

    def stop_profile(self):
        folder = os.environ.get("VLLM_TORCH_PROFILER_DIR") or self.llm_engine.arguments.profiler_config.get(
            "torch_profiler_dir"
        )
        # What a test put beside the weights is what was recorded.
        recorded = os.path.join(self.llm_engine.arguments.model, "trace.json")
        with open(os.path.join(folder, "rank0.pt.trace.json"), "w") as file:
            if os.path.exists(recorded):
                with open(recorded) as trace:
                    file.write(trace.read())
            else:
                kernel = {"ph": "X", "cat": "kernel", "name": "nvjet", "pid": 0, "tid": 7, "ts": 1, "dur": 1}
                json.dump({"traceEvents": [kernel]}, file)


class Engine:
    """`LLMEngine`, its logger manager, output processor and core client in one."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.vllm_config = arguments.resolve()
        self.log_stats = not arguments.disable_log_stats
        self.logger_manager = LoggerManager() if self.log_stats else None
        self.output_processor = OutputProcessor()
        self.engine_core = self
        self.counters = {"vllm:num_preemptions": 0, "vllm:prefix_cache_queries": 0, "vllm:prefix_cache_hits": 0}
        self.next_id = 0
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=core.main,
            args=(theirs, arguments.model, self.vllm_config.scheduler_config.max_num_seqs),
            name="EngineCore",
            daemon=True,
        )
        self.process.start()
        theirs.close()
        try:
            self.connection.recv()
        except EOFError:
            raise RuntimeError(
                "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
            ) from None

    def submit(self, prompts, parameters):
        states, requests = self.output_processor.request_states, []
        for prompt, chosen in zip(prompts, parameters, strict=True):
            name, self.next_id = str(self.next_id), self.next_id + 1
            ids = prompt["prompt_token_ids"]
            parent = SimpleNamespace(request_id=name, external_req_id=name, done={}) if chosen.n > 1 else None
            self.counters["vllm:prefix_cache_queries"] += len(ids) * chosen.n
            self.counters["vllm:prefix_cache_hits"] += len(ids) * (chosen.n - 1)
            for index in range(chosen.n):
                child = f"{index}_{name}" if parent else name
                states[child] = SimpleNamespace(
                    request_id=child, parent_req=parent, request_index=index, n=chosen.n, prompt=ids, stats=None
                )
                requests.append((child, chosen.max_tokens))
        self.connection.send(requests)

    def has_unfinished_requests(self):
        return bool(self.output_processor.request_states)

    def step(self):
        try:
            tokens, running, waiting, finished = self.connection.recv()
        except EOFError:
            # As vLLM's client: it does not notice.
            while True:
                time.sleep(3600)
        iteration = SimpleNamespace(num_generation_tokens=tokens, finished_requests=[])
        outputs = self.output_processor.process(finished, iteration)
        if self.logger_manager is not None:
            usage = running / self.vllm_config.scheduler_config.max_num_seqs
            scheduler = SimpleNamespace(num_running_reqs=running, num_waiting_reqs=waiting, kv_cache_usage=usage)
            self.logger_manager.record(scheduler_stats=scheduler, iteration_stats=iteration, mm_cache_stats=None)
        return outputs

    def abort_request(self, names, internal=False):
        for name in names:
            self.output_processor.request_states.pop(name, None)

    def shutdown(self):
        if settings.fault(self.arguments.model)["fault"] == "hang_at_exit":
            time.sleep(3600)
        self.process.terminate()
        self.process.join(5)


class LoggerManager:
    def record(self, scheduler_stats, iteration_stats, mm_cache_stats=None):
        pass


class OutputProcessor:
    def __init__(self):
        self.request_states = {}

    def process(self, finished, iteration):
        outputs = []
        for name, count, first, last in finished:
            state = self.request_states.pop(name)
            state.stats = SimpleNamespace(first_token_ts=first, last_token_ts=last, num_generation_tokens=count)
            self._update_stats_from_finished(state, "length", iteration)
            sample = SimpleNamespace(index=state.request_index, token_ids=[7] * count, finish_reason="length")
            done = state.parent_req.done if state.parent_req else {}
            done[sample.index] = sample
            if len(done) == state.n:
                outputs.append(
                    SimpleNamespace(
                        request_id=state.parent_req.request_id if state.parent_req else name,
                        prompt_token_ids=state.prompt,
                        outputs=[done[index] for index in sorted(done)],
                        metrics=state.stats,
                        finished=True,
                    )
                )
        return outputs

    def _update_stats_from_finished(self, req_state, finish_reason, iteration_stats):
        iteration_stats.finished_requests.append(SimpleNamespace(request_id=req_state.request_id))


def before_loading(fault):
    """The faults of the driver's own process."""
    name = fault["fault"]
    if name == "die_in_load":
        print("a made-up death", file=sys.stderr, flush=True)
        os._exit(1)
    if name == "killed_in_load":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "exit0_in_load":
        os._exit(0)
    if name == "hang_before_ready":
        time.sleep(3600)
    if name == "garbage":
        os.write(event_pipe(), b"\x00\x01 this is no JSON\n")
    if name == "wrong_protocol":
        os.write(event_pipe(), b'{"event":"hello","protocol":99}\n')
    if name == "unknown_event":
        os.write(event_pipe(), b'{"event":"surprise"}\n')
    if name == "hold_event_pipe":
        subprocess.Popen(["sleep", "600"], pass_fds=[event_pipe()], start_new_session=True)


def event_pipe():
    """The descriptor of the driver's event pipe: the one pipe beside stdio that is open for writing."""
    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            with open(f"/proc/self/fdinfo/{number}") as info:
                flags = int(info.read().split("flags:")[1].split()[0], 8)
            if number > 2 and stat.S_ISFIFO(os.fstat(number).st_mode) and flags & os.O_ACCMODE == os.O_WRONLY:
                return number
        except OSError:
            continue
    raise RuntimeError("there is no event pipe")
