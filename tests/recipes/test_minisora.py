"""MiniSora's pipelines, whole and tiny, from folders with upstream's names: against loops of torch
and, for the steps, diffusers' scheduler."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from safetensors.torch import save_file

from entracte.graphs.minisora.ddpm import kept_steps
from entracte.graphs.models import build_model
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run, steps_noise

CLIP = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 7, "bos_token_id": 62,
        "eos_token_id": 63, "pad_token_id": 63}  # fmt: skip
SIZES = {"in_channels": 4, "hidden_size": 24, "num_heads": 2, "mlp_ratio": 2.0,
         "learn_sigma": True}  # fmt: skip
IMAGE = {**SIZES, "input_size": 6, "patch_size": 2, "depth": 2, "num_classes": 5,
         "class_dropout_prob": 0.1}  # fmt: skip
VIDEO = {**SIZES, "input_size": [3, 4, 4], "patch_size": [1, 2, 2], "clip": CLIP, "depth": 3}
TEXT = "y_embedder.text_encoder.transformer."
STEPS, SCALE = 3, 3.0
PRECISIONS = ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]


def saved(folder, pipeline, kind, config, scheduler, level=""):
    """A folder as ours are, with a checkpoint as upstream's; its model and VAE."""
    torch.manual_seed(4)
    model = build_model(kind, config).eval()
    state = {k: torch.randn_like(v) * (0.15 if v.dim() > 1 else 0.05)
             for k, v in model.state_dict().items()}  # fmt: skip
    # Norms of CLIP are near 1; tables of positions are the file's, whatever they are.
    state |= {k: v + 1 for k, v in state.items() if "norm" in k and k.endswith("weight")}
    model.load_state_dict(state)
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    vae.save_pretrained(folder / "vae")
    parts = {"transformer": ("entracte", kind), "scheduler": ("entracte", "Any"),
             "vae": ("diffusers", "AutoencoderKL")}  # fmt: skip
    if "clip" in config:
        words.clip(CLIP["max_position_embeddings"]).save_pretrained(folder / "tokenizer")
        parts["tokenizer"] = ("transformers", "CLIPTokenizer")
    for file, value in {"model_index": {"_class_name": pipeline, **parts},
                        "transformer/config": config,
                        "scheduler/scheduler_config": scheduler}.items():  # fmt: skip
        path = folder / f"{file}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
    named = {k.replace(TEXT, TEXT + level): v for k, v in state.items()}
    save_file(named, folder / "transformer" / "model.safetensors")
    return model, vae


def guided(rows, scale=SCALE):
    """[with, without] -> what becomes the result: three channels are guided."""
    one, none = rows.chunk(2)
    return torch.cat([none[:, :3] + scale * (one[:, :3] - none[:, :3]), one[:, 3:]], 1)


def ddpm(predict, z):
    """diffusers' scheduler over the steps that are kept."""
    scheduler = DDPMScheduler(variance_type="learned_range", clip_sample=False)
    scheduler.set_timesteps(timesteps=kept_steps(1000, str(STEPS))[::-1])
    with steps_noise(scheduler, 3):
        for t in scheduler.timesteps:
            z = scheduler.step(predict(z, t.float()), t, z).prev_sample
    return z


def ddim(predict, z):
    """Song et al. 2021, equation 12 without noise."""
    left = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    times = kept_steps(1000, str(STEPS))[::-1]
    for t, before in zip(times, [*times[1:], None], strict=True):
        now, then = float(left[t]), 1.0 if before is None else float(left[before])
        noise = predict(z, torch.tensor(float(t)))[:, :4]
        z = (then / now) ** 0.5 * (z - (1 - now) ** 0.5 * noise) + (1 - then) ** 0.5 * noise
    return z


def decoded(vae, z):
    return vae.decode(z / 0.18215).sample


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_class_becomes_a_picture(tmp_path, precision):
    folder = tmp_path / "folder"
    model, vae = saved(folder, "MiniSoraDiTPipeline", "DiT", IMAGE, {"noise_schedule": "linear"})
    labels = torch.tensor([3, IMAGE["num_classes"]])
    z = ddpm(
        lambda z, t: guided(model(z.repeat(2, 1, 1, 1), t.repeat(2), labels)),
        normal(3, 1, 4, 6, 6),
    )
    built = compiled(folder, tmp_path / "build", f"sampler.steps={STEPS}", precision=precision)
    given = {"label": 3, "seed": 3, "guidance": SCALE}
    check(run(built, given, "image"), decoded(vae, z), precision)


def heun(model, z, points):
    """SiT's stochastic Heun steps over the linear path with diffusion `sigma`, then its mean: of
    velocity v the drift is v + (1 - t) (t v - x) / (1 - t) = v + t v - x."""
    times = torch.linspace(0, 0.96, points)
    labels, dt = torch.tensor([3, IMAGE["num_classes"]]), times[1]

    def drift(x, t):
        v = guided(model(x.repeat(2, 1, 1, 1), torch.stack([t, t]), labels))
        return v + t * v - x

    for k in range(points - 1):
        # The first step's noise has a stream of its own; others are drawn in the evaluation before.
        drawn = {"salt": 1, "iteration": 2 * k - 1} if k else {"salt": 2}
        z = z + (2 * (1 - times[k]) * dt).sqrt() * normal(3, *z.shape, **drawn)
        first = drift(z, times[k])
        z = z + dt / 2 * (first + drift(z + dt * first, times[k + 1]))
    return z + 0.04 * drift(z, times[-1])


def euler(model, z, points):
    labels = torch.tensor([3, IMAGE["num_classes"]])
    for t in torch.linspace(0, 1, points)[:-1]:
        v = guided(model(z.repeat(2, 1, 1, 1), torch.stack([t, t]), labels))
        z = z + v / (points - 1)
    return z


SAMPLERS = {"sde_heun": heun, "euler": euler}


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("sampler", "precision"),
    [("sde_heun", "fp32"), pytest.param("sde_heun", "fp16", marks=pytest.mark.slow),
     pytest.param("euler", "fp32", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_class_becomes_a_picture_along_a_path(tmp_path, sampler, precision):
    folder = tmp_path / "folder"
    model, vae = saved(folder, "MiniSoraSiTPipeline", "SiT", IMAGE, {"path_type": "Linear"})
    z = SAMPLERS[sampler](model, normal(3, 1, 4, 6, 6), STEPS)
    built = compiled(
        folder, tmp_path / "build", f"sampler.steps={STEPS}",
        f"+pipeline.options.sampler={sampler}", precision=precision,
    )  # fmt: skip
    given = {"label": 3, "seed": 3, "guidance": SCALE}
    check(run(built, given, "image"), decoded(vae, z), precision)


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "level", "sampler", "precision"),
    [pytest.param("OpenDiTLatte", "text_model.", "ddpm", "fp32", marks=pytest.mark.slow),
     pytest.param("OpenDiTLatte", "text_model.", "ddim", "fp16", marks=pytest.mark.slow),
     pytest.param("VDiT", "", "ddim", "fp32", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_text_becomes_a_video(tmp_path, kind, level, sampler, precision):
    folder = tmp_path / "folder"
    model, vae = saved(folder, "MiniSoraVideoPipeline", kind, VIDEO, {}, level)
    tokenizer = words.clip(CLIP["max_position_embeddings"])
    ids = tokenizer(["a red cat", "b"], padding="max_length", return_tensors="pt").input_ids
    z = {"ddpm": ddpm, "ddim": ddim}[sampler](
        lambda z, t: guided(model(z.repeat(2, 1, 1, 1, 1), t.repeat(2), ids)),
        normal(3, 1, 4, 3, 4, 4),
    )
    built = compiled(folder, tmp_path / "build", f"sampler.steps={STEPS}",
                     f"+pipeline.options.sampler={sampler}", precision=precision)  # fmt: skip
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": SCALE}
    want = torch.stack([decoded(vae, z[:, :, k])[0] for k in range(3)], 1)[None]
    check(run(built, given, "video"), want, precision)
