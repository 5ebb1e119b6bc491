"""Parts of made-up programs that are no chain: sliced segments, tiles, chunks with two functions.

Each takes the chain so far, the part's number and the part, and leaves a current tensor.
"""

from dataclasses import replace
from math import prod

from entracte.ir import Binding, By, Call, DType, Port, Segment, TensorDecl, Variant, Window
from tests.planner.chain import Chain, Part, port


def _spread(chain: Chain, p: int, shape: tuple[int, ...]) -> str:
    """A chunk that makes a tensor of that shape of the current one."""
    made = Port(f"wide{p}", shape, DType.FP16)
    chain.tensors.append(TensorDecl(made))
    source = replace(chain.decl(chain.current).port, name="in")
    bound = {source: Binding("in", chain.current)}
    wide = {replace(made, name="out"): Binding("out", made.name)}
    chain.segments.append(
        Segment(name=f"p{p}.spread", count=1, steps=(chain.call(f"c{p}.91", 3, bound, wide),))
    )
    return made.name


def slices(chain: Chain, p: int, part: Part) -> None:
    """A map with a carried state: all chunks for a slice before the next one."""
    _sliced(chain, p, part, [list(part.weights)])


def groups(chain: Chain, p: int, part: Part) -> None:
    """The same, each chunk over all slices before the next one; what they hand on stays in slots,
    or in one tensor."""
    _sliced(chain, p, part, [[w] for w in part.weights])


def _sliced(chain: Chain, p: int, part: Part, grouped: list[list[int]]) -> None:
    count = max(2, part.count)
    stride = 2 + part.repeat % 2  # 3: slices of what overlaps
    current = _spread(chain, p, (1 + (count - 1) * stride + 4,))
    read: tuple[Window, ...] = (Window(0, 4, count, stride, 1),)
    carried = [_carried(chain, p, k, part) for k in range(len(part.weights))]
    k = 0
    for g, own in enumerate(grouped):
        steps, states = [], []
        for weight in own:
            inside = weight is not own[-1] or k + 1 < sum(map(len, grouped[: g + 1]))
            name = f"m{p}.{k}"
            states.append(carried[k])
            by = (By.ITERATION, read) if not steps else (By.WHOLE, ())
            source = {
                port("in"): Binding("in", current, *by),
                chain.decl(states[-1][0]).port: Binding(states[-1][0], states[-1][0]),
            }
            written = _written(chain, name, count, inside, k)
            made = {
                port("out"): written[0],
                port("carry", 4): Binding("carry", states[-1][2]),
            }
            call = chain.call(f"c{p}.{k:02d}", weight, source, made)
            steps.append(replace(call, outputs=(*call.outputs, *written[1:])))
            current = name
            k += 1
        decl = chain.decl(current)
        read = () if decl.slots > 1 else (Window(0, 4, count, 4),)
        if g + 1 == len(grouped) and "stream" in part.also:
            name = f"stream{p}"
            chain.declare(name, 4, streamed=count)
            chain.leaves_with_all(name)
            last = steps[-1]
            streamed = Binding("out", name, By.ITERATION)
            steps[-1] = replace(last, outputs=(*last.outputs, streamed))
        chain.segments.append(
            Segment(
                name=f"p{p}.{g}", count=count, steps=tuple(steps), state=tuple(states), sliced=True
            )
        )
    _join(chain, p, current)


def _carried(chain: Chain, p: int, k: int, part: Part) -> tuple[str, str, str]:
    """A state of a chunk, begun with what a chunk before the map makes."""
    name, zero, following = f"m{p}.{k}.carry", f"m{p}.{k}.zero", f"m{p}.{k}.next"
    wide = DType.FP32 if "cast" in part.also else DType.FP16
    for tensor, dtype in ((zero, DType.FP16), (name, wide), (following, DType.FP16)):
        chain.declare(tensor, 4, dtype=dtype)
    call = chain.call(f"c{p}.{50 + k}", 1, {}, {port("zero"): Binding("zero", zero)})
    chain.segments.append(Segment(name=f"p{p}.{k}.zero", count=1, steps=(call,)))
    return name, zero, following


def _written(chain: Chain, name: str, count: int, inside: bool, k: int) -> list[Binding]:
    """What a chunk hands on: whole to the next one of its group, else kept for all slices."""
    if inside:
        chain.declare(name, 4)
        return [Binding("out", name)]
    if k % 2:
        chain.declare(name, 4, slots=count)
        return [Binding("out", name, By.ITERATION)]
    chain.declare(name, 4 * count)
    return [Binding("out", name, By.ITERATION, (Window(0, 4, count, 4),))]


def _join(chain: Chain, p: int, current: str) -> None:
    """A chunk over all slices makes one tensor of four again."""
    decl = chain.decl(current)
    made = f"t{len(chain.chunks)}"
    if decl.slots == 1:
        bound = {replace(decl.port, name="in"): Binding("in", current)}
        chain.declare(made, 4)
        out, repeat = Binding("out", made), 1
    else:
        bound, repeat = {port("in"): Binding("in", current, By.MAP)}, decl.slots
        chain.declare(made, 4 * repeat)
        out = Binding("out", made, By.MAP, (Window(0, 4, repeat, 4),))
    call = chain.call(f"c{p}.92", 2, bound, {port("out"): out}, repeat)
    chain.segments.append(Segment(name=f"p{p}.join", count=1, steps=(call,)))
    chain.current, chain.size = made, 4 * repeat
    if repeat > 1:
        again = (chain.step(f"c{p}.93", 1, 1),)
        chain.segments.append(Segment(name=f"p{p}.again", count=1, steps=again))


GRID = (Window(0, 3, 2, 2), Window(1, 4, 2, 2))
"""Tiles of (3, 4) that overlap in (5, 6)."""


def tiles(chain: Chain, p: int, part: Part) -> None:
    """A map over a grid of tiles that overlap, blended; as a call's repetitions, or in a loop."""
    current, count = _spread(chain, p, (5, 6)), prod(w.count for w in GRID)
    by = By.ITERATION if part.count > 1 else By.MAP
    blended = f"blend{p}"
    chain.tensors.append(TensorDecl(Port(blended, (5, 6), DType.FP32)))
    tile = Port("in", (3, 4), DType.FP16)
    call = chain.call(
        f"c{p}.00",
        part.weights[0],
        {tile: Binding("in", current, by, GRID)},
        {replace(tile, name="out"): Binding("out", blended, by, GRID)},
        count if by is By.MAP else 1,
    )
    if "stream" in part.also:
        name = f"stream{p}"
        chain.tensors.append(TensorDecl(replace(tile, name=name), streamed=count))
        chain.leaves(name)
        call = replace(call, outputs=(*call.outputs, Binding("out", name, by)))
    looped = {"count": count, "sliced": True} if by is By.ITERATION else {"count": 1}
    chain.segments.append(Segment(name=f"p{p}", steps=(call,), **looped))
    _join(chain, p, blended)


def shared(chain: Chain, p: int, part: Part) -> None:
    """A chunk that was called before, by a function of another stage with ports of its own."""
    if not chain.chunks:
        chain.straight(p, replace(part, also=()))
        return
    c, f = chain.chunks[0], chain.facts[0]
    name, more = f"f{p}", f.activation_bytes + 3
    source = replace(chain.decl(chain.current).port, name="wide")
    variant = Variant(
        name=name,
        start=0,
        stop=1,
        activation_bytes=more,
        flops=1,
        moved_bytes=1,
        graph=name,
        inputs=(source,),
        outputs=(port("made"),),
    )
    chain.chunks[0] = replace(c, variants=(*c.variants, variant))
    times = (*f.exec_by, (name, 1.0))
    chain.facts[0] = replace(f, activation_bytes=more, exec_by=times)
    made = f"shared{p}"
    chain.declare(made, 4)
    call = Call(
        stage=name,
        chunk=c.id,
        function=name,
        inputs=(Binding("wide", chain.current),),
        outputs=(Binding("made", made),),
    )
    chain.segments.append(Segment(name=f"p{p}", count=1, steps=(call,)))
    chain.current, chain.size = made, 4


CONSTRUCTS = {"slices": slices, "groups": groups, "tiles": tiles, "shared": shared}
