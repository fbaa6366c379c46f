"""The offline driver of rollbench: loads one vLLM engine, runs steps on it, and reports what it measured.

It is embedded in the binary, written into a private folder and run as a file, because vLLM's spawned children
import the main module again: everything at module level must be cheap and free of side effects for them.

Commands come in and events go out as JSON Lines over two pipes whose numbers are in the environment; stdout and
stderr belong to vLLM's logging. `protocol.rs` holds the other side.

in   load{id,args,fan_out,sampling,profile} step{id,file} abort reset_prefix_cache{id} profile_start{id} profile_stop{id} exit
     encode{id,..} sample{id,..} score{id,..} (`fidelity.py`)
out  hello imported ready{id,..} progress{id,..} step_finished{id,..} counted{id,..} ok{id} aborted{id}
     error{id,kind,fatal,..} done

Times are nanoseconds of CLOCK_MONOTONIC (`time.monotonic_ns()`), the clock that vLLM's engine process uses for its
own timestamps too. Nothing is written inside the timed section but progress, twice a second at most.
"""

import os
import sys

if os.environ.get("ROLLBENCH_LEASE"):
    # Spawned children run this line too: nobody outlives the process that holds the lease.
    import rollbench_lease  # noqa: F401

import array
import dataclasses
import difflib
import enum
import gc
import inspect
import json
import multiprocessing
import multiprocessing.connection
import queue
import signal
import threading
import time
import traceback

PROTOCOL = 1
PROGRESS_SECONDS = 0.5
TIMELINE_POINTS = 2000
PROMPT_FILE_MAGIC = b"RBPROMPT"


class Refused(Exception):
    """A command that cannot be carried out; the engine is unharmed."""

    def __init__(self, kind, message, **more):
        super().__init__(message)
        self.kind = kind
        self.more = more


class Aborted(Exception):
    """The running step was ended on request."""


class Pipe:
    """The two ends that were inherited. No child of ours gets them, neither by spawn nor by fork."""

    def __init__(self):
        self.commands = int(os.environ.pop("ROLLBENCH_COMMANDS_FD"))
        self.events = int(os.environ.pop("ROLLBENCH_EVENTS_FD"))
        for fd in (self.commands, self.events):
            os.set_inheritable(fd, False)
        os.register_at_fork(after_in_child=self._forget)
        self._lock = threading.Lock()

    def _forget(self):
        for fd in (self.commands, self.events):
            try:
                os.close(fd)
            except OSError:
                pass

    def send(self, event, **fields):
        line = json.dumps({"event": event, **fields}, separators=(",", ":"), default=str) + "\n"
        data = memoryview(line.encode())
        with self._lock:
            while data:
                data = data[os.write(self.events, data) :]

    def lines(self):
        """Commands until the pipe ends."""
        with os.fdopen(self.commands, "rb", closefd=False) as stream:
            for line in stream:
                yield json.loads(line)


class Monitor:
    """What happens inside a step, seen from the client's side of vLLM at every engine iteration.

    Wraps three methods of the engine's instance. Each is looked for, never assumed: where one is missing, what it
    would have told is absent (None), and the rest still works.
    """

    def __init__(self, llm):
        engine = llm.llm_engine
        self.stop_requested = False
        self.reset(0)
        step = engine.step

        def step_and_look(*args, **kwargs):
            outputs = step(*args, **kwargs)
            if not self.counts_tokens:
                self.finished += sum(1 for o in outputs if getattr(o, "finished", False))
            if self.stop_requested:
                raise Aborted
            return outputs

        engine.step = step_and_look

        manager = getattr(engine, "logger_manager", None)
        self.counts_tokens = hasattr(manager, "record")
        if self.counts_tokens:
            record = manager.record

            def record_and_look(*args, **kwargs):
                self._look(
                    kwargs.get("scheduler_stats", args[0] if args else None),
                    kwargs.get("iteration_stats", args[1] if len(args) > 1 else None),
                )
                return record(*args, **kwargs)

            manager.record = record_and_look

        # The only place that names the children of a request with n samples together with their timestamps.
        processor = getattr(engine, "output_processor", None)
        self.sees_children = hasattr(processor, "_update_stats_from_finished")
        if self.sees_children:
            update = processor._update_stats_from_finished

            def update_and_look(request_state, *args, **kwargs):
                self._child(request_state)
                return update(request_state, *args, **kwargs)

            processor._update_stats_from_finished = update_and_look

    def reset(self, begin_ns):
        self.begin_ns = begin_ns
        self.finished = 0
        self.tokens = 0
        self.kv_peak = None
        self.children = {}
        self.points = []
        self._seen = 0
        self._stride = 1
        self._latest = None

    def _look(self, scheduler, iteration):
        if iteration is not None:
            self.tokens += getattr(iteration, "num_generation_tokens", 0)
            self.finished += len(getattr(iteration, "finished_requests", ()))
        if scheduler is None:
            return
        usage = getattr(scheduler, "kv_cache_usage", None)
        if usage is not None:
            self.kv_peak = max(usage, self.kv_peak or 0.0)
        self._latest = (time.monotonic_ns(), getattr(scheduler, "num_running_reqs", 0), self.tokens)
        if self._seen % self._stride == 0:
            self.points.append(self._latest)
            if len(self.points) >= TIMELINE_POINTS:
                del self.points[1::2]
                self._stride *= 2
        self._seen += 1

    def _child(self, state):
        parent = getattr(state, "parent_req", None)
        stats = getattr(state, "stats", None)
        if parent is None or stats is None:
            return
        name = getattr(parent, "external_req_id", None) or parent.request_id
        self.children[(str(name), state.request_index)] = stats

    def timeline(self):
        """The points that thinning left, and the last one."""
        points = self.points if self.points[-1:] == [self._latest] else [*self.points, self._latest]
        return {
            "t_ns": [max(0, t - self.begin_ns) for t, _, _ in points],
            "running": [running for _, running, _ in points],
            "tokens": [tokens for _, _, tokens in points],
        }


class Driver:
    """The main thread: one command after another."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.commands = queue.SimpleQueue()
        self.llm = None
        self.monitor = None
        self.children = []
        self.loading = True
        self.leaving = False
        self.step_id = None
        self.dying = threading.Lock()

    # -- threads ---------------------------------------------------------------------------------------------------

    def read_commands(self):
        """Hands commands to the main thread; `abort` and `exit` also end a running step."""
        try:
            for command in self.pipe.lines():
                name = command.get("command")
                if name in ("abort", "exit"):
                    self.leaving = self.leaving or name == "exit"
                    if self.monitor is not None and self.step_id is not None:
                        self.monitor.stop_requested = True
                    elif name == "exit" and self.loading:
                        # The main thread is in vLLM's hands for minutes; only a signal reaches it.
                        os.kill(os.getpid(), signal.SIGTERM)
                if name != "abort":
                    self.commands.put(command)
        except ValueError as error:
            self.pipe.send("error", id=None, kind="protocol", fatal=True, message=f"unreadable command: {error}")
        # The other side is gone or talks nonsense: leave as if asked to.
        self.commands.put({"command": "exit"})

    def report_progress(self):
        """Twice a second at most, and only when something moved."""
        last = None
        while True:
            time.sleep(PROGRESS_SECONDS)
            step_id, monitor = self.step_id, self.monitor
            if step_id is None:
                last = None
                continue
            now = (step_id, monitor.finished, monitor.tokens)
            if now != last:
                last = now
                elapsed = time.monotonic_ns() - monitor.begin_ns
                self.pipe.send("progress", id=step_id, finished=now[1], tokens=now[2], elapsed_ns=elapsed)

    def watch_children(self):
        """vLLM's client can wait for ever for an engine core that a signal killed: end instead, and say so."""
        dead = multiprocessing.connection.wait([child.sentinel for child in self.children])
        if self.leaving:
            return
        with self.dying:
            self.report_death(dead[0])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)

    def report_death(self, sentinel):
        child = next(child for child in self.children if child.sentinel == sentinel)
        # vLLM's own monitor waits for it too: the thread that comes second learns the code from the first.
        deadline = time.monotonic() + 1
        while (code := child.exitcode) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if code is None:
            how = "ended"
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        message = f"the engine's process {child.name} (pid {child.pid}) {how}"
        self.pipe.send("error", id=self.step_id, kind="engine_died", fatal=True, message=message, exit_code=code)

    def report_failure(self, error):
        """What vLLM raised; where that is only the echo of a dead engine process, the death itself."""
        with self.dying:
            if type(error).__name__ == "EngineDeadError" and self.children:
                dead = multiprocessing.connection.wait([child.sentinel for child in self.children], timeout=5)
                if dead:
                    return self.report_death(dead[0])
            self.pipe.send(
                "error",
                id=self.step_id,
                kind="engine",
                fatal=True,
                message=f"{type(error).__name__}: {error}",
                traceback="".join(traceback.format_exception(error)),
            )

    # -- commands --------------------------------------------------------------------------------------------------

    def run(self):
        self.pipe.send("hello", protocol=PROTOCOL, pid=os.getpid(), python=sys.version.split()[0])
        begin = time.monotonic_ns()
        import vllm
        from vllm.platforms import current_platform

        self.vllm = vllm
        self.import_s = (time.monotonic_ns() - begin) / 1e9
        self.pipe.send(
            "imported",
            import_s=self.import_s,
            platform=str(getattr(current_platform, "device_type", "") or ""),
            versions=versions(vllm),
        )
        handlers = {
            "load": self.load,
            "step": self.step,
            "reset_prefix_cache": self.reset_prefix_cache,
            "profile_start": lambda _: self.profile("start_profile"),
            "profile_stop": lambda _: self.profile("stop_profile"),
            "encode": self.fidelity,
            "sample": self.fidelity,
            "score": self.fidelity,
        }
        while True:
            command = self.commands.get()
            name, command_id = command.get("command"), command.get("id")
            if name == "exit":
                return
            try:
                if name not in handlers:
                    raise Refused("protocol", f"unknown command {name!r}")
                if self.llm is None and name != "load":
                    raise Refused("protocol", f"{name} before load")
                event, fields = handlers[name](command) or ("ok", {})
                self.pipe.send(event, id=command_id, **fields)
            except Aborted:
                self.clear_requests()
                self.pipe.send("aborted", id=command_id)
            except Refused as refusal:
                self.pipe.send(
                    "error", id=command_id, kind=refusal.kind, fatal=True, message=str(refusal), **refusal.more
                )

    def load(self, command):
        try:
            return self.load_engine(command)
        finally:
            self.loading = False

    def load_engine(self, command):
        arguments = dict(command["args"])
        known = {f.name for f in dataclasses.fields(self.vllm.EngineArgs) if not f.name.startswith("_")}
        unknown = {name: difflib.get_close_matches(name, known, 3) for name in arguments if name not in known}
        if unknown:
            listed = "; ".join(
                f"`{name}`" + (f" (near: {', '.join(near)})" if near else "") for name, near in unknown.items()
            )
            raise Refused("arguments", f"vLLM {self.vllm.__version__} has no engine argument {listed}", unknown=unknown)
        # LLM() turns statistics off by default; without them it tells neither finish times nor counters.
        arguments["disable_log_stats"] = False
        self.fan_out = command["fan_out"]
        self.sampling = command["sampling"]
        if command.get("profile"):
            arguments.update(profiler_arguments(command["profile"], known))
        begin = time.monotonic_ns()
        self.llm = self.vllm.LLM(**arguments)
        engine_s = (time.monotonic_ns() - begin) / 1e9
        self.children = multiprocessing.active_children()
        if self.children:
            threading.Thread(target=self.watch_children, daemon=True).start()
        self.monitor = Monitor(self.llm)
        threading.Thread(target=self.report_progress, daemon=True).start()
        effective = effective_config(self.llm.llm_engine, known)
        # What loading left behind is never garbage: keep it out of the collections of every later step.
        gc.collect()
        gc.freeze()
        return "ready", {
            "engine_s": engine_s,
            "effective": plain_items(effective),
            "difference": differences(arguments, effective),
            "kv_tokens": kv_tokens(self.llm.llm_engine),
            "tells": {"tokens": self.monitor.counts_tokens, "children": self.monitor.sees_children},
        }

    def step(self, command):
        rows = read_prompt_file(command["file"])
        prompts, parameters, placing = self.requests(rows)
        counters = self.counters()
        # Each step begins with the garbage of the one before it gone; inside a step the collector runs as in a trainer.
        gc.collect()
        begin = time.monotonic_ns()
        self.monitor.reset(begin)
        self.monitor.stop_requested = self.leaving
        self.step_id = command["id"]
        try:
            outputs = self.llm.generate(prompts, parameters, use_tqdm=False)
            end = time.monotonic_ns()
        finally:
            self.step_id = None
        if len(outputs) != len(prompts):
            raise Refused("results", f"{len(prompts)} requests were submitted, {len(outputs)} came back")
        after = self.counters()
        columns, source = self.columns(outputs, placing, len(rows.group), begin)
        return "step_finished", {
            "begin_mono_ns": begin,
            "makespan_ns": end - begin,
            "finish_source": source,
            "counters": {
                **{name: after[name] - counters[name] for name in after if name in counters},
                "kv_peak": self.monitor.kv_peak,
            },
            "columns": columns,
            "timeline": self.monitor.timeline() if self.monitor.points else None,
        }

    refused = Refused

    def fidelity(self, command):
        """In a file of its own, because no measured step needs what it imports."""
        import rollbench_fidelity

        self.monitor.reset(time.monotonic_ns())
        self.monitor.stop_requested = self.leaving
        self.step_id = command["id"]
        try:
            return rollbench_fidelity.COMMANDS[command["command"]](self, command)
        finally:
            self.step_id = None

    def sampling_parameters(self, **wanted):
        """With log-probabilities as flat columns where this vLLM has them (0.13 on)."""
        has_flat = "flat_logprobs" in inspect.signature(self.vllm.SamplingParams).parameters
        return self.vllm.SamplingParams(**wanted, **({"flat_logprobs": True} if has_flat else {}))

    def requests(self, rows):
        """Prompts, sampling parameters, and for each request the rows that its samples are."""
        by_length = {}

        def parameters(length, n=1):
            # No seed of its own per request: verl gives none, and it would take the slower per-request generators.
            # No min_tokens: ignore_eos with max_tokens fixes the length already (the counts are checked), and
            # vLLM's min-tokens processor would touch the logits of every step. vLLM copies the object per request.
            if (length, n) not in by_length:
                by_length[(length, n)] = self.vllm.SamplingParams(
                    n=n,
                    temperature=self.sampling["temperature"],
                    top_p=self.sampling["top_p"],
                    top_k=self.sampling["top_k"],
                    logprobs=self.sampling.get("logprobs"),
                    max_tokens=length,
                    ignore_eos=True,
                    detokenize=False,
                )
            return by_length[(length, n)]

        if self.fan_out == "requests":
            placing = [[row] for row in range(len(rows.group))]
        else:
            placing = [[] for _ in rows.prompts]
            for row, group in enumerate(rows.group):
                placing[group].append(row)
        prompts, chosen = [], []
        for owned in placing:
            lengths = {rows.output_tokens[row] for row in owned}
            if len(lengths) != 1:
                raise Refused("arguments", "one request with n samples needs one length for all of them")
            prompts.append({"prompt_token_ids": rows.prompts[rows.group[owned[0]]]})
            chosen.append(parameters(lengths.pop(), len(owned)))
        return prompts, chosen, placing

    def columns(self, outputs, placing, count, begin):
        """One value a row. Tokens are counted from what came back; times are absent where vLLM tells none."""
        prompt_tokens, output_tokens = [0] * count, [0] * count
        first, finish, errors = [None] * count, [None] * count, [None] * count
        for output, owned in zip(outputs, placing):
            length = len(output.prompt_token_ids or ())
            samples = {sample.index: sample for sample in output.outputs}
            for index, row in enumerate(owned):
                prompt_tokens[row] = length
                sample = samples.get(index)
                if sample is None:
                    errors[row] = "did not come back"
                    continue
                output_tokens[row] = len(sample.token_ids)
                if sample.finish_reason != "length":
                    errors[row] = f"finished by {sample.finish_reason}"
                if len(owned) == 1:
                    stats = getattr(output, "metrics", None)
                else:
                    stats = self.monitor.children.get((str(output.request_id), index))
                first[row] = since(begin, getattr(stats, "first_token_ts", None))
                finish[row] = since(begin, getattr(stats, "last_token_ts", None))
        if any(time is None for time in finish):
            source = "none"
            first, finish = [None] * count, [None] * count
        else:
            source = "request_metrics" if self.fan_out == "requests" else "iteration_stats"
        columns = {
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
            "first_ns": first,
            "finish_ns": finish,
        }
        if any(errors):
            columns["error"] = errors
        return columns, source

    def counters(self):
        wanted = {
            "vllm:num_preemptions": "preemptions",
            "vllm:prefix_cache_queries": "prefix_queries",
            "vllm:prefix_cache_hits": "prefix_hits",
        }
        found = {}
        if hasattr(self.llm, "get_metrics"):
            for metric in self.llm.get_metrics():
                if metric.name in wanted and hasattr(metric, "value"):
                    found[wanted[metric.name]] = found.get(wanted[metric.name], 0) + int(metric.value)
        return found

    def profile(self, method):
        """Starts or stops the profiler. A profiler that fails leaves the engine as it is."""
        try:
            getattr(self.llm, method)()
        except Exception as error:  # noqa: BLE001: whatever the profiler raises
            traceback.print_exc()
            raise Refused("profiler", f"{type(error).__name__}: {error}") from error

    def reset_prefix_cache(self, _command):
        return "ok", {"done": self.llm.reset_prefix_cache() is not False}

    def clear_requests(self):
        """After an aborted step: take what is still running out of the engine."""
        engine = self.llm.llm_engine
        names = list(getattr(engine.output_processor, "request_states", ()))
        # Since requests have names of two kinds (0.18 on), these are the internal ones.
        two_kinds = "internal" in inspect.signature(engine.abort_request).parameters
        engine.abort_request(names, **({"internal": True} if two_kinds else {}))

    def terminate(self, *_):
        self.leaving = True
        sys.exit(143)

    def leave(self):
        """Ends the engine in vLLM's own order."""
        self.leaving = True
        if self.llm is not None:
            shutdown = getattr(getattr(self.llm.llm_engine, "engine_core", None), "shutdown", None)
            if shutdown is not None:
                shutdown()


@dataclasses.dataclass
class Rows:
    """A step's requests; `group`, `sample` and `output_tokens` have one entry a sequence."""

    prompts: list
    group: array.array
    sample: array.array
    output_tokens: array.array


def read_prompt_file(path):
    """The layout is documented in `prompt_file.rs`."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != PROMPT_FILE_MAGIC or len(data) % 4:
        raise Refused("protocol", f"{path} is no prompt file")
    words = array.array("I")
    assert words.itemsize == 4
    words.frombytes(data[8:])
    if sys.byteorder == "big":
        words.byteswap()
    groups, samples = words[0], words[1]
    offsets = words[2 : 3 + groups]
    at = 3 + groups
    columns = [words[at + i * samples : at + (i + 1) * samples] for i in range(3)]
    ids = words[at + 3 * samples :]
    if len(offsets) != groups + 1 or len(ids) != offsets[-1]:
        raise Refused("protocol", f"{path} is cut short")
    prompts = [ids[offsets[i] : offsets[i + 1]].tolist() for i in range(groups)]
    return Rows(prompts, *columns)


def profiler_arguments(order, known):
    """The engine arguments that configure the torch profiler; before 0.13, and for vllm-ascend of 0.13, variables do.

    Every field that matters is set, because defaults moved between versions. No stacks, shapes or tables: they multiply
    what is recorded. No gzip: torch would compress in the engine, and leave a cut file where it is killed.
    """
    switches = {"WITH_STACK": "with_stack", "WITH_PROFILE_MEMORY": "with_memory", "RECORD_SHAPES": "record_shapes"}
    switches |= {name: name.lower() for name in ("WITH_FLOPS", "USE_GZIP", "DUMP_CUDA_TIME_TOTAL")}
    if "profiler_config" not in known or "torch_npu" in sys.modules:
        os.environ["VLLM_TORCH_PROFILER_DIR"] = order["dir"]
        os.environ["VLLM_TORCH_PROFILER_DISABLE_ASYNC_LLM"] = "1"
        os.environ["VLLM_PROFILER_DELAY_ITERS"] = str(order["delay_iterations"])
        os.environ["VLLM_PROFILER_MAX_ITERS"] = str(order["max_iterations"])
        os.environ.update({f"VLLM_TORCH_PROFILER_{name}": "0" for name in switches})
    if "profiler_config" not in known:
        return {}
    wanted = {
        "profiler": "torch",
        "torch_profiler_dir": order["dir"],
        **{f"torch_profiler_{field}": False for field in switches.values()},
        "ignore_frontend": True,
        "delay_iterations": order["delay_iterations"],
        "max_iterations": order["max_iterations"],
    }
    from vllm.config import ProfilerConfig

    fields = {field.name for field in dataclasses.fields(ProfilerConfig)}
    return {"profiler_config": {name: value for name, value in wanted.items() if name in fields}}


def since(begin_ns, seconds):
    """A `time.monotonic()` of vLLM as nanoseconds since the step began; absent if vLLM has none (0.0)."""
    if not seconds:
        return None
    return max(0, round(seconds * 1e9) - begin_ns)


def versions(vllm):
    """Versions by package name, of those that bear on speed."""
    from importlib import metadata

    found = {"vllm": vllm.__version__, "python": sys.version.split()[0]}
    for name in ("vllm-ascend", "torch", "torch-npu", "transformers", "compressed-tensors", "triton", "flashinfer-python"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


# Engine arguments whose resolved value has another name in vLLM's configuration, by version where it moved.
ELSEWHERE = {
    "kv_cache_dtype": ["cache_config.cache_dtype"],
    "scheduling_policy": ["scheduler_config.policy"],
    "attention_backend": ["attention_config.backend"],
    "enable_chunked_prefill": ["scheduler_config.enable_chunked_prefill", "scheduler_config.chunked_prefill_enabled"],
    "data_parallel_address": ["parallel_config.data_parallel_master_ip"],
    "swap_space": ["cache_config.swap_space"],
}
PARTS = ("model_config", "cache_config", "scheduler_config", "parallel_config", "load_config", "lora_config")
# Whole configurations: only these keys of them are recorded, and what was asked for.
COMPILATION_KEYS = ("mode", "level", "backend", "cudagraph_mode", "custom_ops", "use_inductor")


def effective_config(engine, names):
    """The configuration as vLLM resolved it, by the names of the engine arguments, as vLLM's own objects."""
    config = engine.vllm_config
    found = {}
    for name in sorted(names):
        places = ELSEWHERE.get(name) or [*(f"{part}.{name}" for part in PARTS), name]
        for place in places:
            value = config
            for step in place.split("."):
                value = getattr(value, step, MISSING)
            if value is not MISSING:
                found[name] = value
                break
    if getattr(config, "quant_config", None) is not None:
        # The class that really quantizes, whatever the method is called.
        found["quant_config"] = type(config.quant_config).__name__
    compilation = getattr(config, "compilation_config", None)
    found["compilation_config"] = {
        key: getattr(compilation, key) for key in COMPILATION_KEYS if hasattr(compilation, key)
    }
    found["disable_log_stats"] = not getattr(engine, "log_stats", True)
    return found


MISSING = object()


def plain_items(values):
    """Those that have a plain form and are not None."""
    found = ((name, plain(value)) for name, value in values.items())
    return {name: value for name, value in found if value is not MISSING and value is not None}


def plain(value):
    """As JSON; MISSING for what has no plain form (whole configurations, callables)."""
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value, str) else value.name
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value).__name__ in ("dtype", "device"):
        return str(value).removeprefix("torch.")
    if isinstance(value, dict):
        items = {str(key): plain(item) for key, item in value.items()}
        return MISSING if MISSING in items.values() else items
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(item) for item in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
        return MISSING if MISSING in items else items
    if isinstance(value, os.PathLike):
        return str(value)
    return MISSING


def differences(requested, effective):
    """Arguments that vLLM resolved to something else than was asked; `auto` and None leave the choice to it."""
    found = {}
    for name, wanted in requested.items():
        got = effective.get(name, MISSING)
        if plain(got) is not MISSING and not same(wanted, got):
            found[name] = {"requested": wanted, "effective": plain(got)}
    return found


def same(wanted, got):
    if wanted is None or wanted == "auto":
        return True
    if isinstance(wanted, dict) and isinstance(got, dict):
        return all(key not in got or same(item, got[key]) for key, item in wanted.items())
    if isinstance(got, enum.Enum):
        return str(wanted).lower() in (str(got.value).lower(), got.name.lower())
    if isinstance(wanted, str) and got is not None:
        aliases = {"half": "float16", "float": "float32"}
        return aliases.get(wanted, wanted).lower() == str(plain(got)).lower()
    return wanted == plain(got)


def kv_tokens(engine):
    """Capacity of the KV cache in tokens; None if vLLM does not tell."""
    cache = getattr(engine.vllm_config, "cache_config", None)
    told = getattr(cache, "kv_cache_size_tokens", None)
    if told:
        return int(told)
    blocks, size = getattr(cache, "num_gpu_blocks", None), getattr(cache, "block_size", None)
    return blocks * size if blocks and size else None


def main():
    pipe = Pipe()
    driver = Driver(pipe)
    # Python dies of SIGTERM without cleaning up; as an exception it takes vLLM's own way out.
    signal.signal(signal.SIGTERM, driver.terminate)
    # Ctrl-C is for rollbench, which decides how its engines end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=driver.read_commands, daemon=True).start()
    try:
        driver.run()
        driver.leave()
    except Exception as error:  # noqa: BLE001: whatever vLLM raises is reported and ends the engine
        traceback.print_exc()
        driver.report_failure(error)
        driver.leave()
        sys.exit(1)
    pipe.send("done")


if __name__ == "__main__":
    main()
