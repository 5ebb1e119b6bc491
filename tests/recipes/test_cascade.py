"""Stable Cascade by its own names: the whole pipeline from a folder of original files, against a
loop by hand over modules of torch with upstream's sampler."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from entracte.errors import ConfigError
from entracte.graphs.models import build_model
from tests.lower.execute import lower
from tests.lower.execute import run as execute
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run
from tests.recipes.test_stable_cascade import LENGTH, clip

C = {"c_in": 6, "c_out": 6, "c_r": 8, "c_cond": 16, "c_hidden": [16, 24], "nhead": [2, 3],
     "blocks": [[1, 1], [1, 1]], "c_clip_text": 16, "c_clip_text_pooled": 12, "c_clip_img": 10,
     "c_clip_seq": 2}  # fmt: skip
B = {"c_r": 8, "c_cond": 12, "c_hidden": [12, 16], "nhead": [-1, 2], "blocks": [[1, 1], [1, 1]],
     "block_repeat": [[1, 1], [2, 1]], "level_config": ["CT", "CTA"], "c_clip": 12,
     "c_clip_seq": 2, "c_effnet": 6}  # fmt: skip
A = {"bottleneck_blocks": 1, "c_hidden": 16, "codebook_size": 8}
P = {"c_in": 6, "c_hidden": 16}
CONFIGS = {"stage_c": ("StageC", C), "stage_b": ("StageB", B), "stage_a": ("StageA", A),
           "previewer": ("Previewer", P)}  # fmt: skip
VARIANT = {"stage_c": "_bf16", "stage_b": "_bf16"}
SIZES = {"height": 128, "width": 176}
FEW, MANY = (1, 6, 3, 5), (1, 4, 32, 44)
STEPS, DECODER_STEPS, GUIDANCE = 3, 2, 3.0
PRECISIONS = ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]


def moved(module: nn.Module) -> nn.Module:
    """With numbers where modules begin with 0, or with 1."""
    for name, value in module.named_parameters():
        if value.dim() < 2 or "gamma" in name or "beta" in name:
            nn.init.normal_(value, std=0.2)
    for name, value in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(value, std=0.2)
    return module.eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, as upstream's files lie in it, and its modules."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("cascade")
    modules = {n: moved(build_model(kind, config)) for n, (kind, config) in CONFIGS.items()}
    # Latents of models that know nothing are large; few pixels may be cut off.
    modules["stage_a"].out_block[0].weight.data *= 0.2
    modules["stage_a"].out_block[0].bias.data += 0.5
    index = {"_class_name": "StableCascadeOriginalPipeline"}
    for name, (kind, config) in CONFIGS.items():
        index[name] = ["entracte", kind]
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
        # The codebook has another name there, and decoding does not read it.
        state = {k: v for k, v in modules[name].state_dict().items() if "vquantizer" not in k}
        save_file(state, folder / f"{name}{VARIANT.get(name, '')}.safetensors")
    torch.manual_seed(4)
    modules["text_encoder"] = clip()
    modules["image_encoder"] = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=8, patch_size=4, projection_dim=10,
    ))  # fmt: skip
    for name in ("text_encoder", "image_encoder"):
        modules[name].eval().save_pretrained(folder / name)
        index[name] = ["transformers", type(modules[name]).__name__]
    modules["tokenizer"] = words.clip(LENGTH)
    modules["tokenizer"].save_pretrained(folder / "tokenizer")
    index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder, modules


def texts(modules, text):
    """As upstream's models are given it."""
    ids = modules["tokenizer"](
        text, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    found = modules["text_encoder"](**ids, output_hidden_states=True)
    return found.hidden_states[-1], found.text_embeds[:, None]


def signal(t, shift=1.0):
    """Of pictures at a time, and the number that the model is told; noise is the rest."""
    first = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    variance = math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / first
    variance = min(max(variance, 1e-4), 0.9999)
    odds = variance / (1 - variance) / shift**2
    variance = max(odds / (1 + odds), 1e-4)
    told = math.acos(math.sqrt(variance * first)) / (math.pi / 2) * 1.008 - 0.008
    return math.sqrt(variance), told


def sampled(model, shape, steps, salt, *, shift=1.0, guidance=None):
    """Upstream's DDPM: from what is predicted of the picture to a little less noise."""
    x = normal(3, *shape, salt=salt)
    for i in range(steps):
        (a, told), (later, _) = signal(1 - i / steps, shift), signal(1 - (i + 1) / steps, shift)
        b, less = math.sqrt(1 - a * a), math.sqrt(1 - later * later)
        noise = model(x, torch.tensor([told]))
        if guidance is not None:
            given, without = noise
            pulled = torch.lerp(without, given, guidance)
            noise = 0.7 * pulled * given.std() / pulled.std() + 0.3 * pulled
        fresh = less / b * math.sqrt(1 - (a / later) ** 2)
        drawn = normal(3, *shape, salt=salt + 1, iteration=i)
        picture = (x - b * noise) / a
        x = later * picture + math.sqrt(less**2 - fresh**2) * noise + fresh * drawn
    return x


def by_hand(modules, prompt, negative, *, image=None, shift=1.0, decoder_guidance=None):
    """Latents of stage C, and the picture."""
    (states, pooled), (others, other) = texts(modules, prompt), texts(modules, negative)
    none = torch.zeros(1, 1, C["c_clip_img"])
    seen = none if image is None else image

    def imagined(x, r):
        stage = modules["stage_c"]
        return stage(x, r, states, pooled, seen), stage(x, r, others, other, none)

    few = sampled(imagined, FEW, STEPS, 0, shift=shift, guidance=GUIDANCE)

    def painted(x, r):
        stage = modules["stage_b"]
        given = stage(x, r, few, pooled)
        if decoder_guidance is None:
            return given
        return given, stage(x, r, torch.zeros_like(few), other)

    many = sampled(painted, MANY, DECODER_STEPS, 2, guidance=decoder_guidance)
    return few, modules["stage_a"].decode(many * 0.43, return_dict=False)[0]


def built(made, tmp_path, precision="fp32", **options):
    given = SIZES | {"decoder_steps": DECODER_STEPS} | options
    chosen = [f"+pipeline.options.{k}={v}" for k, v in given.items()]
    chosen = [c if "height" not in c and "width" not in c else c[1:] for c in chosen]
    return compiled(
        made[0], tmp_path / "build", f"sampler.steps={STEPS}", *chosen, precision=precision
    )


GIVEN = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": GUIDANCE}


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_whole_pipeline(made, tmp_path, precision):
    few, want = by_hand(made[1], "a red cat", "b")
    packages = built(made, tmp_path, precision, preview=True)
    check(run(packages, GIVEN, "image").clip(0, 1), want.clamp(0, 1), precision)
    check(
        run(packages, GIVEN, "preview").clip(0, 1), made[1]["previewer"](few).clamp(0, 1), precision
    )


@pytest.mark.slow
@torch.no_grad()
def test_a_picture_as_a_condition_and_guidance_of_the_decoder(made, tmp_path):
    drawn = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(drawn).save(tmp_path / "picture.png")
    picture = torch.tensor(drawn).permute(2, 0, 1)[None] / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(1, 3, 1, 1)
    seen = made[1]["image_encoder"]((picture - mean) / std).image_embeds[:, None]
    _, want = by_hand(made[1], "a red cat", "b", image=seen, shift=2.0, decoder_guidance=1.5)
    packages = built(made, tmp_path, image_prompt=True, shift=2.0, decoder_guided=True)
    given = GIVEN | {"image": str(tmp_path / "picture.png"), "decoder_guidance": 1.5}
    check(run(packages, given, "image").clip(0, 1), want.clamp(0, 1), "fp32")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sampler": "euler"}, "sampler: 'euler' is none of ddpm, ddim"),
        ({"width": 180}, "width: 180 is not a multiple of 8; give 176 or 184"),
        ({"shift": 0.0}, "shift: 0.0; give a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(made, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        built(made, tmp_path, **options)


# ---------------------------------------------------------------- fp16

DIVISOR, TOO_MUCH = 64.0, 65504
LOUD = {
    "stage_c": C | {"blocks": [[1, 1], [1, 3]]},
    "stage_b": B | {"blocks": [[1, 1], [1, 3]]},
}


class Body(nn.Module):
    """What a step computes, of what is made before."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x, step, *more):
        return self.net.predict(x, step, *more)


def loud(name: str) -> tuple[nn.Module, nn.Module]:
    """A denoiser whose last level enlarges its residual stream by its steps, as that of published
    stage C is known to, and the same divided."""
    torch.manual_seed(5)
    kind = CONFIGS[name][0]
    plain = build_model(kind, LOUD[name])
    with torch.no_grad():
        for key, value in plain.named_parameters():
            fan = value[0].numel() if value.dim() in (2, 4) and "gamma" not in key else 0
            value.normal_(std=fan**-0.5 if fan else 0.2)
            if key.startswith("up_blocks.1") and key.endswith("mapper.bias"):
                value[: len(value) // 2] += 60
    divided = build_model(kind, LOUD[name] | {"residual_divisor": DIVISOR})
    factors = dict(divided.scales)
    divided.load_state_dict({k: v * factors.get(k, 1) for k, v in plain.state_dict().items()})
    return Body(plain.eval()), Body(divided.eval())


def peak_of(body: nn.Module, given) -> float:
    """The largest magnitude in the last level's residual stream."""
    peaks: list[float] = []
    kept = [
        block.register_forward_hook(lambda _, __, made: peaks.append(float(made.abs().max())))
        for block in body.net.up_blocks[-1]
    ]
    body(*given)
    for hook in kept:
        hook.remove()
    return max(peaks)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", ["stage_c", pytest.param("stage_b", marks=pytest.mark.slow)])
def test_fp16_packages_need_the_division(tmp_path, name):
    plain, divided = loud(name)
    torch.manual_seed(6)
    config = plain.net
    x = torch.randn(1, LOUD[name].get("c_in", 4), 8, 8)
    given = [x, config.step_embedding(torch.tensor([0.7]))]
    given += [torch.randn(1, 6, 3, 5)] if name == "stage_b" else []
    given.append(torch.randn(1, 4, LOUD[name]["c_cond"]))
    want = plain(*given)
    assert peak_of(plain, given) > 2 * TOO_MUCH
    # A power of two: fp32 cannot tell them apart but by a norm's epsilon.
    assert (divided(*given) - want).abs().max() <= 1e-5 * want.abs().max()
    found = {}
    for made, body in {"plain": plain, "divided": divided}.items():
        path = tmp_path / f"{made}.mlpackage"
        lower(body, tuple(given), path, precision="fp16", deployment="iOS18")
        (found[made],) = execute(path, tuple(t.half() for t in given))
    check(found["divided"], want, "fp16")
    assert not torch.isfinite(found["plain"]).all()
