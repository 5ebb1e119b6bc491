"""`compile search=N ...`: a sweep whose jobs are chosen by what came out of those before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from entracte.cli.console import console
from entracte.cli.faults import fault_of
from entracte.cli.search_words import Asked, asked_search
from entracte.cli.sweep_job import SweepJob, labels
from entracte.cli.sweep_run import run_sweep
from entracte.cli.tables import say
from entracte.declare.compose import compose, composing
from entracte.declare.sealed import sealed
from entracte.report.pareto import value_of
from entracte.search.points import Point, Result, run_search


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A search that has ended."""

    jobs: tuple[SweepJob, ...]
    """In the order in which they were tried."""
    objectives: tuple[str, ...]
    sentence: str
    """How much of the grid was tried, and how."""


def searched(words: Sequence[str]) -> Searched:
    """Run the search that the words of `compile` say. Raises `ConfigError`."""
    asked = asked_search(words)
    jobs: list[SweepJob] = []
    total = min(asked.search.trials, asked.search.points)
    say(console, _begins(asked), *_cautions(asked), "")

    def evaluate(points: Sequence[Point]) -> list[Result]:
        batch = [_job(asked, p) for p in points]
        with sealed():
            run_sweep(batch, ended=len(jobs), total=total)
        jobs.extend(batch)
        return [_result(o, asked.objectives) for o in batch]

    run_search(asked.search, evaluate)
    return Searched(jobs=tuple(jobs), objectives=asked.objectives, sentence=_sentence(asked))


def _job(asked: Asked, point: Point) -> SweepJob:
    """A job of a sweep of its own words, known as such."""
    words = asked.words(point)
    try:
        config = compose(words, asked.config_dir)
        with composing(), sealed():
            job = SweepJob.of(config, words)
    except Exception as error:  # noqa: BLE001 - the other points go on
        job = SweepJob.unread(words)
        job.error = fault_of(error)
    return replace(job, searched=True)


def _result(o: SweepJob, objectives: Sequence[str]) -> Result:
    row = o.row(labels([o])[0])
    values = [value_of(row, name) for name in objectives]
    if o.failed or any(v is None for v in values):
        return Result(None, o.failed)
    return Result(tuple(v for v in values if v is not None))


def _begins(asked: Asked) -> str:
    s = asked.search
    usual = " (no value had a comma, so these are the usual ones)" if asked.usual else ""
    knobs = ", ".join(_told(k) for k in s.knobs)
    return f"search among {s.points} combinations of {knobs}{usual}; {_sentence(asked)}"


def _told(knob: Sequence[str]) -> str:
    return f"{knob[0]},{','.join(w.partition('=')[2] for w in knob[1:])}"


def _cautions(asked: Asked) -> list[str]:
    """What is small and fast is not yet good."""
    if "db" in asked.objectives or not any(
        k[0].lstrip("+").startswith(("compression", "sampler", "pipeline"))
        for k in asked.search.knobs
    ):
        return []
    return [
        "note: nothing here measures what comes out; of what computes less or keeps less of the "
        "weights, verify the ones you like (`plan verify`), or let search.objectives hold db"
    ]


def _sentence(asked: Asked) -> str:
    s = asked.search
    if s.is_grid:
        return f"{s.trials} trials are no fewer, so all are done and nothing is searched"
    method = {"nsga2": "NSGA-II", "tpe": "TPE"}[s.method]
    return f"{s.trials} are tried, chosen by {method} with seed {s.seed}"
