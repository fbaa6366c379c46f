"""`EngineArgs`, `SamplingParams`, and the configuration that the engine arguments resolve to."""

import dataclasses
import enum
import json
import pathlib
from types import SimpleNamespace

from .settings import SETTINGS


class dtype:  # noqa: N801: torch's own name
    """As torch's: its text is not what was asked for."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"torch.{self.name}"


class Backend(enum.Enum):
    """As vLLM's attention backends: known by name."""

    CPU_ATTN = "vllm.v1.attention.backends.cpu_attn"


class Mode(enum.IntEnum):
    """As vLLM's compilation modes: asked for by number, known by name."""

    NONE = 0


def found_quantization(model):
    """The method that the checkpoint's config names, as vLLM finds it; ModelSlim's only from 0.18 on."""
    folder = pathlib.Path(model)
    if (folder / "quant_model_description.json").is_file():
        old = SETTINGS.get("version", "0.32.0").startswith(("0.11", "0.12", "0.13", "0.14", "0.15", "0.16", "0.17"))
        return None if old else "ascend"
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return (config.get("quantization_config") or {}).get("quant_method")


@dataclasses.dataclass
class EngineArgs:
    model: str = "facebook/opt-125m"
    tokenizer: str | None = None
    skip_tokenizer_init: bool = False
    trust_remote_code: bool = False
    dtype: str = "auto"
    quantization: str | None = None
    load_format: str = "auto"
    seed: int | None = 0
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    tensor_parallel_size: int = 1
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    enable_sleep_mode: bool = False
    async_scheduling: bool | None = None
    additional_config: dict = dataclasses.field(default_factory=dict)
    hf_overrides: dict = dataclasses.field(default_factory=dict)
    hf_token: str | None = None
    kv_cache_dtype: str = "auto"
    block_size: int | None = None
    attention_backend: str | None = None
    compilation_config: dict = dataclasses.field(default_factory=dict)
    profiler_config: dict = dataclasses.field(default_factory=dict)
    distributed_executor_backend: str | None = None
    disable_log_stats: bool = False
    generation_config: str = "auto"
    logprobs_mode: str = "raw_logprobs"
    revision: str | None = None

    def create_engine_config(self):
        """What `vllm serve` calls."""
        return self.resolve()

    def resolve(self):
        """As VllmConfig: parts with the resolved values."""
        return SimpleNamespace(
            model_config=SimpleNamespace(
                model=self.model,
                tokenizer=self.tokenizer or self.model,
                skip_tokenizer_init=self.skip_tokenizer_init,
                trust_remote_code=self.trust_remote_code,
                dtype=dtype("bfloat16" if self.dtype == "auto" else self.dtype),
                quantization=self.quantization or found_quantization(self.model),
                seed=self.seed,
                max_model_len=self.max_model_len or 4096,
                enforce_eager=self.enforce_eager,
                generation_config=self.generation_config,
                hf_overrides=self.hf_overrides,
                hf_token=self.hf_token,
                logprobs_mode=self.logprobs_mode,
                revision=self.revision,
            ),
            cache_config=SimpleNamespace(
                cache_dtype=self.kv_cache_dtype,
                gpu_memory_utilization=self.gpu_memory_utilization,
                enable_prefix_caching=self.enable_prefix_caching is not False,
                block_size=self.block_size or 16,
                num_gpu_blocks=8192,
            ),
            scheduler_config=SimpleNamespace(
                # A real platform caps it, too; here it shows what a difference looks like.
                max_num_seqs=min(self.max_num_seqs or 256, 1024),
                max_num_batched_tokens=self.max_num_batched_tokens or 8192,
                enable_chunked_prefill=self.enable_chunked_prefill is not False,
                async_scheduling=bool(self.async_scheduling),
                policy="fcfs",
            ),
            parallel_config=SimpleNamespace(
                tensor_parallel_size=self.tensor_parallel_size,
                distributed_executor_backend=self.distributed_executor_backend or SETTINGS.get("executor", "mp"),
            ),
            load_config=SimpleNamespace(load_format=self.load_format),
            attention_config=SimpleNamespace(backend=Backend.CPU_ATTN),
            compilation_config=SimpleNamespace(mode=Mode.NONE, cudagraph_mode=Mode.NONE, custom_ops=["all"]),
            additional_config=self.additional_config,
        )


@dataclasses.dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    max_tokens: int | None = 16
    logprobs: int | None = None
    detokenize: bool = True
