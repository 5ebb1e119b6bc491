"""Stages with one set of weights and several shapes: a decoder and a causal convolution stack.

The decoder has Llama's layers under the names of transformers' checkpoint, with a cache of a fixed
length as inputs and outputs. Its truth is transformers' own model, that of the stack torch's
convolution over all frames at once.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from entracte.graphs.spec import Constants, Graph, Input

VOCABULARY, WIDTH, HIDDEN, HEADS, LAYERS = 48, 32, 64, 2, 1
HEAD = WIDTH // HEADS
PROMPT, STEPS = 8, 4
LENGTH = PROMPT + STEPS
CACHE = (LAYERS, HEADS, LENGTH, HEAD)
PROMPT_IDS = (3, 17, 40, 5, 22, 9, 31, 12)


# ---------------------------------------------------------------- a decoder


def llama():
    """transformers' model, small, with weights from a seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    made = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        max_position_embeddings=64, tie_word_embeddings=False, initializer_range=0.2,
        attn_implementation="eager",
    ))  # fmt: skip
    return made.eval()


Cache = Tensor | None
"""Of one layer: (heads, length, head), or none yet."""


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in "qkvo":
            setattr(self, f"{name}_proj", nn.Linear(WIDTH, WIDTH, bias=False))

    def forward(self, x: Tensor, where: "Where", k: Cache, v: Cache) -> tuple[Tensor, ...]:
        """The cache, in which these tokens take their places, comes back."""
        tokens = x.shape[0]
        q, fresh, value = (
            project(x).reshape(tokens, HEADS, HEAD).permute(1, 0, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, fresh = where.turned(q), where.turned(fresh)
        k, v = where.put(k, fresh), where.put(v, value)
        scores = q @ k.permute(0, 2, 1) * HEAD**-0.5 + where.mask
        mixed = torch.softmax(scores, -1) @ v
        return self.o_proj(mixed.permute(1, 0, 2).reshape(tokens, WIDTH)), k, v


class Where:
    """Places of the tokens: `place` (tokens, length) is 1 where a token's place is."""

    def __init__(self, place: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> None:
        self.place, self.mask, self.cos, self.sin = place, mask, cos, sin

    def turned(self, x: Tensor) -> Tensor:
        half = torch.cat([-x[..., HEAD // 2 :], x[..., : HEAD // 2]], -1)
        return x * self.cos + half * self.sin

    def put(self, cache: Tensor | None, fresh: Tensor) -> Tensor:
        put = self.place.permute(1, 0) @ fresh
        return put if cache is None else cache * (1 - self.place.sum(0).unsqueeze(-1)) + put


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.up_proj = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down_proj = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(), Norm()
        self.self_attn, self.mlp = Attention(), Mlp()

    def forward(self, x: Tensor, where: Where, k: Cache, v: Cache) -> tuple[Tensor, ...]:
        mixed, k, v = self.self_attn(self.input_layernorm(x), where, k, v)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), k, v


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm()
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def run(self, ids: Tensor, where: Where, k: Cache, v: Cache) -> tuple[Tensor, ...]:
        """Logits of the last token, and the cache of each layer."""
        x = self.embed_tokens(ids).reshape(-1, WIDTH)
        ks, vs = [], []
        for i, layer in enumerate(self.layers):
            x, key, value = layer(x, where, *([None, None] if k is None else [k[i], v[i]]))
            ks.append(key)
            vs.append(value)
        return self.lm_head(self.norm(x[-1:])), torch.stack(ks), torch.stack(vs)


class Prefill(Decoder):
    """All tokens of the prompt. Their places are tables of its own."""

    def __init__(self) -> None:
        super().__init__()
        for name, table in places(0, PROMPT).items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        where = Where(self.place, self.mask, self.cos, self.sin)
        logits, k, v = self.run(ids, where, None, None)
        return torch.argmax(logits, -1).int(), logits, k, v


class Step(Decoder):
    """One token more; places come row by row."""

    def forward(self, token, place, mask, cos, sin, k, v) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]  # noqa: PLR0913
        logits, k, v = self.run(token, Where(place, mask, cos, sin), k, v)
        return torch.argmax(logits, -1).int(), logits * 1.0, k, v


class Backwards(Step):
    """The same weights in another order: inside of a layer there is no cut that suits both."""

    def forward(self, token, place, mask, cos, sin, k, v) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]  # noqa: PLR0913
        where = Where(place, mask, cos, sin)
        x = self.embed_tokens(token).reshape(-1, WIDTH)
        for i, layer in enumerate(self.layers):
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            mixed, _, _ = layer.self_attn(layer.input_layernorm(x), where, k[i], v[i])
            x = x + mixed
        logits = self.lm_head(self.norm(x))
        return torch.argmax(logits, -1).int(), logits, k + place.sum(), v + place.sum()


def places(first: int, tokens: int) -> dict[str, np.ndarray]:
    """Where `tokens` tokens from the place `first` on are, in rows, one for each."""
    at = np.arange(first, first + tokens)
    angles = at[:, None] / 10000.0 ** (np.arange(0, HEAD, 2) / HEAD)
    angles = np.concatenate([angles, angles], 1)
    hidden = np.arange(LENGTH)[None] > at[:, None]
    found = {
        "place": np.eye(LENGTH)[at],
        "mask": np.where(hidden, -1e4, 0.0),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
    }
    return {name: table.astype(np.float32) for name, table in found.items()}


def _decoder(module: nn.Module, inputs: tuple[Input, ...]) -> Graph:
    outputs = ("next", "logits", "keys", "values")
    return Graph(
        module.eval(), inputs, outputs, checkpoint="llama",
        key_map=(("", "model."), ("lm_head.", "lm_head.")), owns=("model.", "lm_head."),
    )  # fmt: skip


_STEP_INPUTS = (
    Input("token", (1,), "int"), Input("place", (1, LENGTH)), Input("mask", (1, LENGTH)),
    Input("cos", (1, HEAD)), Input("sin", (1, HEAD)), Input("k", CACHE), Input("v", CACHE),
)  # fmt: skip


def prefill() -> Graph:
    return _decoder(Prefill(), (Input("ids", (PROMPT,), "int"),))


def step() -> Graph:
    return _decoder(Step(), _STEP_INPUTS)


def backwards() -> Graph:
    return _decoder(Backwards(), _STEP_INPUTS)


def prompt() -> Constants:
    return Constants({"ids": np.array(PROMPT_IDS, np.int32)})


def rows() -> Constants:
    """Places of the tokens that are made."""
    return Constants(places(PROMPT, STEPS))


DECODER = f"""
name: decoder
title: A decoder
weights: "WEIGHTS"
precision: fp32
stages:
  prompt: {{constant: sharing.prompt}}
  rows: {{constant: sharing.rows}}
  prefill:
    graph: sharing.prefill
    inputs: {{ids: prompt.ids}}
  step:
    graph: sharing.STEP
    weights_of: prefill
    inputs:
      token: go.token
      place: go.place
      mask: go.mask
      cos: go.cos
      sin: go.sin
      k: go.k
      v: go.v
loops:
  go:
    count: {STEPS}
    stages: [step]
    state:
      token: [prefill.next, step.next]
      logits: [prefill.logits, step.logits]
      k: [prefill.keys, step.keys]
      v: [prefill.values, step.values]
    scan: {{place: rows.place, mask: rows.mask, cos: rows.cos, sin: rows.sin}}
outputs:
  logits: {{kind: tensor, value: go.logits}}
"""


def greedy() -> tuple[list[int], np.ndarray]:
    """What transformers generates behind the prompt, and the logits of the last token but one."""
    model = llama()
    ids = torch.tensor([PROMPT_IDS])
    with torch.inference_mode():
        made = model.generate(
            ids, max_new_tokens=STEPS + 1, do_sample=False, attention_mask=torch.ones_like(ids)
        )
        logits = model(made[:, :-1]).logits[:, -1]
    return made[0, PROMPT:].tolist(), logits.numpy()


def save_llama(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(
        {k: v.contiguous() for k, v in llama().state_dict().items()}, folder / "llama.safetensors"
    )


# ---------------------------------------------------------------- frames


CHANNELS, FRAMES = 16, 5


class Causal(nn.Module):
    """Convolutions over three frames: this one and the two before it."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [4, CHANNELS, CHANNELS, CHANNELS, 3]
        self.convs = nn.ModuleList(
            nn.Conv3d(a, b, 3, padding=(0, 1, 1)) for a, b in zip(sizes, sizes[1:], strict=False)
        )

    def through(self, x: Tensor, before: list[Tensor]) -> tuple[Tensor, ...]:
        """(the frames, the last two of what each convolution read)"""
        kept = []
        for i, conv in enumerate(self.convs):
            x = torch.cat([before[i], x], 2)
            kept.append(x[:, :, -2:] * 1.0)
            x = conv(x)
            x = F.silu(x) if i + 1 < len(self.convs) else x
        return (x, *kept)


class FirstFrame(Causal):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        read = [4, CHANNELS, CHANNELS, CHANNELS]
        return self.through(x, [x.new_zeros(1, c, 2, 6, 6) + x.sum() * 0 for c in read])


class Rest(Causal):
    def forward(self, x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
        return self.through(x, [a, b, c, d])


_KEPT = tuple(Input(n, (1, c, 2, 6, 6)) for n, c in zip("abcd", [4, *[CHANNELS] * 3], strict=True))


def first() -> Graph:
    outputs = ("y", "a", "b", "c", "d")
    return Graph(FirstFrame().eval(), (Input("x", (1, 4, 1, 6, 6)),), outputs, "causal")


def rest() -> Graph:
    outputs = ("y", "a2", "b2", "c2", "d2")
    shape = (1, 4, FRAMES - 1, 6, 6)
    return Graph(Rest().eval(), (Input("x", shape), *_KEPT), outputs, "causal")


def latents() -> Constants:
    frames = np.random.default_rng(0).standard_normal((1, 4, FRAMES, 6, 6)).astype(np.float32)
    return Constants({"one": frames[:, :, :1], "more": frames[:, :, 1:]})


CAUSAL = """
name: causal
title: A causal stack
weights: "WEIGHTS"
precision: fp32
stages:
  latents: {constant: sharing.latents}
  first:
    graph: sharing.first
    inputs: {x: latents.one}
  rest:
    graph: sharing.rest
    weights_of: first
    inputs: {x: latents.more, a: first.a, b: first.b, c: first.c, d: first.d}
outputs:
  frames: {kind: tensor, value: rest.y}
"""


def causal() -> Causal:
    torch.manual_seed(1)
    return Causal().eval()


def save_causal(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(causal().state_dict(), folder / "causal.safetensors")


def whole_clip() -> np.ndarray:
    """All frames at once, zeros before them."""
    made = latents().arrays
    x = torch.from_numpy(np.concatenate([made["one"], made["more"]], 2))
    with torch.inference_mode():
        for i, conv in enumerate(causal().convs):
            x = conv(F.pad(x, (0, 0, 0, 0, 2, 0)))
            x = F.silu(x) if i < 3 else x
    return x.numpy()


# ---------------------------------------------------------------- layers that are all the same


ROWS, SIZE = (8, 1), 24


class Equal(nn.Module):
    """Five layers of one kind."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in range(5))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return (x * 1.0,)


def many() -> Graph:
    return Graph(Equal().eval(), (Input("x", (ROWS[0], SIZE)),), ("y",), "equal")


def few() -> Graph:
    return Graph(Equal().eval(), (Input("x", (ROWS[1], SIZE)),), ("y",), "equal")


def given() -> Constants:
    made = np.random.default_rng(2).standard_normal((sum(ROWS), SIZE)).astype(np.float32)
    return Constants({"many": made[: ROWS[0]], "few": made[ROWS[0] :]})


EQUAL = """
name: equal
title: Equal layers
weights: "WEIGHTS"
precision: fp32
stages:
  given: {constant: sharing.given}
  many: {graph: sharing.many, inputs: {x: given.many}}
  few: {graph: sharing.few, weights_of: many, inputs: {x: given.few}}
outputs:
  many: {kind: tensor, value: many.y}
  few: {kind: tensor, value: few.y}
"""


def equal() -> Equal:
    torch.manual_seed(3)
    return Equal().eval()


def save_equal(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(equal().state_dict(), folder / "equal.safetensors")


GRAPHS = {
    f"sharing.{f.__name__}": f"{__name__}:{f.__name__}"
    for f in (prompt, rows, prefill, step, backwards, latents, first, rest, many, few, given)
}
