"""What FAKE_VLLM says."""

import json
import os

SETTINGS = json.loads(os.environ.get("FAKE_VLLM") or "{}")


def speed(model):
    for part, value in SETTINGS.get("speeds", {}).items():
        if part in model:
            return value
    return SETTINGS.get("speed", 1_000_000)


def fault(model):
    """The fault that is to happen to this model: a dict with the key `fault`, which is None for none."""
    rules = SETTINGS.get("faults", [SETTINGS] if "fault" in SETTINGS else [])
    for rule in rules:
        if rule.get("model", "") in model:
            return rule
    return {"fault": None}
