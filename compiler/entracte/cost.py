"""The cost model: nominal load and execution times of a chunk on a target.

    load = overhead + bytes / bandwidth           a package's first load in a run: cold bandwidth
    call = call overhead + sum over the classes of operations of
           max(FLOPs / (compute_flops x efficiency), bytes moved / memory bandwidth)

the roofline of Williams, Waterman and Patterson (2009), once for each class, because classes run
one after the other. Times only decide how good a plan is; they never decide whether it is safe.
What the figures of a target mean, and where they are from: docs/cost-model.md.
"""

from collections.abc import Sequence

from entracte.ir import Bundle, Chunk, ChunkFacts, Op, Target, Variant, Work

MATMUL, CONV, ATTENTION, ELEMENTWISE, MOVE = "matmul", "conv", "attention", "elementwise", "move"
CLASSES = (MATMUL, CONV, ATTENTION, ELEMENTWISE, MOVE)
"""Matrix products, convolutions, fused attention, one result per element (normalisation and
softmax too), and copies that compute nothing."""

_CLASS_OF = {
    "linear": MATMUL,
    "mm": MATMUL,
    "bmm": MATMUL,
    "matmul": MATMUL,
    "addmm": MATMUL,
    "baddbmm": MATMUL,
    "convolution": CONV,
    "conv1d": CONV,
    "conv2d": CONV,
    "conv3d": CONV,
    "scaled_dot_product_attention": ATTENTION,
}


def class_of(op: Op) -> str:
    """The class of an operation; what makes no FLOPs moves."""
    return _CLASS_OF.get(op.kind, ELEMENTWISE if op.flops else MOVE)


def work_of(ops: Sequence[Op], weight_size: dict[str, int], input_bytes: int) -> tuple[Work, ...]:
    """FLOPs and bytes of a chunk's operations by class.

    A result is written once and read once, a weight is read where it is used first, the chunk's
    inputs are read by copies; blocks of attention read keys and values again. Views move nothing.
    """
    flops = dict.fromkeys(CLASSES, 0)
    moved = dict.fromkeys(CLASSES, 0) | {MOVE: input_bytes}
    seen: set[str] = set()
    for op in ops:
        kind = class_of(op)
        if op.weights:
            fresh = set(op.weights) - seen
            seen |= fresh
            moved[kind] += sum(weight_size[w] for w in fresh)
        flops[kind] += op.flops
        moved[kind] += (0 if op.alias else 2 * op.output_bytes) + op.reread_bytes
    return tuple(Work(k, flops[k], moved[k]) for k in CLASSES if flops[k] or moved[k])


def load_seconds(weight_bytes: int, target: Target) -> float:
    """Seconds of a load that is not the first of its package."""
    return target.load_overhead_s + weight_bytes / target.load_bandwidth


def cold_seconds(weight_bytes: int, target: Target) -> float:
    """Seconds that a package's first load in a run takes more."""
    if target.cold_bandwidth is None:
        return 0.0
    return max(0.0, weight_bytes / target.cold_bandwidth - weight_bytes / target.load_bandwidth)


def exec_seconds(part: Chunk | Variant, target: Target) -> float:
    """Seconds of one call. Work that is not told apart counts as matrix products."""
    work = part.work or (Work(MATMUL, part.flops, part.moved_bytes),)
    return target.call_overhead_s + sum(work_seconds(w, target) for w in work)


def work_seconds(work: Work, target: Target) -> float:
    """Seconds of the operations of one class."""
    share = dict(target.efficiency).get(work.kind, 1.0)
    return max(
        work.flops / (target.compute_flops * share), work.moved_bytes / target.memory_bandwidth
    )


def traced_activation_bytes(chunk: Chunk) -> int:
    """The hungriest function's: a switch of function is planned for nowhere, so it counts always.
    Weights that are inputs count once more, as copies that a runtime may make of its inputs."""
    own = max([chunk.activation_bytes, *(v.activation_bytes for v in chunk.variants)])
    return own + (chunk.weight_bytes if chunk.shares else 0)


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


def facts_on(
    chunks: Sequence[Chunk], facts: Sequence[ChunkFacts], target: Target
) -> tuple[ChunkFacts, ...]:
    """What is known of chunks, with the seconds that they take on another target.

    Args:
        facts: of all `chunks`, in any order.
    """
    by_id = {c.id: c for c in chunks}
    return tuple(_facts(by_id[f.id], f.weight_bytes, f.activation_bytes, target) for f in facts)


def _facts(chunk: Chunk, weight_bytes: int, emitted_bytes: int, target: Target) -> ChunkFacts:
    load_s, cold_s = _load(chunk, weight_bytes, target)
    copies_s = 2 * weight_bytes / target.memory_bandwidth if chunk.shares else 0.0
    return ChunkFacts(
        id=chunk.id,
        weight_bytes=weight_bytes,
        activation_bytes=max(emitted_bytes, traced_activation_bytes(chunk)),
        load_s=load_s,
        exec_s=exec_seconds(chunk, target) + copies_s,
        cold_s=cold_s,
        exec_by=tuple((v.name, exec_seconds(v, target)) for v in chunk.variants),
    )


def _load(chunk: Chunk, weight_bytes: int, target: Target) -> tuple[float, float]:
    """Seconds of a load, and how many more its first one takes. Arrays are read, and no more; the
    graph that they are inputs of is loaded once, with the first chunk that it serves."""
    if chunk.shares:
        graph_s = target.load_overhead_s if chunk.shares == chunk.id else 0.0
        return weight_bytes / target.load_bandwidth, graph_s
    return load_seconds(weight_bytes, target), cold_seconds(weight_bytes, target)
