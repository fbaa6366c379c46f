"""The launcher of rollbench's server: `vllm serve`, under a lease, with what vLLM resolved told in a file.

It is embedded in the binary, written into a private folder beside `driver.py` and `server.json`, and run as a file,
because vLLM's spawned children import the main module again: everything at module level must be cheap for them.

`server.json` holds the engine arguments by their Python names (`args`) the command line made from them (`flags`) and
what the profiler is told (`profile`, or null).
`facts.json` appears once vLLM is imported, and again, whole, once it has resolved its configuration.
"""

import os

if os.environ.get("ROLLBENCH_LEASE"):
    # Spawned children run this line too: nobody outlives the process that holds the lease.
    import rollbench_lease  # noqa: F401

import dataclasses
import json
import sys
import time
from types import SimpleNamespace

import driver


class Facts:
    """What is known so far; readers see either the old file or the new one."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "facts.json")
        self.known = {}

    def tell(self, **more):
        self.known.update(more)
        with open(self.path + ".new", "w") as file:
            json.dump(self.known, file, default=str)
        os.replace(self.path + ".new", self.path)


def tell_configuration(facts, wanted):
    """Wraps the one place where every version of `vllm serve` turns engine arguments into a configuration."""
    from vllm.engine.arg_utils import EngineArgs

    create = EngineArgs.create_engine_config
    names = {field.name for field in dataclasses.fields(EngineArgs) if not field.name.startswith("_")}

    def create_and_tell(self, *args, **kwargs):
        config = create(self, *args, **kwargs)
        engine = SimpleNamespace(vllm_config=config, log_stats=not getattr(self, "disable_log_stats", False))
        effective = driver.effective_config(engine, names)
        facts.tell(effective=driver.plain_items(effective), difference=driver.differences(wanted, effective))
        return config

    EngineArgs.create_engine_config = create_and_tell


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "server.json")) as file:
        order = json.load(file)
    facts = Facts(folder)
    begin = time.monotonic()
    import vllm
    from vllm.platforms import current_platform

    facts.tell(
        platform=getattr(current_platform, "device_type", ""),
        versions=driver.versions(vllm),
        import_s=time.monotonic() - begin,
    )
    tell_configuration(facts, order["args"])
    from vllm.entrypoints.cli.main import main as vllm_main

    flags = list(order["flags"])
    if order["profile"]:
        from vllm.engine.arg_utils import EngineArgs

        known = {field.name for field in dataclasses.fields(EngineArgs)}
        for name, value in driver.profiler_arguments(order["profile"], known).items():
            flags += ["--" + name.replace("_", "-"), json.dumps(value)]
    sys.argv = ["vllm", "serve", *flags]
    vllm_main()


if __name__ == "__main__":
    main()
