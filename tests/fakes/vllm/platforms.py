"""`vllm.platforms`."""

from types import SimpleNamespace

from .settings import SETTINGS

current_platform = SimpleNamespace(device_type=SETTINGS.get("platform", "cpu"))
