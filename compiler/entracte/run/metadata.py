"""What a written file says of how it was made: a comment of JSON, without dates.

    {"made_by": "entracte 0.1.0", "pipeline": ..., "plan": SHA-256, "inputs": {...},
     "device": ..., "arithmetic": ..., "versions": {...}}

The same run writes the same bytes. Inputs stand there as in a record (`run.json`): files by their
digests. Where texts are too long for a comment, they stand there by their digests too.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from entracte.codec import parse_json
from entracte.devices import Device
from entracte.errors import RunError
from entracte.ir import Plan
from entracte.run.comment import MOST_BYTES, read_comment
from entracte.run.origin import plan_digest, versions

Told = Mapping[str, str | int | float]
_MADE_BY = "entracte "
_LOCAL = ("entracte", "system")
"""Versions that are not written: `made_by` says the first, and whose machine it was is no matter of
whoever is given a file."""
_SHORT = 200
"""Letters of a text that cannot be told in full."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says. A stranger's may say anything: texts are shown with care."""

    made_by: str
    pipeline: str
    plan: str
    """SHA-256 of the plan that was run."""
    inputs: tuple[tuple[str, str | int | float], ...]
    device: str
    arithmetic: str
    versions: tuple[tuple[str, str], ...]


# ---------------------------------------------------------------- written


def metadata_of(plan: Plan, told: Told, device: Device) -> str:
    """The comment, in ASCII; `told` are all the plan's inputs as a record names them."""
    known = dict(versions())
    return comment_of(
        Metadata(
            made_by=f"{_MADE_BY}{known['entracte']}",
            pipeline=plan.pipeline,
            plan=plan_digest(plan),
            inputs=tuple(told.items()),
            device=device.name,
            arithmetic=getattr(device, "arithmetic", ""),
            versions=tuple((k, v) for k, v in known.items() if k not in _LOCAL),
        )
    )


def comment_of(made: Metadata) -> str:
    """The same as a text: at most `MOST_BYTES`, empty where it would be more."""
    text = _written(made)
    if len(text) > MOST_BYTES:
        text = _written(replace(made, inputs=tuple((k, _digest(v)) for k, v in made.inputs)))
    return text if len(text) <= MOST_BYTES else ""


def _digest(value: str | int | float) -> str | int | float:
    if not isinstance(value, str) or len(value) <= _SHORT:
        return value
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"


def _written(made: Metadata) -> str:
    tables = {"inputs": dict(made.inputs), "versions": dict(made.versions)}
    return json.dumps(asdict(made) | tables, separators=(",", ":"))


# ---------------------------------------------------------------- read


def read_metadata(path: Path) -> Metadata:
    """What a file that `plan run` wrote says of how it was made. Raises `RunError`."""
    comment = read_comment(path)
    found = _parsed(comment) if comment else None
    if found is None:
        raise RunError(
            f"{path}: does not say how it was made; `plan run` writes that into its files, unless "
            "`--no-metadata` is given, and other programs drop it"
        )
    return found


def _parsed(comment: str) -> Metadata | None:
    try:
        body = parse_json(comment.encode())
    except ValueError:
        return None
    if not isinstance(body, dict) or not str(body.get("made_by", "")).startswith(_MADE_BY):
        return None
    texts = [body.get(key, "") for key in ("made_by", "pipeline", "plan", "device", "arithmetic")]
    inputs, known = body.get("inputs", {}), body.get("versions", {})
    if not all(isinstance(t, str) for t in texts):
        return None
    if not _is_table(inputs, str | int | float) or not _is_table(known, str):
        return None
    made_by, pipeline, plan, device, arithmetic = texts
    versions_of = tuple(known.items())
    return Metadata(made_by, pipeline, plan, tuple(inputs.items()), device, arithmetic, versions_of)


def _is_table(found: object, kind: type | object) -> bool:
    return isinstance(found, dict) and all(isinstance(v, kind) for v in found.values())  # type: ignore[arg-type]
