"""What `driver.py` does for fidelity: encodes prompts, samples responses with log-probabilities, scores responses.

Files are NumPy's .npz, which both sides and their users read: flat columns over all tokens, with offsets by prompt
or response. `prompt`, `finish` and `offsets` have one entry a response, `best_*` k columns a token.
"""

import json
import os
import time

import numpy

# Requests that are handed over at once: bounds the memory that their log-probabilities take on this side.
CHUNK = 64
FINISHES = ("stop", "length")


def save(path, **columns):
    """Whole or not at all."""
    draft = f"{path}.draft"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        numpy.savez(file, **columns)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def flat(rows, dtype):
    """Rows of unequal length as one column, and where each begins."""
    offsets = numpy.cumsum([0, *(len(row) for row in rows)]).astype(numpy.uint64)
    column = numpy.concatenate([numpy.asarray(row, dtype) for row in rows]) if rows else numpy.empty(0, dtype)
    return column, offsets


def split(column, offsets):
    return [column[offsets[i] : offsets[i + 1]].tolist() for i in range(len(offsets) - 1)]


def encode(driver, command):
    """Prompts as token ids, through the baseline's chat template. `line` says which prompt each one is: those that are too long are left out."""
    from transformers import AutoTokenizer

    tokenizer = None
    rows = []
    for number, line in enumerate(read_prompts(driver, command)):
        if "prompt_token_ids" in line:
            ids = line["prompt_token_ids"]
        else:
            if tokenizer is None:
                tokenizer = AutoTokenizer.from_pretrained(command["tokenizer"], trust_remote_code=command["trust"])
                if not getattr(tokenizer, "chat_template", None):
                    raise driver.refused("arguments", f"{command['tokenizer']} has no chat template")
            messages = line.get("messages") or [{"role": "user", "content": line["text"]}]
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
            ids = ids["input_ids"] if hasattr(ids, "keys") else ids
        rows.append((number, list(ids)))
    kept = [(number, ids) for number, ids in rows if len(ids) <= command["longest"]]
    if not kept:
        raise driver.refused("arguments", f"no prompt has at most {command['longest']} tokens")
    prompt_ids, prompt_offsets = flat([ids for _, ids in kept], numpy.uint32)
    lines = numpy.asarray([number for number, _ in kept], numpy.uint32)
    save(command["out"], prompt_ids=prompt_ids, prompt_offsets=prompt_offsets, line=lines)
    return "counted", {"responses": len(kept), "tokens": len(prompt_ids), "left_out": len(rows) - len(kept)}


def read_prompts(driver, command):
    """JSON Lines with text, messages or prompt_token_ids; or verl's parquet with a column `prompt` of messages."""
    if not command["file"].endswith(".parquet"):
        with open(command["file"], encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    try:
        from pyarrow import parquet
    except ImportError:
        remedy = "install pyarrow there, or give the prompts as JSON Lines"
        raise driver.refused("arguments", f"parquet needs pyarrow in the engine's Python: {remedy}") from None
    table = parquet.read_table(command["file"])
    if "prompt" not in table.column_names:
        raise driver.refused("arguments", f"no column `prompt`, only {', '.join(table.column_names)}")
    cells = table.column("prompt").slice(0, command["count"]).to_pylist()
    return [{"text": cell} if isinstance(cell, str) else {"messages": cell} for cell in cells]


def sample(driver, command):
    """Responses with the log-probability of each sampled token and of the k best; greedy where the temperature is 0."""
    prompts = numpy.load(command["prompts"])
    ids = split(prompts["prompt_ids"], prompts["prompt_offsets"])
    parameters = driver.sampling_parameters(
        n=1,
        temperature=command["temperature"],
        top_p=1.0,
        top_k=-1,
        max_tokens=command["max_tokens"],
        logprobs=command["k"],
        detokenize=False,
    )
    begin = time.monotonic()
    outputs = generate(driver, ids, [parameters] * len(ids))
    seconds = time.monotonic() - begin
    samples = [output.outputs[0] for output in outputs]
    response_ids, offsets = flat([sample.token_ids for sample in samples], numpy.uint32)
    columns = logprob_columns([sample.logprobs for sample in samples], [sample.token_ids for sample in samples], command["k"])
    finish = [FINISHES.index(s.finish_reason) if s.finish_reason in FINISHES else 2 for s in samples]
    save(
        command["out"],
        ids=response_ids,
        offsets=offsets,
        prompt=prompts["line"],
        finish=numpy.asarray(finish, numpy.uint8),
        prompt_ids=prompts["prompt_ids"],
        prompt_offsets=prompts["prompt_offsets"],
        **columns,
    )
    if command["text"]:
        write_texts(command, [sample.token_ids for sample in samples])
    return "counted", {"responses": len(samples), "tokens": len(response_ids), "seconds": seconds}


def write_texts(command, rows):
    """What a person would read, for checking answers: one JSON string a line."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(command["tokenizer"], trust_remote_code=command["trust"])
    with open(command["text"], "w", encoding="utf-8") as file:
        for ids in rows:
            file.write(json.dumps(tokenizer.decode(ids, skip_special_tokens=True), ensure_ascii=False) + "\n")


def score(driver, command):
    """The log-probabilities that this engine gives to the tokens of recorded responses: one prefill each."""
    recorded = numpy.load(command["responses"])
    prompts = split(recorded["prompt_ids"], recorded["prompt_offsets"])
    responses = split(recorded["ids"], recorded["offsets"])
    parameters = driver.sampling_parameters(
        n=1, temperature=1.0, max_tokens=1, prompt_logprobs=command["k"], detokenize=False
    )
    begin = time.monotonic()
    whole = [prompt + response for prompt, response in zip(prompts, responses)]
    outputs = generate(driver, whole, [parameters] * len(whole))
    seconds = time.monotonic() - begin
    positions = []
    for output, prompt, response in zip(outputs, prompts, responses):
        # Entry i is about token i of the whole; the first has none before it.
        scored = list(positions_of(output.prompt_logprobs))[len(prompt) :]
        if len(scored) != len(response):
            raise driver.refused("results", f"{len(response)} tokens were to be scored, {len(scored)} came back")
        positions.append(scored)
    save(command["out"], offsets=recorded["offsets"], **columns_of(positions, responses, command["k"]))
    return "counted", {"responses": len(responses), "tokens": int(recorded["offsets"][-1]), "seconds": seconds}


def generate(driver, prompts, parameters):
    outputs = []
    for at in range(0, len(prompts), CHUNK):
        chunk = [{"prompt_token_ids": ids} for ids in prompts[at : at + CHUNK]]
        outputs += driver.llm.generate(chunk, parameters[at : at + CHUNK], use_tqdm=False)
    return outputs


def logprob_columns(logprobs, tokens, k):
    return columns_of([list(positions_of(row)) for row in logprobs], tokens, k)


def positions_of(logprobs):
    """(token ids, log-probabilities, ranks) of each position, the chosen token first where vLLM has flat columns."""
    if hasattr(logprobs, "start_indices"):
        for begin, end in zip(logprobs.start_indices, logprobs.end_indices):
            yield logprobs.token_ids[begin:end], logprobs.logprobs[begin:end], logprobs.ranks[begin:end]
    else:
        for position in logprobs or ():
            entries = list((position or {}).items())
            yield [i for i, _ in entries], [e.logprob for _, e in entries], [e.rank for _, e in entries]


def columns_of(rows, tokens, k):
    count = sum(len(row) for row in tokens)
    logprob = numpy.full(count, numpy.nan, numpy.float32)
    best_ids = numpy.zeros((count, k), numpy.uint32)
    best_logprobs = numpy.full((count, k), -numpy.inf, numpy.float32)
    at = 0
    for positions, ids in zip(rows, tokens):
        for (candidates, values, ranks), chosen in zip(positions, ids):
            by_id = dict(zip(candidates, values))
            logprob[at] = by_id.get(chosen, numpy.nan)
            # Equal log-probabilities share a rank: sorted by value they stand in one order everywhere.
            best = sorted(by_id.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
            for place, (candidate, value) in enumerate(best):
                best_ids[at, place], best_logprobs[at, place] = candidate, value
            at += 1
    return {"logprob": logprob, "best_ids": best_ids, "best_logprobs": best_logprobs}


COMMANDS = {"encode": encode, "sample": sample, "score": score}
