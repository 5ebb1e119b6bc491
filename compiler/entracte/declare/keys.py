"""Every key of a configuration, from the schema that reads it: its type, default, meaning.

What a key means stands under it in `settings.py`, with an example; types and defaults are those of
the fields, choices those of the tables that reading them checks by.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from entracte.declare import settings
from entracte.declare.edges import FITS
from entracte.declare.host_ops import HOST_OPS
from entracte.declare.maps import ORDERS
from entracte.declare.scheme import PRECISION_FLOORS_DB, compressions
from entracte.ir import INPUT_KINDS, OUTPUT_KINDS, STAGE_UNITS

GROUPS = (
    ("", settings.CompileSettings),
    ("pipeline", settings.PipelineSettings),
    ("pipeline.inputs.NAME", settings.InputSettings),
    ("pipeline.stages.NAME", settings.StageSettings),
    ("pipeline.stages.NAME.map", settings.MapSettings),
    ("pipeline.stages.NAME.reuse", settings.ReuseSettings),
    ("pipeline.loops.NAME", settings.LoopSettings),
    ("pipeline.outputs.NAME", settings.OutputSettings),
    ("target", settings.TargetSettings),
    ("policy", settings.PolicySettings),
    ("sampler", settings.SamplerSettings),
    ("guidance", settings.GuidanceSettings),
    ("compression", settings.CompressionSettings),
    ("partition", settings.PartitionSettings),
    ("sweep", settings.SweepSettings),
    ("search", settings.SearchSettings),
)
"""In their order: where a group stands, and its class."""
CHOICES = {
    "pipeline.precision": tuple(PRECISION_FLOORS_DB),
    "pipeline.compression": compressions(),
    "pipeline.inputs.NAME.kind": INPUT_KINDS,
    "pipeline.inputs.NAME.dtype": ("fp32", "int32"),
    "pipeline.inputs.NAME.fit": FITS,
    "pipeline.stages.NAME.host": tuple(HOST_OPS),
    "pipeline.stages.NAME.precision": tuple(PRECISION_FLOORS_DB),
    "pipeline.stages.NAME.compression": compressions(),
    "pipeline.stages.NAME.map.order": ORDERS,
    "pipeline.outputs.NAME.kind": OUTPUT_KINDS,
    "pipeline.compute_unit": STAGE_UNITS,
    "pipeline.stages.NAME.compute_unit": STAGE_UNITS,
    "policy.keep": settings.KEEPS,
    "policy.driver": settings.POLICY_DRIVERS,
    "compression.name": compressions(),
    "verify": ("on", "off"),
    "search.method": settings.SEARCH_METHODS,
}
"""Of keys that name one of a table."""
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any"}
_SAID = re.compile(r"(?:\((?P<type>[^)]*)\) )?(?P<means>.*); e\.g\. `(?P<example>.*)`", re.DOTALL)


@dataclass(frozen=True)
class Key:
    """A key of a group: what docs/configuration.md and `compile --help` say of it."""

    place: str
    type: str
    default: str
    means: str
    example: str


def keys(place: str, group: type) -> list[Key]:
    """The keys of a group, in order. Raises `LookupError` for one that says nothing."""
    said, hints = _said(group), get_type_hints(group)
    rows = []
    for field in fields(group):
        name = f"{place}.{field.name}" if place else field.name
        found = _SAID.fullmatch(said.get(field.name, ""))
        if found is None:
            raise LookupError(f"{name}: write what it means under it, and `; e.g. ...`")
        kind = found["type"] or _type(hints[field.name])
        if name in CHOICES:
            kind = "one of " + ", ".join(f"`{c}`" for c in CHOICES[name])
        rows.append(Key(field.name, kind, _default(field), found["means"], found["example"]))
    return rows


def key_at(place: str) -> Key | None:
    """The key of a place like `pipeline.stages.net.map.axis`; None where the schema has none."""
    words = place.split(".")
    for spelled, group in GROUPS:
        pattern = spelled.split(".") if spelled else []
        if len(words) == len(pattern) + 1 and all(
            p in ("NAME", w) for p, w in zip(pattern, words, strict=False)
        ):
            return next((k for k in keys(spelled, group) if k.place == words[-1]), None)
    return None


def _said(group: type) -> dict[str, str]:
    """Field -> the text that stands under it, on one line."""
    (made,) = ast.parse(inspect.getsource(group)).body
    assert isinstance(made, ast.ClassDef)
    texts = {}
    for field, text in zip(made.body, made.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            texts[field.target.id] = " ".join(ast.literal_eval(text.value).split())
    return texts


def _type(hint: Any) -> str:
    inner = [t for t in get_args(hint) if t is not type(None)]
    if get_origin(hint) is dict:
        kind = inner[1]
        return "names" if kind is Any else f"names, each with a {_type(kind)}"
    if get_origin(hint) is list:
        return f"list of {_type(inner[0])}s"
    if inner:  # X | None
        return _type(inner[0])
    return _PLAIN.get(hint, "group")


def _default(field: Any) -> str:
    value = field.default
    if value is NO_DEFAULT:
        value = field.default_factory()
    if value == MISSING:
        return "must be given"
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "below" if type(value).__name__.endswith("Settings") else f"`{value}`"
