"""A model's inputs and outputs as ports: names, shapes, kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from entracte.graphs.onnx.faults import OnnxFault, shown
from entracte.graphs.onnx.module import distinct
from entracte.graphs.onnx.numbers import KINDS, type_name

if TYPE_CHECKING:
    from onnx import GraphProto, ValueInfoProto

__all__ = ["Declared", "declared_inputs", "output_names", "port_names"]


@dataclass(frozen=True)
class Declared:
    """An input of the model, with its shape."""

    name: str
    """In the file."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    value: Tensor | None = None
    """What `values` fixes it to."""


def port_names(names: Sequence[str]) -> list[str]:
    """Names of inputs and outputs as ports, in order: letters, digits and _."""
    return distinct(names)


def output_names(path: Path, graph: GraphProto, wanted: Sequence[str]) -> list[str]:
    """The file's names of the wanted outputs, by these or by their ports' names."""
    names = [o.name for o in graph.output]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice or not names:
        raise OnnxFault(f"{path}: two outputs are called {shown(twice[0])!r}" if twice else
                        f"{path}: has no output")  # fmt: skip
    if not wanted:
        return names
    given = [wanted] if isinstance(wanted, str) else list(wanted)
    known = dict(zip(distinct(names), names, strict=True)) | {n: n for n in names}
    stray = [n for n in given if n not in known]
    if stray:
        raise OnnxFault(f"outputs: {stray[0]!r} is none of the file's: {_listed(names)}")
    return list(dict.fromkeys(known[n] for n in given))


def declared_inputs(
    path: Path, graph: GraphProto, shapes: Mapping[str, object], values: Mapping[str, object]
) -> list[Declared]:
    """The inputs in the file's order, those that are initializers left out.

    Raises `OnnxFault` where a size stays open, or where `shapes` and `values` say what cannot be.
    """
    held = {t.name for t in graph.initializer}
    protos = [i for i in graph.input if i.name not in held]
    names = [p.name for p in protos]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise OnnxFault(f"{path}: two inputs are called {shown(twice[0])!r}")
    ported = dict(zip(distinct(names), names, strict=True)) | {n: n for n in names}
    symbols = {d.dim_param for p in protos for d in _dims(p) if d.dim_param}
    stray = sorted((set(shapes) - set(ported) - symbols) | (set(values) - set(ported)))
    if stray:
        raise OnnxFault(
            f"{path}: shapes or values: {stray[0]!r} is no input and no open size; inputs: "
            f"{_listed(names)}; open sizes: {_listed(sorted(symbols))}"
        )
    lists = {n for n, s in shapes.items() if isinstance(s, list | tuple) or n not in symbols}
    own = {ported[n]: shapes[n] for n in lists if n in ported}
    sizes = {n: _size(n, size) for n, size in shapes.items() if n not in lists}
    fixed = {ported[n]: v for n, v in values.items()}
    return [_declared(path, p, own.get(p.name), sizes, fixed.get(p.name)) for p in protos]


def _declared(
    path: Path, proto: ValueInfoProto, shape: object, sizes: Mapping[str, int], value: object
) -> Declared:
    if not proto.type.HasField("tensor_type"):
        raise OnnxFault(f"{path}: the input {shown(proto.name)!r} is no tensor")
    kind = type_name(proto.type.tensor_type.elem_type)
    if kind not in KINDS:
        raise OnnxFault(
            f"{path}: the input {shown(proto.name)!r} is {kind}; known: {', '.join(KINDS)}"
        )
    if value is not None:
        tensor = _spread(path, proto, _fixed(proto.name, value, KINDS[kind]), shape, sizes)
        return Declared(proto.name, tuple(tensor.shape), KINDS[kind], tensor)
    return Declared(proto.name, _shape(path, proto, shape, sizes), KINDS[kind])


def _fixed(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    try:
        return torch.tensor(value).to(dtype)
    except (TypeError, ValueError, RuntimeError):
        raise OnnxFault(
            f"values.{shown(name)}: {value!r} is no number or list of numbers"
        ) from None


def _spread(
    path: Path, proto: ValueInfoProto, tensor: Tensor, shape: object, sizes: Mapping[str, int]
) -> Tensor:
    """A fixed value in the input's shape: one number stands for all of them."""
    dims = _dims(proto)
    if not proto.type.tensor_type.HasField("shape"):
        return tensor
    if not tensor.dim() and dims:
        return tensor.expand(_shape(path, proto, shape, sizes)).contiguous()
    says = [d.dim_value if d.dim_value > 0 else n for d, n in zip(dims, tensor.shape, strict=False)]
    if len(dims) != tensor.dim() or says != list(tensor.shape):
        raise OnnxFault(
            f"values.{shown(proto.name)}: a value of the shape {list(tensor.shape)} does not suit "
            f"the file's {_told(dims)}; give one number for all of them, or as many as there are"
        )
    return tensor


def _shape(
    path: Path, proto: ValueInfoProto, given: object, sizes: Mapping[str, int]
) -> tuple[int, ...]:
    name, dims = shown(proto.name), _dims(proto)
    if given is not None:
        if not isinstance(given, list | tuple):
            raise OnnxFault(f"shapes.{name}: {given!r} is no list of sizes")
        shape = tuple(_size(name, n) for n in given)
        says = [d.dim_value if d.dim_value > 0 else None for d in dims]
        ranked = proto.type.tensor_type.HasField("shape")
        if ranked and (len(shape) != len(says) or any(
            s not in (None, n) for s, n in zip(says, shape, strict=True)
        )):  # fmt: skip
            raise OnnxFault(f"shapes.{name}: {list(shape)} does not suit the file's {_told(dims)}")
        return shape
    if not proto.type.tensor_type.HasField("shape"):
        raise OnnxFault(f"{path}: the file does not say the shape of {name}: give shapes.{name}")
    found = [d.dim_value if d.dim_value > 0 else sizes.get(d.dim_param) for d in dims]
    if any(n is None for n in found):
        raise OnnxFault(
            f"{path}: the input {name!r} has the open sizes {_told(dims)}: shapes are "
            f"fixed when compiling; give `shapes: {{{name}: [...]}}` or the sizes by name"
        )
    return tuple(n for n in found if n is not None)


def _dims(proto: ValueInfoProto) -> list[Any]:
    return list(proto.type.tensor_type.shape.dim)


def _told(dims: Sequence[Any]) -> str:
    said = [str(d.dim_value) if d.dim_value > 0 else shown(d.dim_param) or "?" for d in dims]
    return f"[{', '.join(said)}]"


def _size(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 31:
        raise OnnxFault(f"shapes.{name}: {value!r} is no size; give whole numbers above 0")
    return value


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(n) for n in names[:20]) or "none"
