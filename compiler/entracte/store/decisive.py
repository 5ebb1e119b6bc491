"""What decides a compile's result: its settings, code and files. Equal digests mean equal results,
so what was made under one may be taken instead of being made again."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import entracte.graphs as graphs
from entracte.codec import encode
from entracte.declare.host_ops import HOST_OPS
from entracte.declare.read import Job
from entracte.declare.settings import LOCAL
from entracte.disk.places import is_random, place
from entracte.errors import EntracteError
from entracte.ir import Pipeline, StageKind
from entracte.store.cache import digest
from entracte.store.origin import graph_digest, maker_digest
from entracte.store.seal import state_of

_MAKER = "entracte.compile.job"
"""The module that compiles: everything that it may use takes part."""
HOW = ("out", "dry_run", "workers", "cache", "cache_limit_bytes")
"""Of a `Job`: how to work, not what to make; who asks says what of it matters."""
_MOST_FILES = 10_000
"""Folders of weights have fewer; to look at more would take longer than it saves."""


def decisive_digest(job: Job, *how: object) -> str | None:
    """Of all that a job's result depends on; None where that cannot be known: a graph of another
    package may read whatever it wants.

    Args:
        how: what the result depends on besides: whether it is a dry run, where it goes.
    """
    stages = [s for s in job.pipeline.stages if s.kind is not StageKind.HOST]
    if not all(graphs.is_code(s.op) for s in stages):
        return None
    try:
        files = [(p, list(_states(p))) for p in _places(job.pipeline)]
    except (EntracteError, OSError):
        return None  # the compile itself says what is missing
    makers = sorted({graph_digest(graphs.package_of(s.op)) for s in stages})
    return digest(_said(job), how, files, maker_digest(_MAKER), makers)


def _said(job: Job) -> dict[str, Any]:
    """All of a job that says what to make."""
    given = {k: v for k, v in json.loads(job.composed).items() if k not in LOCAL}
    told: dict[str, Any] = encode(job)
    return {k: v for k, v in told.items() if k not in HOW} | {"composed": given}


def _places(p: Pipeline) -> list[str]:
    """Where numbers, words and tables are read from, as the settings spell it."""
    found = {p.weights, *(lora.file for lora in p.loras), *(s.weights for s in p.stages)}
    for stage in p.stages:
        if stage.kind is StageKind.HOST:
            sources = HOST_OPS[stage.op].sources(dict(stage.params), stage.weights or p.weights)
            found |= {str(source.place) for source in sources}
    return sorted(found - {""})


def _states(spec: str) -> Iterator[object]:
    """Changes when a file of the place is replaced or written to, links followed."""
    if is_random(spec):
        return
    root = place(spec, "pipeline.weights")
    yield state_of(root.resolve(strict=True))
    for n, path in enumerate(_files(root)):
        if n == _MOST_FILES:
            raise OSError(f"{root}: more than {_MOST_FILES} files")
        yield str(path), state_of(path.resolve()) if path.exists() else None


def _files(root: Path) -> Iterator[Path]:
    """Folders that are links are gone into: components of a model may be kept elsewhere."""
    for folder, inner, names in os.walk(root, followlinks=True):
        inner.sort()
        yield from (Path(folder, name) for name in sorted(names))
