"""The names of what a chunk holds: module names by hand, from the names of weights."""

import pytest

from entracte.decide.modules import modules_of
from entracte.inspect.modules import held


def block(k: int, *parts: str) -> list[str]:
    return [f"blocks.{k}.{part}.weight" for part in parts or ("norm", "attn.qkv", "mlp.fc1")]


def test_a_module_is_named_up_to_its_first_number():
    first = ["embed.proj.weight", "embed.proj.bias", "table", *block(0), *block(1)]
    last = [*block(2), "final.norm.weight", "encoder.layer.3.attention.q.weight"]
    assert modules_of([first, last, []]) == (
        ("embed.proj", "table", "blocks.0", "blocks.1"),
        ("blocks.2", "final.norm", "encoder.layer.3"),
        (),
    )


def test_a_module_that_is_cut_is_told_more_closely():
    one = [*block(4), *block(5, "norm", "attn.q")]
    two = [*block(5, "attn.k", "mlp.fc1"), *block(6)]
    assert modules_of([one, two]) == (
        ("blocks.4", "blocks.5.norm", "blocks.5.attn.q"),
        ("blocks.5.attn.k", "blocks.5.mlp", "blocks.6"),
    )


def test_parts_of_a_module_that_is_told_are_not_told_again():
    names = ["t.freqs", "t.mlp.0.weight", "t.mlp.2.weight", "u.freqs", "u.mlp.0.weight"]
    assert modules_of([names, ["u.table", "u.mlp.1.bias"]]) == (
        ("t", "u", "u.mlp.0"),
        ("u", "u.mlp.1"),
    )


def test_a_weight_of_two_chunks_is_both_ones():
    assert modules_of([["shared.weight"], ["shared.weight", "shared.weight"]]) == (
        ("shared",),
        ("shared",),
    )


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ([], ""),
        (["blocks.4"], "blocks 4"),
        ([f"blocks.{k}" for k in range(4, 10)], "blocks 4 to 9"),
        (["s.0", "t.0", "s.1", "t.1", "s.3"], "s 0 to 1, s 3, t 0 to 1"),
        (["embed", "b.9", "b.10", "b.11.attn"], "embed, b 9 to 10, b.11.attn"),
        (["7", "x.٣"], "7, x.٣"),
        (list("abcdefgh"), "a, b, c, d, e and 3 more"),
    ],
)
def test_modules_in_words(modules, told):
    assert held(modules) == told


def test_all_are_told_where_they_are_wanted():
    assert held(list("abcdefgh"), most=None) == "a, b, c, d, e, f, g, h"
