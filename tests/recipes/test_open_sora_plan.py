"""Open-Sora Plan 1.3, text to video and with given frames: folder in, video out, as a loop composed
by hand of libraries and whole models makes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler
from PIL import Image
from safetensors.torch import save_file
from transformers import MT5Config, MT5EncoderModel

import entracte
from entracte.errors import ConfigError
from entracte.graphs.models import build_model
from entracte.graphs.opensora_plan.resize import centre, scaled
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run, steps_noise

LENGTH, STEPS, FRAMES, SIZE = 12, 2, 5, (32, 64)
LATENTS = (1, 4, 2, 4, 8)
SIZES = {"frames": FRAMES, "height": SIZE[0], "width": SIZE[1], "length": LENGTH}
WORDS = [f"+pipeline.options.{name}={size}" for name, size in SIZES.items()]
GIVEN = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
GUIDANCE = {"fp32": 4.0, "fp16": 1.0}
"""At fp16 none: it multiplies the rounding of the velocity, 54 dB, like the velocity's differences,
and two texts hardly differ for random weights; then 31 dB are left."""
SCHEDULER = {
    "_class_name": "EulerAncestralDiscreteScheduler",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": False,
    "timestep_spacing": "trailing",
}
"""With a last signal-to-noise ratio of zero, as published, the first sigma is 4096: the library's
first step, in fp32, takes what is left of numbers of 10,000, and loses the digits that are compared
here. `test_graphs_opensora_plan.py` has that one; so has what runs at fp16."""
# The last two blocks are skiparse; in a square clip 8 tokens are filled up to 16.
NET = {"num_attention_heads": 2, "attention_head_dim": 12, "cross_attention_dim": 24,
       "in_channels": 4, "out_channels": 4, "num_layers": 4, "caption_channels": 16}  # fmt: skip
VAE = {"latent_dim": 4, "base_channels": 4, "encoder_num_resblocks": 1, "decoder_num_resblocks": 1,
       "encoder_energy_flow_hidden_size": 2, "decoder_energy_flow_hidden_size": 4,
       "connect_res_layer_num": 1, "scale": [0.3, 0.2, 0.4, 0.5],
       "shift": [0.0, 0.1, -0.2, 0.3]}  # fmt: skip


class Tiny:
    """Models of a pipeline, saved as a hub has them."""

    def __init__(self, folder: Path, transformer: str, pipeline: str, precision: str) -> None:
        torch.manual_seed(31)
        text = MT5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
                         dropout_rate=0.0)  # fmt: skip
        self.folder, self.tokenizer = folder, words.t5(LENGTH)
        self.encoder = MT5EncoderModel(text).eval()
        self.transformer = build_model(transformer, NET).eval()
        self.vae = build_model("WFVAEModel", VAE).eval()
        schedule = SCHEDULER | {"rescale_betas_zero_snr": precision == "fp16"}
        self.scheduler = EulerAncestralDiscreteScheduler.from_config(schedule)
        self.encoder.save_pretrained(folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")
        stem = "diffusion_pytorch_model"
        for name, config in (("transformer", NET), ("vae", VAE)):
            _write(folder / name / "config.json", config)
            save_file(getattr(self, name).state_dict(), folder / name / f"{stem}.safetensors")
        _write(folder / "scheduler" / "scheduler_config.json", schedule)
        _write(folder / "model_index.json", {
            "_class_name": pipeline,
            "scheduler": ["diffusers", SCHEDULER["_class_name"]],
            "text_encoder": ["transformers", "MT5EncoderModel"],
            "tokenizer": ["transformers", "T5TokenizerFast"],
            "transformer": ["entracte", transformer],
            "vae": ["entracte", "WFVAEModel"],
        })  # fmt: skip

    def states(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of a text, and its mask."""
        tokens = self.tokenizer(text, max_length=LENGTH, padding="max_length", truncation=True,
                                return_tensors="pt")  # fmt: skip
        mask = tokens["attention_mask"]
        return self.encoder(tokens["input_ids"], mask).last_hidden_state, mask.float()

    def sample(
        self, shape: tuple[int, ...], *seen: torch.Tensor, guidance: float = 4.0
    ) -> torch.Tensor:
        """The pipeline's loop, then its decoder: from -1 to 1."""
        texts = [
            self.states("b"),
            self.states("\n    high quality, high aesthetic, a red cat\n    "),
        ]
        self.scheduler.set_timesteps(STEPS)
        z = normal(3, *shape) * self.scheduler.init_noise_sigma
        with steps_noise(self.scheduler, 3):
            for time in self.scheduler.timesteps:
                read = self.scheduler.scale_model_input(z, time)
                without, made = (self.transformer(read, time[None], *text, *seen) for text in texts)
                made = without + guidance * (made - without)
                z = self.scheduler.step(made, time, z, return_dict=False)[0]
        z = z / _each("scale") + _each("shift")
        return self.vae.decode(z).clamp(-1, 1)

    def see(self, pixels: torch.Tensor, known: list[int]) -> torch.Tensor:
        """What given frames of a clip add; its others are black."""
        for k in set(range(pixels.shape[2])) - set(known):
            pixels[:, :, k] = -1
        mean, variance = self.vae.encode(pixels).chunk(2, 1)
        z = mean + (variance / 2).exp() * normal(3, *mean.shape, salt=2)
        mask = torch.ones(1, 1, pixels.shape[2], 1, 1)
        mask[:, :, known] = 0
        mask = torch.cat([mask[:, :, :1]] * 3 + [mask], 2).reshape(1, -1, 4, 1, 1).transpose(1, 2)
        mask = mask.expand(-1, -1, -1, *z.shape[3:])
        return self.transformer.see((z - _each("shift")) * _each("scale"), mask)


def _each(name: str) -> torch.Tensor:
    return torch.tensor(VAE[name])[None, :, None, None, None]


def _write(file: Path, found: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))


def of_text(folder: Path, precision: str = "fp32") -> Tiny:
    return Tiny(folder, "OpenSoraT2V_v1_3", "OpenSoraPlanPipeline", precision)


def with_frames(folder: Path, precision: str = "fp32") -> Tiny:
    return Tiny(folder, "OpenSoraInpaint_v1_3", "OpenSoraPlanInpaintPipeline", precision)


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_a_text_becomes_a_video(tmp_path, precision):
    tiny = of_text(tmp_path / "folder", precision)
    built = compiled(
        tiny.folder, tmp_path / "build", f"sampler.steps={STEPS}", *WORDS, precision=precision
    )
    want = tiny.sample(LATENTS, guidance=GUIDANCE[precision])
    check(run(built, given_at(precision), "video"), want, precision)


@torch.no_grad()
@pytest.mark.slow
def test_one_frame_is_a_picture(tmp_path):
    tiny = of_text(tmp_path / "folder")
    built = compiled(
        tiny.folder, tmp_path / "build", f"sampler.steps={STEPS}", *WORDS,
        "pipeline.options.frames=1",
    )  # fmt: skip
    want = tiny.sample((1, 4, 1, 4, 8))[:, :, 0]
    check(run(built, GIVEN, "image"), want, "fp32")


def given_at(precision: str) -> dict[str, object]:
    return GIVEN | {"guidance": GUIDANCE[precision]}


def picture(file: Path, size: tuple[int, int], seed: int) -> torch.Tensor:
    """One of 256 levels, saved; (1, 3, height, width) from -1 to 1."""
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(levels).save(file)
    return torch.tensor(levels).permute(2, 0, 1)[None] / 255 * 2 - 1


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_picture_of_any_size_becomes_a_video(tmp_path, precision):
    tiny, source = with_frames(tmp_path / "folder", precision), (50, 70)
    x = picture(tmp_path / "image.png", source, 5)
    # 50 x 70 within 2560 pixels is 42 x 59, and then 32 x 32.
    pixels = centre(scaled(x, (42, 59)), (32, 32))[:, :, None].repeat(1, 1, FRAMES, 1, 1)
    built = compiled(
        tiny.folder, tmp_path / "build", f"sampler.steps={STEPS}", *WORDS,
        "+pipeline.options.source_height=50", "+pipeline.options.source_width=70",
        "+pipeline.options.max_hxw=2560", precision=precision,
    )  # fmt: skip
    seen = tiny.see(pixels, [0])
    want = tiny.sample((1, 4, 2, 4, 4), seen, guidance=GUIDANCE[precision])
    given = given_at(precision) | {"image": tmp_path / "image.png"}
    check(run(built, given, "video"), want, precision)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words_more", "names", "known"),
    [
        (["condition=transition"], ["image", "last_image"], [0, -1]),
        (["condition_indices=[-1,2]"], ["image_0", "image_1"], [-1, 2]),
        (["condition=t2iv"], [], []),
    ],
)
def test_other_frames_that_are_given(tmp_path, words_more, names, known):
    tiny = with_frames(tmp_path / "folder")
    pixels, given = torch.zeros(1, 3, FRAMES, *SIZE), dict(GIVEN)
    for name, place in zip(names, known, strict=True):
        given[name] = tmp_path / f"{name}.png"
        pixels[:, :, place] = picture(given[name], SIZE, 7 + place)
    built = compiled(
        tiny.folder, tmp_path / "build", f"sampler.steps={STEPS}", *WORDS,
        *(f"+pipeline.options.{word}" for word in words_more),
    )  # fmt: skip
    want = tiny.sample(LATENTS, tiny.see(pixels, [k % FRAMES for k in known]))
    check(run(built, given, "video"), want, "fp32")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("condition=video", "condition: 'video' is none of i2v, transition"),
        ("condition_indices=[0,93]", "condition_indices: .* among 93 frames"),
        ("condition_indices=[92,-1]", "condition_indices: .* different places"),
        ("condition_frames=94 pipeline.options.condition=continuation", "94 of 93 frames"),
        ("frames=1 pipeline.options.condition=transition", "1 has no last frame; give 5"),
        ("source_height=100", "source_height and source_width: 100 x 0: give both"),
        ("source_height=20 pipeline.options.source_width=99", "20 x 99 .* less than 32"),
        ("height=360", "height: 360 is not a multiple of 32; give 352 or 384"),
        ("frames=92", "frames: 92 .*; give 89 or 93"),
    ],
)
def test_what_no_clip_has_is_refused(tmp_path, word, message):
    words_of_it = ["pipeline=open_sora_plan_i2v", *f"pipeline.options.{word}".split()]
    with pytest.raises(ConfigError, match=message):
        entracte.compile_pipeline(["+target=host", *words_of_it], out=tmp_path / "build")
