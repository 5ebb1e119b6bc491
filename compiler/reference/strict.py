"""What Core ML is known to refuse although coremltools writes it. Grows with evidence."""

from __future__ import annotations

from compiler.reference import program as ir
from compiler.reference.errors import PackageError
from compiler.reference.info import walk

MAX_RANK = 5


def lint(program: ir.Program, function: ir.Function) -> None:
    """Check a function against the known refusals (padding is checked while it is built).

    Raises:
        PackageError: all violations, each with its operation.
    """
    found = []
    for operation in walk(function.block):
        for named in operation.outputs:
            kind = named.type
            if operation.type.startswith(("const", "constexpr_")):
                continue
            if isinstance(kind, ir.TensorType) and len(kind.shape) > MAX_RANK:
                found.append(f"{operation.type} {named.name!r} has rank {len(kind.shape)}")
    if found:
        raise PackageError(
            program.package,
            f"Core ML takes ranks up to {MAX_RANK}: {'; '.join(found)}",
            place=f"function {function.name!r}",
        )
