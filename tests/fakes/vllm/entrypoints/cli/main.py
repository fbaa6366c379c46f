"""`vllm serve`: an OpenAI-compatible server in front of the fake engine core, one thread a connection.

Its faults beside those of loading: hang_before_ready; mute (healthy, but completions fail with HTTP 500); no_reset (the
prefix cache cannot be reset); and, from the `after`-th completion on (default 2, the first being rollbench's proof) and
before the `until`-th,
exit_in_step (exit code 1), hang_in_step, fail_in_step (HTTP 500), short_counts (one token less).
"""

import dataclasses
import http.server
import json
import os
import signal
import sys
import threading
import time

from ... import settings
from ...engine.arg_utils import EngineArgs
from ...llm import Engine, before_loading


def main():
    arguments, options = parse(sys.argv[2:])
    fault = settings.fault(arguments.model)
    before_loading(fault)
    arguments.create_engine_config()
    engine = Engine(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        Server(options, arguments, fault).serve_forever(poll_interval=0.05)
    finally:
        engine.shutdown()


def parse(words):
    """Flags as rollbench writes them: `--name=value`, `--name`, `--no-name`, and those of the server with a space."""
    fields = {field.name: field for field in dataclasses.fields(EngineArgs)}
    given, options, words = {"model": words[0]}, {}, words[1:]
    while words:
        word = words.pop(0)
        name, _, value = word.removeprefix("--").partition("=")
        plain = name.replace("-", "_")
        if name in ("host", "port", "served-model-name"):
            options[name] = words.pop(0)
        elif name == "disable-uvicorn-access-log":
            pass
        elif plain.removeprefix("no_") in fields and "=" not in word:
            given[plain.removeprefix("no_")] = not plain.startswith("no_")
        elif plain in fields:
            kind = str(fields[plain].type)
            given[plain] = json.loads(value) if any(t in kind for t in ("int", "float", "dict")) else value
        else:
            print(f"usage: vllm [-h] [-v] {{serve}} ...\nvllm: error: unrecognized arguments: {word}", file=sys.stderr)
            sys.exit(2)
    return EngineArgs(**given), options


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, options, arguments, fault):
        super().__init__((options["host"], int(options["port"])), Handler)
        self.name = options["served-model-name"]
        self.fault = fault
        self.gap = 1 / settings.speed(arguments.model)
        self.lock = threading.Lock()
        self.completions = self.running = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/health":
            self.whole(200, "")
        elif self.path == "/metrics":
            self.whole(
                200,
                f'vllm:num_requests_running{{engine="0"}} {self.server.running}.0\n'
                'vllm:num_requests_waiting{engine="0"} 0.0\nvllm:num_preemptions_total{engine="0"} 0.0\n'
                'vllm:kv_cache_usage_perc{engine="0"} 0.5\n'
                'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="8192"} 1.0\n',
            )
        else:
            self.whole(404, '{"detail":"Not Found"}')

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/reset_prefix_cache":
            self.whole(404 if self.server.fault["fault"] == "no_reset" else 200, "")
        elif self.path in ("/v1/completions", "/v1/chat/completions"):
            with self.server.lock:
                self.server.completions += 1
                number = self.server.completions
                self.server.running += 1
            try:
                self.complete(json.loads(body), number)
            finally:
                with self.server.lock:
                    self.server.running -= 1
        else:
            self.whole(404, '{"detail":"Not Found"}')

    def complete(self, body, number):
        fault = self.server.fault
        due = fault["fault"]
        if due != "mute" and not fault.get("after", 2) <= number < fault.get("until", number + 1):
            due = None
        if due == "exit_in_step":
            print("EngineDeadError: a made-up death of the engine", file=sys.stderr, flush=True)
            os._exit(1)
        if due in ("mute", "fail_in_step"):
            return self.whole(500, '{"error":{"message":"EngineCore encountered an issue","code":500}}')
        if body["model"] != self.server.name:
            return self.whole(404, '{"error":{"message":"The model does not exist.","code":404}}')
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chat = "messages" in body
        wanted = body["max_completion_tokens" if chat else "max_tokens"]
        choices, asked = body.get("n", 1), wanted - (due == "short_counts")
        for index in range(choices if chat else 0):
            self.event(json.dumps({"choices": [{"index": index, "delta": {"role": "assistant", "content": ""}}]}))
        for count in range(1, asked + 1):
            time.sleep(self.server.gap * self.server.running)
            if due == "hang_in_step":
                time.sleep(3600)
            for index in range(choices):
                reason = "length" if count == asked else None
                ids = [7] if body.get("return_token_ids") else None
                choice = {"index": index, "finish_reason": reason, "token_ids": ids}
                choice |= {"delta": {"content": " x"}} if chat else {"text": " x"}
                self.event(json.dumps({"id": "cmpl-1", "model": self.server.name, "choices": [choice]}))
        # A chat template adds some tokens of its own.
        prompt = len(body["messages"][0]["content"].split()) + 3 if chat else len(body["prompt"])
        tokens = {"prompt_tokens": prompt, "completion_tokens": asked * choices}
        self.event(json.dumps({"id": "cmpl-1", "choices": [], "usage": tokens}))
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, data):
        text = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))

    def whole(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
