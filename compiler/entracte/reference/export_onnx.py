"""A package as an ONNX model, through the device's own torch form, checked with ONNX Runtime.

torch.export follows a `portable` load of the package, torch.onnx writes what it saw, and ONNX
Runtime computes the file beside the device on the same seeded inputs. Only a file that agrees is
put in place. In the `round` policy every fp16 result is an explicit pair of casts, so rounding and
overflow survive in runtimes that compute fp16 in fp32; `hybrid` would lose them silently.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.disk.folder import fresh, open_to_readers
from entracte.disk.write import move
from entracte.reference import mil
from entracte.reference.errors import PackageError
from entracte.reference.info import pick, walk
from entracte.reference.onnx_check import (
    FP16_ERROR,
    FP32_ERROR,
    Agreement,
    compare,
    holds_fp16,
    random_inputs,
    runtime_version,
)
from entracte.reference.reader import read_program

if TYPE_CHECKING:
    from entracte.reference.loaded import Loaded

POLICIES = ("round", "fp32")
EXTERNAL_BYTES = 1 << 30
"""From here the weights go into a file of their own: one ONNX file cannot exceed 2 GiB."""

_UNFIT = {
    "control flow": ("cond", "while_loop"),
    "lists": ("make_list", "list_gather", "list_length", "list_read", "list_scatter", "list_write"),
    "states": ("read_state", "write_state", "coreml_update_state"),
    "random numbers": (
        "random_bernoulli", "random_categorical", "random_normal", "random_uniform",
    ),
    "results whose size depends on values": ("non_zero", "non_maximum_suppression"),
    "dictionaries": ("classify",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        files: the model, and its weights' file when they are beside it.
        nodes: ONNX operations.
        agreement: the comparison with ONNX Runtime; None when that is not installed.
        runtime: version of ONNX Runtime, empty when it is not installed.
    """

    files: tuple[Path, ...]
    nodes: int
    agreement: Agreement | None
    runtime: str

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)


def export_onnx(
    package: Path, out: Path, *, function: str = "main", policy: str = "round", seed: int = 0
) -> Exported:
    """Write one function of a package as an ONNX model.

    Args:
        package: the `.mlpackage` folder.
        out: ends in `.onnx`; replaced in one step or left alone. Weights of a GiB and more go into
            `<out>.data` beside it. The same package gives the same bytes.
        function: name of the function.
        policy: `round` keeps every fp16 rounding of the package visible, `fp32` computes (and
            takes and returns) fp32 throughout.
        seed: of the inputs on which the result is compared.

    Raises:
        PackageError: the package is unreadable or unsupported, holds what ONNX cannot follow (the
            operations are named), or the result disagrees with the device (no file is left).
    """
    _check_options(package, out, policy)
    program = read_program(package)
    chosen = pick(program, function)
    _refuse_unfit(program, chosen)
    _need("onnx", package)
    _need("onnxscript", package)
    from entracte.reference.loaded import load_portable

    inputs = random_inputs(package, chosen, seed)
    allowed = FP16_ERROR if policy == "round" and holds_fp16(chosen) else FP32_ERROR
    with (
        load_portable(program, function=function, policy=policy) as m,
        fresh(Path(os.path.realpath(out)).parent, out.name) as scratch,
    ):
        made = scratch / out.name
        nodes = _write(m, inputs, made)
        version = runtime_version()
        agreement = compare(m, inputs, made, allowed) if version else None
        if agreement is not None and not agreement.passed:
            raise _disagrees(package, agreement, version)
        return Exported(_put(made, out), nodes, agreement, version)


def _check_options(package: Path, out: Path, policy: str) -> None:
    if policy not in POLICIES:
        reason = "; hybrid keeps fp16 rounding inside operations, where ONNX Runtime drops it"
        raise PackageError(package, f"--policy {policy}: an export is {' or '.join(POLICIES)}"
                           + (reason if policy == "hybrid" else ""))  # fmt: skip
    if out.suffix != ".onnx":
        raise PackageError(package, f"cannot write {str(out)!r}: its name must end in .onnx")
    if not out.parent.is_dir():
        raise PackageError(package, f"cannot write {str(out)!r}: there is no such folder")


def _need(module: str, package: Path) -> None:
    try:
        __import__(module)
    except ImportError as error:
        raise PackageError(
            package, f"exporting needs the Python package {module}, which cannot be imported "
            f"({error}); `pip install {module}` or install entracte again",
        ) from None  # fmt: skip


def _refuse_unfit(program: mil.Program, function: mil.Function) -> None:
    """ONNX gets a straight line of operations on tensors of fixed shapes."""
    found = []
    operations = list(walk(function.block))
    for what, types in _UNFIT.items():
        names = [f"{o.type} {o.name!r}" for o in operations if o.type in types]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            found.append(f"{what} ({', '.join(names[:3])}{more})")
    flexible = program.interfaces[function.name].flexible
    for named in function.inputs:
        if isinstance(named.type, mil.StateType):
            found.append(f"state {named.name!r}")
        elif named.name in flexible or None in getattr(named.type, "shape", ()):
            found.append(f"input {named.name!r} of flexible shape")
    if found:
        raise PackageError(
            program.package,
            f"cannot be exported to ONNX, which gets fixed shapes and no data-dependent "
            f"execution; it has {'; '.join(found)}",
            place=f"function {function.name!r}",
        )


def _write(model: Loaded, inputs: dict[str, Any], path: Path) -> int:
    """Write the model; the number of its operations."""
    import onnx_ir

    graph = _converted(model, inputs)
    _clean(graph)
    whole = onnx_ir.Model(graph, ir_version=10, producer_name="entracte")
    weights = sum(v.const_value.nbytes for v in graph.initializers.values() if v.const_value)
    beside = f"{path.name}.data" if weights >= EXTERNAL_BYTES else None
    onnx_ir.save(whole, path, external_data=beside)
    return sum(1 for _ in graph.all_nodes())


def _clean(graph: Any) -> None:
    """Names that cannot meet the package's, and no notes: they name this machine's files."""
    inner = [*graph.initializers.values(), *(v for n in graph.all_nodes() for v in n.outputs)]
    inner = [v for v in inner if not v.is_graph_output() and not v.is_graph_input()]
    for number, value in enumerate(inner):
        # Core ML's names have no dot.
        value.name = f"value.{number}"
    for number, node in enumerate(graph.all_nodes()):
        node.name = f"node.{number}"
    for item in (graph, *graph.all_nodes(), *graph.inputs, *graph.outputs, *inner):
        item.metadata_props.clear()
        item.doc_string = None


def _converted(model: Loaded, inputs: dict[str, Any]) -> Any:
    """The program as an ONNX graph."""
    import torch

    class Form(torch.nn.Module):
        def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return _distinct(model.execute(values), values)

    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(Form(), tuple(model.prepared(inputs)), strict=False)
            converted = torch.onnx.export(
                program, (), dynamo=True, verbose=False,
                input_names=[f.name for f in model.info.inputs],
                output_names=[f.name for f in model.info.outputs],
            )  # fmt: skip
    except PackageError as error:
        message = f"{error.message}; ONNX gets no data-dependent execution"
        raise PackageError(error.package, message, op=error.op, place=error.place) from error
    except Exception as error:
        raise PackageError(
            model.info.path, f"torch cannot write it as ONNX: {_cause(error)}"
        ) from error
    assert converted is not None, "only a fake or a failed export gives nothing"
    return converted.model.graph


def _cause(error: BaseException) -> str:
    """The first line of what went wrong first, and of the operation where it did."""
    told = []
    current: BaseException | None = error
    while current is not None:
        told.append(str(current).strip().split("\n")[0][:300])
        current = current.__cause__
    place = next((line for line in told if line.startswith("Error when translating")), "")
    return f"{told[-1]} {place}".strip()


def _distinct(results: Sequence[Any], values: Sequence[Any]) -> tuple[Any, ...]:
    """Every output a value of its own: ONNX names it, and an input's name is taken."""
    taken = {id(v) for v in values}
    found = []
    for result in results:
        found.append(result.clone() if id(result) in taken else result)
        taken.add(id(result))
    return tuple(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx tells about every package it does without."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, \
                contextlib.redirect_stdout(nowhere):  # fmt: skip
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _disagrees(package: Path, agreement: Agreement, version: str) -> PackageError:
    return PackageError(
        package,
        f"the ONNX model disagrees with the device in ONNX Runtime {version}: {agreement}; no "
        "file was written. Please report the package",
    )


def _put(made: Path, out: Path) -> tuple[Path, ...]:
    """Move the files in place, the one that refers to the other last."""
    open_to_readers(made.parent)
    beside = made.with_name(f"{made.name}.data")
    files = []
    if beside.exists():
        files.append(Path(os.path.realpath(out)).with_name(beside.name))
        move(beside, files[-1])
    move(made, out, follow=True)
    return (out, *files)
