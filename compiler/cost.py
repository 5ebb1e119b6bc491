"""The cost model: nominal load and execution times of a chunk on a target.

load = overhead + bytes / bandwidth; execution = call overhead + roofline of operations and
moved bytes (Williams, Waterman, Patterson 2009). Times only decide how good a plan is; they
never decide whether it is safe.
"""

from compiler.ir import Bundle, Chunk, ChunkFacts, Target


def load_seconds(weight_bytes: int, target: Target) -> float:
    return target.load_overhead_s + weight_bytes / target.load_bandwidth


def exec_seconds(flops: int, moved_bytes: int, target: Target) -> float:
    return target.call_overhead_s + max(
        flops / target.compute_flops, moved_bytes / target.memory_bandwidth
    )


def predicted_facts(chunk: Chunk, target: Target) -> ChunkFacts:
    """What tracing says of a chunk, before it is converted."""
    return _facts(chunk, chunk.weight_bytes, 0, target)


def emitted_facts(
    chunks: tuple[Chunk, ...], bundle: Bundle, target: Target
) -> tuple[ChunkFacts, ...]:
    """What the packages on disk say. A package may need less than traced, or more."""
    by_id = {p.chunk: p for p in bundle.packages}
    return tuple(
        _facts(c, by_id[c.id].weight_bytes, by_id[c.id].activation_bytes, target) for c in chunks
    )


def _facts(chunk: Chunk, weight_bytes: int, emitted_bytes: int, target: Target) -> ChunkFacts:
    """A switch of function is planned for nowhere, so the hungriest function counts always."""
    traced_bytes = max([chunk.activation_bytes, *(v.activation_bytes for v in chunk.variants)])
    return ChunkFacts(
        id=chunk.id,
        weight_bytes=weight_bytes,
        activation_bytes=max(emitted_bytes, traced_bytes),
        load_s=load_seconds(weight_bytes, target),
        exec_s=exec_seconds(chunk.flops, chunk.moved_bytes, target),
        exec_by=tuple(
            (v.name, exec_seconds(v.flops, v.moved_bytes, target)) for v in chunk.variants
        ),
    )
