#!/usr/bin/env python3
"""How often `import-verl` reads a run script as bash runs it.

    tests/cases/verl/figures.py ROLLBENCH FOLDER...

Reads every *.sh below the folders that calls a trainer of verl's, once as text and once with --trace, and compares each
value of the two configurations. The environment is empty but for PATH, HOME, USER and DEVICE=gpu, which scripts probe for.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tomllib


def imported(rollbench, script, root, *options):
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/somebody", "USER": "somebody", "DEVICE": "gpu"}
    done = subprocess.run(
        [rollbench, "import-verl", *options, script], cwd=root, env=environment, capture_output=True, text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def flat(value, at=""):
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in flat(inner, f"{at}.{name}").items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {k: v for inner in value for k, v in flat(inner, f"{at}[{inner.get('name')}]").items()}
    return {at: value}


def open_names(toml):
    """The keys that have CHECK at their line."""
    return {m[1].split(".")[-1] for m in re.finditer(r"^(?:# )?([\w.+-]+) =.*# .*CHECK", toml, re.M)}


def compared(rollbench, script, root):
    """What kind of pair it is, and the differences."""
    try:
        code, read, said = imported(rollbench, script, root)
        traced_code, traced, traced_said = imported(rollbench, script, root, "--trace")
    except subprocess.TimeoutExpired:
        return "takes too long", []
    if code == 2 and traced_code == 2:
        engine = "rollout engine is" in said and "rollout engine is" in traced_said
        return ("another engine" if engine else "both refuse"), [said.splitlines()[0], traced_said.splitlines()[0]]
    if code == 2 or traced_code == 2:
        which = "only the trace" if code == 2 else "only the reading"
        return f"{which} has values", [(said if code == 2 else traced_said).splitlines()[0]]
    # The reading leaves the folder where it runs a name.
    traced = traced.replace(str(root.resolve()), "${PWD}")
    ours, theirs = flat(tomllib.loads(read)), flat(tomllib.loads(traced))
    names = open_names(read) | open_names(traced)
    differences, silent = [], False
    for key in sorted(set(ours) | set(theirs)):
        if ours.get(key) == theirs.get(key):
            continue
        named = key.split(".")[-1] in names or (key.startswith(".model") and "bf16" in names) or ("precision" in key and ("not understood" in said or "CHECK" in read))
        silent |= not named
        differences.append(f"{key}: read {ours.get(key)!r}, traced {theirs.get(key)!r}{'' if named else ' (SILENT)'}")
    if not differences:
        return ("equal, with CHECK" if names else "equal"), []
    return ("differs silently" if silent else "differs, and is named"), differences


def main():
    rollbench, *folders = sys.argv[1:]
    kinds = collections.defaultdict(list)
    pairs = [
        (script.resolve(), folder)
        for folder in map(pathlib.Path, folders)
        for script in sorted(folder.rglob("*.sh"))
        if re.search(r"actor_rollout_ref\.", script.read_text(errors="replace"))
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda pair: compared(os.path.abspath(rollbench), *pair), pairs)
        for (script, _), (kind, differences) in zip(pairs, results):
            kinds[kind].append((script, differences))
            print(kind, script, *differences, sep="\n    ", file=sys.stderr, flush=True)
    for kind, scripts in sorted(kinds.items(), key=lambda item: -len(item[1])):
        print(f"{len(scripts):4} {kind}")
    for kind, scripts in sorted(kinds.items()):
        if kind not in ("equal", "equal, with CHECK", "another engine"):
            for script, differences in scripts:
                print(f"\n{kind}: {script}")
                for difference in differences:
                    print(f"    {difference}")


if __name__ == "__main__":
    main()
