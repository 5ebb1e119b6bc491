"""WhisperForConditionalGeneration: thirty seconds of sound to tokens and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entracte.graphs.recipes.hub import ROOT
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.parts_tokens import end_ids
from entracte.graphs.recipes.parts_whisper import RATE, encode, log_mel, step
from entracte.graphs.recipes.recipe import Recipe, Tokens, Value

_TABLE = "model.decoder.embed_tokens.weight"


def _prefix(r: Recipe, c: Mapping[str, Any], g: Mapping[str, Any]) -> list[int | None]:
    """Tokens that are not the model's to choose; None: it chooses a language."""
    found: list[int | None] = [g.get("decoder_start_token_id", c["decoder_start_token_id"])]
    if languages := g.get("lang_to_id"):
        language, tasks = r.option("language", ""), g["task_to_id"]
        if language and f"<|{language}|>" not in languages:
            known = ", ".join(name.strip("<|>") for name in languages)
            raise ValueError(f"pipeline.options.language: {language!r} is none of {known}")
        task = r.option("task", "transcribe")
        if task not in tasks:
            raise ValueError(f"pipeline.options.task: {task!r} is none of {', '.join(tasks)}")
        found += [languages[f"<|{language}|>"] if language else None, tasks[task]]
    if "no_timestamps_token_id" in g:
        found.append(g["no_timestamps_token_id"])
    return found


def whisper(r: Recipe) -> None:
    """Features, the encoder once, and the likeliest token each time, without times."""
    c = r.config(ROOT)
    g = r.folder.json("generation_config.json") or c
    said = r.folder.json("preprocessor_config.json", "processor_config.json")
    said = said.get("feature_extractor", said)
    prefix, end = _prefix(r, c, g), end_ids(c, g)
    most, hop = c["max_target_positions"] - len(prefix), said.get("hop_length", 160)
    count = r.size("tokens", most) + len(prefix) - 1
    if count >= most + len(prefix):
        raise ValueError(f"pipeline.options.tokens: the model has places for {most}; give less")
    frames, heads = c["max_source_positions"], c["decoder_attention_heads"]
    head, names = c["d_model"] // heads, [f"kept{k}" for k in range(2 * c["decoder_layers"])]
    cache = (1, heads, count, head)
    sound = r.given("sound", (1, 2 * frames * hop), kind="audio", rate=RATE)
    features = r.stage(
        log_mel, sound=sound, features=(1, c["num_mel_bins"], 2 * frames),
        settings={"mels": c["num_mel_bins"], "window": said.get("n_fft", 400), "hop": hop},
        options={"precision": "fp32"},
    )  # fmt: skip
    made: dict[str, Any] = {f"{name}_next": cache for name in names}
    both: dict[str, Any] = {f"sound{k}": (1, heads, frames, head) for k in range(len(names))}
    heard = r.stage(encode, ROOT, features=features, **both)
    table = r.constant("recipes.whisper_rows", "rows", count=count, prefix=prefix)
    empty = r.constant("zeros", "empty", shape=list(cache), dtype="${pipeline.precision}")
    rules = [g.get("suppress_tokens") or [], g.get("begin_suppress_tokens") or [],
             list(g.get("lang_to_id", {}).values())]  # fmt: skip
    with r.loop("decode", count) as loop:
        token = loop.state("token", Value(f"{table}.start", (1, 1), True))
        rows = token_rows(r, ROOT, _TABLE, c["d_model"], Tokens(token, token))
        kept = [loop.state(name, Value(f"{empty}.zeros", cache)) for name in names]
        given = {f"kept{k}": value for k, value in enumerate([*kept, *heard])}
        following, done, *after = r.stage(
            step, ROOT, rows=rows,
            forced=loop.scan("forced", f"{table}.forced", (1, 1), True),
            rule=loop.scan("rule", f"{table}.rule", (1, 3)),
            at=loop.scan("at", f"{table}.at", (1, count)),
            seen=loop.scan("seen", f"{table}.seen", (1, count)),
            **given, settings={"rules": rules, "end": end}, token=(1, 1), done=(1,), **made,
        )  # fmt: skip
        for name, value in zip(["token", *names], [following, *after], strict=True):
            loop.next(name, value)
        loop.until(done)
    tokens = loop.collect("tokens", following, 1)
    r.output("text", "text", tokens, tokenizer=ROOT, end=end)
    r.output("tokens", "tensor", tokens, axis=1)
