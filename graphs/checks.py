"""What a factory may give: each fault is one message, told where the value is made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

KINDS = ("float", "int")
"""Of inputs: fp16 or fp32 as the stage's precision says, and int32."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_ELEMENTS = 2**31 - 1
_TABLES = "fiu"
"""numpy's kinds of numbers that a table may have."""


def similar(given: object, known: Iterable[str]) -> str:
    """A question for whoever mistyped one of the known words; empty where none is near."""
    near = get_close_matches(str(given), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


class GraphFault(ValueError):
    """A value that a factory gives and that is no graph: one message for its author."""


def name_of(what: str, name: object) -> str:
    """A port's name, as packages can spell it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise GraphFault(
            f"{what}: the name {name!r} is not made of letters, digits and _, with no digit first"
        )
    return name


def shape_of(what: str, shape: object) -> tuple[int, ...]:
    """A static shape of at least one axis."""
    remedy = "give a static shape like (1, 8)"
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise GraphFault(f"{what}: the shape {shape!r} is no tuple of whole numbers; {remedy}")
    sizes = tuple(_size(what, shape, n) for n in shape)
    if not sizes:
        raise GraphFault(
            f"{what}: the shape () has no axis; packages take tensors of rank 1 and more: give (1,)"
        )
    if prod(sizes) > _MOST_ELEMENTS:
        raise GraphFault(
            f"{what}: the shape {sizes} has more than {_MOST_ELEMENTS} elements; give less"
        )
    return sizes


def _size(what: str, shape: object, value: Any) -> int:
    try:
        size = index(value)
    except TypeError:
        size = 0
    if isinstance(value, bool) or size < 1:
        raise GraphFault(
            f"{what}: {value!r} in the shape {shape!r} is no whole number above 0; shapes are "
            "static: give every size as a number"
        )
    return size


def kind_of(what: str, kind: object) -> None:
    """What numbers an input takes."""
    if kind in KINDS:
        return
    remedy = {
        "bool": "; give truth values as float, 0 and 1",
        "str": "; a tokenizer makes ids of texts",
    }.get(str(kind), similar(kind, KINDS))
    raise GraphFault(f"{what}: the kind {kind!r} is not one of {', '.join(KINDS)}{remedy}")


def module_of(what: str, module: object) -> nn.Module:
    """A torch module, made."""
    from torch import nn

    if isinstance(module, nn.Module):
        return module
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise GraphFault(f"{what}: is the class {module.__name__}; call it: {module.__name__}(...)")
    raise GraphFault(
        f"{what}: a {type(module).__name__} is no torch.nn.Module; put what it computes into the "
        "`forward` of one"
    )


def texts_of(what: str, names: object) -> tuple[str, ...]:
    """A tuple of texts; a single text is the tuple whose comma was forgotten."""
    if isinstance(names, str):
        raise GraphFault(f"{what}: {names!r} is one text; write ({names!r},)")
    if not isinstance(names, Sequence) or not all(isinstance(n, str) for n in names):
        raise GraphFault(f"{what}: {names!r} is no tuple of texts")
    return tuple(names)


def pairs_of(what: str, pairs: object, kind: type | tuple[type, ...]) -> tuple[Any, ...]:
    """A tuple of pairs, a text and something else."""
    if not isinstance(pairs, str) and isinstance(pairs, Sequence):
        found = [tuple(p) for p in pairs if isinstance(p, list | tuple) and len(p) == 2]
        good = [p for p in found if isinstance(p[0], str) and isinstance(p[1], kind)]
        if len(good) == len(pairs):
            return tuple(good)
    raise GraphFault(f"{what}: {pairs!r} is no tuple of pairs; write (('from.', 'to.'),)")


def ports_of(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Every port is told from the others by its name."""
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if not names:
            remedy = " (what needs none is `Constants`)" if what == "inputs" else ""
            raise GraphFault(f"{what}: none; name at least one{remedy}")
        twice = next((n for n in names if list(names).count(n) > 1), None)
        if twice is not None:
            raise GraphFault(f"{what}: {twice!r} is there twice; give each a name of its own")
    shared = next((n for n in outputs if n in inputs), None)
    if shared is not None:
        raise GraphFault(
            f"outputs: {shared!r} is an input's name too; give it one of its own, like "
            f"'{shared}_next'"
        )


def call_of(what: str, module: nn.Module, names: Sequence[str]) -> None:
    """`forward` takes the inputs by position: in this order, where its parameters have names."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return  # compiled code that does not say
    takes = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = len(names)
    first = [
        n if p.kind is p.POSITIONAL_ONLY else p.name for n, p in zip(names, takes, strict=False)
    ]
    rest = [p.name for p in parameters if p not in takes[:given] and _is_needed(p)]
    has_more = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    own = f"{what}: {type(module).__name__}.forward takes {_listed([p.name for p in takes])}"
    if first != list(names[: len(first)]) or (given > len(first) and not has_more):
        raise GraphFault(
            f"{own}, the inputs are {_listed(names)}; give its first parameters, by their names "
            "and in their order, or write a module around it that takes what you give"
        )
    if rest:
        raise GraphFault(
            f"{own}, and {_listed(rest)} {'have' if len(rest) > 1 else 'has'} no default and no "
            f"input; name an Input for each, or give it a value in `forward`"
        )


def _is_needed(parameter: inspect.Parameter) -> bool:
    stars = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in stars


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def arrays_of(arrays: object) -> dict[str, np.ndarray]:
    """Tables that a build folder can hold: fp32 or int32, every name a port's."""
    import numpy as np

    if not isinstance(arrays, Mapping) or not arrays:
        raise GraphFault(f"Constants: {arrays!r} is no table of arrays; write {{'name': array}}")
    for name, array in arrays.items():
        what = f"Constants {name!r}"
        name_of(what, name)
        if not isinstance(array, np.ndarray):
            raise GraphFault(
                f"{what}: a {type(array).__name__} is no numpy array; give `numpy.asarray(...)`"
            )
        if array.dtype.kind not in _TABLES:
            raise GraphFault(f"{what}: {array.dtype} is neither fp32 nor int32; convert it")
        shape_of(what, array.shape)
        _check_range(what, array)
    return dict(arrays)


def _check_range(what: str, array: np.ndarray) -> None:
    """It is stored as fp32 or int32: what does not fit would be another number there."""
    import numpy as np

    is_float = array.dtype.kind == "f"
    most = float(np.finfo(np.float32).max) if is_float else np.iinfo(np.int32).max
    # Infinite numbers and NaN are what they are in fp32 too.
    finite = array[np.isfinite(array)] if is_float else array
    if not finite.size:
        return
    low, high = finite.min().item(), finite.max().item()
    if max(high, -low - (0 if is_float else 1)) > most:
        raise GraphFault(
            f"{what}: holds numbers that {'fp32' if is_float else 'int32'} does not; give smaller "
            "ones"
        )
