"""Several runs of one plan: which they are, and where the files of each go.

Names are decided before anything is run: `clip.mp4` becomes `clip-a-red-circle-seed3.mp4`, with
what differs between the runs in it and nothing else.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from entracte.errors import RunError
from entracte.run.outputs import Made
from entracte.run.sinks import Out, places_for

MOST_RUNS = 10_000
_LONGEST = 40
"""Letters of a text in a file's name."""

Values = Mapping[str, Sequence[object]]


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One of several runs."""

    name: str
    """What the names of its files end in."""
    inputs: Mapping[str, object]
    differing: tuple[str, ...] = ()
    """Inputs that are not the same in all runs."""


def batch_of(same: Mapping[str, object], values: Values) -> tuple[BatchRun, ...]:
    """A run for each combination of `values`; the first input changes slowest.

    Args:
        same: inputs that all runs are given.
        values: of the other inputs, what each may be.

    Raises `RunError` for a value that is given twice, and for too many runs.
    """
    for name, options in values.items():
        if len(set(options)) < len(options):
            twice = next(v for v in options if options.count(v) > 1)
            raise RunError(f"input {name!r}: {twice!r:.60} is given twice; leave one out")
    count = 1
    for options in values.values():
        count *= len(options)
    if count > MOST_RUNS:
        raise RunError(f"{count} runs are too many: at most {MOST_RUNS} at once; give fewer")
    differing = tuple(name for name, options in values.items() if len(options) > 1)
    labels = {name: _labels(name, values[name]) for name in differing}
    found = []
    for places in product(*(range(len(options)) for options in values.values())):
        chosen = dict(zip(values, places, strict=True))
        given = {name: values[name][k] for name, k in chosen.items()}
        label = "-".join(labels[name][chosen[name]] for name in differing)
        found.append(BatchRun(label, {**same, **given}, differing))
    return tuple(found)


def _labels(name: str, options: Sequence[object]) -> list[str]:
    """Of each value, as a part of a file's name: no two are the same."""
    texts = [_letters(str(v)) if isinstance(v, str) else f"{name}{v}" for v in options]
    if all(texts) and len(set(texts)) == len(texts):
        return texts
    width = len(str(len(options)))
    return [f"{k:0{width}}-{t}" if t else f"{k:0{width}}" for k, t in enumerate(texts, 1)]


def _letters(text: str) -> str:
    """A text's letters and digits, in lower case; ASCII, which every file system takes alike."""
    plain = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
    made = ""
    for word in plain.split():
        if len(made) + len(word) + 1 > _LONGEST:
            return made or word[:_LONGEST]
        made += f"-{word}" if made else word
    return made


# ---------------------------------------------------------------- files


def named(place: str | Path, name: str) -> str:
    """`clip.mp4` with `-NAME` before its ending; of `frames/` before the slash."""
    text = os.fspath(place)
    if not name:
        return text
    if text.endswith(("/", os.sep)):
        return f"{text.rstrip('/' + os.sep)}-{name}/"
    stem, ending = os.path.splitext(text)
    return f"{stem}-{name}{ending}"


def out_of(out: Out, run: BatchRun) -> Out:
    """Where the outputs of one run go, from where those of all are to."""
    if out is None:
        return None
    if isinstance(out, Mapping):
        return {output: named(place, run.name) for output, place in out.items()}
    return named(out, run.name)


def files_there(made: Sequence[Made], out: Out) -> tuple[list[Path], list[Path]]:
    """Of a run's files, those that are there and those that are not. Raises `RunError` where one
    could not be written."""
    paths = [f.place.path for f in places_for(made, out)]
    there = [p for p in paths if os.path.lexists(p)]
    return there, [p for p in paths if p not in there]
