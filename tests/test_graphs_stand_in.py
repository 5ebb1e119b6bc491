"""The tokenizer for random weights, and a prompt's suffix."""

import json

import numpy as np
import pytest

from entracte.declare.host_ops import tokenize
from entracte.ir import Binding, HostStep
from entracte.run.host import run_host_step
from tools.stand_in_tokenizer import FILE, build


def test_the_shipped_file_is_what_the_tool_writes():
    assert json.loads(FILE.read_text()) == json.loads(build().to_str())


@pytest.mark.parametrize("text", ["a red circle", "", "naïve 中文 🎞", "x" * 400])
def test_every_byte_is_a_token_and_the_end_is_kept(text):
    made = tokenize(text, FILE, 300)
    ids, mask = made["input_ids"][0], made["mask"][0]
    length = min(300, len(text.encode()) + 1)
    assert mask.sum() == length and not ids[length:].any()
    assert ids[length - 1] == 1 and ids.max() < 258 and (ids[: length - 1] >= 2).all()
    if length < 300:
        # Normalised back: ByteLevel's decoder undoes the characters that stand for bytes.
        assert build().decode(ids[: length - 1].tolist()) == text


def step(**params) -> HostStep:
    given = {"tokenizer": FILE.name, "length": 64, **params}
    outputs = tuple(Binding(n, f"t.{n}") for n in ("input_ids", "mask"))
    return HostStep(
        stage="t", op="tokenize", params=tuple(sorted(given.items())),
        inputs=(("text", "prompt"),), outputs=outputs,
    )  # fmt: skip


def test_a_suffix_is_put_after_the_prompt():
    with_suffix = run_host_step(step(suffix=" score: 6.5."), {"text": "a fox"}, FILE.parent)
    whole = run_host_step(step(), {"text": "a fox score: 6.5."}, FILE.parent)
    bare = run_host_step(step(), {"text": "a fox"}, FILE.parent)
    for name in ("input_ids", "mask"):
        np.testing.assert_array_equal(with_suffix[name], whole[name])
    assert bare["mask"].sum() < whole["mask"].sum()


@pytest.mark.parametrize("name", ["on_device_sora", "open_sora"])
def test_without_weights_the_published_pipelines_have_it_and_pad_as_t5_does(name):
    from entracte.declare.compose import compose
    from entracte.declare.read import read
    from entracte.emit.host_files import look

    declared = read(compose(["+target=iphone15pro", f"pipeline={name}"])).pipeline
    host = look(declared)
    params = dict(host.into(declared).stage("tokenize").params)
    assert (params["pad_id"], params["pad_side"], params["length"]) == (0, "right", 300)
    assert params["scores"] == ("aesthetic score: 6.5",) and "stand_in" not in params
    assert [made.name for made in host.made] == [params["tokenizer"]] == ["tokenizer_tokenize.json"]


def test_small_letters_are_made_before_what_is_put_around():
    made = run_host_step(step(clean="lower", prefix="Of "), {"text": " A Fox "}, FILE.parent)
    whole = run_host_step(step(), {"text": "Of a fox"}, FILE.parent)
    np.testing.assert_array_equal(made["input_ids"], whole["input_ids"])
