"""Makes the demo checkpoints of rollbench.

    make_checkpoints.py bf16 GGUF OUT SITE     unpacks a GGUF file into a plain BF16 checkpoint
    make_checkpoints.py KIND BF16 OUT          quantizes that one: w8a8, w4a16 or fp8

Runs with the interpreter of the managed environment. SITE is a throw-away folder with what reading GGUF needs
and vLLM's environment lacks. OUT must not exist; it is complete when the process exits with 0.
"""

import json
import shutil
import sys
from pathlib import Path

GROUP = 64  # input columns that share a scale in w4a16; the model's width, 576, is no multiple of 128


def unpack(gguf: Path, out: Path, site: str) -> None:
    sys.path.insert(0, site)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaForCausalLM

    source = {"gguf_file": gguf.name, "local_files_only": True}
    plain = GgufConfig(dequantize=True)
    read = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.bfloat16, quantization_config=plain, **source
    )
    # What transformers reads from GGUF refuses to be saved and says it is quantized; a plain model with its weights
    # does neither. A tensor that were still packed would not fit and fail here.
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config
    model = LlamaForCausalLM(read.config).to(torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, **source).save_pretrained(out)


def quantize(kind: str, source: Path, out: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    make, weights, activations, form = {
        "w8a8": (int8, scheme("int", "channel"), scheme("int", "token", dynamic=True), "int-quantized"),
        "fp8": (fp8, scheme("float", "channel"), scheme("float", "token", dynamic=True), "float-quantized"),
        "w4a16": (int4, scheme("int", "group", bits=4, group=GROUP), None, "pack-quantized"),
    }[kind]
    out.mkdir()
    for file in source.iterdir():
        if file.suffix not in (".safetensors", "") and file.name != "config.json":
            shutil.copy(file, out)

    tensors = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        # The decoder's linear layers; embeddings and norms stay as they are.
        if name.endswith("_proj.weight"):
            stem = name.removesuffix("weight")
            tensors.update({stem + key: made.contiguous() for key, made in make(torch, tensor.float()).items()})
        else:
            tensors[name] = tensor
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})

    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations},
        },
        "ignore": ["lm_head"],
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def scheme(kind: str, strategy: str, bits: int = 8, group: int | None = None, dynamic: bool = False) -> dict:
    return {
        "num_bits": bits,
        "type": kind,
        "strategy": strategy,
        "group_size": group,
        "symmetric": True,
        "dynamic": dynamic,
    }


def int8(torch, weight):
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-8).div(127).to(torch.bfloat16)
    quantized = weight.div(scale.float()).round().clamp(-128, 127).to(torch.int8)
    return {"weight": quantized, "weight_scale": scale}


def fp8(torch, weight):
    largest = torch.finfo(torch.float8_e4m3fn).max
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-8).div(largest).to(torch.bfloat16)
    quantized = weight.div(scale.float()).clamp(-largest, largest).to(torch.float8_e4m3fn)
    return {"weight": quantized, "weight_scale": scale}


def int4(torch, weight):
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // GROUP, GROUP)
    scale = groups.abs().amax(dim=2, keepdim=True).clamp(min=1e-8).div(7.5).to(torch.bfloat16)
    quantized = groups.div(scale.float()).round().clamp(-8, 7).reshape(rows, columns)
    # Eight nibbles an int32, the first column lowest, offset by 8 so that none is negative.
    nibbles = quantized.add(8).to(torch.int64).reshape(rows, columns // 8, 8)
    packed = (nibbles << torch.arange(0, 32, 4)).sum(dim=2)
    return {
        "weight_packed": packed.to(torch.int32),
        "weight_scale": scale.squeeze(2),
        "weight_shape": torch.tensor([rows, columns], dtype=torch.int64),
    }


if __name__ == "__main__":
    kind, source, out, *site = sys.argv[1:]
    if kind == "bf16":
        unpack(Path(source), Path(out), *site)
    else:
        quantize(kind, Path(source), Path(out))
