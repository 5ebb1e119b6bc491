"""plan.json and run.json: JSON that all readers read alike, numbers that a machine can hold."""

import json

import pytest

from entracte.codec import decode, parse_json
from entracte.errors import PlanError
from entracte.ir import Run

RUN = {"device": "null", "wall_s": 1.0,
       "peak_bytes": 1, "stall_s": 0, "loaded_bytes": 0, "chunks": []}  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"a": 1, "a": 2}', b"NaN", b"[-Infinity]", b"\xef\xbb\xbf{}",
     b"\xff\xfe{\x00}\x00", b'"\xed\xa0\x80"', b"1" * 5000, b"[" * 100_000,
     b"[" * 300 + b"]" * 300, b"{}\x00", b"01", b'{"a": "\\ud800"}'],
)  # fmt: skip
def test_what_readers_differ_on_is_refused(raw):
    with pytest.raises(ValueError):
        parse_json(raw)


def test_the_rest_is_read_as_always():
    text = json.dumps({"a": [1, -0.5, "\u00e9\n", None, True, {"b": {}}], "c": 2**63 - 1})
    assert parse_json(text.encode()) == json.loads(text)


def test_a_value_of_another_type_is_refused():
    assert decode(Run, RUN | {"type": "Run"}, "run").device == "null"
    for tag in ("Plan", "", None, 7, []):
        with pytest.raises(PlanError, match="run: wants a Run, finds a"):
            decode(Run, RUN | {"type": tag}, "run")


@pytest.mark.parametrize(
    ("field", "value"),
    [("wall_s", 10**400), ("wall_s", 1e999), ("wall_s", float("nan")), ("peak_bytes", 2**63),
     ("peak_bytes", 1.5), ("wall_s", "1"), ("wall_s", True), ("device", 7), ("chunks", {})],
)  # fmt: skip
def test_numbers_that_no_machine_holds_are_refused_by_their_place(field, value):
    assert decode(Run, RUN, "run").wall_s == 1.0
    with pytest.raises(PlanError, match=f"run.{field}"):
        decode(Run, RUN | {field: value}, "run")
