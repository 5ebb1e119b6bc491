"""What a configuration can say, from yaml to a program: run by the interpreter of `tests`, against
the same modules composed by hand."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from entracte.declare.edges import output_fault, read_output
from entracte.declare.settings import OutputSettings
from entracte.errors import ConfigError
from entracte.graphs.spec import Constants, Graph, Input
from entracte.ir import Call, DType, Port, Program
from tests.worlds import World, declared, register, traced

RNG = np.random.default_rng(5)


class Step(nn.Module):
    """Next state of a state and a few rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, z, rows):
        return torch.tanh(self.outer(torch.tanh(self.inner(z) + rows.mean(1)) + z))


class Embed(nn.Module):
    """Depends on nothing but its rows; `last` is a number that says whether they are large."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, rows):
        made = torch.tanh(self.linear(rows))
        return made, (rows.sum() > 0).float().reshape(1)


class Add(nn.Module):
    def forward(self, a, b):
        return a + 2 * b


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        x = torch.tanh(self.one(x)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return self.two(x)


class Count(nn.Module):
    def forward(self, n, z):
        return n + 1, z * 0.5


class Middle(nn.Module):
    """Hands out what it goes on with; `fixed` reads what no loop changes."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x, z):
        fixed = torch.tanh(self.linears[0](x))
        middle = torch.tanh(self.linears[1](fixed)) + z
        return torch.tanh(self.linears[2](middle)) + fixed, middle


class Switched(nn.Module):
    """What it hands out is made by itself, by no module inside of it."""

    def __init__(self, twin: "Switched | None" = None) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4) if twin is None else twin.one
        self.two = nn.Linear(4, 4) if twin is None else twin.two
        self.act = torch.tanh if twin is None else torch.relu

    def forward(self, x, row):
        return torch.tanh(self.two(self.act(self.one(x)) + row))


class Crossed(nn.Module):
    """Two outputs, which its twin makes in the other order."""

    def __init__(self, twin: "Crossed | None" = None) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4) if twin is None else twin.one
        self.two = nn.Linear(4, 4) if twin is None else twin.two
        self.is_twin = twin is not None

    def forward(self, x):
        inner = torch.tanh(self.one(x))
        last = torch.tanh(self.two(inner))
        return (inner * 2, last) if self.is_twin else (last, inner * 2)


torch.manual_seed(7)
MODULES = (Step, Embed, Add, Conv, Count, Middle)
STEP, EMBED, ADD, CONV, COUNT, MIDDLE = (m().eval() for m in MODULES)
SWITCHED = Switched().eval()
EARLY = Switched(SWITCHED).eval()
CROSSED = Crossed().eval()
TWIN = Crossed(CROSSED).eval()


def conv(height: int, width: int) -> Graph:
    return Graph(CONV, (Input("x", (1, 2, height, width)),), ("y",))


def add(shape: Any, first: Any = None) -> Graph:
    return Graph(ADD, (Input("a", tuple(first or shape)), Input("b", tuple(shape))), ("c",))


@pytest.fixture(autouse=True)
def graphs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        register(
            monkeypatch,
            step=lambda rows: Graph(
                STEP, (Input("z", (1, 4)), Input("rows", (1, rows, 4))), ("next",)
            ),
            embed=lambda: Graph(EMBED, (Input("rows", (1, 2, 4)),), ("made", "done")),
            add=add,
            conv=conv,
            count=lambda: Graph(
                COUNT, (Input("n", (1,), "int"), Input("z", (1, 4))), ("more", "half")
            ),
            middle=lambda: Graph(MIDDLE, (Input("x", (2, 4)), Input("z", (1, 4))), ("y", "middle")),
            switched=lambda: Graph(
                SWITCHED,
                (Input("x", (1, 4)), Input("row", (1, 4))),
                ("y",),
                variants={"early": EARLY},
            ),
            crossed=lambda: Graph(
                CROSSED, (Input("x", (1, 4)),), ("y", "z"), variants={"early": TWIN}
            ),
            table=lambda: Constants({"half": np.ones((1, 4), np.float16), "n": np.zeros(1, int)}),
        )
        yield


def rows(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def near(made: np.ndarray, right: Any, most: float = 1e-6) -> None:
    right = right.numpy() if isinstance(right, torch.Tensor) else right
    assert made.shape == right.shape
    assert np.abs(made - right).max() <= most * max(1.0, np.abs(right).max())


def calls(program: Program) -> list[tuple[str, int, Call]]:
    return [(g.name, g.count, s) for g in program.segments for s in g.steps if isinstance(s, Call)]


# ---------------------------------------------------------------- loops

SCAN = """
inputs: {x: {kind: tensor, shape: [1, 12, 4]}}
stages:
  z0: {constant: zeros, params: {shape_of: step.z}}
  step: {graph: own.step, params: {rows: 3}, inputs: {z: l.z, rows: l.x}}
loops:
  l:
    count: 4
    stages: [step]
    state: {z: [z0.zeros, step.next]}
    scan: {x: {value: x, axis: 1, size: 3}}
    collect: {all: {value: step.next, axis: AXIS}}
outputs:
  all: {kind: tensor, value: l.all, axis: 0}
  z: {kind: tensor, value: l.z}
"""


def scanned(x: np.ndarray) -> list[torch.Tensor]:
    z, states = torch.zeros(1, 4), []
    with torch.no_grad():
        for i in range(4):
            z = STEP(z, torch.from_numpy(x[:, 3 * i : 3 * i + 3]))
            states.append(z)
    return states


@pytest.mark.parametrize(("axis", "streamed", "pieces"), [(0, 4, 1), (1, 0, 2), (-1, 0, 1)])
def test_a_loop_reads_along_any_axis_and_collects_what_it_carries(axis, streamed, pieces):
    """What is joined along the output's own axis goes to its writer piece by piece."""
    world = World.of(SCAN.replace("AXIS", str(axis)), step=pieces)
    program, x = world.program(), rows(1, 12, 4)
    states = scanned(x)
    done = world.run(program, {"x": x})
    near(done.outputs["all"].whole, torch.cat(states, axis))
    near(done.outputs["z"].whole, states[-1])
    assert next(t for t in program.tensors if t.name == "l.all").streamed == streamed
    # The mean of each three rows was moved before the loop, and reads the same windows.
    (before,) = [s for _, _, s in calls(program) if s.stage == "step.schedule"]
    (window,) = before.inputs[0].windows
    assert (window.axis, window.size, window.count, before.repeat) == (1, 3, 4, 4)


HOISTED = """
inputs: {x: {kind: tensor, shape: [1, 8, 4]}}
stages:
  z0: {constant: zeros, params: {shape: [1, 2, 4]}}
  fixed: {graph: own.add, params: {shape: [1, 2, 4]}, inputs: {a: z0.zeros, b: z0.zeros}}
  embed: {graph: own.embed, inputs: {rows: l.x}}
loops:
  l:
    count: 4
    stages: [embed]
    state: STATE
    scan: {x: {value: x, axis: 1, size: 2}}
    collect: {all: {value: embed.made, axis: 1}}
outputs:
  all: {kind: tensor, value: l.all, axis: 1}
"""


def test_a_loop_of_which_nothing_is_left_is_none():
    states = "{kept: [z0.zeros, l.kept], same: [z0.zeros, fixed.c]}"
    more = "".join(f"  {n}: {{kind: tensor, value: l.{n}}}\n" for n in ("kept", "same"))
    world = World.of(HOISTED.replace("STATE", states) + more)
    program, x = world.program(), rows(1, 8, 4)
    assert all(g.count == 1 and not g.state for g in program.segments)
    done = world.run(program, {"x": x})
    with torch.no_grad():
        right = torch.cat([EMBED(torch.from_numpy(x[:, i : i + 2]))[0] for i in (0, 2, 4, 6)], 1)
    near(done.outputs["all"].whole, right)
    near(done.outputs["kept"].whole, np.zeros((1, 2, 4)))
    near(done.outputs["same"].whole, np.zeros((1, 2, 4)))


def test_a_value_by_two_names_is_no_two_parts():
    states = "{kept: [z0.zeros, l.kept], same: [z0.zeros, l.same]}"
    text = HOISTED.replace("STATE", states).replace("l.all, axis: 1}", "[l.kept, l.same]}")
    with pytest.raises(ConfigError, match="all.value: l.kept and l.same are the same value"):
        World.of(text).program()


def test_a_state_that_takes_what_was_moved_takes_it_in_every_iteration():
    """`made` of a piece could be made before the loop; the state after it is that of the last."""
    text = HOISTED.replace("STATE", "{z: [z0.zeros, embed.made]}")
    world = World.of(text + "  z: {kind: tensor, value: l.z}\n")
    x = rows(1, 8, 4)
    done = world.run(world.program(), {"x": x})
    with torch.no_grad():
        made = [EMBED(torch.from_numpy(x[:, i : i + 2]))[0] for i in (0, 2, 4, 6)]
    near(done.outputs["z"].whole, made[-1])
    near(done.outputs["all"].whole, torch.cat(made, 1))


def test_what_a_loop_would_have_collected_after_its_end_is_not_there():
    """Moved before the loop it would be there for all four iterations."""
    text = HOISTED.replace("STATE", "{}").replace("    scan:", "    until: embed.done\n    scan:")
    world = World.of(text)
    x = -np.abs(rows(1, 8, 4))
    x[:, 4:6] *= -1
    done = world.run(world.program(), {"x": x})
    with torch.no_grad():
        right = torch.cat([EMBED(torch.from_numpy(x[:, i : i + 2]))[0] for i in (0, 2, 4)], 1)
    near(done.outputs["all"].whole, right)
    # Whoever reads it finds zeros where nothing was collected.
    text = text.replace("value: l.all, axis: 1}", "value: sum.c, axis: 1}")
    text = text.replace(
        "loops:",
        "  sum: {graph: own.add, params: {shape: [1, 8, 4]}, inputs: {a: l.all, b: l.all}}\nloops:",
    )
    world = World.of(text)
    done = world.run(world.program(), {"x": x})
    near(done.outputs["all"].whole, np.concatenate([3 * right, np.zeros((1, 2, 4))], 1))


@pytest.mark.parametrize(
    ("first", "precision", "state"),
    [
        ("table.half", "fp32", DType.FP32),
        ("x", "fp16", DType.FP32),
        ("table.half", "fp16", DType.FP16),
    ],
)
def test_a_state_has_the_wider_type_of_its_ends(first, precision, state):
    """And the stage that reads it is traced for that type."""
    text = f"""
inputs: {{x: {{kind: tensor, shape: [1, 4]}}}}
stages:
  table: {{constant: own.table}}
  add: {{graph: own.add, params: {{shape: [1, 4]}}, precision: {precision},
        inputs: {{a: l.z, b: table.half}}}}
loops:
  l: {{count: 3, stages: [add], state: {{z: [{first}, add.c]}}}}
outputs:
  z: {{kind: tensor, value: l.z}}
"""
    world = World.of(text)
    program, x = world.program(), rows(1, 4)
    types = {t.name: t.port.dtype for t in program.tensors}
    assert (types["l.z"], types["add.c"]) == (state, DType(precision))
    (call,) = [s for segment, _, s in calls(program) if segment == "l"]
    (port,) = [p for p in world.partition.chunk(call.chunk).inputs if p.name == "a"]
    assert port.dtype is state
    z = np.ones((1, 4), np.float16) if first == "table.half" else x
    z = z.astype("float16" if state is DType.FP16 else "float32")
    for _ in range(3):
        made = z.astype(np.float32) + 2
        z = made.astype("float16" if precision == "fp16" else "float32").astype(z.dtype)
    done = world.run(program, {"x": x})
    np.testing.assert_array_equal(done.outputs["z"].whole, z)
    assert done.outputs["z"].whole.dtype == z.dtype


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        traced(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


COUNTED = """
inputs: {x: {kind: tensor, shape: [1, 4]}, g: {kind: number}}
stages:
  table: {constant: own.table}
  count: {graph: own.count, inputs: {n: l.n, z: l.z}}
  once: {graph: own.add, params: {shape: [1, 4]}, inputs: {a: x, b: x}}
loops:
  l: {count: 3, stages: [count, once], state: {n: [table.n, count.more], z: [x, count.half]} MORE}
outputs: {z: {kind: tensor, value: l.z}}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("table.n,", "g,", "inputs.n: graph own.count wants int32, its source l.n gives fp32"),
        (
            "table.n, count.more",
            "table.n, l.n], y: [g, count.more",
            "state.y: starts as fp32 (1,) from g but goes on as int32 (1,) from",
        ),
        (
            "x, count.half",
            "x, count.half], y: [g, once.c",
            "state.y: starts as fp32 (1,) from g but goes on as fp32 (1, 4) from once.c",
        ),
        (
            " MORE",
            ", collect: {c: {value: once.c, axis: 0}}",
            "collect.c: once.c depends on nothing that changes",
        ),
        (
            " MORE",
            ", collect: {c: {value: count.half, axis: 2}}",
            "collect.c.axis: count.half has shape (1, 4), no axis 2",
        ),
        ("x, count.half", "x, l.n", "state.z: goes on as l.n, which the loop itself hands in"),
        ("x, count.half", "x, table.half", "goes on as table.half, which no stage of the loop"),
        ("z: [x,", "y: [x, count.half], z: [x,", "goes on as count.half, as y does"),
        (" MORE", ", until: once.c", "until: no iteration makes once.c anew"),
        (
            " MORE",
            ", scan: {s: {value: x, axis: 1, size: 2}}",
            "its axis 1 must be 6, 2 for each of 3 iterations",
        ),
    ],
)
def test_what_a_loop_cannot_do_is_said(old, new, told):
    assert told in refused(COUNTED.replace(old, new).replace(" MORE", ""))


def test_a_state_may_take_what_nothing_changes_beside_others():
    """Its next value is made in every iteration, though it is always the same."""
    text = COUNTED.replace(" MORE", "").replace(
        "z: [x, count.half]", "z: [x, count.half], y: [x, once.c]"
    )
    world = World.of(text.replace("outputs: {", "outputs: {y: {kind: tensor, value: l.y}, "))
    x = rows(1, 4)
    done = world.run(world.program(), {"x": x})
    near(done.outputs["y"].whole, 3 * x)
    near(done.outputs["z"].whole, x / 8)


# ---------------------------------------------------------------- stages that rest

RESTING = """
inputs: {x: {kind: tensor, shape: [1, 4]}}
stages:
  deep: {graph: own.add, params: {shape: [1, 4]}, inputs: {a: l.z, b: l.z}, at: [0, 2, 3]}
  next: {graph: own.add, params: {shape: [1, 4]}, inputs: {a: l.z, b: deep.c}}
loops:
  l: {count: 5, stages: [deep, next], state: {z: [x, next.c]}}
outputs: {z: {kind: tensor, value: l.z}}
"""


def test_what_a_resting_stage_made_last_stands():
    world = World.of(RESTING)
    program, x = world.program(), rows(1, 4)
    z, deep = x, x
    for i in range(5):
        deep = 3 * z if i in (0, 2, 3) else deep
        z = z + 2 * deep
    done = world.run(program, {"x": x})
    near(done.outputs["z"].whole, z)
    (loop,) = program.segments
    assert [s.at for s in loop.steps] == [(0, 2, 3), ()]
    # It outlives iterations: no step drops it, the loop's end does.
    assert not any("deep.c" in s.frees for s in loop.steps) and "deep.c" in loop.frees


def test_what_a_resting_stage_would_make_of_a_scan_does_not_stand():
    """`embed` reads the scan alone and could be made before the loop, for all iterations."""
    text = """
inputs: {x: {kind: tensor, shape: [1, 10, 4]}}
stages:
  z0: {constant: zeros, params: {shape: [1, 2, 4]}}
  embed: {graph: own.embed, inputs: {rows: l.x}, at: [0, 2, 3]}
  next: {graph: own.add, params: {shape: [1, 2, 4]}, inputs: {a: l.z, b: embed.made}}
loops:
  l:
    count: 5
    stages: [embed, next]
    state: {z: [z0.zeros, next.c]}
    scan: {x: {value: x, axis: 1, size: 2}}
outputs: {z: {kind: tensor, value: l.z}}
"""
    world, x = World.of(text), rows(1, 10, 4)
    with torch.no_grad():
        made = [EMBED(torch.from_numpy(x[:, 2 * i : 2 * i + 2]))[0] for i in (0, 0, 2, 3, 3)]
    near(world.run(world.program(), {"x": x}).outputs["z"].whole, 2 * sum(made))


SWITCHING = """
inputs: {x: {kind: tensor, shape: [ROWS, 4]}, table: {kind: tensor, shape: [8, 4]}}
stages:
  net: {graph: own.switched, inputs: {x: l.z, row: l.row}, functions: {early: 3}, MORE}
  add: {graph: own.add, params: {shape: [ROWS, 4]}, inputs: {a: net.y, b: l.z}}
loops:
  l:
    count: 8
    stages: [net, add]
    state: {z: [x, add.c]}
    scan: {row: table}
outputs: {z: {kind: tensor, value: l.z}}
"""


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize(
    ("many", "more", "at"),
    [(1, "at: [0, 2, 5]", (0, 2, 5)), (3, "map: {port: x, axis: 0, size: 1}", tuple(range(8)))],
)
def test_functions_switch_where_calls_rest_and_in_maps(many, more, at, pieces):
    world = World.of(SWITCHING.replace("ROWS", str(many)).replace("MORE", more), net=pieces)
    x, table = rows(many, 4), rows(8, 4)
    z = torch.from_numpy(x)
    with torch.no_grad():
        for i in range(8):
            if i in at:
                y = (EARLY if i < 3 else SWITCHED)(z, torch.from_numpy(table[i : i + 1]))
            z = y + 2 * z
    near(world.run(world.program(), {"x": x, "table": table}).outputs["z"].whole, z)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_functions_are_cut_where_both_have_made_the_same_outputs(pieces):
    net = "net: {graph: own.crossed, inputs: {x: l.z}, functions: {early: 3}}"
    text = SWITCHING.replace("ROWS", "1").replace("a: net.y, b: l.z", "a: net.y, b: net.z")
    old = next(line for line in text.splitlines() if line.startswith("  net:"))
    world = World.of(text.replace(old, f"  {net}"), net=pieces)
    x, table = rows(1, 4), rows(8, 4)
    z = torch.from_numpy(x)
    with torch.no_grad():
        for i in range(8):
            y, other = (TWIN if i < 3 else CROSSED)(z)
            z = y + 2 * other
    near(world.run(world.program(), {"x": x, "table": table}).outputs["z"].whole, z)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[x, next.c]", "[x, deep.c]", "state.z: deep.c is made in some iterations only"),
        ("deep, next]", "deep, next], until: deep.c", "until: deep.c is made in some iterations"),
        ("b: deep.c}}", "b: deep.c}, weights_of: deep}", "at: next has the weights of deep and"),
    ],
)
def test_a_resting_stage_decides_nothing_of_every_iteration(old, new, told):
    with pytest.raises(ConfigError, match="some iterations only|same iterations") as caught:
        declared(RESTING.replace(old, new))
    assert told in str(caught.value)


# ---------------------------------------------------------------- maps

MAPPED = """
inputs:
  x: {kind: tensor, shape: [1, 2, HEIGHT, WIDTH]}
stages:
  conv:
    graph: own.conv
    params: {height: H, width: W}
    inputs: {x: x}
    map: {port: x, MAP}
outputs:
  y: {kind: tensor, value: conv.y, axis: 2}
"""


def mapped(height: int, width: int, h: int, w: int, given: str) -> str:
    text = MAPPED.replace("HEIGHT", str(height)).replace("WIDTH", str(width))
    return text.replace("H,", f"{h},").replace("W}", f"{w}}}").replace("MAP", given)


def tile(x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return CONV(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def ramp(size: int, overlap: int, first: bool, last: bool) -> np.ndarray:
    weights = np.ones(size)
    for y in range(overlap):
        if not first:
            weights[y] *= y / overlap
        if not last:
            weights[size - overlap + y] *= 1 - y / overlap
    return weights


@pytest.mark.parametrize(
    ("pieces", "grouped"), [(1, False), (3, False), (3, True)], ids=["one", "chunks", "slices"]
)
def test_tiles_along_two_axes_are_blended(pieces, grouped):
    """Tiles of 4 x 6 every 3 x 4, by hand: weights of both axes multiply."""
    x = rows(1, 2, 10, 14)
    world = World.of(
        mapped(10, 14, 4, 6, "axis: [2, 3], size: [4, 6], stride: [3, 4]"), conv=pieces
    )
    right, sums = np.zeros((1, 3, 20, 28)), np.zeros((20, 28))
    for i in range(3):
        for j in range(3):
            made = tile(x[:, :, 3 * i : 3 * i + 4, 4 * j : 4 * j + 6])
            weight = ramp(8, 2, i == 0, i == 2)[:, None] * ramp(12, 4, j == 0, j == 2)[None]
            right[:, :, 6 * i : 6 * i + 8, 8 * j : 8 * j + 12] += made * weight
            sums[6 * i : 6 * i + 8, 8 * j : 8 * j + 12] += weight
    np.testing.assert_allclose(sums, 1)
    program = world.program(conv=(pieces,)) if grouped else world.program()
    assert any(g.sliced for g in program.segments) == (grouped and pieces > 1)
    near(world.run(program, {"x": x}).outputs["y"].whole, right, 1e-6)


def test_tiles_are_those_of_diffusers():
    """Along one axis: `AutoencoderKL.tiled_decode`'s own rule, run on the same convolutions."""
    from diffusers import AutoencoderKL

    class Tiled:
        tile_latent_min_size, tile_overlap_factor, tile_sample_min_size = 6, 0.5, 12
        config = type("Config", (), {"use_post_quant_conv": False})

        def decoder(self, x):
            return CONV(x)

        blend_v = AutoencoderKL.blend_v
        blend_h = AutoencoderKL.blend_h

    # As high as one tile's stride: then it has one row of tiles.
    x = rows(1, 2, 3, 15)
    with torch.no_grad():
        right = AutoencoderKL.tiled_decode(Tiled(), torch.from_numpy(x), return_dict=False)[0]
    world = World.of(mapped(3, 15, 3, 6, "axis: 3, size: 6, stride: 3"))
    done = world.run(world.program(), {"x": x})
    # Its last tile, at 12, is cut off by the edge; ours all end there. Before it all is the same.
    near(done.outputs["y"].whole[..., :24], right[..., :24].numpy())


def test_blended_tiles_are_fp32_and_read_as_such():
    text = mapped(8, 4, 4, 4, "axis: 2, size: 4, stride: 2").replace(
        "    inputs: {x: x}", "    precision: fp16\n    inputs: {x: x}"
    )
    world = World.of(text)
    decl = next(t for t in world.program().tensors if t.name == "conv.y")
    assert (decl.port.dtype, decl.port.shape) == (DType.FP32, (1, 3, 16, 8))
    assert world.partition.of("conv")[0].outputs[0].dtype is DType.FP16


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        ("axis: 2, size: 4, start: 4", [4, 8]),
        ("axis: 2, size: 4, start: 3, count: 2", [3, 7]),
        ("axis: 2, size: 4, start: 1, count: 1", [1]),
        ("axis: 2, size: 4, stride: 8", [0, 8]),
    ],
)
def test_a_map_may_be_over_a_part(given, begins):
    """What inputs skip leaves no gap in the output."""
    x = rows(1, 2, 12, 4)
    world = World.of(mapped(12, 4, 4, 4, given))
    done = world.run(world.program(), {"x": x})
    right = np.concatenate([tile(x[:, :, b : b + 4]) for b in begins], 2)
    near(done.outputs["y"].whole, right)


def test_several_inputs_are_cut_alike():
    text = """
inputs:
  x: {kind: tensor, shape: [6, 4]}
  y: {kind: tensor, shape: [6, 4]}
stages:
  add:
    graph: own.add
    params: {shape: [2, 4]}
    inputs: {a: x, b: y}
    map: {port: [a, b], axis: 0, size: 2}
outputs: {c: {kind: tensor, value: add.c}}
"""
    world, x, y = World.of(text), rows(6, 4), rows(6, 4)
    near(world.run(world.program(), {"x": x, "y": y}).outputs["c"].whole, x + 2 * y)
    assert "a has 3 slices and b 4" in refused(
        text.replace("y: {kind: tensor, shape: [6", "y: {kind: tensor, shape: [8")
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("axis: 2, size: 5", "the nearest sizes are 4 and 6 (or give a count)"),
        ("axis: 2, size: 5, stride: 4", "3 are left over; the nearest sizes are 4 and 8"),
        ("axis: 2, size: 4, count: 4", "there are 3 slices of 4 every 4 from 0 in axis 2"),
        ("axis: 2, size: 13", "give a size of at most 12"),
        ("axis: 4, size: 4", "no axis 4; give one of 0 to 3"),
        ("axis: 2, size: 6, stride: 2", "more than two at a time; give a stride of at least 3"),
        ("axis: [2, 3], size: [4, 4], output_axis: [2, 2]", "map.output_axis: [2, 2]"),
    ],
)
def test_slices_that_do_not_fit_are_refused_with_the_nearest_that_do(given, told):
    assert told in refused(mapped(12, 4, 4, 4, given))


CHAINED = """
inputs:
  x: {kind: tensor, shape: [6, 4]}
  z: {kind: tensor, shape: [1, 4]}
stages:
  middle:
    graph: own.middle
    inputs: {x: x, z: READ}
    map: {port: x, axis: 0, size: 2}
MORE
outputs:
  y: {kind: tensor, value: VALUE}
"""


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("grouped", [False, True], ids=["chunk-major", "slice-major"])
def test_an_output_that_the_stage_itself_goes_on_with(pieces, grouped):
    text = CHAINED.replace("READ", "z").replace("MORE\n", "").replace("VALUE", "middle.y")
    world = World.of(text + "  m: {kind: tensor, value: middle.middle}\n", middle=pieces)
    x, z = rows(6, 4), rows(1, 4)
    many = len(world.partition.of("middle"))
    program = world.program(middle=(many,)) if grouped else world.program()
    done = world.run(program, {"x": x, "z": z})
    with torch.no_grad():
        right = MIDDLE(torch.from_numpy(x), torch.from_numpy(z))
    near(done.outputs["y"].whole, right[0])
    near(done.outputs["m"].whole, right[1])


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_map_inside_of_a_loop_whose_first_part_is_moved_before_it(pieces):
    more = """
  mean: {graph: own.step, params: {rows: 6}, inputs: {z: l.z, rows: shape.c}}
  shape: {graph: own.add, params: {shape: [1, 6, 4]}, inputs: {a: zero.zeros, b: middle.y}}
  zero: {constant: zeros, params: {shape: [1, 6, 4]}}
loops:
  l: {count: 3, stages: [middle, shape, mean], state: {z: [z, mean.next]}}"""
    text = CHAINED.replace("READ", "l.z").replace("MORE", more).replace("VALUE", "l.z")
    # What is put together of slices is (6, 4); it is broadcast where it is added.
    text = text.replace(
        "{shape: [1, 6, 4]}, inputs: {a", "{shape: [6, 4], first: [1, 6, 4]}, inputs: {a"
    )
    world = World.of(text, middle=pieces)
    x, z = rows(6, 4), rows(1, 4)
    program = world.program()
    done = world.run(program, {"x": x, "z": z})
    state = torch.from_numpy(z)
    with torch.no_grad():
        for _ in range(3):
            y, _ = MIDDLE(torch.from_numpy(x), state)
            state = STEP(state, 2 * y[None])
    near(done.outputs["y"].whole, state)
    before, *_ = calls(program)
    assert (before[2].stage, before[2].repeat) == ("middle.once", 3)


def test_a_map_does_not_cut_what_a_loop_hands_in_by_pieces():
    text = (
        SCAN.replace("AXIS", "0")
        .replace(
            "loops:",
            """  middle: {graph: own.add, params: {shape: [1, 1, 4]}, inputs: {a: l.x, b: l.x},
           map: {port: [a, b], axis: 1, size: 1}}
loops:""",
        )
        .replace("stages: [step]", "stages: [step, middle]")
    )
    assert "a reads l.x, which is a piece of a tensor already" in refused(text)


def test_a_map_of_one_slice_is_a_call():
    x = rows(1, 2, 4, 4)
    world = World.of(mapped(4, 4, 4, 4, "axis: 2, size: 4, order: slice"), conv=3)
    program = world.program()
    assert len(program.segments) == 1 and not program.segments[0].sliced
    near(world.run(program, {"x": x}).outputs["y"].whole, tile(x))


def test_what_a_loop_collects_is_read_by_maps_and_by_other_loops():
    text = (
        SCAN.replace("AXIS", "0")
        .replace(
            "loops:",
            """  middle:
    graph: own.middle
    inputs: {x: l.all, z: l.z}
    map: {port: x, axis: 0, size: 2}
  again: {graph: own.add, params: {shape: [1, 4]}, inputs: {a: m.z, b: m.y}}
loops:
  m: {count: 4, stages: [again], state: {z: [l.z, again.c]}, scan: {y: middle.y}}""",
        )
        .replace("value: l.z", "value: m.z")
    )
    world, x = World.of(text), rows(1, 12, 4)
    program = world.program()
    assert not any(t.streamed for t in program.tensors)
    done = world.run(program, {"x": x})
    states = scanned(x)
    with torch.no_grad():
        y, _ = MIDDLE(torch.cat(states), states[-1])
    near(done.outputs["all"].whole, torch.cat(states))
    near(done.outputs["z"].whole, states[-1] + 2 * y.sum(0, keepdim=True))


# ---------------------------------------------------------------- outputs

PARTS = """
inputs: {x: {kind: tensor, shape: [6, 4]}}
stages:
  a:
    graph: own.add
    params: {shape: [2, 4]}
    inputs: {a: x, b: x}
    map: {port: [a, b], axis: 0, size: 2}
  b:
    graph: own.add
    params: {shape: [2, 4]}
    inputs: {a: FIRST, b: x}
    map: {port: [a, b], axis: 0, size: 2}
outputs:
  out: {kind: tensor, value: VALUE}
"""


@pytest.mark.parametrize(
    ("value", "streamed", "kept"),
    [
        ("[a.c, b.c]", {"a.c", "b.c"}, set()),
        # b's turn comes when a is there, which is after b was made.
        ("[b.c, a.c]", {"b.c"}, {"a.c"}),
    ],
)
def test_parts_go_to_their_writer_in_order(value, streamed, kept):
    world, x = World.of(PARTS.replace("VALUE", value).replace("FIRST", "x")), rows(6, 4)
    program = world.program()
    assert {t.name for t in program.tensors if t.streamed} == streamed
    done = world.run(program, {"x": x})
    near(done.outputs["out"].whole, np.concatenate([3 * x, 3 * x]))
    freed = {f for g in program.segments for s in g.steps for f in s.frees}
    assert kept.isdisjoint(freed) and streamed <= freed


@pytest.mark.parametrize(("axis", "streamed"), [(0, {"a.c", "b.c"}), (1, {"b.c"})])
def test_a_part_of_two_outputs_goes_to_both_writers(axis, streamed):
    """Along one axis piece by piece."""
    text = PARTS.replace("VALUE", "[a.c, b.c]").replace("FIRST", "x")
    again = f"  again: {{kind: tensor, value: a.c, axis: {axis}}}\n"
    world, x = World.of(text + again), rows(6, 4)
    program = world.program()
    assert {t.name for t in program.tensors if t.streamed} == streamed
    done = world.run(program, {"x": x})
    near(done.outputs["out"].whole, np.concatenate([3 * x, 3 * x]))
    near(done.outputs["again"].whole, 3 * x)


def test_what_is_read_again_is_whole():
    text = PARTS.replace("VALUE", "a.c").replace("FIRST", "a.c")
    world, x = World.of(text + "  two: {kind: tensor, value: b.c}\n"), rows(6, 4)
    program = world.program()
    assert {t.name for t in program.tensors if t.streamed} == {"b.c"}
    done = world.run(program, {"x": x})
    near(done.outputs["two"].whole, 5 * x)
    # It goes to its writer when it is made, and is dropped after its last reader.
    (last,) = [s for _, _, s in calls(program) if s.stage == "b"]
    assert "a.c" in last.frees


@pytest.mark.parametrize(
    ("kind", "shape", "fits"),
    [
        ("video, rate: 8", [1, 3, 2, 4, 4], True),
        ("video, rate: 8", [1, 4, 2, 4, 4], False),
        ("video, rate: 8", [1, 3, 4, 4], False),
        ("image", [2, 3, 4, 4], True),
        ("image", [2, 1, 4, 4], False),
        ("audio, rate: 8000", [1, 40], True),
        ("audio, rate: 8000", [1, 2, 40], True),
        ("audio, rate: 8000", [2, 40], False),
        ("text, tokenizer: t.json", [1, 4], False),
        ("tensor", [5], True),
    ],
)
def test_what_a_writer_takes(kind, shape, fits):
    settings = OutputSettings(value="add.c", **OmegaConf.create(f"{{kind: {kind}}}"))
    fault = output_fault(read_output("out", settings), [Port("c", tuple(shape), DType.FP32)])
    assert (fault is None) == fits
    assert fits or f"fp32 {tuple(shape)} is no {settings.kind}; it must be" in str(fault)


def test_what_no_writer_takes_is_refused_before_anything_is_converted():
    text = """
inputs: {x: {kind: tensor, shape: [1, 4]}}
stages:
  add: {graph: own.add, params: {shape: [1, 4]}, inputs: {a: x, b: x}}
outputs:
  out: {value: add.c, kind: text, tokenizer: t.json}
"""
    assert "pipeline.outputs.out.value: fp32 (1, 4) is no text" in refused(text)


def test_zeros_have_another_graphs_shape():
    assert "both shape and shape_of" in refused(
        SCAN.replace("AXIS", "0").replace("shape_of: step.z", "shape_of: step.z, shape: [1]")
    )
    assert "no graph declares step.q" in refused(
        SCAN.replace("AXIS", "0").replace("shape_of: step.z", "shape_of: step.q")
    )
    assert "give sizes above 0" in refused(
        SCAN.replace("AXIS", "0").replace("shape_of: step.z", "shape: [1, 0]")
    )


@pytest.mark.parametrize(
    ("carry", "told"),
    [
        (
            "{z: [z, nothing]}",
            "carry.z: 'nothing' is no output of graph own.middle; it has y, middle",
        ),
        ("{z: [gone.y, middle]}", "nothing makes 'gone.y'"),
        ("{z: [z, y]}", "carry.z: starts as fp32 (1, 4) from z but goes on as fp32 (2, 4) from"),
        ("{x: [z, y]}", "carry.x: is among the stage's `inputs` too"),
    ],
)
def test_what_slices_cannot_hand_on_is_said(carry, told):
    text = (
        CHAINED.replace("x: x, z: READ", "x: x").replace("MORE\n", "").replace("VALUE", "middle.y")
    )
    assert told in refused(text.replace("size: 2", f"size: 2, carry: {carry}"))


@pytest.mark.parametrize("until", ["", "    until: embed.done\n"])
def test_a_loop_of_one_iteration_collects_one_piece(until):
    text = HOISTED.replace("STATE", "{}").replace("    scan:", f"{until}    scan:")
    world = World.of(text.replace("count: 4", "count: 1").replace("[1, 8, 4]", "[1, 2, 4]"))
    x = rows(1, 2, 4)
    with torch.no_grad():
        right, _ = EMBED(torch.from_numpy(x))
    near(world.run(world.program(), {"x": x}).outputs["all"].whole, right)
