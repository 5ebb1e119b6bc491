"""Inputs on which a package and its torch source are compared.

What a run of the source gave, or what host steps and constants give, is used as it is. The rest is
drawn: calm, from a normal distribution; and once more loud, with every row of what only norms and
residual sums take scaled to 300 to 3000. Activations of real transformers are that large in places
(T5's residuals, a decoder's middle), random ones never are, and fp16 breaks there first.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from entracte.emit.domains import TRUTHS, Domain, domain_of
from entracte.ir import DType, Port

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

LOUD = (300.0, 3000.0)

Values = tuple[np.ndarray, ...]
"""One array per input of a chunk's function, in the types of its ports."""

_NORMS = {"layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "rms_norm",
          "_fused_rms_norm", "instance_norm"}  # fmt: skip
_SQUARES = {"pow", "square", "mean", "var", "var_mean", "norm", "linalg_vector_norm"}
_MOVES = {"reshape", "view", "permute", "transpose", "unsqueeze", "squeeze", "slice", "select",
          "add", "_to_copy", "expand", "clone", "alias", "flatten", "unflatten"}  # fmt: skip
_ROOTS = {"rsqrt", "sqrt", "reciprocal", "pow", "mean", "clamp_min", "norm", "linalg_vector_norm"}


def draws(
    inputs: Sequence[Port], known: Mapping[str, np.ndarray], module: "GraphModule"
) -> list[tuple[str, Values]]:
    """(what they are, values) of each call to compare."""
    if all(p.name in known for p in inputs):
        return [("recorded", _values(inputs, known, _calm))]
    loud, allowed = _loud_inputs(module), _domains(inputs, module)
    drawn = [(p.name, _whole(p, allowed[p.name])) for p in inputs if p.name in allowed]
    known = dict(drawn) | dict(known)
    made = [("drawn", _values(inputs, known, _calm))]
    names = {p.name for p, is_loud in zip(inputs, loud, strict=True) if is_loud}
    if names - set(known):
        louder = {name: value for name, value in known.items() if name not in names}
        values = _values(inputs, louder, lambda p: _louder(p) if p.name in names else _calm(p))
        made.append(("drawn", values))
    return made


def positive(values: Values) -> Values:
    """The same without signs: what roots and logarithms take."""
    return tuple(np.abs(v) for v in values)


def _domains(inputs: Sequence[Port], module: "GraphModule") -> dict[str, Domain]:
    """Input -> the numbers it may hold, of those that the chunk bounds."""
    arguments = [n for n in module.graph.nodes if n.op == "placeholder"]
    found = ((p.name, domain_of(n)) for p, n in zip(inputs, arguments, strict=True))
    return {name: domain for name, domain in found if domain is not None}


def _whole(port: Port, domain: Domain) -> np.ndarray:
    """Of a mask, three in four and the first of each row are 1: nothing is masked out whole."""
    drawn = _generator(port).integers(domain.least, domain.most + 1, port.shape)
    if domain == TRUTHS:
        drawn |= _generator(port).integers(0, 2, (2, *port.shape))[1]
        drawn[..., :1] = 1
    return drawn


def _values(
    ports: Sequence[Port], known: Mapping[str, np.ndarray], draw: Callable[[Port], np.ndarray]
) -> Values:
    return tuple(_typed(known[p.name] if p.name in known else draw(p), p) for p in ports)


def _typed(value: np.ndarray, port: Port) -> np.ndarray:
    kinds = {DType.FP16: np.float16, DType.FP32: np.float32, DType.INT32: np.int32}
    return np.asarray(value).reshape(port.shape).astype(kinds[port.dtype])


def _generator(port: Port) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(port.name.encode()))


def _calm(port: Port) -> np.ndarray:
    if port.dtype is DType.INT32:
        return _generator(port).integers(0, 16, port.shape, dtype=np.int32)
    return _generator(port).standard_normal(port.shape, dtype=np.float32)


def _louder(port: Port) -> np.ndarray:
    """Each row, along the last axis, of a size of its own between the two bounds of `LOUD`."""
    if port.dtype is DType.INT32:
        return _calm(port)
    low, high = np.log(LOUD)
    rows = _generator(port).uniform(low, high, (*port.shape[:-1], 1) if port.shape else ())
    values: np.ndarray = _calm(port) * np.exp(rows)
    return values


# ---------------------------------------------------------------- which inputs norms take


def _loud_inputs(module: "GraphModule") -> list[bool]:
    """Of each argument: whether norms take it, and otherwise only sums and outputs."""
    arguments = [n for n in module.graph.nodes if n.op == "placeholder"]
    return [_goes_to_norms(n) for n in arguments]


def _goes_to_norms(argument: "Node") -> bool:
    waiting, seen, norms = [argument], {argument}, 0
    while waiting:
        value = waiting.pop()
        for user in value.users:
            if user.op == "output" or user in seen:
                continue
            if _is_norm(user, value):
                norms += 1
            elif _kind(user) in _MOVES:
                seen.add(user)
                waiting.append(user)
            else:
                return False
    return norms > 0


def _is_norm(user: "Node", value: "Node") -> bool:
    """A norm, the beginning of one that is written out, or its last step."""
    kind = _kind(user)
    if kind in _NORMS | _SQUARES:
        return bool(user.args) and user.args[0] is value
    if kind not in {"mul", "div", "sub"} or len(user.args) < 2:
        return False
    others = [a for a in user.all_input_nodes if a is not value]
    return not others or all(_kind(other) in _ROOTS for other in others)


def _kind(node: "Node") -> str:
    return str(getattr(node.target, "__name__", node.target)).split(".")[0]
