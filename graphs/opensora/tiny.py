"""The embedded demo `tiny_t2v`: the same modules, 16 frames of 64 x 64, under 12 MB of weights."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from entracte.graphs.opensora.denoiser import GuidedDenoiser
from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.text import TextEncoder, t5_v1_1_config
from entracte.graphs.opensora.vae import SpatialDecoder, TemporalDecoder, VAEConfig

WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "tiny_t2v"

FRAMES, HEIGHT, WIDTH, FPS = 16, 64, 64, 8
TEXT_TOKENS, TEXT_WIDTH, VOCABULARY = 16, 128, 173
# The noise schedule of the demo: evenly spaced timesteps. Upstream's shift is for >= 192 pixels.
TIMESTEP_SHIFT = 1.0

TINY_DENOISER = STDiT3Config(
    hidden=192,
    depth=3,
    heads=6,
    caption_channels=TEXT_WIDTH,
    text_tokens=TEXT_TOKENS,
    input_sq_size=64,
    latent=(4, 8, 8),
    pixels=(HEIGHT, WIDTH),
    fps=float(FPS),
)

TINY_VAE = VAEConfig(
    filters=24,
    multipliers=(1, 1, 2, 2),
    res_blocks=1,
    groups=8,
    micro_frames=8,
    shift=(0.0,) * 4,
    scale=(1.0,) * 4,
    spatial_channels=(16, 32, 64, 64),
    spatial_layers=1,
    spatial_groups=8,
)


def tiny_text_encoder(residual_scale: float = 1.0) -> TextEncoder:
    """The demo's T5 encoder, randomly initialised: 4 layers of width 128."""
    config = t5_v1_1_config(
        hidden=TEXT_WIDTH, layers=4, heads=4, head=32, inner=192, vocabulary=VOCABULARY
    )
    return TextEncoder(config, residual_scale)


def tiny_denoiser() -> GuidedDenoiser:
    """The demo's STDiT3, randomly initialised: 3 pairs of blocks of width 192."""
    return GuidedDenoiser(TINY_DENOISER)


def tiny_decoders() -> tuple[TemporalDecoder, SpatialDecoder]:
    """The demo's decoders, randomly initialised."""
    return TemporalDecoder(TINY_VAE), SpatialDecoder(TINY_VAE)


def load_shipped(module: nn.Module, file: str, folder: Path = WEIGHTS) -> nn.Module:
    """Load `folder/file` (fp16, upstream's names, without `model.`) into a float32 module.

    The VAE file holds both decoders; each takes its own part.
    """
    stored: dict[str, Tensor] = load_file(folder / file)
    wanted = module.state_dict()
    if any(name.startswith("model.") for name in wanted):
        stored = {f"model.{name}": value for name, value in stored.items()}
    if "model.shared.weight" in stored:  # T5 has its embedding under two names
        stored["model.encoder.embed_tokens.weight"] = stored["model.shared.weight"]
    module.load_state_dict({name: stored[name].float() for name in wanted})
    return module.eval()
