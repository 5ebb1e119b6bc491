"""Text to image from a diffusers folder: CLIP, UNet and VAE as their libraries save them."""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from entracte.graphs.spec import Constants, Graph, Input

LENGTH, STEPS, GUIDANCE = 12, 3, 3.0
TEXT = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": LENGTH, "bos_token_id": 62,
    "eos_token_id": 63, "pad_token_id": 63,
}  # fmt: skip
UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1,
    "block_out_channels": (8, 16), "norm_num_groups": 4, "cross_attention_dim": 16,
    "attention_head_dim": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
VAE = {
    "block_out_channels": (8,), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",),
    "sample_size": 8,
}  # fmt: skip


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def save(folder: Path) -> None:
    """A folder as the libraries write it, with numbers of a seed."""
    torch.manual_seed(11)
    CLIPTextModel(CLIPTextConfig(**TEXT)).eval().save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(**UNET).eval().save_pretrained(folder / "unet")
    AutoencoderKL(**VAE).eval().save_pretrained(folder / "vae")
    _tokenizer().save_pretrained(folder / "tokenizer")


def _tokenizer() -> CLIPTokenizer:
    """Letters, alone and at a word's end."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{c}</w>" for c in letters), "re", "red</w>"]
    names = [
        *words,
        *(f"<{i}>" for i in range(62 - len(words))),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {name: i for i, name in enumerate(names)}
    merges = [("r", "e"), ("re", "d</w>")]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = CLIPTextModel(CLIPTextConfig(**TEXT))

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids=input_ids).last_hidden_state


class Guided(nn.Module):
    """The UNet on both halves of guidance."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(**UNET)

    def forward(self, z: Tensor, t: Tensor, text: Tensor, empty: Tensor) -> Tensor:
        both = self.unet(torch.cat([z, z]), t, torch.cat([empty, text])).sample
        without, with_text = both.chunk(2)
        return without + GUIDANCE * (with_text - without)


class Step(nn.Module):
    """DDIM: what is left of the latents, and how much of the noise goes (two numbers a step)."""

    def forward(self, z: Tensor, noise: Tensor, parts: Tensor) -> Tensor:
        return z * parts[0, 0] + noise * parts[0, 1]


class Decode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vae = AutoencoderKL(**VAE)

    def forward(self, z: Tensor) -> Tensor:
        return self.vae.decode(z / self.vae.config.scaling_factor).sample


# ---------------------------------------------------------------- factories


def text() -> Graph:
    return Graph(
        Text().eval(), (Input("input_ids", (1, LENGTH), "int"),), ("states",),
        checkpoint="text_encoder", key_map=(("model.", ""),), owns=("",),
    )  # fmt: skip


def unet() -> Graph:
    inputs = (
        Input("z", (1, 4, 8, 8)), Input("t", (1,)), Input("text", (1, LENGTH, 16)),
        Input("empty", (1, LENGTH, 16)),
    )  # fmt: skip
    return Graph(
        Guided().eval(), inputs, ("noise",), checkpoint="unet", key_map=(("unet.", ""),), owns=("",)
    )


def step() -> Graph:
    inputs = (Input("z", (1, 4, 8, 8)), Input("noise", (1, 4, 8, 8)), Input("parts", (1, 2)))
    return Graph(Step().eval(), inputs, ("z_next",))


def decode() -> Graph:
    return Graph(
        Decode().eval(), (Input("z", (1, 4, 8, 8)),), ("image",),
        checkpoint="vae", key_map=(("vae.", ""),), owns=("decoder.", "post_quant_conv."),
    )  # fmt: skip


def schedule() -> Constants:
    """DDIM's formula (Song et al. 2020, eq. 12, eta 0) on the scheduler's own table of alphas."""
    made = scheduler()
    made.set_timesteps(STEPS)
    alphas = made.alphas_cumprod.double().numpy()
    times = made.timesteps.numpy()
    gap = made.config.num_train_timesteps // STEPS
    parts = []
    for t in times:
        now = alphas[t]
        then = alphas[t - gap] if t >= gap else float(made.final_alpha_cumprod)
        kept = np.sqrt(then / now)
        parts.append([kept, np.sqrt(1 - then) - kept * np.sqrt(1 - now)])
    return Constants({"t": times.astype(np.float32), "parts": np.array(parts, np.float32)})


def example(folder: Path) -> dict[str, object]:
    """What the folder's tokenizer says of itself."""
    return json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text())
