"""How prompts are cleaned (docs/prompts.md), against what upstream's code and libraries gave."""

import json
from pathlib import Path

import pytest

from entracte.codec import decode, encode
from entracte.declare.host_ops import HOST_OPS
from entracte.declare.host_ops.clean import CLEAN, clean_caption
from entracte.declare.host_ops.clean.mend import mend
from entracte.declare.host_ops.words import written
from entracte.errors import RunError
from entracte.ir import HostStep
from tools import make_drawn_cleaning, make_reference_table

VECTORS = Path(__file__).parent / "vectors"
OPEN_SORA = json.loads((VECTORS / "text_cleaning.json").read_text())
MORE = json.loads((VECTORS / "text_cleaning_more.json").read_text())
PLAN = json.loads((VECTORS / "osp13_text.json").read_text())
LEFT = {"âœ”", "â™¥", "í•œêµ\xadì–´", "gÄ™Å›lÄ…", "×¢×‘×¨×™×ª"}
"""UTF-8 read as Windows-1252 that ftfy repairs and our rules leave."""


def scores_of(pair: dict) -> tuple[str, ...]:
    named = {"aes": "aesthetic score", "flow": "motion score", "camera_motion": "camera motion"}
    return tuple(f"{label}: {pair[key]}" for key, label in named.items() if pair[key] is not None)


@pytest.mark.parametrize("pair", OPEN_SORA["pairs"], ids=lambda pair: pair["in"][:20])
def test_scores_and_cleaning_are_those_of_upstream(pair):
    params = {"clean": "caption", "segment": 0}
    params |= {"scores": scores_of(pair)} if scores_of(pair) else {}
    loops = pair.get("loop_prompts", {"0": pair["out"]})
    for loop, text in loops.items():
        assert written(pair["in"], params | {"segment": int(loop)}) == text
    if "loop_prompts" not in pair:
        assert written(pair["in"], params | {"clean": "lower"}) == pair["appended"].lower().strip()


def test_a_caption_is_cleaned_twice():
    for pair in OPEN_SORA["text_preprocessing"]:
        assert clean_caption(pair["in"]) == pair["clean_once"]
        assert CLEAN["caption"](pair["in"]) == pair["out"]
    assert any(pair["clean_once"] != pair["out"] for pair in OPEN_SORA["text_preprocessing"])


def test_a_template_is_what_stands_around_a_prompt():
    prefix, suffix = PLAN["positive_template"].split("{}")
    for pair in PLAN["prompts"]:
        assert written(pair["in"], {"prefix": prefix, "suffix": suffix}) == pair["out"]


@pytest.mark.parametrize("rule", ["caption", "prompt"])
def test_all_else_is_as_the_libraries_have_it(rule):
    assert len(MORE[rule]) == 400
    for text, out in MORE[rule]:
        assert CLEAN[rule](text) == out, text


def test_mojibake_is_read_where_a_line_is_wholly_so():
    """The rest is a known difference (docs/prompts.md): listed, so that it can grow no further."""
    left = {text for text, out in MORE["mojibake"] if mend(text) != out}
    assert left == LEFT and len(MORE["mojibake"]) == 90


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("Ã©tude, 中", "Ã©tude, 中"),  # a line that is not wholly misread: ftfy would read the é
        ("РєСЂР°СЃРЅС‹Р№", "РєСЂР°СЃРЅС‹Р№"),  # of Windows-1251
        ("fÃ cil", "fÃ cil"),  # a byte A0 that became a space
        ("a\nâ€” b", "a\n— b"),  # lines are read one by one
        ("Ã‚Â©", "©"),  # misread twice
        ("naïve Å½", "naïve Å½"),
    ],
)
def test_what_is_left_as_it_is(text, ours):
    assert mend(text) == ours


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("a & b &amp; c", "a & b & c"),
        ("x < y &amp; z\nu &amp; v", "x < y &amp; z\nu &amp; v"),
        ("u &amp; v\nx < y &amp; z", "u & v\nx < y &amp; z"),
        ("&NTILDE; &#x41; &#xzz; &nosuch;", "Ñ A &#xzz; &nosuch;"),
        ("ｗｉｄｅ　ﬁt\r\n“q”\ufeff\x1b[1m e\u0301\x00", 'wide fit\n"q" é'),
        ("\ud83d\ude00 \ud83d", "😀 \ufffd"),
    ],
)
def test_what_broken_software_left_is_mended(text, out):
    assert mend(text) == out


def test_a_number_of_thousands_of_digits_is_no_character():
    zeros, ones = "0" * 5000, "1" * 5000
    assert CLEAN["prompt"](f"&#{zeros}65;b &#{ones};b &#{zeros};") == "Ab \ufffdb \ufffd"


def test_drawn_texts_are_cleaned_as_their_file_says():
    """Which runners in other languages pass too."""
    assert (VECTORS / "cleaning_drawn.jsonl").read_text() == make_drawn_cleaning.made()


def test_the_names_of_characters_in_swift_are_those_of_python():
    assert make_reference_table.FILE.read_text() == make_reference_table.table()


@pytest.mark.parametrize("text", ["|0|a|1", "|0|a|x|b", "|0|a|0|b", "|0|a|2|b|1|c", "|0|a||b"])
def test_segments_are_numbered_upward(text):
    with pytest.raises(RunError, match="no list of segments; give"):
        written(text, {"segment": 0})
    assert written(text, {}) == text
    assert written("|0| a |7|b", {"segment": 6}) == "a"


def test_a_text_too_long_to_clean_is_refused():
    with pytest.raises(RunError, match="10001 characters is to be cleaned .*; give at most 10000"):
        written("a" * 10001, {"clean": "caption"})
    assert len(written("a" * 10001, {})) == 10001


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"clean": "soap"}, "'soap' is not one of lower, caption, prompt"),
        ({"lower": True}, "'lower' is unknown"),
        ({"segment": -1}, "is not a whole number from 0"),
        ({"scores": ()}, "is not a list of 1 to 16 texts"),
        ({"scores": ("no label",)}, "is not a list of 1 to 16 texts"),
        ({"scores": (": 3",)}, "is not a list of 1 to 16 texts"),
        ({"scores": "aesthetic score: 6.5"}, "is not a list of 1 to 16 texts"),
        ({"scores": ("a: " + "1" * 200,)}, "is not a list of 1 to 16 texts"),
        ({"scores": ("a: 1",) * 17}, "is not a list of 1 to 16 texts"),
    ],
)
def test_what_is_no_rule_is_refused_in_a_plan_and_a_configuration(params, fault):
    op = HOST_OPS["tokenize"]
    given = {"tokenizer": "t.json", "length": 4} | params
    assert fault in str(op.fault(given, {"text": ""}))
    assert fault in str(op.declared_fault(given, {"text": ""}))
    fine = {"clean": "prompt", "segment": 0, "scores": ("a: 1",)}
    assert op.fault({"tokenizer": "t.json", "length": 4} | fine, {"text": ""}) is None


def test_a_plan_keeps_what_changes_a_text():
    params = (("clean", "caption"), ("scores", ("a: 1", "b: c")), ("segment", 2))
    step = HostStep(
        stage="s", op="tokenize", params=params, inputs=(("text", "prompt"),), outputs=()
    )
    assert decode(HostStep, json.loads(json.dumps(encode(step)))) == step
