"""What stored conditioning is found by: a digest of all that goes into its values."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from entracte.codec import encode
from entracte.ir import Call, HostStep, Plan, Program, Segment, Step, TensorDecl
from entracte.plan.file import CONSTANTS
from entracte.program.conditions import Condition, Place
from entracte.program.frees import reads
from entracte.run.origin import versions
from entracte.store.cache import digest
from entracte.store.origin import maker_digest

_LAYOUT = 1
"""Raised when what is stored, or what goes into a key, changes its meaning."""
_MAKERS = ("entracte.devices.reference", "entracte.declare.host_ops", "entracte.run.tensors")
"""Code that has a part in the values."""


def decls_of(program: Program, condition: Condition) -> tuple[TensorDecl, ...]:
    """Of the condition's values, in its order."""
    decls = {t.name: t for t in program.tensors}
    return tuple(decls[name] for name in condition.values)


def key_of(
    plan: Plan, condition: Condition, told: Mapping[str, str | int | float], numerics: str
) -> str:
    """Of all that goes into a condition's values: steps, packages, files, inputs, and how and with
    which versions the device computes."""
    program = plan.program
    steps = [_step(program, place) for place in condition.before]
    chunks = {x.chunk for x in steps if isinstance(x, Call)}
    packages = [
        (p.chunk, p.digest, "" if p.arrays is None else p.arrays.digest)
        for p in plan.packages
        if p.chunk in chunks
    ]
    segments = [program.segments[s] for s in sorted({s for s, _ in condition.before})]
    files = _files(plan, steps, segments)
    inputs = [(encode(i), told[i.name]) for i in program.inputs if i.name in condition.inputs]
    decls = [encode(d) for d in decls_of(program, condition)]
    # How often a loop runs, and with which states.
    loops = [encode(replace(g, name="", steps=(), frees=())) for g in segments if g.is_loop]
    return digest(
        _LAYOUT,
        [encode(replace(step, frees=())) for step in steps],
        loops,
        packages,
        files,
        inputs,
        decls,
        numerics,
        [pair for pair in versions() if pair[0] != "entracte"],
        maker_digest(*_MAKERS),
    )


def _step(program: Program, place: Place) -> Step:
    return program.segments[place[0]].steps[place[1]]


def _files(plan: Plan, steps: Iterable[Step], segments: Iterable[Segment]) -> list[tuple[str, str]]:
    """(path, SHA-256) of the plan's files that steps read; constants are in one file."""
    read = {first for g in segments for _, first, _ in g.state}.union(*map(reads, steps))
    params = {v for x in steps if isinstance(x, HostStep) for _, v in x.params}
    if read & {c.name for c in plan.program.constants}:
        params.add(CONSTANTS)
    return [(path, sha256) for path, sha256 in plan.files if path in params]
