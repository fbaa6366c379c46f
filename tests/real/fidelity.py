"""Computes the mismatch of every cell anew, from the recorded columns alone, and compares it with summary.json.

Usage: fidelity.py RESULTS BASELINE PRECISION...   (with NumPy; exit 1 at the first number that differs)
"""

import json
import pathlib
import sys

import numpy

results, baseline, precisions = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
summary = {row["precision"]: row for row in json.loads((results / "summary.json").read_text())["fidelity"]}


def columns(precision, part):
    (path,) = results.glob(f"*_{precision}.fidelity.0.{part}.npz")
    return numpy.load(path)


def mismatch(precision):
    sampled, scored = columns(precision, "sampled"), columns(precision, "scored")
    q, p = sampled["logprob"].astype(float), scored["logprob"].astype(float)
    lr = numpy.clip(p - q, -20, 20)
    w = numpy.exp(lr)
    offsets = sampled["offsets"].astype(int)
    sequences = numpy.clip(numpy.add.reduceat(lr, offsets[:-1]), -20, 20)
    found = {
        "kl": -lr.mean(),
        "k3_kl": (numpy.expm1(lr) - lr).mean(),
        "kl_topk": numpy.mean([coarse(sampled, scored, t) for t in range(len(lr))]),
        "chi2_token": (w**2).mean() - 1,
        "chi2_seq": numpy.exp(2 * sequences).mean() - 1,
        "rollout_is_mean": w.mean(),
        "rollout_is_max": w.max(),
        "rollout_is_min": w.min(),
        "rollout_is_std": w.std(),
        "rollout_is_eff_sample_size": w.mean() ** 2 / (w**2).mean(),
        "logprob_abs_diff": abs(lr).mean(),
        "rollout_probs_diff_mean": abs(numpy.exp(p) - numpy.exp(q)).mean(),
        "rollout_probs_diff_max": abs(numpy.exp(p) - numpy.exp(q)).max(),
        "rollout_probs_diff_std": abs(numpy.exp(p) - numpy.exp(q)).std(),
        "rollout_actor_probs_pearson_corr": numpy.corrcoef(numpy.exp(p), numpy.exp(q))[0, 1],
        "top1_agreement": (sampled["best_ids"][:, 0] == scored["best_ids"][:, 0]).mean(),
    }
    return found


def coarse(sampled, scored, t):
    """KL of both distributions coarsened to {common best} + {rest}."""
    theirs = dict(zip(scored["best_ids"][t].tolist(), scored["best_logprobs"][t].astype(float)))
    inside_q = inside_p = kl = 0.0
    for token, log_q in zip(sampled["best_ids"][t].tolist(), sampled["best_logprobs"][t].astype(float)):
        if token in theirs:
            kl += numpy.exp(log_q) * (log_q - theirs[token])
            inside_q += numpy.exp(log_q)
            inside_p += numpy.exp(theirs[token])
    rest_q, rest_p = max(1 - inside_q, 1e-9), max(1 - inside_p, 1e-9)
    return kl + rest_q * numpy.log(rest_q / rest_p)


def check(what, told, computed):
    if abs(told - computed) > 1e-6 * max(1.0, abs(computed)):
        sys.exit(f"{what}: summary.json says {told}, the columns give {computed}")


floor = mismatch(baseline)
for precision in precisions:
    row, computed = summary[precision], mismatch(precision)
    for name, value in computed.items():
        check(f"{precision} {name}", row["rollout"][name]["value"], value)
    for name, value in floor.items():
        check(f"the floor's {name}", row["floor"][name]["value"], value)
    check(f"{precision} excess", row["excess"]["value"], computed["k3_kl"] - floor["k3_kl"])
    print(precision, f"k3_kl {computed['k3_kl']:.4g} over a floor of {floor['k3_kl']:.4g}: as summary.json says")
