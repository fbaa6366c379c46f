"""Times the linear shapes of a model on this device, by every path that its vLLM has: one JSON object on stdout.

argv: {"shapes": [[role, n, k], ..], "m": [..]}. A path that cannot be had is reported with the reason, never guessed.
"""

import json
import os
import sys
import time

import torch

WARM, ROUNDS, SECONDS = 3, 30, 0.25


def timer(device):
    """A function that gives the microseconds of one call."""
    if device == "cpu":

        def run(call):
            for _ in range(WARM):
                call()
            times, deadline = [], time.perf_counter() + SECONDS
            while len(times) < ROUNDS and (len(times) < 3 or time.perf_counter() < deadline):
                begin = time.perf_counter()
                call()
                times.append(time.perf_counter() - begin)
            return sorted(times)[len(times) // 2] * 1e6

        return run
    module = getattr(torch, device)

    def run(call):
        for _ in range(WARM):
            call()
        begin, end = module.Event(enable_timing=True), module.Event(enable_timing=True)
        module.synchronize()
        begin.record()
        for _ in range(ROUNDS):
            call()
        end.record()
        module.synchronize()
        return begin.elapsed_time(end) * 1e3 / ROUNDS

    return run


def bf16(device, weight):
    return None, lambda x, _: torch.nn.functional.linear(x, weight)


def int8(device, weight):
    quantized = torch.randint(-127, 127, weight.shape, dtype=torch.int8, device=device)
    scales = torch.rand(weight.shape[0], dtype=torch.float32, device=device) / 1e3
    if device == "cpu":
        import vllm._C  # noqa: F401: registers its operators

        packed = torch.ops._C.convert_weight_packed(quantized)
        # Quantizes the activation inside.
        return None, lambda x, _: torch.ops._C.int8_scaled_mm_with_quant(
            x, packed, scales, None, torch.bfloat16, True
        )
    if device == "npu":
        import torch_npu

        turned, scales = quantized.t().contiguous(), scales.to(torch.bfloat16)
        return torch_npu.npu_dynamic_quant, lambda x, q: torch_npu.npu_quant_matmul(
            q[0], turned, scales, pertoken_scale=q[1], output_dtype=torch.bfloat16
        )
    from vllm import _custom_ops as ops

    scales = scales[:, None].t().contiguous()
    return ops.scaled_int8_quant, lambda x, q: ops.cutlass_scaled_mm(
        q[0], quantized.t(), q[1], scales, torch.bfloat16
    )


def fp8(device, weight):
    if device != "cuda":
        raise RuntimeError("only timed on a GPU")
    from vllm import _custom_ops as ops

    quantized = weight.to(torch.float8_e4m3fn)
    scales = torch.ones(1, weight.shape[0], dtype=torch.float32, device=device)
    return (
        lambda x: ops.scaled_fp8_quant(x, use_per_token_if_dynamic=True),
        lambda x, q: ops.cutlass_scaled_mm(q[0], quantized.t(), q[1], scales, torch.bfloat16),
    )


def int8_weights(device, weight):
    if device != "npu":
        raise RuntimeError("only timed on Ascend")
    import torch_npu

    turned = torch.randint(-127, 127, weight.shape, dtype=torch.int8, device=device).t().contiguous()
    scales = torch.rand(weight.shape[0], dtype=torch.bfloat16, device=device) / 1e3
    return None, lambda x, _: torch_npu.npu_weight_quant_batchmatmul(x, turned, antiquant_scale=scales)


def main():
    order = json.loads(sys.argv[1])
    # vLLM and torch log to stdout.
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        import torch_npu  # noqa: F401

        device = "npu"
    except ImportError:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    time_of = timer(device)
    rows, absent = [], {}
    for name, path in (("bf16", bf16), ("w8a8", int8), ("fp8", fp8), ("w8a16", int8_weights)):
        try:
            for role, n, k in order["shapes"]:
                weight = torch.randn(n, k, dtype=torch.bfloat16, device=device)
                quantize, product = path(device, weight)
                for m in order["m"]:
                    x = torch.randn(m, k, dtype=torch.bfloat16, device=device)
                    q = quantize(x) if quantize else None
                    rows.append(
                        {
                            "path": name,
                            "role": role,
                            "m": m,
                            "us": time_of(lambda: product(x, q)),
                            "quantization_us": time_of(lambda: quantize(x)) if quantize else 0.0,
                        }
                    )
        except Exception as error:  # noqa: BLE001: whatever the path lacks
            absent[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            rows = [row for row in rows if row["path"] != name]
    with os.fdopen(out, "w") as file:
        json.dump({"device": device, "rows": rows, "absent": absent}, file)


if __name__ == "__main__":
    main()
