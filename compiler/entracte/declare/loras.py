"""`pipeline.lora`: files of low ranks, each with its scale."""

import math
from typing import Any

from entracte.declare.settings import PipelineSettings
from entracte.declare.words import is_number
from entracte.errors import ConfigError
from entracte.ir import Lora

_WHERE = "pipeline.lora"
_FORMS = "a file, {file: FILE, scale: SCALE}, or a list of these"


def read_loras(s: PipelineSettings) -> tuple[Lora, ...]:
    """In order. Raises `ConfigError`."""
    _check_scale("pipeline.lora_scale", s.lora_scale)
    given = [] if s.lora is None else s.lora if isinstance(s.lora, list) else [s.lora]
    return tuple(_lora(one, s.lora_scale) for one in given)


def _lora(given: Any, scale: float) -> Lora:
    fields = {"file": given} if isinstance(given, str) else given
    if not isinstance(fields, dict) or not fields.keys() <= {"file", "scale"}:
        raise ConfigError(f"{_WHERE}: {given!r} is not {_FORMS}")
    file, own = fields.get("file"), fields.get("scale", scale)
    if not isinstance(file, str) or not file:
        raise ConfigError(f"{_WHERE}: {given!r} names no file; give {_FORMS}")
    _check_scale(f"{_WHERE}: {file}: scale", own)
    return Lora(file, float(own))


def _check_scale(where: str, given: Any) -> None:
    if not is_number(given) or not math.isfinite(given):
        raise ConfigError(f"{where}: {given!r} is no number, such as 0.8")
