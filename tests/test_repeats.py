"""Repeated modules are exported once: the program is the one that an export of everything gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from entracte.frontend import export
from entracte.frontend.export import export_graph
from entracte.frontend.repeats.alike import groups_of, without
from entracte.frontend.repeats.whole import Pieces

BLOCKS, WIDTH = 8, 8


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x.abs()  # is dropped, and yet counts in the names of those that follow
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.is_odd = number, number % 2 == 1
        self.norm, self.inner, self.out = Norm(), nn.ReLU(), nn.Linear(WIDTH, WIDTH)
        self.more = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.register_buffer("table", torch.full((WIDTH,), float(number)), persistent=False)

    def forward(self, x: Tensor, shift: Tensor, scale: nn.Module) -> Any:
        h = self.norm(x)
        h = scale(h.flip(1)) if self.is_odd else h + shift
        return x + self.out(h.transpose(1, 2).contiguous().transpose(1, 2)) + self.table, None


class Model(nn.Module):
    """Two kinds of blocks, which are handed one module."""

    block: Callable[[int], nn.Module] = Block
    count = BLOCKS

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList([type(self).block(i) for i in range(self.count)])

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        for block in self.blocks:
            x, _ = block(x, shift=shift * 2, scale=self.scale)
            x = x.clamp(-9, 9)
        return x


class Tied(Model):
    """The first and the last block share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks[-1].out.weight = self.blocks[0].out.weight  # type: ignore[union-attr]


class Halves(Block):
    """Gives two views of one tensor, as FLUX's single blocks do."""

    def forward(self, x: Tensor, shift: Tensor, scale: nn.Module) -> Any:
        both = torch.cat([self.norm(x), self.out(x)], 1)
        return both[:, :4], both[:, 4:]


class HalvesModel(Model):
    block = Halves


class Half(HalvesModel):
    """The last block's second result is dropped, at once or by a second trace."""

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        other = x
        for block in self.blocks:
            x, other = block(x + other, shift, self.scale)
            other = other.clamp(-9, 9)
        return x + shift


class Written(HalvesModel):
    """Changes in place what a block made."""

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        for block in self.blocks:
            x, other = block(x, shift, self.scale)
            x.add_(1)
            x = x + other
        return x


class Counting(Block):
    def forward(self, x: Tensor, shift: Tensor, scale: nn.Module) -> Any:
        return self.out(self.norm(x)) * self.number, None


class Numbered(Model):
    """What each block computes depends on its number."""

    block, count = Counting, 4


class Remembering(Block):
    def forward(self, x: Tensor, shift: Tensor, scale: nn.Module) -> Any:
        known = getattr(self, "kept", None)
        self.kept = x.detach().cos() if known is None else known
        return self.out(self.norm(x)) + self.kept, None


class Keeper(Model):
    """Blocks that keep what they computed."""

    block, count = Remembering, 4


class Pair(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.halves = nn.ModuleList([Block(0) for _ in range(4)])

    def forward(self, x: Tensor, shift: Tensor, scale: nn.Module) -> Any:
        for half in self.halves:
            x, _ = half(x, shift, scale)
        return x, None


class Nested(Model):
    """Blocks of equal blocks."""

    block, count = Pair, 3


def rows(program: Any) -> list[Any]:
    """All that a program says of its operations, and of what each value is."""

    def shape(value: Any) -> Any:
        return (tuple(value.shape), value.stride(), value.dtype) if hasattr(value, "shape") else 0

    def path(node: Any) -> list[str]:
        return [p for p, _ in (node.meta.get("nn_module_stack") or {}).values()]

    nodes = [
        (n.op, n.name, str(n.target), str(n.args), str(n.kwargs), shape(n.meta.get("val")), path(n))
        for n in program.graph.nodes
    ]
    return [*nodes, str(program.graph_signature)]


def built(kind: type[nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return kind().eval()


def exported(kind: type[nn.Module], is_convertible: Callable[[object], bool]) -> Any:
    args = (torch.empty(1, 4, WIDTH), torch.empty(1, 1, WIDTH))
    return export_graph(built(kind), args, is_convertible, ["y"])


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many pieces each program was joined."""
    found: list[int] = []
    own = Pieces.joined

    def joined(self: Pieces) -> Any:
        made = own(self)
        found.append(len(self.every))
        return made

    monkeypatch.setattr(Pieces, "joined", joined)
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Model, [3]), (Half, [3]), (Written, []), (Numbered, []),
     *(pytest.param(kind, pieces, marks=pytest.mark.slow) for kind, pieces in (
         (Tied, [3]), (HalvesModel, [3]), (Nested, [3]), (Keeper, [])))],
)  # fmt: skip
def test_same_program_as_of_everything(
    kind: type[nn.Module], expected: list[int], pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_convertible(target: object) -> bool:
        return "aten.linear" not in str(target)  # so that a second round is needed

    joined = rows(exported(kind, is_convertible))
    assert pieces == expected
    monkeypatch.setattr(export, "in_pieces", lambda *_: None)
    assert joined == rows(exported(kind, is_convertible))


class Operations(nn.Module):
    """Composite operations, literals, several results, strides of attention, names that count."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.table = nn.Linear(WIDTH, WIDTH), nn.Buffer(torch.ones(2, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        heads = self.out(x).unflatten(-1, (2, 4)).transpose(1, 2)
        seen = nn.functional.scaled_dot_product_attention(heads, heads, heads * -0.0 + 0.0)
        low, high = nn.functional.gelu(seen).transpose(1, 2).reshape(1, 4, WIDTH).chunk(2, -1)
        low = nn.functional.dropout(low, 0.5, self.training).to(torch.float32).contiguous()
        scale = torch.tensor([0.5, 2.0, 1.0, 1.0])
        top, _ = (low * scale @ high.transpose(1, 2)).max(-1)
        return (*torch.unbind(top.expand(2, 4), 0), self.table.flatten() + low.pow(2).flatten()[:4])


class Changing(nn.Module):
    """Results that are changed in place where nobody else reads them."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        sums = x @ x.transpose(1, 2)
        low = sums.exp()
        sums += 1
        sums.mul_(low).clamp_(-2, 2)
        return sums.softmax(-1), low


class Shared(Changing):
    """A result that is changed in place after a view of it was taken."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        sums = x @ x.transpose(1, 2)
        row = sums[:, 0]
        sums += 1
        return sums.softmax(-1), row * 2


class Given(Changing):
    """An input that is changed in place."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.mul_(2) + 1,)


class Named(Changing):
    """An input with the name of a function of Python's, which is an operation's too."""

    def forward(self, sum: Tensor) -> tuple[Tensor, ...]:
        return (sum.sum(-1) + sum.softmax(-1).sum(-1),)


class Alike(Changing):
    """An input with the name that an operation's result would get."""

    def forward(self, mean: Tensor) -> tuple[Tensor, ...]:
        return (mean.mean(-1) + mean.mean(-2).softmax(-1).mean(-1),)


def is_simple(target: object) -> bool:
    return not any(name in str(target) for name in ("gelu", "linear", "softmax", "attention"))


@pytest.mark.parametrize(
    ("kind", "traces"),
    [(Operations, 0), (Changing, 0), (Named, 0), (Alike, 1), (Shared, 1), (Given, 1)],
)
def test_operations_written_once_are_what_torch_makes_of_the_whole(
    kind: type[nn.Module], traces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, left = export.once, list[int]()

    def once(*args: Any) -> Any:
        found = own(*args)
        left.append(found.count(None))
        return found

    monkeypatch.setattr(export, "once", once)
    args = (torch.empty(1, 4, WIDTH),)
    made = rows(export_graph(built(kind), args, is_simple))
    assert left[0] == traces
    monkeypatch.setattr(export, "once", lambda programs, *_: [None] * len(programs))
    assert made == rows(export_graph(built(kind), args, is_simple))


def test_shortcuts_tell_the_places_that_torch_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def places() -> list[Any]:
        program = export_graph(built(Operations), (torch.empty(1, 4, WIDTH),), is_simple)
        return [(n.name, n.meta.get("stack_trace")) for n in program.graph.nodes]

    made = places()
    assert any("seen = nn.functional" in (place or "") for _, place in made)
    monkeypatch.setattr(export, "quicker", contextlib.nullcontext)
    assert made == places()


def test_joined_program_computes_what_the_module_does(pieces: list[int]) -> None:
    torch.manual_seed(0)
    module = Model().eval()
    program = exported(Model, lambda _: True)
    x, shift = torch.randn(1, 4, WIDTH), torch.randn(1, 1, WIDTH)
    named = {**module.state_dict(), **dict(module.named_buffers())}
    signature = program.graph_signature
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    holders = [n.name for n in program.graph.nodes if n.op == "placeholder"]
    given = iter((x, shift))
    values = [named[targets[name]] if name in targets else next(given) for name in holders]
    (made,) = torch.fx.Interpreter(program.graph_module).run(*values)
    torch.testing.assert_close(made, module(x, shift))
    assert pieces == [3]


def test_groups_part_by_what_some_have_in_common() -> None:
    groups = [g for g in groups_of(built(Model)) if g.paths[0].count(".") == 1]
    assert {g.paths for g in groups} == {
        tuple(f"blocks.{i}" for i in range(first, BLOCKS, 2)) for first in (0, 1)
    }
    assert {g.differing for g in groups} == {(("", "number"),)}


def test_an_attribute_taken_away_is_put_back_and_told() -> None:
    block = Block(3)
    with without(block, [("", "number")]) as asked:
        assert not hasattr(block, "number")
    assert asked == ["number"]
    assert block.number == 3
