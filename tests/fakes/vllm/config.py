"""The configurations that are looked at from outside."""

import dataclasses


@dataclasses.dataclass
class ProfilerConfig:
    profiler: str | None = None
    torch_profiler_dir: str = ""
    torch_profiler_with_stack: bool = True
    torch_profiler_use_gzip: bool = True
    delay_iterations: int = 0
    max_iterations: int = 0
