"""One chunk becomes one .mlpackage."""

from __future__ import annotations

import contextlib
import gc
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from entracte.declare.scheme import PRECISION_FLOORS_DB, Scheme
from entracte.disk import left
from entracte.disk.folder import fresh, put
from entracte.errors import EntracteError
from entracte.frontend.backend import Backend
from entracte.frontend.export import export_graph
from entracte.frontend.place import by_target, places_of, refuse_unconvertible
from entracte.frontend.precision import fp32_operations
from entracte.frontend.steady import steady_norms
from entracte.frontend.uncompiled import uncompiled
from entracte.lower import package
from entracte.lower.arguments import check_arguments_read
from entracte.lower.backend import CORE_ML
from entracte.lower.boundary import Copy, check_inputs_used, settle_outputs, user_inputs
from entracte.lower.compress import check_compression, compress
from entracte.lower.errors import LowerError, full_disk
from entracte.lower.islands import fp16_selector
from entracte.lower.ports import DType, Port, check_arguments, check_distinct, check_ports
from entracte.lower.quiet import TAIL_CHARS, captured_output, coremltools
from entracte.lower.registrations import FAILED_NODE, install_cures
from entracte.lower.targets import target_of
from entracte.lower.values import check_numbers, check_weights, clamp_masks
from entracte.lower.watched import watching

__all__ = ["Conversion", "ConversionFacts", "convert_chunk"]

_SAID_CHARS = 300
"""How much of coremltools' own text a message holds; the log has all of it."""

_NUMPY = {DType.FP16: np.float16, DType.FP32: np.float32, DType.INT32: np.int32}


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a chunk is converted.

    Attributes:
        precision: `fp16` (with fp32 islands, see `islands`) or `fp32`.
        deployment: a coremltools target: `iOS17`, `iOS18`, `macOS14`, ...
        compression: a name of `SCHEMES`, or `none`.
        fp32_ops: names of nodes that an fp16 program shall compute in fp32, for instance
            `fp32_values` of the stage's graph; those that the chunk does not have are ignored.
        backend: what the chunk was cut for.
        islands: nodes of which an fp16 program shall compute everything in fp32, also what their
            conversion decomposes them into; names as for `fp32_ops`.
    """

    precision: str
    deployment: str
    compression: str
    fp32_ops: Collection[str] = ()
    backend: Backend = CORE_ML
    islands: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class ConversionFacts:
    """What one conversion made, as found on disk."""

    digest: str
    """`package.canonical_digest` of the package."""
    package_bytes: int
    weight_bytes: int
    op_counts: tuple[tuple[str, int], ...]
    """MIL operation types and how often each occurs, constants left out, sorted by name."""
    compressed_tensors: int
    """Weights stored compressed (constexpr operations)."""
    fp32_values: int
    """Values an fp16 program computes in fp32 (its islands); for fp32 all of them."""
    clamped: tuple[str, ...]
    """Graph nodes and constants whose mask values were made finite for fp16."""


def convert_chunk(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    *,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    how: Conversion,
    path: Path,
) -> ConversionFacts:
    """Convert `module` and write it to `path`, which is replaced in one step or left alone.

    Args:
        module: a chunk from `extract`, or any module whose forward returns a tuple of tensors.
        example_inputs: one tensor per input port, in the dtype that the module expects.
        inputs: the package's inputs; names, shapes and dtypes are taken exactly as given. Their
            dtype may differ from the module's: an fp16 port feeds an fp32 module.
        outputs: the package's outputs, in the order in which the module returns them.
        path: ends in `.mlpackage`; parent folders are made.

    Returns:
        Facts read back from the package. The same arguments give the same bytes in any process.

    Raises:
        LowerError: a port, weight, target or scheme that cannot be; an operation that does not
            convert; the message holds the tail of what coremltools said.
    """
    check_ports(inputs, "input", how.backend.max_rank)
    check_ports(outputs, "output", how.backend.max_rank)
    check_distinct(inputs, outputs)
    check_arguments(inputs, example_inputs)
    _check_options(how.precision, path)
    target = target_of(how.deployment)
    scheme = check_compression(how.compression, how.deployment)
    places: dict[str, str] = {}
    gc.collect()  # coremltools' graph is cyclic: an earlier one would still hold its weights
    with _scratch(path) as scratch, _told(places, path.parent), uncompiled():
        program = _export(module, example_inputs, how.backend, places)
        check_numbers(program, places)
        selected = _selected(module, program, inputs, how)
        repaired = _own_names(module, program, how.islands)
        copies, clamped = _prepare(program, inputs, outputs, how.precision, repaired)
        kept = [port for port in outputs if port.name not in {copy.port.name for copy in copies}]
        made = scratch / "dense.mlpackage"
        in_fp16 = None
        numbers = {node.name: i for i, node in enumerate(program.graph.nodes)}
        if how.precision == "fp16":
            islands = {numbers[name] for name in repaired if name in numbers}
            in_fp16 = fp16_selector(how.backend.own_islands, selected, islands)
        check_arguments_read(program, target, places)
        with watching(numbers, places):
            _convert(program, inputs, kept, target, made, in_fp16)
        del program
        copies = _with_merged(copies, package.drop_repeated(made, [p.name for p in kept]), kept)
        made = _finish(made, scheme, copies, outputs)
        facts = _facts(made, tuple(clamped))
        _check_features(made, inputs, outputs)
        _replace(made, path, scratch)
    return facts


def _check_options(precision: str, path: Path) -> None:
    if precision not in PRECISION_FLOORS_DB:
        raise LowerError(f"precision={precision}: not one of {', '.join(PRECISION_FLOORS_DB)}")
    if path.suffix != ".mlpackage":
        raise LowerError(f"{path}: a package's name ends in .mlpackage")


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder beside `path` that also takes coremltools' temporary files, removed at the end.

    coremltools keeps temporary packages until the interpreter exits, and forgets them altogether
    when the process is killed: what an earlier, killed conversion left is removed here.
    """
    left.sweep(path.parent, path)
    with fresh(path.parent, path.name) as folder:
        previous = tempfile.tempdir
        tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = previous


@contextlib.contextmanager
def _told(places: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Silence inside; whatever fails leaves as a LowerError, with what was said as its note.

    `places`, filled inside, are those of the operations in the model's source; the package is
    written in `folder`.
    """
    said: list[str] = []
    try:
        with captured_output() as said:
            yield
    except Exception as error:
        refusal = error
        if not isinstance(error, LowerError):
            refusal = LowerError(full_disk(error, folder) or _explain(error, places))
        if said and said[0]:
            refusal.add_note(f"coremltools said:\n{said[0][-TAIL_CHARS:]}")
        raise refusal from (error.__cause__ if refusal is error else error)


def _export(
    module: nn.Module,
    example_inputs: tuple[Tensor, ...],
    backend: Backend,
    places: dict[str, str],
) -> ExportedProgram:
    install_cures()
    args = tuple(arg.contiguous() for arg in example_inputs)
    program = export_graph(module, args, backend.is_convertible)
    places.update(places_of(module, program))
    refuse_unconvertible(program, backend.is_convertible, places)
    return program


def _prepare(
    program: ExportedProgram,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    precision: str,
    in_fp32: Collection[str],
) -> tuple[list[Copy], list[str]]:
    """Make the graph, in place, one that the converter takes.

    Returns:
        The copies to add to the finished package; what was clamped, as in `ConversionFacts`.
    """
    check_inputs_used(program, inputs)
    lowest = check_weights(program)
    clamped = clamp_masks(program, lowest) if precision == "fp16" else []
    if precision == "fp16":
        steady_norms(program, in_fp32)
    _, copies = settle_outputs(program, inputs, outputs)
    return copies, clamped


def _selected(
    module: nn.Module, program: ExportedProgram, inputs: Sequence[Port], how: Conversion
) -> frozenset[str]:
    """Names of the operations of `program` that an fp16 package computes in fp32."""
    if how.precision != "fp16":
        return frozenset()
    named = _own_names(module, program, how.fp32_ops)
    given = zip(user_inputs(program), inputs, strict=True)
    wide = {node.name for node, port in given if port.dtype is DType.FP32}
    return fp32_operations(program, how.backend.aten_islands, named | wide) | named


def _own_names(module: nn.Module, program: ExportedProgram, names: Collection[str]) -> set[str]:
    """What the nodes of `module`, called `names`, are called in `program`.

    Exporting numbers the operations of an extracted piece anew. The piece is clean already, so its
    operations of one kind come out in the same order and number, which gives the correspondence.
    """
    if not isinstance(module, GraphModule):
        return set(names)
    found = set()
    theirs_by_target = by_target(program.graph)
    for kind, mine in by_target(module.graph).items():
        theirs = theirs_by_target.get(kind, [])
        wanted = set(mine) & set(names)
        if wanted and len(mine) != len(theirs):
            raise LowerError(
                f"fp32_ops: cannot tell which of {len(theirs)} {kind} are {sorted(wanted)}: "
                f"the chunk was extracted with {len(mine)}; convert it with precision=fp32"
            )
        found |= {new for old, new in zip(mine, theirs, strict=False) if old in wanted}
    return found


def _convert(
    program: ExportedProgram,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    target: Any,
    path: Path,
    in_fp16: Callable[[Any], bool] | None,
) -> None:
    """Write the package at `path`; in fp32, or in fp16 what the selector `in_fp16` says."""
    ct = coremltools()
    from coremltools.converters.mil.converter import _reset_conversion_state

    _reset_conversion_state()  # a failed conversion leaves its name counters behind
    passes = ct.PassPipeline.DEFAULT
    compute = ct.precision.FLOAT32
    if in_fp16 is None:
        # turns GroupNorm's scale and shift into batch_norm with epsilon 1e-5: 5e-6 off each time
        passes.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    else:
        compute = ct.transform.FP16ComputePrecision(op_selector=in_fp16)
    ct.convert(
        program,
        inputs=[
            ct.TensorType(name=port.name, shape=port.shape, dtype=_NUMPY[port.dtype])
            for port in inputs
        ],
        outputs=[ct.TensorType(name=port.name, dtype=_NUMPY[port.dtype]) for port in outputs],
        minimum_deployment_target=target,
        compute_precision=compute,
        compute_units=ct.ComputeUnit.ALL,
        pass_pipeline=passes,
        package_dir=str(path),
        skip_model_load=True,
    )


def _with_merged(
    copies: Sequence[Copy], merged: Mapping[str, str], kept: Sequence[Port]
) -> list[Copy]:
    """With those outputs that coremltools found to be others, once more."""
    again = [Copy(port, merged[port.name]) for port in kept if port.name in merged]
    sources = (merged.get(copy.source, copy.source) for copy in copies)
    return again + [replace(c, source=s) for c, s in zip(copies, sources, strict=True)]


def _finish(
    made: Path, scheme: Scheme | None, copies: Sequence[Copy], outputs: Sequence[Port]
) -> Path:
    """Compress, add repeated outputs, normalise; the folder that holds the result."""
    if scheme is not None:
        gc.collect()  # as above
        dense, made = made, made.with_name("compressed.mlpackage")
        compress(dense, scheme, made)
    if copies:
        package.add_copies(made, copies, [port.name for port in outputs])
    package.normalise(made)
    return made


def _check_features(made: Path, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """The last word: the package declares exactly the ports that were asked for."""
    found = package.described_ports(made)
    for role, ports in (("input", inputs), ("output", outputs)):
        wanted = [(port.name, tuple(port.shape), port.dtype) for port in ports]
        if sorted(found[role]) != sorted(wanted):
            raise LowerError(
                f"coremltools changed the {role}s: asked for {wanted}, the package has "
                f"{found[role]}; this is a fault of the converter, please report the chunk"
            )


def _facts(made: Path, clamped: tuple[str, ...]) -> ConversionFacts:
    spec = package.read_spec(made)
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    counts = Counter(op.type for op in block.operations if op.type != "const")
    fp32 = sum(
        value.type.tensorType.dataType == package.FLOAT32
        for op in block.operations
        if op.type not in ("const", "cast")
        for value in op.outputs
    )
    weights = made / package.WEIGHT_FILE
    return ConversionFacts(
        digest=package.canonical_digest(made),
        package_bytes=sum(file.stat().st_size for file in made.rglob("*") if file.is_file()),
        weight_bytes=weights.stat().st_size if weights.exists() else 0,
        op_counts=tuple(sorted(counts.items())),
        compressed_tensors=sum(n for kind, n in counts.items() if kind.startswith("constexpr_")),
        fp32_values=fp32,
        clamped=clamped,
    )


def _explain(error: Exception, places: Mapping[str, str]) -> str:
    """The fault in one line: where in the model, which operation, what was said, a way out."""
    if isinstance(error, EntracteError):
        return str(error)
    name, kind = getattr(error, FAILED_NODE, ("", ""))
    text = " ".join(f"{type(error).__name__}: {error}".split())
    text = text if len(text) <= _SAID_CHARS else f"{text[:_SAID_CHARS]} ..."
    if not name:
        named = (
            n
            for n in places
            if re.search(rf"\b{re.escape(n)}(_\d+)*(_cast_fp\d\d)?(_\d+)*\b", str(error))
        )
        name = max(named, key=len, default="")
    where = f"{places[name]}: " if name in places else ""
    what = f"`{kind}` " if kind else ""
    return (
        f"{where}{what}does not convert: coremltools says {text}; write this line with other "
        "operations, or compute it in a host step"
    )


def _replace(made: Path, path: Path, scratch: Path) -> None:
    """Put `made`, of the folder `scratch`, at `path`; what was there goes with the folder."""
    assert made.parent == scratch
    put(made, path)
