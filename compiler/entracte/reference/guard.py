"""Bounds on what a package from a stranger may make this machine do.

Before an operation runs on inputs of new shapes it is rehearsed on tensors without memory (torch's
meta device), which gives the size of every tensor it would make: a result or an intermediate one
beyond the limit is refused before it is allocated. Operations whose results depend on values cannot
be rehearsed; those bound themselves (`allowance.check_elements`), by the same limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from entracte.reference import mil
from entracte.reference.allowance import ALLOWED_BYTES, MEMORY_BYTES
from entracte.reference.errors import PackageError
from entracte.reference.info import walk
from entracte.reference.options import Limits
from entracte.reference.weights import Packed
from entracte.units import format_bytes

if TYPE_CHECKING:

    class TorchDispatchMode:
        """What is used of torch's own, which has no types."""

        def __enter__(self) -> Self: ...
        def __exit__(self, *given: object) -> None: ...

else:
    from torch.utils._python_dispatch import TorchDispatchMode

_FLOOR_BYTES = 1 << 30
_FACTOR = 1024
_LIVE_FACTOR = 8
"""All live tensors may together be so many times as large as one."""

_ALWAYS_BY_VALUE = frozenset({"non_zero", "non_maximum_suppression", "while_loop", "cond"})
_BY_VALUE = {
    "range_1d": ("start", "end", "step"), "fill": ("shape",), "tile": ("reps",),
    "reshape": ("shape",), "random_normal": ("shape",), "random_uniform": ("shape",),
    "random_bernoulli": ("shape",), "random_categorical": ("size",), "make_list": ("init_length",),
    "list_read": ("ls",), "list_gather": ("ls",), "slice_by_index": ("begin", "end", "stride"),
    "slice_by_size": ("begin", "size"), "resize": ("shape",), "one_hot": ("one_hot_vector_size",),
    "topk": ("k",), "pad": ("pad",), "expand_dims": ("axes",), "split": ("split_sizes",),
    "upsample_nearest_neighbor": ("scale_factor_height", "scale_factor_width"),
    "upsample_bilinear": ("scale_factor_height", "scale_factor_width"),
}  # fmt: skip
"""Inputs by whose values, and not only shapes, an operation's result has its shape."""


class Guard:
    """Holds one loaded function to its limits."""

    def __init__(self, program: mil.Program, function: mil.Function, limits: Limits) -> None:
        self._package = program.package
        self._place = f"function {function.name!r}"
        self._limits = limits
        self._justified = _file_bytes(Path(program.package))
        self._bytes = 0
        self.steady = _is_steady(function)
        declared = [n.type for n in function.inputs if isinstance(n.type, mil.TensorType)]
        with self.call(sum(t.nbytes or 0 for t in declared)):
            self._check_declared(function)

    @contextmanager
    def call(self, input_bytes: int) -> Iterator[None]:
        """Within it, allocations are held to what the files and so many input bytes justify."""
        wanted = self._limits.tensor_bytes
        if wanted is None:
            wanted = max(_FLOOR_BYTES, _FACTOR * (self._justified + input_bytes))
        self._bytes = min(wanted, MEMORY_BYTES)
        token = ALLOWED_BYTES.set(self._bytes)
        try:
            yield
        finally:
            ALLOWED_BYTES.reset(token)

    def before(self, operation: mil.Operation, run: Any, values: Sequence[Any]) -> None:
        """Rehearse an operation.

        Raises:
            PackageError: it would make a tensor beyond the limit.
        """
        if operation.blocks:
            return  # its inner operations are rehearsed one by one
        try:
            with torch.device("meta"), _Sizes(self._bytes):
                run(*[_weightless(v) for v in values])
        except _TooLarge as large:
            raise self._refused(f"would make {large}", operation) from None
        except Exception:  # noqa: BLE001 - it needs values; whatever is wrong, the real run says
            return

    def after(self, operation: mil.Operation, live_bytes: int) -> None:
        """Refuse when all live tensors together are beyond what is allowed for them."""
        if live_bytes > min(_LIVE_FACTOR * self._bytes, MEMORY_BYTES):
            raise self._refused(f"brings the live tensors to {format_bytes(live_bytes)}", operation)

    def _check_declared(self, function: mil.Function) -> None:
        for operation in walk(function.block):
            for named in operation.outputs:
                size = named.type.nbytes if isinstance(named.type, mil.TensorType) else None
                if size is not None and size > self._bytes:
                    raise self._refused(f"declares a tensor of {format_bytes(size)}", operation)

    def _refused(self, what: str, operation: mil.Operation) -> PackageError:
        return PackageError(
            self._package,
            f"{operation.type}: {what}, and {format_bytes(self._bytes)} are allowed for one tensor "
            "of this package; if you trust it, give a larger Limits(tensor_bytes=...)",
            op=operation.name,
            place=self._place,
        )


class _TooLarge(BaseException):
    """Not an Exception, so that no handler's own `except` swallows it."""


class _Sizes(TorchDispatchMode):
    """Sees every tensor that torch would make and stops at one beyond the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self._limit_bytes = limit_bytes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (list, tuple)) else (result,):
            if isinstance(value, torch.Tensor):
                # Of an expanded view only its storage counts.
                size = value.untyped_storage().nbytes()
                if size > self._limit_bytes:
                    raise _TooLarge(f"a tensor of {format_bytes(size)}")
        return result


def _weightless(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(
            value.shape, value.stride(), dtype=value.dtype, device="meta"
        )  # fmt: skip
    if isinstance(value, Packed):
        return Packed(_weightless(value.raw), value.type)
    if isinstance(value, (list, tuple)):
        return [_weightless(v) for v in value]
    return value


def _is_steady(function: mil.Function) -> bool:
    """Whether the same input shapes always make the same shapes throughout."""
    operations = list(walk(function.block))
    constants = {n.name for o in operations if o.type == "const" for n in o.outputs}
    for operation in operations:
        if operation.type in _ALWAYS_BY_VALUE:
            return False
        for name, bindings in operation.inputs.items():
            computed = any(isinstance(b, str) and b not in constants for b in bindings)
            if computed and name in _BY_VALUE.get(operation.type, ()):
                return False
    return True


def _file_bytes(package: Path) -> int:
    """Bytes of the package's regular files; at most a thousand are looked at."""
    total = 0
    for count, path in enumerate(package.rglob("*")):
        if count >= 1000:
            break
        if path.is_file() and not path.is_symlink():
            total += path.stat().st_size
    return total
