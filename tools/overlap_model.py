"""The models of `tools/bench_overlap.py`: a stack of blocks, and transformers' T5 encoder.

Plain torch: Entracte compiles them through the public registry (the bench declares the entry
points), and the peers run the very same modules with the same checkpoint.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.graphs.opensora.text import t5_v1_1_config
from entracte.graphs.spec import Graph, Input

CHECKPOINT = "model.safetensors"
"""As transformers names it: beside a config.json it is a folder for `from_pretrained`."""
MODELS = ("stack", "t5")
_HEAD = 64
"""Elements of a head of T5 v1.1, of any size."""


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
        return cast(Tensor, self.norm(z))


class Encoder(nn.Module):
    """transformers' T5 v1.1 encoder by its published names: T5-XXL's is 24 layers of width 4096.

    Its table is two rows: a text's 512 rows are read alone, by us as by whoever maps the file.
    """

    def __init__(self, depth: int, width: int) -> None:
        from transformers import T5EncoderModel

        super().__init__()
        config = t5_v1_1_config(width, depth, width // _HEAD, _HEAD, 5 * width // 2, 2)
        self.encoder = T5EncoderModel(config).encoder

    def forward(self, z: Tensor) -> Tensor:
        """Embeddings [1, tokens, width] -> features of the same shape."""
        return cast(Tensor, self.encoder(inputs_embeds=z, return_dict=False)[0])


class Step(nn.Module):
    """One step of the loop: what a sampler would do with the stack's output."""

    def forward(self, z: Tensor, velocity: Tensor) -> Tensor:
        """z and velocity [1, tokens, width] -> the next z."""
        return z - 0.25 * velocity


def block_weights(model: str, width: int) -> int:
    """Numbers in one block."""
    return 12 * width**2 + 13 * width if model == "stack" else 23 * width**2 // 2 + 2 * width


def make_model(model: str, depth: int, width: int, heads: int) -> nn.Module:
    """The module without weights (on the meta device): they come from the checkpoint."""
    with torch.device("meta"):
        made = Stack(depth, width, heads) if model == "stack" else Encoder(depth, width)
    return made.eval()


def trunk(module: nn.Module) -> nn.Module:
    """What holds the list of blocks, the only large thing of the module."""
    return module if isinstance(module, Stack) else cast(nn.Module, module.encoder)


def list_of(module: nn.Module) -> str:
    """The attribute of the trunk that is the list of blocks."""
    return "blocks" if isinstance(module, Stack) else "block"


def blocks_of(module: nn.Module) -> nn.ModuleList:
    return cast(nn.ModuleList, getattr(trunk(module), list_of(module)))


def stack(depth: int, width: int, heads: int, tokens: int) -> Graph:
    """The stack as a stage's graph."""
    return _graph(make_model("stack", depth, width, heads), tokens, width)


def t5(depth: int, width: int, heads: int, tokens: int) -> Graph:
    """The encoder as a stage's graph."""
    return _graph(make_model("t5", depth, width, heads), tokens, width)


def _graph(module: nn.Module, tokens: int, width: int) -> Graph:
    return Graph(
        module=module,
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


def write_checkpoint(path: str, model: str, depth: int, width: int, heads: int, half: bool) -> None:
    """Seeded weights of ordinary size, in fp32 or fp16; for T5 what `from_pretrained` asks for."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    dtype = torch.float16 if half else torch.float32
    tensors = {}
    for name, parameter in make_model(model, depth, width, heads).state_dict().items():
        values = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            values = values * 0.02 + (1.0 if name.endswith("weight") else 0.0)
        else:
            values *= parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.02
        if name.endswith("SelfAttention.q.weight"):
            values *= _HEAD**-0.5  # T5 does not scale its scores; its weights are made so.
        tensors[name] = values.to(dtype)
    if model == "t5":
        tensors["shared.weight"] = tensors["encoder.embed_tokens.weight"].clone()
    save_file(tensors, path, {"format": "pt"})


def write_config(path: str, depth: int, width: int) -> None:
    """T5's config.json, into the folder `path`."""
    from transformers import T5EncoderModel

    config = t5_v1_1_config(width, depth, width // _HEAD, _HEAD, 5 * width // 2, 2)
    config.architectures = [T5EncoderModel.__name__]
    config.save_pretrained(path)
