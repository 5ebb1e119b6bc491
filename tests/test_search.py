"""Searches: points of a space whose front is known by trying them all, found with fewer trials."""

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import product

import pytest

from entracte.cli.search_words import asked_search
from entracte.cli.words import asks_search, hydra_words
from entracte.errors import ConfigError
from entracte.search.points import Point, Result, Search, run_search

WITH_OPTUNA = pytest.mark.skipif(
    find_spec("optuna") is None and os.environ.get("CI") != "true", reason="no Optuna"
)
KNOBS = (
    tuple(f"compression={c}" for c in "abcdef"),
    tuple(f"memory={m}" for m in range(8)),
    tuple(f"policy={p}" for p in "xyz"),
)
SEARCH = Search(knobs=KNOBS, maximized=(False, False), trials=80, method="tpe")


def cost(point: Point) -> tuple[float, float]:
    """Two objectives that pull apart."""
    c, m, p = (words.index(word) for words, word in zip(KNOBS, point, strict=True))
    return 10.0 * (6 - c) / (1 + m) + 3 * p + 0.5 * c, 5.0 * m + 2 * (6 - c) - 0.5 * p


def front() -> set[Point]:
    """By comparing all pairs."""
    costs = {point: cost(point) for point in product(*KNOBS)}
    return {
        p
        for p, (a, b) in costs.items()
        if not any((x, y) != (a, b) and x <= a and y <= b for x, y in costs.values())
    }


def tried(search: Search, **results: Result) -> list[Point]:
    """The points, in order; those of a compression in `results` become of it what that says."""

    def evaluate(points):
        assert len(points) <= max(search.generation, search.points if search.is_grid else 0)
        return [results.get(p[0][-1], Result(cost(p))) for p in points]

    return list(run_search(search, evaluate))


@WITH_OPTUNA
@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_most_of_the_front_is_found_and_every_point_tried_once(method):
    found = tried(replace(SEARCH, method=method))
    assert len(found) == len(set(found)) == 80
    assert len(front()) == 11
    # Of 80 drawn out of 144, 6.1 would be on the front.
    assert len(front() & set(found)) >= 9


@WITH_OPTUNA
@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_the_same_seed_tries_the_same_points(method):
    search = replace(SEARCH, method=method, trials=24)
    assert tried(search) == tried(search)
    assert tried(search) != tried(replace(search, seed=1))


@WITH_OPTUNA
def test_what_does_not_fit_or_fails_is_no_end():
    found = tried(SEARCH, a=Result(None), b=Result(None, failed=True))
    assert len(found) == 80
    # Points of which nothing comes are left alone for others: a third of the grid is not.
    assert sum(p[0][-1] in "ab" for p in found) < 80 / 3
    assert len(tried(replace(SEARCH, trials=12), **dict.fromkeys("abcdef", Result(None)))) == 12


@WITH_OPTUNA
def test_all_points_but_one_can_be_asked_for():
    knobs = (("a=1", "a=2"), ("b=1", "b=2", "b=3"))
    search = Search(knobs=knobs, maximized=(False,), trials=5, method="nsga2")
    found = run_search(search, lambda points: [Result((1.0,))] * len(points))
    assert len(found) == 5 and set(found) < set(product(*knobs))


def test_no_more_combinations_than_trials_are_a_grid_and_need_no_optuna(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    search = replace(SEARCH, trials=144)
    assert tried(search) == list(product(*KNOBS))
    with pytest.raises(ConfigError, match=r"pip install entracte\[search\]"):
        tried(replace(SEARCH, trials=143))


# ---------------------------------------------------------------- words


def asked(*words: str):
    return asked_search(hydra_words(["target=iphone15pro", *words]))


def test_words_say_what_is_tried_in_the_order_typed():
    found = asked(
        "search=5", "compression=none,int8", "dry_run=true", "target.memory=24MiB,30MiB,24MiB",
        "sampler.steps=range(2,5)", "search.objectives=[time,weights]",
    )  # fmt: skip
    assert found.search.knobs == (
        ("compression=none", "compression=int8"),
        ("target.memory=24MiB", "target.memory=30MiB"),
        ("sampler.steps=2", "sampler.steps=3", "sampler.steps=4"),
    )
    assert found.search.trials == 5 and found.objectives == ("time", "weights")
    assert not found.usual and found.search.maximized == (False, False)
    point = ("compression=int8", "target.memory=30MiB", "sampler.steps=2")
    assert found.words(point) == [
        "+target=iphone15pro", "compression=int8", "dry_run=True", "target.memory=30MiB",
        "sampler.steps=2",
    ]  # fmt: skip


def test_a_pattern_stands_for_the_names_that_are_like_it():
    assert asked("search=1", "compression=glob(palette*)", "dry_run=true").search.knobs == (
        ("compression=palette4", "compression=palette6", "compression=palette8"),
    )


def test_decibels_are_wanted_of_builds_and_more_of_them_is_better():
    found = asked("search=2", "compression=none,int8", "search.objectives=[time,db]")
    assert found.search.maximized == (False, True)
    assert found.slots[-1] == ("sweep.verify=true",)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["search=0"], "search.trials=0: not a whole number from 1"),
        (["search=many"], "search.trials: 'many' is no whole number"),
        (["search=3", "target=host,ipad_m4"], "target has several values; a search is for one"),
        (["search=3", "dry_run=true,false"], "dry_run has several values, but says nothing"),
        (["search=3", "search.objectives=[tim]"], "'tim' is not one of .*did you mean time"),
        (["search=3", "search.objectives=[]"], "name some of time, memory, weights, db"),
        (["search=3", "search.objectives=[db]", "dry_run=true"], "a dry run .* has no dB"),
        (["search=3", "search.method=luck"], "'luck' is not one of tpe, nsga2"),
        (["search=3", "compression=glob(x*)"], "none of compression is like this"),
        (["search=3", "sampler.steps=interval(1,9)"], "a search chooses among values"),
        (["search=3", "--cfg", "job"], "--cfg is no option of a search"),
    ],
)
def test_what_a_search_cannot_be(words, told):
    with pytest.raises(ConfigError, match=told):
        asked("compression=none,int8", *words)


def test_without_commas_the_usual_things_are_tried():
    """What the device reads, and shares of its memory that are exact: the iPhone's 3.3 GB."""
    found = asked("search=9", "dry_run=true")
    compression, memory, policy = found.search.knobs
    assert found.usual and "compression=int4_block32" in compression and len(compression) == 6
    assert memory == tuple(f"target.memory={b}B" for b in (3_300_000_000, 2475000000, 1650000000))
    assert policy[0] == "policy=optimal" and len(policy) == 3
    old = asked("search=9", "dry_run=true", "target.deployment=iOS17", "policy=online")
    assert "compression=int4_block32" not in old.search.knobs[0] and len(old.search.knobs) == 2
    assert not asks_search(["target=host", "out=search=1"])
    assert asks_search(hydra_words(["target=host", "search=1"]))
