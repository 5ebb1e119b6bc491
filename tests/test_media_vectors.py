"""tests/vectors/media.jsonl says what this side makes of what stands there: runners in other
languages read the same file."""

import json

import pytest

from tools.make_media_vectors import FILE, gives, line_of

LINES = FILE.read_text("utf-8").splitlines()
KINDS = ("read", "show", "resize", "resample", "level", "write", "metadata", "batch")


@pytest.mark.parametrize("kind", KINDS)
def test_records_say_what_is_made_of_what_they_give(kind):
    records = [r for r in map(json.loads, LINES) if r["does"] == kind]
    assert records
    for record in records:
        said = record.pop("gives")
        assert json.loads(line_of(gives(record))) == said, line_of(record)[:300]


def test_every_record_is_of_a_kind():
    assert {json.loads(line)["does"] for line in LINES} == set(KINDS)
    assert len(LINES) > 200
