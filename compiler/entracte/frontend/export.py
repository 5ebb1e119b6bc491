"""A torch module becomes a clean ATen FX graph.

The path is the one measured in `reference/conversion.md` (1.2): `torch.export` ->
`run_decompositions({})` -> decomposition of only what the converter lacks -> clean-up. Attention,
normalisations and GELU stay single operations.

The graph depends on shapes alone: parameters may live on the meta device or be fake, and the
result is node for node the one that real parameters give.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram

from entracte.frontend.cleanup import clean, is_view, view_as_reshape
from entracte.frontend.errors import GraphError
from entracte.frontend.extract import ATEN, as_aten, is_aten
from entracte.frontend.narrow import narrow
from entracte.frontend.pairs import write_pairs
from entracte.frontend.place import line_of, refuse_sizes
from entracte.frontend.quicker import quicker
from entracte.frontend.rank.within import within_rank
from entracte.frontend.repeats.calls import AGAIN
from entracte.frontend.repeats.once import once
from entracte.frontend.repeats.spliced import Piece, names_made, unread
from entracte.frontend.repeats.whole import in_pieces
from entracte.frontend.returned import returning
from entracte.frontend.selected import compute_with_all
from entracte.frontend.simpler.table import SIMPLER, is_written_out
from entracte.frontend.uncompiled import uncompiled
from entracte.garbage import uncollected

__all__ = ["export_graph"]

_MOST_DIMENSIONS = 5
"""Of a value inside a graph: fewer than any runtime refuses, so it is no backend's own."""
_STAND_INS = ("SymInt", "SymFloat", "SymBool", "tensor subclasses", "FakeTensor")
"""What errors name where a value of a tensor was asked for (`.tolist()`, `.numpy()`)."""
_DECOMPOSITION_ROUNDS = 6
"""A decomposition may give an operation that must be decomposed itself; five rounds suffice for
everything tried, and more would only hide a cycle."""


def export_graph(
    module: nn.Module,
    args: tuple[Tensor, ...],
    is_convertible: Callable[[object], bool],
    outputs: Sequence[str] = (),
) -> ExportedProgram:
    """The clean ATen program of `module` called with `args`.

    Args:
        module: in eval mode; its parameters real, on the meta device, or FakeTensors.
        args: example inputs, positional; shapes and dtypes are baked in. Real, meta or fake.
        is_convertible: as of `Backend`; an operation that has no conversion is written in simpler
            terms.
        outputs: names of what `forward` returns, which is then held against them; without, it is
            a flat tuple of tensors.

    Returns:
        An ExportedProgram with functional ATen operations only, no aliases, clones, dropouts,
        assertions or guards, `aten.reshape` in place of `aten.view`, device kwargs `cpu`.

    Raises:
        GraphError: the module is in training mode, or torch.export refuses it (data-dependent
            control flow, for instance); the message names the module's class.
    """
    _check_eval(module)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        with (
            _on_cpu_shapes(module, args) as cpu_args,
            _quiet(),
            uncollected(),
            uncompiled(),
            quicker(),
        ):
            program = _joined(module, cpu_args, outputs, is_convertible)
            if program is None:
                program = _whole(module, cpu_args, outputs, is_convertible)
            clean(program)
            within_rank(program, _MOST_DIMENSIONS)
    return program


def _joined(
    module: nn.Module,
    args: tuple[Tensor, ...],
    outputs: Sequence[str],
    is_convertible: Callable[[object], bool],
) -> ExportedProgram | None:
    """Exported with each repeated module once; None where only all of it can be."""

    def export(part: nn.Module, given: tuple[Tensor, ...]) -> ExportedProgram:
        return _export(part, given, outputs if part is module else ())

    try:
        pieces = in_pieces(module, args, export)
        if pieces is None:
            return None
        _decompose(pieces.every, is_convertible)
        return pieces.joined()
    except Exception:  # noqa: BLE001  what is wrong with the module is told of all of it
        return None


def _whole(
    module: nn.Module,
    args: tuple[Tensor, ...],
    outputs: Sequence[str],
    is_convertible: Callable[[object], bool],
) -> ExportedProgram:
    piece = Piece(_export(module, args, outputs))
    if is_aten(module):
        whole = piece.program
        piece.program = as_aten(whole, whole.graph, whole.graph_signature)
    try:
        _decompose([piece], is_convertible)
    except GraphError:
        raise
    except Exception as error:
        raise GraphError(_undecomposed(module, error)) from error
    return piece.program


def _export(module: nn.Module, args: tuple[Tensor, ...], outputs: Sequence[str]) -> ExportedProgram:
    # There torch prints the graph that it refuses, past its log.
    with returning(module, outputs) as faults, contextlib.redirect_stderr(io.StringIO()):
        try:
            return torch.export.export(module, args, strict=False)
        except Exception as error:
            if faults:
                raise GraphError(f"{type(module).__name__}: {faults[0]}") from None
            raise GraphError(_refusal(module, args, error)) from error


def _check_eval(module: nn.Module) -> None:
    training = [name or "(root)" for name, child in module.named_modules() if child.training]
    if training:
        raise GraphError(
            f"{type(module).__name__}: module `{training[0]}` is in training mode; "
            "a compiled graph is for inference: call `.eval()` on the module first"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's log of a refusal, which has the graph: the message says what is needed."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _refusal(module: nn.Module, args: tuple[Tensor, ...], error: Exception) -> str:
    name, kind = type(module).__name__, type(error)
    first = next(iter(str(error).strip().splitlines()), "")
    told = f"{line_of(error) or 'it'}: {kind.__name__}: {first}"
    if kind.__module__ == "builtins" and not _reads_values(error):
        # what the model itself raises, called with any tensors
        given = ", ".join(str(tuple(arg.shape)) for arg in args)
        return f"{name}: `forward` fails with inputs of {given}: {told}"
    return (
        f"{name}: torch.export refuses {told}; the graph may depend on shapes only, never on "
        "tensor values (`.item()`, `.tolist()`, `if tensor:`): pass such values as Python numbers "
        "when the module is built, and what selects tokens as a mask"
    )


def _reads_values(error: Exception) -> bool:
    """Whether a model failed because it took a traced tensor's values into Python: torch then
    raises what the code that got a stand-in for them raises."""
    return any(part in str(error) for part in _STAND_INS)


def _undecomposed(module: nn.Module, error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return (
        f"{type(module).__name__}: its graph cannot be written in simpler operations: "
        f"{type(error).__name__}: {first[:300]}; sizes may depend on shapes only, and nothing may "
        "be changed in place that is not the module's own result"
    )


@contextlib.contextmanager
def _on_cpu_shapes(module: nn.Module, args: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """The arguments to export with, while the module's meta tensors stand in as fake CPU ones.

    Meta tensors cannot meet the CPU tensors that many modules create in `forward`; fake tensors on
    the CPU can. The module is put back as it was, also after an error.
    """
    mode = _fake_mode(module, args)
    if mode is None:
        yield tuple(arg.contiguous() for arg in args)
        return
    swapped: list[tuple[Any, str, Tensor]] = []
    made: dict[int, Tensor] = {}  # one stand-in per tensor, so that tied weights stay tied
    try:
        for child in module.modules():
            tables: tuple[Any, ...] = (child._parameters, child._buffers)
            for table in tables:
                for name, tensor in table.items():
                    if tensor is None or not _needs_stand_in(tensor):
                        continue
                    swapped.append((table, name, tensor))
                    table[name] = made.setdefault(id(tensor), _stand_in(tensor, mode))
        yield tuple(_fake_argument(arg, mode) for arg in args)
    finally:
        for table, name, tensor in swapped:
            table[name] = tensor


def _fake_mode(module: nn.Module, args: tuple[Tensor, ...]) -> FakeTensorMode | None:
    """The fake mode in use by any tensor, a new one if any tensor is meta, else None."""
    tensors = [*module.parameters(), *module.buffers(), *args]
    for tensor in tensors:
        if isinstance(tensor, FakeTensor):
            return tensor.fake_mode
    if any(tensor.device.type == "meta" for tensor in tensors):
        return FakeTensorMode(allow_non_fake_inputs=True)
    return None


def _needs_stand_in(tensor: Tensor) -> bool:
    return not isinstance(tensor, FakeTensor) and tensor.device.type == "meta"


def _stand_in(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    with mode:
        fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(fake, requires_grad=False)
    return fake


def _fake_argument(arg: Tensor, mode: FakeTensorMode) -> Tensor:
    if isinstance(arg, FakeTensor):
        return arg
    if arg.device.type == "meta":
        with mode:
            return torch.empty(arg.shape, dtype=arg.dtype, device="cpu")
    return mode.from_tensor(arg.contiguous())


def _decompose(pieces: Sequence[Piece], is_convertible: Callable[[object], bool]) -> None:
    """Functional ATen, with what the converter lacks written in simpler terms: the same in all
    pieces of a program."""
    _write([piece for piece in pieces if piece.program.dialect != ATEN], {})
    for piece in pieces:
        compute_with_all(piece.program)
        refuse_sizes(piece.program)
        narrow(piece.program)
        write_pairs(piece.program)
    for _ in range(_DECOMPOSITION_ROUNDS):
        wanted = _wanted(pieces, is_convertible)
        if not wanted:
            break
        _write(pieces, wanted)


def _wanted(
    pieces: Sequence[Piece], is_convertible: Callable[[object], bool]
) -> dict[object, object]:
    """The operations that must be written in others -> what writes them."""
    table = _decomposition_table()
    nodes = [n for piece in pieces for n in piece.program.graph.nodes if n.target is not AGAIN]
    calls = [node for node in nodes if node.op == "call_function"]
    wanted: dict[object, object] = {n.target: SIMPLER[n.target] for n in calls if is_written_out(n)}
    lacking = {n.target for n in calls if not is_convertible(n.target)} - set(SIMPLER)
    return wanted | {target: table[target] for target in lacking if target in table}


def _write(pieces: Sequence[Piece], table: dict[object, object]) -> None:
    for piece in pieces:
        piece.unread = unread(piece.program)
    written = once([p.program for p in pieces], table, lambda program: _written(program, table))
    for piece, found in zip(pieces, written, strict=True):
        if found is not None:
            piece.program, piece.names = found
            continue
        with names_made() as names:
            piece.program = _written(piece.program, table)
        piece.names = names


def _written(program: ExportedProgram, table: Any) -> ExportedProgram:
    """With these decompositions, nothing changed in place. Where torch gives attention's result
    other strides this time than when the model ran, a `view` of it is impossible, which was a
    `reshape` in the model."""
    try:
        program = program.run_decompositions(table)
    except Exception as error:
        if "Cannot view a tensor" not in str(error):
            raise
        for node in filter(is_view, program.graph.nodes):
            view_as_reshape(node)
        program.graph_module.recompile()
        program = program.run_decompositions(table)
    return program


@functools.cache
def _decomposition_table() -> dict[object, object]:
    defaults: Any = torch.export.default_decompositions()
    defaults = defaults.materialize() if hasattr(defaults, "materialize") else defaults
    # the defaults must win: the general table maps where.ScalarOther to a prim
    return {**torch._decomp.decomposition_table, **defaults}
