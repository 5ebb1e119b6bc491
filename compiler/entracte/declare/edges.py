"""What a pipeline is given and what it gives: inputs and outputs as declared."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, prod
from typing import Any

from entracte.declare.settings import InputSettings, OutputSettings
from entracte.declare.words import check_allowed, check_own_name, is_number, is_whole
from entracte.errors import ConfigError
from entracte.ir import INPUT_KINDS, OUTPUT_KINDS, DType, Input, Output, Port

SHAPED = {
    "image": "(1, 3, height, width)",
    "video": "(1, 3, frames, height, width)",
    "audio": "(1, samples)",
    "tensor": "at least one axis, each at least 1",
}
"""Kinds of inputs that are tensors of a declared shape."""
SINGLE = {"number": DType.FP32, "choice": DType.INT32}
"""Kinds of inputs that are tensors of one element."""
AXES = {"video": 2, "image": 0, "audio": -1, "text": 1, "tensor": 0}
"""Along which the parts of an output of a kind are joined where nothing else is said."""
FITS = ("crop", "pad", "stretch")
_RANGE = {"audio": (-1.0, 1.0)}
_MOST_RATE = 1_000_000
_MOST_ELEMENTS = 2**31 - 1
_OWN_KEYS = {
    "shape": tuple(SHAPED),
    "dtype": ("tensor",),
    "choices": ("choice",),
    "least": ("number", "seed", "choice"),
    "most": ("number", "seed", "choice"),
    "range": ("image", "video", "audio"),
    "fit": ("image", "video"),
    "rate": ("video", "audio"),
}
"""Key of an input -> the kinds that have it."""


def read_input(name: str, s: InputSettings) -> Input:
    """Raises `ConfigError` for what no run could be given."""
    where = f"pipeline.inputs.{name}"
    check_own_name(where, "an input", name)
    check_allowed(f"{where}.kind", s.kind, INPUT_KINDS)
    _check_keys(where, s)
    low, high = _range(where, s.range, s.kind)
    made = Input(
        name=name,
        kind=s.kind,
        default=_default(where, s),
        port=_port(where, name, s) if s.kind in SHAPED else None,
        choices=tuple(s.choices),
        least=s.least,
        most=s.most,
        low=low,
        high=high,
        fit=s.fit,
        rate=_rate(where, s.rate),
    )
    _check_allowed(where, made)
    return made


def _check_keys(where: str, s: InputSettings) -> None:
    plain = InputSettings(kind=s.kind)
    for key, kinds in _OWN_KEYS.items():
        if getattr(s, key) != getattr(plain, key) and s.kind not in kinds:
            raise ConfigError(
                f"{where}.{key}: a {s.kind} has none; {', '.join(kinds)} "
                f"{'have' if len(kinds) > 1 else 'has'} one"
            )
    check_allowed(f"{where}.fit", s.fit, FITS)


def _default(where: str, s: InputSettings) -> Any:
    """Of the kind's own type; of what is shaped, a number that fills it."""
    value = s.default
    if value is None:
        return None
    good = {
        "text": isinstance(value, str),
        "seed": is_whole(value),
        "choice": is_whole(value) or isinstance(value, str),
    }.get(s.kind, is_number(value))
    if not good:
        raise ConfigError(f"{where}.default: {value!r} is no {s.kind}")
    if s.kind in ("text", "seed", "choice"):
        return value
    return float(value)


def _port(where: str, name: str, s: InputSettings) -> Port:
    shape, words = tuple(s.shape or ()), SHAPED[s.kind]
    good = bool(shape) and min(shape) >= 1 and prod(shape) <= _MOST_ELEMENTS
    if s.kind in ("image", "video"):
        good = good and len(shape) == (4 if s.kind == "image" else 5) and shape[:2] == (1, 3)
    if s.kind == "audio":
        good = good and len(shape) == 2 and shape[0] == 1
    if not good:
        raise ConfigError(f"{where}.shape: {list(shape)} is no {s.kind}'s; give {words}")
    check_allowed(f"{where}.dtype", s.dtype or "fp32", ("fp32", "int32"))
    return Port(name, shape, DType(s.dtype or "fp32"))


def _range(where: str, given: Sequence[float] | None, kind: str) -> tuple[float, float]:
    if given is None:
        return _RANGE.get(kind, (0.0, 1.0))
    if len(given) != 2 or not all(map(isfinite, given)) or given[0] == given[1]:
        raise ConfigError(
            f"{where}.range: {list(given)}: give two numbers, what black and white are"
        )
    return float(given[0]), float(given[1])


def _rate(where: str, rate: float) -> float:
    if not 0 <= rate <= _MOST_RATE:
        raise ConfigError(f"{where}.rate: {rate} is not between 0 and {_MOST_RATE} a second")
    return float(rate)


def _check_allowed(where: str, made: Input) -> None:
    """What is allowed is not empty, and the default is allowed."""
    if made.kind == "choice":
        _check_choices(where, made)
    if made.kind == "audio" and not made.rate:
        raise ConfigError(f"{where}.rate: an audio has samples a second; give how many, e.g. 16000")
    least, most, default = made.least, made.most, made.default
    if least is not None and most is not None and least > most:
        raise ConfigError(f"{where}.least: {least} is above `most`, {most}; nothing is allowed")
    if default is None or isinstance(default, str) or made.kind in SHAPED:
        return
    if (least is not None and default < least) or (most is not None and default > most):
        raise ConfigError(f"{where}.default: {default} is not allowed: least {least}, most {most}")


def _check_choices(where: str, made: Input) -> None:
    if made.choices and (made.least is not None or made.most is not None):
        raise ConfigError(f"{where}: give `choices`, or `least` and `most`, not both")
    if len(set(made.choices)) != len(made.choices):
        raise ConfigError(f"{where}.choices: a name stands there twice; each means another number")
    if not made.choices and (made.least is None or made.most is None):
        raise ConfigError(f"{where}: give `choices` by name, or `least` and `most`")
    default = made.default
    if default is None or not made.choices:
        return
    if default not in made.choices and not (is_whole(default) and 0 <= default < len(made.choices)):
        raise ConfigError(f"{where}.default: {default!r} is not one of {', '.join(made.choices)}")


# ---------------------------------------------------------------- outputs


def read_output(name: str, s: OutputSettings) -> Output:
    """Raises `ConfigError` for what no writer has."""
    where = f"pipeline.outputs.{name}"
    check_own_name(where, "an output", name)
    check_allowed(f"{where}.kind", s.kind, OUTPUT_KINDS)
    values = tuple(s.value) if isinstance(s.value, list | tuple) else (s.value,)
    if not values or not all(isinstance(v, str) for v in values):
        raise ConfigError(f"{where}.value: {s.value!r}: give STAGE.PORT, or a list of them")
    if len(set(values)) != len(values):
        raise ConfigError(f"{where}.value: {list(values)} names one value twice")
    timed = s.kind in ("video", "audio")
    if timed and not s.rate:
        raise ConfigError(f"{where}.rate: give how many a second, e.g. {_example(s.kind)}")
    for key, given, kinds in (
        ("rate", s.rate, ("video", "audio")),
        ("range", s.range, ("video", "image", "audio")),
        ("tokenizer", s.tokenizer, ("text",)),
        ("end", s.end or None, ("text",)),
    ):
        if given is not None and s.kind not in kinds:
            raise ConfigError(f"{where}.{key}: a {s.kind} has none; {', '.join(kinds)} may")
    if s.kind == "text" and not s.tokenizer:
        raise ConfigError(f"{where}.tokenizer: give the tokenizer that turns tokens into text")
    low, high = _range(where, s.range, s.kind)
    return Output(
        name=name,
        kind=s.kind,
        values=values,
        axis=AXES[s.kind] if s.axis is None else s.axis,
        rate=_rate(where, s.rate or 0.0),
        low=low,
        high=high,
        tokenizer=s.tokenizer or "",
        end=tuple(s.end),
    )


TAKEN = {
    "video": "(1, 3, frames, height, width), floats",
    "image": "(images, 3, height, width), floats",
    "audio": "(1, samples) or (1, channels, samples), floats",
    "text": "(1, tokens), int32",
}
"""What the writers of a kind take; a tensor may be anything."""


def joined_port(output: Output, ports: Sequence[Port]) -> Port:
    """All parts of an output, of these ports, together."""
    shape = list(ports[0].shape)
    if shape:
        shape[output.axis] = sum(p.shape[output.axis] for p in ports)
    return replace(ports[0], name=output.name, shape=tuple(shape))


def output_fault(output: Output, ports: Sequence[Port]) -> str | None:
    """What keeps the joined parts of an output from being of its kind; None where nothing does.

    `ports` are those of its parts, alike but along `output.axis`.
    """
    if output.kind not in TAKEN:
        return None
    whole = joined_port(output, ports)
    shape, dtype, axes = whole.shape, whole.dtype, len(whole.shape)
    fits = {
        "video": axes == 5 and shape[:2] == (1, 3),
        "image": axes == 4 and shape[1] == 3,
        "audio": axes in (2, 3) and shape[0] == 1,
        "text": axes == 2 and shape[0] == 1,
    }[output.kind]
    if fits and (dtype is DType.INT32) == (output.kind == "text"):
        return None
    return (
        f"{dtype} {shape} is no {output.kind}; it must be {TAKEN[output.kind]}; give it "
        "another `kind` (a `tensor` may be anything)"
    )


def _example(kind: str) -> str:
    return "24 frames" if kind == "video" else "16000 samples"
