"""Small graphs of the kinds that coremltools converts wrongly or not at all, by what goes wrong.

Each case is a function and its inputs; what is right is torch eager in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.lower.ranks import CONSTANTS, RANKS
from tests.lower.selected import SELECTED

Case = tuple[Callable[..., Any], tuple[Tensor, ...]]

torch.manual_seed(0)
X, Y = torch.randn(2, 3), torch.randn(2, 3)
N = torch.arange(6).reshape(2, 3)
SQUARE, CUBE = torch.randn(4, 4), torch.randn(2, 4, 4)
LINE, IMAGE, VIDEO = torch.randn(1, 2, 7), torch.randn(1, 2, 5, 6), torch.randn(1, 2, 3, 4, 5)
ROWS = torch.randn(2, 6)


def written_over(a: Tensor) -> Tensor:
    made = torch.empty(2, 6, dtype=a.dtype)
    made[:, :3], made[:, 3:] = a, a * 2
    return made


def in_place(a: Tensor, b: Tensor) -> Tensor:
    c = a * 1
    c.add_(b, alpha=0.25)
    return c


FACTORS: dict[str, Case] = {
    "add": (lambda a, b: torch.add(a, b, alpha=-0.5), (X, Y)),
    "add of a number": (lambda a: torch.add(a, 2, alpha=3), (X,)),
    "add to integers": (lambda a, b: torch.add(a, b, alpha=2.5), (N, X)),
    "sub": (lambda a, b: torch.sub(a, b, alpha=5), (X, Y)),
    "sub of integers": (lambda a, b: torch.sub(a, b, alpha=2), (N, N + 1)),
    "subtract": (lambda a, b: torch.subtract(a, b, alpha=2), (X, Y)),
    "rsub": (lambda a, b: torch.rsub(a, b, alpha=3), (X, Y)),
    "rsub of a number": (lambda a: torch.rsub(a, 2, alpha=3), (X,)),
    "in place": (in_place, (X, Y)),
    "addmm": (lambda a, b: torch.addmm(a, b @ b.T, a, beta=0.5, alpha=2), (X, Y)),
    "baddbmm": (lambda a: torch.baddbmm(a, a, a, beta=0.5, alpha=2), (CUBE,)),
    "addbmm": (lambda a: torch.addbmm(a[0], a, a, beta=0.5, alpha=2), (CUBE,)),
    "addmv": (lambda a: torch.addmv(a[0], a, a[1], beta=0.5, alpha=2), (SQUARE,)),
    "addr": (lambda a: torch.addr(a, a[0], a[1], beta=0.5, alpha=2), (SQUARE,)),
    "addcmul": (lambda a, b: torch.addcmul(a, b, b, value=0.5), (X, Y)),
    "elu": (lambda a: torch.ops.aten.elu(a, 0.5, 1.5, 2.0), (X,)),
    "celu": (lambda a: F.celu(a, 0.5), (X,)),
    "softplus": (lambda a: F.softplus(a * 2, beta=2.0, threshold=1.0), (X,)),
    "softmax of integers": (lambda a: torch.softmax(a, 1, dtype=torch.float32), (N,)),
    "argmax of all": (lambda a: a.argmax().reshape(1), (IMAGE,)),
    "argmax kept": (lambda a: a.argmax(None, keepdim=True), (X,)),
    "median": (lambda a: a.median(1).values, (ROWS,)),
    "of no factor": (lambda a, b: torch.add(a, b), (X, Y)),
    "grouped attention": (
        lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True),
        (torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8)),
    ),
    "clamp to a whole number": (lambda a: torch.clamp_min(a, 0), (X,)),
    "reciprocal": (lambda a: torch.reciprocal(a) * 1e-3, (torch.tensor([1e-3, -2e-3, 3.0]),)),
    "product": (lambda a: a.prod(1), (X,)),
    "between": (lambda a, b: torch.lerp(a, b, 0.3) + torch.lerp(a, b, 0.8), (X, Y)),
    "quotients of integers": (
        lambda a: (a // 2, a // -4, torch.div(a, -2, rounding_mode="trunc"), torch.fmod(a, 4)),
        (N - 3,),
    ),
    "quotients of two": (
        lambda a, b: (a // b, torch.div(a, b, rounding_mode="trunc")),
        (N - 3, N * 2 - 5),
    ),
    "large integers": (lambda a: (a + 16777217) - 16777216, (N,)),
    "how many": (lambda a: ((a > 0).sum(-1), torch.count_nonzero(a, 0)), (X,)),
    "sums as another kind": (
        lambda a: (
            (a * 3).sum(-1, dtype=torch.int),
            a.sum(dtype=torch.int)[None],
            a.mean(0, dtype=a.dtype),
        ),
        (X,),
    ),
    "number added to one output": (lambda a: F.linear(a, torch.ones(1, 3)) + 1.5, (X,)),
    "slope of each channel": (lambda a: F.prelu(a, torch.tensor([0.1, 0.2])), (LINE,)),
    "squared difference": (lambda a, b: F.mse_loss(a, b).reshape(1), (X, Y)),
    "either": (lambda a: torch.where((a > 1) | (a < 0), a, 0), (X,)),
    "a number of another type": (lambda a: torch.where(a > 0, a, 0), (X,)),
}

FILLED: dict[str, Case] = {
    "full_like": (lambda a: torch.full_like(a, 3) + a, (N,)),
    "full_like in another type": (lambda a: torch.full_like(a, 3.7, dtype=torch.float32) + a, (N,)),
    "full_like cut": (lambda a: torch.full_like(a, 3.7, dtype=torch.long) + a, (X,)),
    "full_like halved": (lambda a: torch.full_like(a, 3) / 2 + a, (N,)),
    "zeros_like": (lambda a: torch.zeros_like(a, dtype=torch.float32) + 0.5 + a, (N,)),
    "ones_like": (lambda a: torch.ones_like(a, dtype=torch.long) / 2 + a, (X,)),
    "new_ones": (lambda a: a.new_ones(2, 3) + a, (N,)),
    "written over": (written_over, (X,)),
    "filled later": (lambda a: torch.empty(2, 3).fill_(-0.5) + a, (X,)),
    "new_full": (lambda a: a.new_full((2, 3), 4) + a, (N,)),
    "new_zeros": (lambda a: a.new_zeros(2, 3, dtype=torch.long) + a, (N,)),
    "zeros of integers": (lambda a: torch.zeros(2, 3, dtype=torch.long) + a, (N,)),
    "ones of integers": (lambda a: torch.ones(3, dtype=torch.long) + a, (N,)),
    "truth": (lambda a: torch.where(torch.full((2, 3), True) & (a > 0), a, 0), (X,)),
    "arange": (lambda a: a * torch.arange(5, -1, -2), (X,)),
    "truth around": (
        lambda a: F.pad(a > 0, (1, 2), value=True).float() + F.pad(a > 0, (2, 1)).float(),
        (X,),
    ),
    "number around integers": (lambda a: F.pad(a, (1, 2, 0, 1), value=3) + 1, (N,)),
}

SHAPES: dict[str, Case] = {
    "diagonal": (lambda a: torch.diagonal(a).mean().reshape(1), (SQUARE,)),
    "diagonal above": (lambda a: torch.diagonal(a, 1, -2, -1).sum(-1), (CUBE,)),
    "diagonal below": (lambda a: a.diagonal(-1) * 2, (ROWS,)),
    "diagonal across": (lambda a: a.diagonal(0, 2, 0) + 1, (CUBE,)),
    "triangle of infinities": (
        lambda a: torch.softmax(a + torch.full((4, 4), float("-inf")).triu(1), -1),
        (SQUARE,),
    ),
    "triangles": (lambda a: (a.triu(2) - a.tril(-1), ((a > 0).triu(1) * a)), (SQUARE,)),
    "no dimension": (lambda a: a.sum((0, 1), keepdim=True).reshape([]) * a, (SQUARE,)),
    "trace": (lambda a: torch.trace(a).reshape(1), (SQUARE,)),
    "einsum of a diagonal": (lambda a: torch.einsum("bii->bi", a) * 2, (CUBE,)),
    "matrix by diagonal": (lambda a: a @ torch.diagonal(a), (SQUARE,)),
    "vector by matrices": (lambda a, b: a[0] @ b, (SQUARE, CUBE)),
    "vector by vector": (lambda a: (a[0] @ a[1]).reshape(1), (SQUARE,)),
    "windows": (lambda a: a.unfold(1, 2, 1).sum(-1), (ROWS,)),
    "few windows": (lambda a: a.unfold(-1, 4, 2) * 2, (ROWS,)),
    "strides": (lambda a: torch.as_strided(a, (3, 2), (4, 1), 1) * 2, (SQUARE,)),
    "roll of all": (lambda a: torch.roll(a, 5) * 2, (X,)),
    "fewer indices": (lambda a: a.gather(0, torch.tensor([[0, 1]])) * 2, (X,)),
    "around": (lambda a: F.pad(a, (1, 2, 2, 1), mode="circular"), (IMAGE,)),
    "cut off": (lambda a: F.pad(a, (-1, 2, 0, -1), value=3.0), (IMAGE,)),
    "filled by a mask": (lambda a: torch.index_put(a, (a > 0,), torch.tensor(0.5)), (X,)),
}


def _pools() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for rank, x in ((1, LINE), (2, IMAGE), (3, VIDEO)):
        average, largest = getattr(F, f"avg_pool{rank}d"), getattr(F, f"max_pool{rank}d")
        for counted in (False, True):
            found[f"average {rank}-D, padding counted {counted}"] = (
                lambda a, f=average, c=counted: f(a, 3, 2, 1, True, c), (x,)
            )  # fmt: skip
        found[f"average {rank}-D without padding"] = (
            lambda a, f=average: f(a, 2, 2, 0, True), (x,)
        )  # fmt: skip
        found[f"largest {rank}-D"] = (
            lambda a, f=largest: f(a, 2, 2, ceil_mode=True), (x - 9,)
        )  # fmt: skip
        found[f"largest {rank}-D, by default"] = (
            lambda a, f=largest: f(a, 2), (x - 9,)
        )  # fmt: skip
    found["divisor"] = (lambda a: F.avg_pool2d(a, 2, 2, divisor_override=3), (IMAGE,))
    found["divisor, hanging over"] = (lambda a: F.avg_pool2d(a, 2, 2, 1, True, True, 3), (IMAGE,))
    found["3-D to given sizes"] = (lambda a: F.adaptive_avg_pool3d(a, (2, 3, 1)), (VIDEO,))
    return found


POOLS = _pools()


def _resampled() -> dict[str, Case]:
    modes = {
        1: ("nearest", "linear", "nearest-exact"),
        2: ("nearest", "bilinear", "bicubic", "nearest-exact"),
        3: ("nearest", "trilinear", "nearest-exact"),
    }
    sizes = {1: (9,), 2: (7, 4), 3: (5, 7, 3)}
    found: dict[str, Case] = {}
    for rank, x in ((1, LINE), (2, IMAGE), (3, VIDEO)):
        for mode in modes[rank]:
            for how in ({"size": sizes[rank]}, {"scale_factor": 1.7}):
                key = f"{mode} {rank}-D {how}"
                found[key] = (lambda a, m=mode, h=how: F.interpolate(a, mode=m, **h), (x,))
    for mode in ("bilinear", "bicubic"):
        for how in (
            {"antialias": True, "size": (3, 9)},
            {"antialias": True, "scale_factor": 0.6},
            {"align_corners": True, "size": (3, 9)},
            {"scale_factor": 1.7, "recompute_scale_factor": True},
        ):
            key = f"{mode} {how}"
            found[key] = (lambda a, m=mode, h=how: F.interpolate(a, mode=m, **h), (IMAGE,))
    return found


RESAMPLED = _resampled()

# ---------------------------------------------------------------- what fp16 does not hold

WEIGHT = torch.rand(64) + 0.5
SPIKY = torch.randn(1, 6, 64) * 1e-4
SPIKY[..., 0] = 40.0
UNLIKE = torch.cat([torch.randn(1, 3, 64) * 0.01, torch.randn(1, 3, 64) * 100], 1)
HALF_ZERO = torch.cat([torch.zeros(1, 3, 64), torch.randn(1, 3, 64)], 1)
DRAWS = (
    torch.randn(1, 6, 64),
    SPIKY,
    UNLIKE,
    HALF_ZERO,
    torch.randn(1, 6, 64) * 1000,
    torch.randn(1, 6, 64) * 1e-4,
)
"""Each is judged for itself."""


def _norm_module(eps: float | None) -> nn.Module:
    module = nn.RMSNorm(64, eps=eps)
    module.weight.data = WEIGHT.clone()
    return module.requires_grad_(False)


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": _norm_module(1e-5),
    "module without epsilon": _norm_module(None),
    "rsqrt": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * WEIGHT,
    "sqrt": lambda x: x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * WEIGHT,
    "power": lambda x: x * (x.square().mean(-1, keepdim=True) + 1e-6).pow(-0.5) * WEIGHT,
    "product": lambda x: x / (x * x).mean(-1, keepdim=True).add(1e-6).sqrt(),
    "sum": lambda x: x / ((x**2).sum(-1, keepdim=True) / 64 + 1e-6) ** 0.5,
    "vector by itself": lambda x: x / torch.sqrt(
        torch.einsum("...i,...i->...", x, x)[..., None] / 64 + 1e-6
    ),
    "norm": lambda x: x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6) * 8,
    "normalize": lambda x: F.normalize(x, dim=-1) * 8,
    "variance": lambda x: (x - x.mean(-1, keepdim=True)) * torch.rsqrt(
        x.var(-1, keepdim=True, correction=0) + 1e-6
    ),
    "layer": lambda x: (x - x.mean(-1, keepdim=True)) / torch.sqrt(
        (x - x.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True) + 1e-6
    ),
}  # fmt: skip
NORMS: dict[str, Case] = {name: (f, (torch.cat(DRAWS),)) for name, f in SPELLINGS.items()}

GROUPS4, GROUPS5 = torch.randn(1, 8, 6, 5), torch.randn(1, 8, 3, 6, 5)
OUTLIER = GROUPS4.clone()
OUTLIER[0, 0, 0, 0] = 300.0
GROUP = nn.GroupNorm(2, 8).requires_grad_(False)
nn.init.normal_(GROUP.weight)
nn.init.normal_(GROUP.bias)
LEARNT = nn.InstanceNorm2d(8, affine=True, track_running_stats=True).eval().requires_grad_(False)
for values in (LEARNT.running_mean, LEARNT.running_var, LEARNT.weight, LEARNT.bias):
    values.copy_(torch.rand(8) + 0.1)
STATISTICS: dict[str, Case] = {
    **{f"rank 4, {n}": (GROUP, (GROUPS4 * n,)) for n in (1e-4, 1, 300, 3000)},
    **{f"rank 5, {n}": (GROUP, (GROUPS5 * n,)) for n in (1, 3000)},
    "rank 3": (GROUP, (GROUPS4[..., 0] * 300,)),
    "rank 2": (GROUP, (GROUPS4[:, :, 0, 0] * 300,)),
    "outlier": (GROUP, (OUTLIER,)),
    "far from zero": (GROUP, (GROUPS4 + 1000,)),
    "zero": (GROUP, (GROUPS4 * 0,)),
    "without weights": (nn.GroupNorm(4, 8, affine=False), (GROUPS5 * 300,)),
    "instance": (nn.InstanceNorm2d(8), (GROUPS4 * 300,)),
    "learnt": (LEARNT, (GROUPS4,)),
    "variance and mean of all": (
        lambda a: tuple(t.reshape(1) for t in torch.var_mean(a)), (GROUPS4,)
    ),
    "hypotenuse": (
        lambda a, b: (torch.sqrt(a * a + b * b), torch.hypot(a, b)), (GROUPS4 * 300, GROUPS4 * 200)
    ),
    "scale of a noise level": (lambda s: 1 / (s**2 + 0.25) ** 0.5, (torch.tensor([700.0, 2.0]),)),
    "local response": (lambda a: F.local_response_norm(a, 3), (GROUPS4 * 100,)),
    "pooled norm": (lambda a: F.lp_pool2d(a, 2.0, 2), (GROUPS4 * 300,)),
    "other norms": (
        lambda a: (F.normalize(a, p=1.0, dim=-1), F.normalize(a, p=3.0, dim=-1)),
        (torch.randn(3, 64) * 1500,),
    ),
    "variance": (lambda a: a.var(-1), (GROUPS4 * 30,)),
    "variance uncorrected": (lambda a: a.var((1, 3), correction=0, keepdim=True), (GROUPS4,)),
    "variance of all": (lambda a: a.var().reshape(1), (GROUPS4,)),
    "biased variance": (lambda a: a.var(-1, unbiased=False), (GROUPS4,)),
    "deviation": (lambda a: a.std(-1), (GROUPS4 * 300,)),
    "quiet deviation": (lambda a: a.std((2, 3)), (GROUPS4 * 1e-3,)),
    "variance and mean": (lambda a: torch.var_mean(a, dim=(2, 3)), (GROUPS4,)),
    "cosine": (
        lambda a: F.cosine_similarity(a, a.flip(0), dim=-1), (torch.randn(3, 64) * 1000,)
    ),
    "of norms": (
        lambda a: a * (a.norm(p=2, dim=(1, 2), keepdim=True)
                       / (a.norm(p=2, dim=(1, 2), keepdim=True).mean(-1, keepdim=True) + 1e-6)),
        (torch.randn(1, 4, 4, 8) * 300,),
    ),
}  # fmt: skip

WIDE = torch.tensor([[0.0, 5.0, -12.0, 20.0, -30.0, 3.0]])
SMALL = torch.tensor([1e-3, 2e-3, -5e-4, 1e-4, 0.3, 4.0])
TAILS: dict[str, Case] = {
    "log_softmax": (lambda a: F.log_softmax(a, -1), (WIDE * 2,)),
    "log of a softmax": (lambda a: torch.log(torch.softmax(a, -1)), (WIDE,)),
    "log2 of a softmax": (lambda a: torch.log2(torch.softmax(a, -1)), (WIDE,)),
    "logsumexp": (lambda a: torch.logsumexp(a, -1), (WIDE * 3,)),
    "logcumsumexp": (lambda a: torch.logcumsumexp(a, 1), (WIDE,)),
    "log1p": (lambda a: torch.log1p(a), (SMALL,)),
    "expm1": (lambda a: torch.expm1(a), (SMALL,)),
    "logaddexp": (lambda a: torch.logaddexp(a, a * 0.5), (WIDE,)),
    "softplus": (lambda a: F.softplus(a), (WIDE * 0.3,)),
    "log of sigmoid": (lambda a: torch.log(torch.sigmoid(a)), (WIDE,)),
    "logsigmoid": (lambda a: F.logsigmoid(a), (WIDE,)),
    "log of what is left": (lambda a: torch.log(1 - torch.sigmoid(a)), (WIDE * 0.3,)),
    "log and epsilon": (lambda a: torch.log(a.abs() + 1e-8), (torch.tensor([0.0, 1e-4, 1.0]),)),
    "log and bound": (lambda a: torch.log(a.clamp(min=1e-10)), (torch.tensor([0.0, 1e-4, 1.0]),)),
    "cross entropy": (lambda a: F.cross_entropy(a, torch.tensor([2])).reshape(1), (WIDE,)),
    "mish": (lambda a: F.mish(a), (WIDE * 0.3,)),
}

KEPT = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
KEPT_WHOLE = KEPT.long()
NONE_KEPT = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]])
SCORES = torch.randn(2, 4)
LEAST = torch.finfo(torch.float32).min
MASKED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "added": lambda a, k: a + (1 - k) * -1e9,
    "added, the least": lambda a, k: a + (1 - k) * LEAST,
    "subtracted": lambda a, k: a - (1 - k) * 1e9,
    "lowered": lambda a, k: a + (k - 1) * 1e9,
    "divided": lambda a, k: a + (k - 1) / 1e-9,
    "filled": lambda a, k: a.masked_fill(k == 0, -1e9),
    "filled and added": lambda a, k: a + torch.zeros_like(a).masked_fill(k == 0, LEAST),
    "chosen": lambda a, k: torch.where(k > 0, a, torch.tensor(LEAST)),
    "chosen and added": lambda a, k: a + torch.where(k > 0, 0.0, -1e9),
    "factor": lambda a, k: torch.add(a, 1 - k, alpha=-1e9),
}
MASKS: dict[str, Case] = {
    f"{name}, {which}": (lambda a, k, f=f: torch.softmax(f(a, k), -1), (SCORES, mask))
    for name, f in MASKED.items()
    for which, mask in (("some kept", KEPT), ("none kept", NONE_KEPT))
} | {
    "a table": (
        lambda a: torch.softmax(a + torch.tensor([0.0, -1e9, 0.0, -1e30]), -1), (SCORES,)
    ),
    "integers": (
        lambda a, k: tuple(torch.softmax(a + m, -1) for m in ((k - 1) * 10**9, (1 - k) * -(10**6))),
        (SCORES, KEPT_WHOLE),
    ),
    "bounded by the least": (
        lambda a, k: torch.softmax(torch.clamp(a + (1 - k) * LEAST, min=LEAST), -1), (SCORES, KEPT)
    ),
    "attention that sees nothing": (
        lambda q, k: F.scaled_dot_product_attention(q, q, q, attn_mask=k > 0),
        (CUBE, (torch.rand(2, 4, 4) > 0.4).float() * torch.tensor([1.0, 1, 0, 1])[:, None]),
    ),
    "a triangle": (
        lambda a: torch.softmax(a + torch.full((4, 4), -1e9).triu(1), -1), (SQUARE,)
    ),
}  # fmt: skip

TABLE = torch.polar(torch.ones(3, 2), torch.randn(3, 2))
WIDE_TABLE = torch.polar(torch.ones(3, 2, dtype=torch.float64), torch.randn(3, 2).double())
HEADS = torch.randn(2, 3, 4)


def _rotated(a: Tensor, table: Tensor) -> Tensor:
    pairs = torch.view_as_complex(a.reshape(*a.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * table).flatten(-2)


COMPLEX: dict[str, Case] = {
    "rotary table": (lambda a: _rotated(a, TABLE), (HEADS,)),
    "wide rotary table": (lambda a: _rotated(a.double(), WIDE_TABLE).float(), (HEADS,)),
    "rotary angles": (lambda a, t: _rotated(a, torch.polar(torch.ones(3, 2), t)), (HEADS, Y[:, :2].repeat(2, 1)[:3])),  # noqa: E501
    "part of a table": (lambda a: _rotated(a, TABLE[[0, 2, 1]][:, :2].unsqueeze(0)), (HEADS,)),
    "real and imaginary": (lambda a: (torch.complex(a, a * 2) * 1j).real + torch.complex(a, a).imag, (X,)),  # noqa: E501
    "conjugate": (lambda a: (torch.view_as_complex(a.reshape(3, 2, 2)).conj() * TABLE).real, (ROWS,)),  # noqa: E501
    "large size": (lambda a: torch.complex(a, a * 2).abs(), (X * 300,)),
    "checked table": (lambda a: _rotated(a, TABLE.to(torch.complex64)), (HEADS,)),
    "angles": (
        lambda a: tuple(torch.sin(f(a)) for f in (
            lambda t: torch.floor(t), lambda t: torch.round(t * 0.7), lambda t: t.flip(0) * 0.77,
            lambda t: torch.where(t > 1, t * 0.9, t), lambda t: t.mean(0, keepdim=True),
            lambda t: t.cumsum(0) / 3, lambda t: torch.sqrt(t) * 30, lambda t: (t * 0.77)[[2, 0]],
            lambda t: F.linear(t[:, None], torch.tensor([[0.3], [0.77]])),
        )) + (torch.tan(a * 0.1),),
        (torch.tensor([1.3, 500.2, 937.0, 998.6]),),
    ),
    "size": (lambda a: torch.complex(a, a * 2).abs(), (X,)),
    "joined": (
        lambda a: torch.view_as_real(
            torch.cat([p * TABLE[:, :1] for p in torch.view_as_complex(a.reshape(3, 2, 2)).split(1, 1)], 1)  # noqa: E501
        ).flatten(1),
        (ROWS,),
    ),
}  # fmt: skip

KINDS = {
    "factors": FACTORS,
    "filled": FILLED,
    "shapes": SHAPES,
    "pools": POOLS,
    "resampled": RESAMPLED,
    "norms": NORMS,
    "statistics": STATISTICS,
    "tails": TAILS,
    "masks": MASKS,
    "complex": COMPLEX,
    "ranks": RANKS,
    "constants": CONSTANTS,
    "selected": SELECTED,
}
"""Kind -> its cases."""
