"""StageGraph -> chunks, by dynamic programming over the cuts.

In a linear order of the operations every position has a frontier: the values that would cross
it. Chunks are the intervals between chosen frontiers. For a bound on the weights of a chunk,
`cut_stage` finds the cheapest legal cuts: a boundary costs its bytes twice (written, read) and
a call; among equally cheap ones the most equal weights win, because equal chunks stream best
(shared reference scheduling.md, section 6).
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

from entracte.cost import work_of
from entracte.decide.activations import activation_peak
from entracte.decide.align import aligned, rising
from entracte.ir import Chunk, Cut, Frontier, Op, Port, StageGraph, Target, Variant, Work

_CANDIDATES = 96
"""Cuts kept for the dynamic programme: the cheapest of each stretch of the stage."""


@dataclass(frozen=True)
class Measured:
    """A stage graph with what the search asks again and again, computed once."""

    graph: StageGraph
    blocks: tuple[int, ...] = ()
    """Where equal blocks begin and end, if they are to be chunks."""

    @cached_property
    def weight_size(self) -> dict[str, int]:
        """Weight -> its bytes."""
        return {w.name: w.size_bytes for w in self.graph.weights}

    @cached_property
    def read_as(self) -> dict[str, Port]:
        """What operations read, as a chunk's input; graph inputs have their own names."""
        return {v.name: v for v in (*self.graph.values, *self.graph.inputs)}

    @cached_property
    def written_as(self) -> dict[str, Port]:
        """What operations make, as a chunk's output."""
        return {v.name: v for v in (*self.graph.values, *self.graph.outputs)}

    @cached_property
    def final(self) -> frozenset[str]:
        """Names of the graph's outputs."""
        return frozenset(p.name for p in self.graph.outputs)

    @cached_property
    def made_at(self) -> dict[str, int]:
        """The index of the op that makes a value."""
        return {op.name: i for i, op in enumerate(self.graph.ops)}

    @cached_property
    def last_read(self) -> dict[str, int]:
        """The index of the last op that reads a value."""
        return {name: i for i, op in enumerate(self.graph.ops) for name in op.inputs}

    @cached_property
    def position_weights(self) -> list[int]:
        """Bytes of weights first used before each position (a running sum)."""
        sums = self.weights_beside(frozenset())
        for other, places in self.others:
            _add_own_weights(sums, self, other, places)
        return sums

    def weights_beside(self, known: Set[str]) -> list[int]:
        """The same of this graph's own operations, without weights that are `known`."""
        seen, sums = set(known), [0]
        for op in self.graph.ops:
            fresh = set(op.weights) - seen
            seen |= fresh
            sums.append(sums[-1] + sum(self.weight_size[w] for w in fresh))
        return sums

    @cached_property
    def crossing_bytes(self) -> dict[int, int]:
        """Bytes that cross each cut, in all graphs with these weights; the ends of the stage cost
        nothing extra."""
        crossing = {c.position: c.size_bytes for c in self.graph.cuts}
        for other, places in self.others:
            size = {c.position: c.size_bytes for c in other.graph.cuts}
            for position in crossing:
                crossing[position] += size.get(places.get(position, 0), 0)
        return crossing

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """Where the graph may be cut, and with it those of other stages with its weights."""
        if not self.others:
            return self.graph.cuts
        price = {c.position: c.size_bytes for c in self.graph.cuts}
        kept = set(rising([places for _, places in self.others], price))
        return tuple(c for c in self.graph.cuts if c.position in kept)

    @cached_property
    def positions(self) -> list[int]:
        """Candidate cuts, both ends included."""
        total = len(self.graph.ops)
        inner = [c for c in self.cuts if 0 < c.position < total]
        kept = {*_thin(inner, self.position_weights), *self.fences} - {0, total}
        return [0, *sorted(kept), total]

    @property
    def fences(self) -> tuple[int, ...]:
        """Where the graph is cut in any case: what rests lies between, or a block."""
        return (*(self.graph.rests or ()), *self.blocks)

    @cached_property
    def variants(self) -> tuple["Measured", ...]:
        """The graph's other functions, measured."""
        return tuple(Measured(v) for v in self.graph.variants)

    @cached_property
    def others(self) -> tuple[tuple["Measured", dict[int, int]], ...]:
        """The graphs of other stages with these weights: position here -> position there."""
        own = self.graph.stage
        theirs = (v for v in self.variants if v.graph.stage != own)
        return tuple((v, aligned(self.graph, v.graph)) for v in theirs)

    @cached_property
    def position_of(self) -> dict[Frontier, int]:
        """The last position of a frontier."""
        return {frontier: position for position, frontier in self.frontier_at.items()}

    @cached_property
    def frontier_at(self) -> dict[int, Frontier]:
        """By the position of a cut."""
        return dict(zip((c.position for c in self.graph.cuts), self.graph.frontiers, strict=True))

    def chunk(self, start: int, stop: int, index: int) -> Chunk:
        """Ops [start, stop) as the graph's chunk number `index`."""
        key = (start, stop, index)
        if key not in self._chunks:
            self._chunks[key] = _measure(self, *key)
        return self._chunks[key]

    @cached_property
    def _chunks(self) -> dict[tuple[int, int, int], Chunk]:
        """Those that were asked for."""
        return {}

    @cached_property
    def needs(self) -> "dict[tuple[int, int], _Needs]":
        """Of the runs of operations that were asked for; a chunk has another number elsewhere."""
        return {}


def _thin(cuts: Sequence[Cut], weights_before: list[int]) -> list[int]:
    """The cheapest cut of each stretch between operations that bring weights."""
    best: dict[int, Cut] = {}
    for cut in cuts:
        stretch = weights_before[cut.position]
        if stretch not in best or cut.size_bytes < best[stretch].size_bytes:
            best[stretch] = cut
    kept = sorted(best.values(), key=lambda c: c.position)
    while len(kept) > _CANDIDATES:
        # Drop the dearer of each neighbouring pair until few enough are left.
        pairs = [kept[i : i + 2] for i in range(0, len(kept), 2)]
        kept = [min(p, key=lambda c: (c.size_bytes, c.position)) for p in pairs]
    return [c.position for c in kept]


def _add_own_weights(
    sums: list[int], main: Measured, other: Measured, places: dict[int, int]
) -> None:
    """Bytes of the weights that only the other graph has, from where they are used on."""
    theirs, added = other.weights_beside(main.weight_size.keys()), 0
    for position in range(len(sums)):
        added = theirs[places[position]] if position in places else added
        sums[position] += added


def cut_stage(
    measured: Measured, weight_limit: int, target: Target, calls: int
) -> tuple[Chunk, ...]:
    """Chunks of at most `weight_limit` bytes where the cuts allow it, cheapest boundaries.

    Where one operation's weights exceed the limit, or no legal cut is near enough, that chunk
    alone is larger. `calls` is how often the stage runs per video.
    """
    positions = measured.positions
    limit = min(weight_limit, target.chunk_limit_bytes)
    best: list[tuple[float, float, int]] = [(0.0, 0.0, -1)]
    for j in range(1, len(positions)):
        boundary_s = _boundary_cost(measured, positions[j], target, calls)
        best.append(_best_last(measured, positions, best, j, limit, boundary_s))
    ends, j = [len(positions) - 1], len(positions) - 1
    while (j := best[j][2]) > 0:
        ends.append(j)
    stops = [positions[e] for e in reversed(ends)]
    starts = [0, *stops[:-1]]
    return tuple(
        measured.chunk(a, b, i) for i, (a, b) in enumerate(zip(starts, stops, strict=True))
    )


def _best_last(
    measured: Measured,
    positions: list[int],
    best: list[tuple[float, float, int]],
    j: int,
    limit: int,
    boundary_s: float,
) -> tuple[float, float, int]:
    """(seconds of all boundaries, unevenness, where the last piece starts) of the cheapest cuts up
    to `positions[j]`, whose own boundary costs `boundary_s`."""
    weights = measured.position_weights
    options = []
    for i in range(j - 1, -1, -1):
        size = weights[positions[j]] - weights[positions[i]]
        if i < j - 1 and (size > limit or positions[i + 1] in measured.fences):
            break
        cost = best[i][0] + boundary_s
        options.append((cost, best[i][1] + (size / max(1, limit)) ** 2, i))
    return min(options)


def _boundary_cost(measured: Measured, position: int, target: Target, calls: int) -> float:
    crossing = measured.crossing_bytes.get(position, 0)
    per_call = target.call_overhead_s + 2 * crossing / target.memory_bandwidth
    return calls * per_call + target.load_overhead_s


def _measure(m: Measured, start: int, stop: int, index: int) -> Chunk:
    needs = _needs(m, start, stop)
    others = [_other(v, places, start, stop) for v, places in m.others]
    own = tuple(_variant(m, v, start, stop) for v in m.variants if v.graph.stage == m.graph.stage)
    return Chunk(
        id=f"{m.graph.name}.{index:02d}",
        graph=m.graph.name,
        start=start,
        stop=stop,
        inputs=needs.inputs,
        outputs=needs.outputs,
        weight_bytes=_weight_bytes(m, start, stop, others),
        activation_bytes=needs.activation_bytes,
        flops=needs.flops,
        moved_bytes=needs.moved_bytes,
        variants=(*own, *others),
        work=needs.work,
    )


def _weight_bytes(m: Measured, start: int, stop: int, others: Sequence[Variant]) -> int:
    """Of what any of the stages uses."""
    size = {w: m.weight_size[w] for op in m.graph.ops[start:stop] for w in op.weights}
    for variant, (other, _) in zip(others, m.others, strict=True):
        ops = other.graph.ops[variant.start : variant.stop]
        size |= {w: other.weight_size[w] for op in ops for w in op.weights}
    return sum(size.values())


@dataclass(frozen=True)
class _Needs:
    """What a run of operations needs."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    activation_bytes: int
    flops: int
    moved_bytes: int
    work: tuple[Work, ...]


def _needs(m: Measured, start: int, stop: int) -> _Needs:
    if (start, stop) not in m.needs:
        m.needs[start, stop] = _needs_anew(m, start, stop)
    return m.needs[start, stop]


def _needs_anew(m: Measured, start: int, stop: int) -> _Needs:
    ops = m.graph.ops[start:stop]
    inputs = _inputs(m, ops, start)
    outputs = _outputs(m, ops, stop)
    work = work_of(ops, m.weight_size, sum(p.size_bytes for p in inputs))
    return _Needs(
        inputs=inputs,
        outputs=outputs,
        activation_bytes=activation_peak(ops, inputs, outputs),
        flops=sum(w.flops for w in work),
        moved_bytes=sum(w.moved_bytes for w in work),
        work=work,
    )


def _variant(m: Measured, variant: Measured, start: int, stop: int) -> Variant:
    """The same chunk in another function: between the same frontiers."""

    def place(position: int) -> int:
        if position in (0, len(m.graph.ops)):
            return 0 if position == 0 else len(variant.graph.ops)
        return variant.position_of[m.frontier_at[position]]

    first, last = place(start), place(stop)
    name = variant.graph.name.rpartition("@")[2]
    return _function(name, first, last, _needs(variant, first, last))


def _other(other: Measured, places: dict[int, int], start: int, stop: int) -> Variant:
    """The operations of another stage with the same weights."""
    first, last = places[start], places[stop]
    needs = _needs(other, first, last)
    made = _function(other.graph.stage, first, last, needs)
    return replace(made, graph=other.graph.name, inputs=needs.inputs, outputs=needs.outputs)


def _function(name: str, start: int, stop: int, needs: _Needs) -> Variant:
    """Operations [start, stop) of a graph, which need that, as a function of a package."""
    return Variant(
        name=name,
        start=start,
        stop=stop,
        activation_bytes=needs.activation_bytes,
        flops=needs.flops,
        moved_bytes=needs.moved_bytes,
        work=needs.work,
    )


def _inputs(m: Measured, ops: Sequence[Op], start: int) -> tuple[Port, ...]:
    made_at = m.made_at
    read = dict.fromkeys(name for op in ops for name in op.inputs)
    names = [name for name in read if made_at.get(name, -1) < start]
    return tuple(m.read_as[n] for n in names)


def _outputs(m: Measured, ops: Sequence[Op], stop: int) -> tuple[Port, ...]:
    return tuple(
        m.written_as[op.name]
        for op in ops
        if m.last_read.get(op.name, -1) >= stop or op.name in m.final
    )
