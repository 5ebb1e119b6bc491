"""What a package is, without running it: interface, bytes, operations, static memory peak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from entracte.reference import mil
from entracte.reference.errors import PackageError, malformed
from entracte.reference.liveness import activation_peak
from entracte.reference.reader import read_program


@dataclass(frozen=True, slots=True)
class Feature:
    """One input, output or state. `shape` has None where the package leaves a dimension open."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    """MIL type: 'fp16', 'fp32', 'int32', ..."""


@dataclass(frozen=True, slots=True)
class PackageInfo:
    """One function of a package as it is declared.

    Attributes:
        weight_bytes: bytes of weight blobs the function refers to, each record counted once.
        activation_peak_bytes: largest sum of live tensors over the program in its declared
            types, inputs and outputs included. Reshapes count as copies unless torch certainly
            shares their memory. None when a shape is open.
        functions: names of all functions of the package.
        operations: how often each operation type occurs, nested blocks included.
        deployment: the generation the program is written for, 15 to 18.
    """

    path: str
    function: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]
    weight_bytes: int
    activation_peak_bytes: int | None
    functions: tuple[str, ...]
    operations: Mapping[str, int]
    deployment: int


def describe(path: str | Path, function: str = "main") -> PackageInfo:
    """Read a package's declarations. Nothing is executed and no weight is read.

    Raises:
        PackageError: the package cannot be read, or has no such function.
    """
    program = read_program(path)
    with malformed(program.package):
        return describe_program(program, pick(program, function))


def pick(program: mil.Program, function: str) -> mil.Function:
    """A function by name; `main` also means the package's default function."""
    found = program.functions.get(function)
    if found is None and function == "main":
        found = program.functions[program.default]
    if found is None:
        known = ", ".join(sorted(program.functions))
        raise PackageError(program.package, f"no function {function!r}; it has {known}")
    return found


def describe_all(path: str | Path) -> tuple[int, dict[str, PackageInfo]]:
    """`package_weight_bytes`, and `describe` of every function, from one reading.

    Raises:
        PackageError: the package cannot be read.
    """
    program = read_program(path)
    with malformed(program.package):
        infos = {n: describe_program(program, f) for n, f in program.functions.items()}
        return _weight_bytes(program), infos


def package_weight_bytes(path: str | Path) -> int:
    """Bytes of the weight blobs of all functions, each record counted once.

    Raises:
        PackageError: the package cannot be read.
    """
    program = read_program(path)
    with malformed(program.package):
        return _weight_bytes(program)


def _weight_bytes(program: mil.Program) -> int:
    found = {k: v for f in program.functions.values() for k, v in blobs(f).items()}
    return sum(kind.nbytes or 0 for kind, _ in found.values())


def describe_program(program: mil.Program, function: mil.Function) -> PackageInfo:
    """The same for a program already read."""
    types = types_of(function)
    inputs = [n for n in function.inputs if isinstance(n.type, mil.TensorType)]
    states = [n for n in function.inputs if isinstance(n.type, mil.StateType)]
    return PackageInfo(
        path=program.package,
        function=function.name,
        inputs=tuple(_feature(n.name, n.type) for n in inputs),
        outputs=tuple(_feature(name, types.get(name)) for name in function.block.outputs),
        states=tuple(_feature(n.name, n.type) for n in states),
        weight_bytes=sum(kind.nbytes or 0 for kind, _ in blobs(function).values()),
        activation_peak_bytes=activation_peak(function),
        functions=tuple(program.functions),
        operations=dict(Counter(o.type for o in walk(function.block)).most_common()),
        deployment=function.opset,
    )


def walk(block: mil.Block) -> Iterator[mil.Operation]:
    """Every operation of a block and of the blocks inside it."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from walk(inner)


def types_of(function: mil.Function) -> dict[str, mil.Type]:
    """Declared types of the names of the outermost block."""
    types = {n.name: n.type for n in function.inputs}
    for operation in function.block.operations:
        types |= {n.name: n.type for n in operation.outputs}
    return types


def _feature(name: str, kind: mil.Type | None) -> Feature:
    if isinstance(kind, mil.StateType):
        kind = kind.wrapped
    if isinstance(kind, mil.TensorType):
        return Feature(name, kind.shape, kind.dtype)
    return Feature(name, (), kind.kind if isinstance(kind, mil.OtherType) else "list")


def blobs(function: mil.Function) -> dict[tuple[str, int], tuple[mil.TensorType, str]]:
    """(file, record offset) -> type and operation name of every weight the function refers to."""
    found: dict[tuple[str, int], tuple[mil.TensorType, str]] = {}
    for operation in walk(function.block):
        for bindings in operation.inputs.values():
            for binding in bindings:
                if not isinstance(binding, mil.Value) or binding.blob is None:
                    continue
                if isinstance(binding.type, mil.TensorType):
                    found[binding.blob] = binding.type, operation.name
    return found
