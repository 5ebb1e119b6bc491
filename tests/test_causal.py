"""A causal video decoder of our own, slice by slice and chunk by chunk in any order: as if whole.

Four convolutions that look back in time, each with the last frames of its input as cache, and one
doubling of the frames. The right values are those of the same module on all frames at once.
"""

import numpy as np
import pytest
import torch
from torch import nn

from entracte.graphs.spec import Graph, Input
from entracte.ir import By, Call
from tests.worlds import World, cut, register, traced

FRAMES, SIDE, WIDTH = 8, 6, 4


class Causal(nn.Module):
    """A convolution that sees two frames before each frame."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inner, outer, 3, padding=(0, 1, 1))

    def forward(self, x, cache):
        seen = torch.cat([cache, x], 2)
        return self.conv(seen), seen[:, :, -2:]


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [WIDTH, 8, 8, 8, 3]
        self.layers = nn.ModuleList(map(Causal, sizes[:-1], sizes[1:]))

    def forward(self, z, c0, c1, c2, c3):
        x, d0 = self.layers[0](z, c0)
        x, d1 = self.layers[1](torch.tanh(x), c1)
        x = torch.tanh(x).repeat_interleave(2, 2)
        x, d2 = self.layers[2](x, c2)
        x, d3 = self.layers[3](torch.tanh(x), c3)
        return x, d0, d1, d2, d3


def decoder() -> Decoder:
    torch.manual_seed(3)
    return Decoder().eval()


CACHES = [(1, n, 2, SIDE, SIDE) for n in (WIDTH, 8, 8, 8)]
NAMES = [f"c{k}" for k in range(4)]


def graph(size: int) -> Graph:
    inputs = (
        Input("z", (1, WIDTH, size, SIDE, SIDE)),
        *(Input(n, shape) for n, shape in zip(NAMES, CACHES, strict=True)),
    )
    outputs = ("frames", *(f"d{k}" for k in range(4)))
    return Graph(decoder(), inputs, outputs, checkpoint="decoder")


def pipeline(size: int, order: str = "auto") -> str:
    carry = ", ".join(f"c{k}: [zero{k}.zeros, d{k}]" for k in range(4))
    zeros = "\n".join(
        f"  zero{k}: {{constant: zeros, params: {{shape_of: decode.c{k}}}}}" for k in range(4)
    )
    return f"""
inputs:
  z: {{kind: tensor, shape: [1, {WIDTH}, {FRAMES}, {SIDE}, {SIDE}]}}
stages:
{zeros}
  decode:
    graph: own.decoder
    params: {{size: {size}}}
    inputs: {{z: z}}
    map: {{port: z, axis: 2, size: {size}, order: {order}, carry: {{{carry}}}}}
outputs:
  video: {{kind: video, value: decode.frames, rate: 8}}
  last: {{kind: tensor, value: decode.d3}}
"""


@pytest.fixture(scope="module")
def latent() -> np.ndarray:
    made = np.random.default_rng(1).standard_normal((1, WIDTH, FRAMES, SIDE, SIDE))
    return made.astype(np.float32)


def whole(latent: np.ndarray, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """All frames at once: what every order must give."""
    module = decoder().to(dtype)
    with torch.no_grad():
        made = module(
            torch.from_numpy(latent).to(dtype), *(torch.zeros(s, dtype=dtype) for s in CACHES)
        )
    return made[0].numpy(), made[4].numpy()


@pytest.fixture(scope="module")
def worlds():
    """Each is traced once."""
    found = {}

    def made(size: int, pieces: int, order: str = "auto") -> World:
        text = pipeline(size, order)
        if text not in found:
            found[text] = traced(text)
        return World(found[text], cut(found[text], decode=pieces))

    with pytest.MonkeyPatch.context() as monkeypatch:
        register(monkeypatch, decoder=graph, first=first)
        yield made


def check(world: World, latent: np.ndarray, **grouping: tuple[int, ...]) -> None:
    program = world.program(**grouping)
    for exact, dtype, near in ((False, torch.float32, 2e-5), (True, torch.float64, 1e-12)):
        frames, last = whole(latent, dtype)
        given = latent.astype(float) if exact else latent
        done = world.run(program, {"z": given}, exact=exact)
        for name, right in (("video", frames), ("last", last)):
            error = np.abs(done.outputs[name].whole - right).max() / np.abs(right).max()
            assert error <= near, (name, exact, error)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_slices_of_any_size_are_the_whole(worlds, latent, size):
    check(worlds(size, 1), latent)


@pytest.mark.parametrize(
    "sizes", [(), (4,), (1, 3), (3, 1), (2, 2), (1, 2, 1), (2, 1, 1)], ids=lambda s: f"{s}"
)
def test_chunks_in_any_groups_are_the_whole(worlds, latent, sizes):
    world = worlds(2, 4)
    assert len(world.partition.of("decode")) == 4
    grouping = {"decode": sizes} if sizes else {}
    program = world.program(**grouping)
    # Each group is a loop over the slices: every chunk carries its own caches.
    loops = [len(s.steps) for s in program.segments if s.sliced]
    assert loops == list(sizes or (1, 1, 1, 1))
    assert all(s.count == FRAMES // 2 for s in program.segments if s.sliced)
    check(world, latent, **grouping)


@pytest.mark.parametrize(("order", "loops"), [("slice", [4]), ("chunk", [1, 1, 1, 1])])
def test_the_order_may_be_given(worlds, latent, order, loops):
    world = worlds(2, 4, order)
    program = world.program(decode=(2, 2))
    assert [len(s.steps) for s in program.segments] == loops
    check(world, latent)


def test_what_lies_between_chunks_is_there_once_within_a_group(worlds):
    """Slice by slice less is held: the boundaries of one slice in place of all four."""
    world = worlds(2, 4)
    zeros = np.zeros((1, WIDTH, FRAMES, SIDE, SIDE), np.float32)
    chunk_major, slice_major = world.program(), world.program(decode=(4,))
    slots = [[t.slots for t in p.tensors if t.slots > 1] for p in (chunk_major, slice_major)]
    assert len(slots[0]) == 3 and not slots[1]
    held = [world.run(p, {"z": zeros}).held_bytes for p in (chunk_major, slice_major)]
    assert held[1] < held[0]
    # The clip itself is never there: pieces of four frames go to the writer as they are made.
    for program in (chunk_major, slice_major):
        (decl,) = [t for t in program.tensors if t.name == "decode.frames"]
        assert (decl.streamed, decl.port.shape) == (4, (1, 3, 4, SIDE, SIDE))


def test_a_cache_that_spans_chunks_holds_them_together(worlds, latent):
    """The reader of a cache and the maker of the next one are in one loop in any case."""
    world = worlds(2, 9)
    program = world.program()
    pieces = {c.id: c for c in world.partition.of("decode")}
    for segment in program.segments:
        chunks = [pieces[s.chunk] for s in segment.steps if isinstance(s, Call)]
        made = {p.name for c in chunks for p in c.outputs}
        read = {p.name for c in chunks for p in c.inputs}
        for k in range(4):
            assert (f"c{k}" in read) == (f"d{k}" in made)
        if not segment.sliced:
            # What carries nothing does all slices in one call.
            assert all(b.by is By.MAP for s in segment.steps for b in s.outputs)
            assert all(s.repeat == FRAMES // 2 for s in segment.steps)
    assert any(not s.sliced for s in program.segments)
    check(world, latent)


class First(nn.Module):
    """The same decoder for the first frame: nothing was before it."""

    def __init__(self, module: Decoder) -> None:
        super().__init__()
        self.layers = module.layers

    def forward(self, z):
        caches = [torch.zeros(shape) for shape in CACHES]
        return Decoder.forward(self, z, *caches)


def first() -> Graph:
    outputs = ("frames", *(f"d{k}" for k in range(4)))
    inputs = (Input("z", (1, WIDTH, 1, SIDE, SIDE)),)
    return Graph(First(decoder()).eval(), inputs, outputs, checkpoint="decoder")


def test_the_first_frame_is_a_function_of_the_same_packages(worlds):
    """Nine frames: one, then four slices of two that go on with its caches; one list of parts."""
    carry = ", ".join(f"c{k}: [first.d{k}, d{k}]" for k in range(4))
    text = f"""
inputs:
  z: {{kind: tensor, shape: [1, {WIDTH}, {FRAMES + 1}, {SIDE}, {SIDE}]}}
stages:
  decode:
    graph: own.decoder
    params: {{size: 2}}
    inputs: {{z: z}}
    map: {{port: z, axis: 2, size: 2, start: 1, carry: {{{carry}}}}}
  first:
    graph: own.first
    weights_of: decode
    inputs: {{z: z}}
    map: {{port: z, axis: 2, size: 1, count: 1}}
outputs:
  video: {{kind: video, value: [first.frames, decode.frames], rate: 8}}
"""
    assert worlds
    found = traced(text)
    made = np.random.default_rng(2).standard_normal((1, WIDTH, FRAMES + 1, SIDE, SIDE))
    latent = made.astype(np.float32)
    for pieces, grouping in ((1, ()), (3, ()), (3, (3,)), (3, (1, 2))):
        world = World(found, cut(found, decode=pieces))
        program = world.program(**({"decode": grouping} if grouping else {}))
        called = [s for g in program.segments for s in g.steps if isinstance(s, Call)]
        assert {s.chunk for s in called if s.stage == "first"} == {
            s.chunk for s in called if s.stage == "decode"
        }
        decls = {t.name: t for t in program.tensors}
        assert decls["decode.frames"].streamed == FRAMES // 2
        done = world.run(program, {"z": latent})
        right, _ = whole(latent, torch.float32)
        error = np.abs(done.outputs["video"].whole - right).max() / np.abs(right).max()
        assert error <= 2e-5, (pieces, grouping, error)
        # The first part goes to the writer whole, and is then dropped; the others follow it.
        assert [k for _, k, _ in done.outputs["video"].parts] == [None, 0, 1, 2, 3]
        assert any("first.frames" in s.frees for s in called)


def test_packages_make_the_same_video_in_either_order(worlds, latent, tmp_path):  # noqa: ARG001
    """The whole way: converted, planned, proven, run on the reference device, piece by piece."""
    from safetensors.torch import save_file

    from entracte.compile.job import compile_pipeline
    from entracte.run.execute import run_build

    (tmp_path / "conf" / "pipeline").mkdir(parents=True)
    save_file(decoder().state_dict(), tmp_path / "decoder.safetensors")
    frames, last = whole(latent, torch.float32)
    for order, loops in (("auto", [1, 1]), ("slice", [2])):
        head = f"name: own\ntitle: own\nweights: '{tmp_path}'\nprecision: fp32\n"
        (tmp_path / "conf" / "pipeline" / "own.yaml").write_text(head + pipeline(2, order))
        overrides = ["+target=host", "pipeline=own", "verify=off", "partition.chunk_bytes=11KiB"]
        overrides.append(f"cache={tmp_path / 'cache'}")
        built = compile_pipeline(overrides, out=tmp_path / order, config_dir=tmp_path / "conf")
        program = built.plan.program
        assert [len(s.steps) for s in program.segments if s.sliced] == loops
        assert built.folder is not None
        done = run_build(built.folder, {"z": latent}, device="reference", policy="fp32")
        for name, right in (("video", frames), ("last", last)):
            error = np.abs(done.outputs[name] - right).max() / np.abs(right).max()
            assert error <= 2e-5, (order, name, error)
        # Every slice was written as it was made, and memory stayed within the claim.
        assert dict(done.run.outputs)["video"] == FRAMES // 2
        assert done.run.peak_bytes <= built.plan.forecast.peak_bytes
