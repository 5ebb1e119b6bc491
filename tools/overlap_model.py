"""The model of `tools/bench_overlap.py`: a stack of transformer blocks, as in T5 and DiT.

Plain torch: Entracte compiles it through the public registry (the bench declares the entry points),
and the peers run the very same module with the same checkpoint.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.graphs.spec import Graph, Input

CHECKPOINT = "stack.safetensors"


class Block(nn.Module):
    """Attention and a feed-forward part, normed before, 12 x width^2 weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mid = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[1, tokens, width] -> the same shape."""
        _, tokens, width = x.shape
        parts = self.qkv(self.norm_in(x)).reshape(1, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(1, tokens, width))
        return x + self.down(functional.gelu(self.up(self.norm_mid(x))))


class Stack(nn.Module):
    """`depth` blocks and a norm."""

    def __init__(self, depth: int, width: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor) -> Tensor:
        """[1, tokens, width] -> the same shape."""
        for block in self.blocks:
            z = block(z)
        return self.norm(z)


class Step(nn.Module):
    """One step of the loop: what a sampler would do with the stack's output."""

    def forward(self, z: Tensor, velocity: Tensor) -> Tensor:
        """z and velocity [1, tokens, width] -> the next z."""
        return z - 0.25 * velocity


def make_stack(depth: int, width: int, heads: int) -> Stack:
    """The module without weights (on the meta device): they come from the checkpoint."""
    with torch.device("meta"):
        return Stack(depth, width, heads).eval()


def stack(depth: int, width: int, heads: int, tokens: int) -> Graph:
    """The stack as a stage's graph."""
    return Graph(
        module=make_stack(depth, width, heads),
        inputs=(Input("z", (1, tokens, width)),),
        outputs=("velocity",),
        checkpoint=CHECKPOINT,
    )


def step(width: int, tokens: int) -> Graph:
    """The loop's step as a stage's graph."""
    shape = (1, tokens, width)
    return Graph(
        module=Step().eval(),
        inputs=(Input("z", shape), Input("velocity", shape)),
        outputs=("z_next",),
    )


def write_checkpoint(path: str, depth: int, width: int, heads: int, half: bool) -> None:
    """Seeded weights of ordinary size, in fp32 or fp16."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    dtype = torch.float16 if half else torch.float32
    tensors = {}
    for name, parameter in make_stack(depth, width, heads).state_dict().items():
        values = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            values = values * 0.02 + (1.0 if name.endswith("weight") else 0.0)
        else:
            values *= parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.02
        tensors[name] = values.to(dtype)
    save_file(tensors, path)
