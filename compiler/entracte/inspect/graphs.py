"""Chunks that run one graph with their weights as its inputs, in words."""

from entracte.ir import Plan
from entracte.units import format_bytes

__all__ = ["disk_bytes", "shared_lines"]


def shared_lines(plan: Plan) -> list[str]:
    """A line for each graph that several chunks share."""
    weights = {f.id: f.weight_bytes for f in plan.facts}
    packages = {p.chunk: p for p in plan.packages}
    of: dict[str, list[str]] = {}
    for chunk in plan.chunks:
        if chunk.shares:
            of.setdefault(chunk.shares, []).append(chunk.id)
    lines = []
    for first, chunks in of.items():
        held = format_bytes(sum(weights[c] for c in chunks))
        package = packages.get(first)
        size = f" of {format_bytes(package.file_bytes)}" if package is not None else ""
        lines.append(
            f"{chunks[0]} to {chunks[-1]}: {len(chunks)} chunks run one graph{size}, {held} of "
            "weights are its inputs; copies of them that a runtime may make count in activations "
            "and time"
        )
    return lines


def disk_bytes(plan: Plan) -> int:
    """Of packages, and of the arrays beside a graph; a graph that chunks share is there once."""
    files = {p.path: p.file_bytes for p in plan.packages}
    return sum(files.values()) + sum(p.arrays.file_bytes for p in plan.packages if p.arrays)
