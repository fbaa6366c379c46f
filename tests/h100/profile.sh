#!/bin/sh
# Profiles two shapes at four precisions on an NVIDIA GPU and explains them. Needs: a Python with vLLM (PYTHON), rollbench
# (ROLLBENCH, default: in PATH), and checkpoints in CHECKPOINTS/<model>/<precision> for
#     qwen3-1.7b dense-7b   x   bf16 w8a16 w8a8 fp8
# Folders with a config.json alone are enough with LOAD_FORMAT=dummy (shapes without weights). What is missing is left out.
set -eu
python=${PYTHON:?the Python that has vLLM}
rollbench=${ROLLBENCH:-rollbench}
checkpoints=$(cd "${CHECKPOINTS:?folders MODEL/PRECISION}" && pwd)
out=${OUT:-profile-h100}
load_format=${LOAD_FORMAT:-auto}
mkdir -p "$out"
matrix=$out/matrix.toml
{
    printf 'schema = 1\n[run]\nsteps = 2\nprofile = true\n'
    printf '[workload]\nnum_prompts = 64\nn = 4\ninput_len = 512\noutput_len = 256\n'
    printf '[engine]\nargs = { dtype = "bfloat16", load_format = "%s", skip_tokenizer_init = true }\n' "$load_format"
    printf '[[precision]]\nname = "bf16"\nbaseline = true\n'
    for precision in w8a16 w8a8 fp8; do printf '[[precision]]\nname = "%s"\n' "$precision"; done
    for model in qwen3-1.7b dense-7b; do
        printf '[[model]]\nname = "%s"\n[model.checkpoints]\n' "$model"
        for precision in bf16 w8a16 w8a8 fp8; do
            folder=$checkpoints/$model/$precision
            if [ -d "$folder" ]; then printf '%s = "%s"\n' "$precision" "$folder"; fi
        done
    done
} >"$matrix"
"$rollbench" run --config "$matrix" --python "$python" --out "$out" --blocks "${BLOCKS:-1}" || echo "some cells failed: the rest goes on"
for model in qwen3-1.7b dense-7b; do
    base=$out/benchmark_profiles/${model}_bf16
    [ -d "$base" ] || continue
    "$rollbench" profile "$base" --top 40 >"$out/$model.bf16.txt" || true
    for precision in w8a16 w8a8 fp8; do
        profile=$out/benchmark_profiles/${model}_$precision
        [ -d "$profile" ] || continue
        "$rollbench" profile "$profile" --against "$base" --top 40 --markdown >"$out/$model.$precision.md" || true
        "$rollbench" profile "$profile" --against "$base" --json >"$out/$model.$precision.json" || true
        sed -n '3,8p' "$out/$model.$precision.md"
    done
done
