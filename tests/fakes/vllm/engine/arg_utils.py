"""`vllm.engine.arg_utils`."""

from ..arguments import EngineArgs

__all__ = ["EngineArgs"]
