"""The vectors of plans' readers are what this reader says today; the Swift one passes them too."""

import json

import pytest

from tools import make_plan_vectors as vectors

EVERY = 12
"""Of the hostile plans one in so many is read again."""


def lines(name: str) -> list:
    return json.loads((vectors.FOLDER / name).read_text())


def test_digests_and_fp16_are_what_the_libraries_say():
    assert lines("digests.json") == vectors.digests()
    assert (vectors.FOLDER / "fp16.bin").read_bytes() == vectors.fp16()
    assert (vectors.FOLDER / "fp32.bin").read_bytes() == vectors.fp32()


def test_right_plans_are_todays():
    assert lines("plans.json") == json.loads(json.dumps(vectors.plans())), (
        "run python -m tools.make_plan_vectors"
    )


def test_hostile_plans_are_refused_in_these_words():
    """All of their kinds are there; a sample is read again."""
    records = lines("hostile_plans.json")
    assert len(records) > 400
    keys = {json.dumps(r, sort_keys=True) for r in records}
    found = [r for _, r in vectors.hostile(every=EVERY)]
    assert len(found) > 50
    stray = [r for r in found if json.dumps(r, sort_keys=True) not in keys]
    assert not stray, ("run python -m tools.make_plan_vectors", stray[:1])


@pytest.mark.parametrize("name", ["hostile_plans.json", "plans.json", "digests.json"])
def test_a_record_is_a_line(name):
    text = (vectors.FOLDER / name).read_text()
    assert text.count("\n") == len(lines(name)) + 2
