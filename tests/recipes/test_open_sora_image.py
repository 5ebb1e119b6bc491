"""OpenSoraPipeline with a mask strategy: a folder, a picture and a clip in, a video out, as a loop
put together from upstream's modules by hand makes it."""

import numpy as np
import pytest
import torch
from transformers import T5Config, T5EncoderModel

from entracte.errors import ConfigError
from entracte.graphs import models
from entracte.graphs.opensora.vae import SPATIAL_SCALE
from entracte.graphs.recipes.open_sora_encoder import SALTS
from entracte.graphs.recipes.open_sora_image import SALT
from tests.opensora import declared, graph_of, put
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run
from tests.upstream import case

NET, VAE = case("os12_sampling_a"), case("os12_vae_a")
# 22 frames are 5 and 2 latent frames, 39 of the second reference 5, 5 and 2.
FRAMES, LATENTS, CLIP = 22, 7, 39
HEIGHT, WIDTH, FPS, STEPS, SEED, GUIDANCE = 16, 24, 24, 4, 3, 5.0
GROUP, EACH, TEXT, LENGTH = 17, 5, 8, 5
# Of the clip its second and third group, but for the last latent frame; then the picture over the
# first; noise is the last.
STRATEGY = "0,1,5,0,6,0.6;0"
RATIOS = [0.0, 0.6, 0.6, 0.6, 0.6, 0.6, 1]
PROMPT = "a red cat walks"


def build(name, config, weights):
    made = models.build_model(name, config).eval()
    made.load_state_dict(weights)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As the real one: upstream's key names and configurations."""
    made = tmp_path_factory.mktemp("open_sora") / "folder"
    put(put(made, "denoiser", NET.config["stdit3"], NET), "vae", VAE.config, VAE)
    torch.manual_seed(11)
    T5EncoderModel(T5Config(
        vocab_size=32, d_model=TEXT, d_kv=4, d_ff=16, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", dropout_rate=0.0,
    )).save_pretrained(made / "text_encoder")  # fmt: skip
    words.t5(LENGTH).save_pretrained(made / "tokenizer")
    return made


def text_states(folder):
    tokens = words.t5(LENGTH)(PROMPT + " and on", padding="max_length", truncation=True,
                              max_length=LENGTH, return_tensors="pt")  # fmt: skip
    t5 = T5EncoderModel.from_pretrained(folder / "text_encoder").eval()
    assert tokens.attention_mask.all()
    return t5(tokens.input_ids)[0], torch.ones(1, LENGTH)


def sampled(moments, noise):
    mean, logvar = moments.chunk(2, 1)
    return mean + torch.exp(logvar / 2) * noise


def encoded(vae, pixels, number):
    """(1, 3, frames, H, W) -> latents, as upstream encodes them, with the runner's noise."""
    n, sides = pixels.shape[2], (HEIGHT // 8, WIDTH // 8)
    parts = [range(i, min(i + GROUP, n)) for i in range(0, n, GROUP)]
    latents = sum(-(-len(part) // 4) for part in parts)
    space, time = (
        normal(SEED, 1, 4, frames, *sides, salt=salt + 2 * number)
        for frames, salt in zip((n, latents), SALTS, strict=True)
    )
    of = vae.spatial_vae["module"]
    moments = torch.stack([of.quant_conv(of.encoder(pixels[:, :, i])) for i in range(n)], 2)
    x = sampled(moments, space) * SPATIAL_SCALE
    moments = torch.cat([vae.temporal_vae.encode(x[:, :, part.start : part.stop])
                         for part in parts], 2)  # fmt: skip
    return (sampled(moments, time) - vae.shift) / vae.scale


def decoded(vae, z):
    z = z * vae.scale + vae.shift
    parts = [vae.temporal_vae.decode(z[:, :, :EACH], GROUP),
             vae.temporal_vae.decode(z[:, :, EACH:], FRAMES - GROUP)]  # fmt: skip
    of, x = vae.spatial_vae["module"], torch.cat(parts, 2) / SPATIAL_SCALE
    frames = [of.decoder(of.post_quant_conv(x[:, :, i])) for i in range(FRAMES)]
    return (torch.stack(frames, 2) / 2 + 0.5).clamp(0, 1)


def video(folder, picture, clip):
    """With torch alone: what is active, what is restored and how noise is added, as upstream."""
    vae = build("VideoAutoencoderPipeline", VAE.config, VAE.weights)
    sizes = {"latent": (LATENTS, HEIGHT // 8, WIDTH // 8), "pixels": (HEIGHT, WIDTH), "fps": FPS}
    net = models.build_model("STDiT3", {**NET.config["stdit3"], **sizes}).eval()
    net.model.load_state_dict(NET.weights)
    z = normal(SEED, 1, 4, *sizes["latent"])
    z[:, :, :6] = encoded(vae, clip, 1)[:, :, EACH : EACH + 6]
    z[:, :, :1] = encoded(vae, picture[:, :, None], 0)
    shift = (HEIGHT * WIDTH / 512**2) ** 0.5 * (FRAMES // GROUP * EACH) ** 0.5
    even = [1 - i / STEPS for i in range(STEPS)]
    times = [1000 * shift * t / (1 + (shift - 1) * t) for t in even] + [0]
    text, mask = text_states(folder)
    ratios = torch.tensor(RATIOS)
    had_noise = ratios == 1
    for i, t in enumerate(times[:-1]):
        noisy = (1 - t / 1000) * z + t / 1000 * normal(SEED, *z.shape, salt=SALT, iteration=i)
        active = (ratios * 1000 >= t) | (ratios == 1)
        start = torch.where((active & ~had_noise)[:, None, None], noisy, z)
        had_noise = active
        both = net(start, torch.tensor([t]), text, mask, active[None].float())[:, :4]
        v = both[1:] + GUIDANCE * (both[:1] - both[1:])
        moved = start + v * (t - times[i + 1]) / 1000
        z = torch.where(active[:, None, None], moved, z)
    return decoded(vae, z)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_a_picture_and_a_clip_become_a_video(folder, tmp_path, precision):
    numbers = np.random.default_rng(5)
    picture, clip = (
        numbers.uniform(-1, 1, (1, 3, *frames, HEIGHT, WIDTH)).astype(np.float32)
        for frames in ((), (CLIP,))
    )
    want = video(folder, torch.tensor(picture), torch.tensor(clip))
    sizes = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH, "fps": float(FPS),
             "references": f"[1,{CLIP}]", "mask_strategy": f"'{STRATEGY}'"}  # fmt: skip
    options = [f"pipeline.options.{name}={value}" for name, value in sizes.items()]
    built = compiled(
        folder, tmp_path / "build", f"sampler.steps={STEPS}", "verify=off", *options,
        precision=precision,
    )  # fmt: skip
    given = {"prompt": PROMPT, "seed": SEED, "guidance": GUIDANCE, "reference": picture,
             "reference_2": clip}  # fmt: skip
    check(run(built, given, "video"), want, precision)


def stages(folder, **options):
    made = declared(folder, **{"frames": FRAMES, "height": HEIGHT, "width": WIDTH, **options})
    return {stage.name: stage for stage in made.stages}


def test_all_frames_cannot_leap_where_some_are_given(folder):
    made = declared(folder, "sampler=lpl_adaptive", frames=FRAMES, height=HEIGHT, width=WIDTH,
                    mask_strategy="'0'")  # fmt: skip
    (step,) = (stage for stage in made.stages if stage.name == "step")
    with pytest.raises(ValueError, match="lpl_adaptive leaps with all frames at once"):
        graph_of(step)


def test_what_is_not_read_is_not_made(folder):
    plain = stages(folder)
    assert not {"begin", "mix", "encode_space"} & plain.keys()
    first = stages(folder, mask_strategy="'0'")
    # One frame is less than a group; no frame begins to move later than others.
    assert {"begin", "encode_space", "encode_time_rest"} <= first.keys() - plain.keys()
    assert not {"mix", "encode_time"} & first.keys()
    last = stages(folder, mask_strategy="'0,0,-5,0,5'", references="[51]")
    # The last of three groups.
    slices = last["encode_space"].map.slices[0]
    assert (slices.start, slices.size * slices.count) == (34, 17)
    assert "encode_time" in last and last["encode_time"].map is None
    means = stages(folder, mask_strategy="'0'", encode="mean")
    assert {"noise_space", "noise_time"} == first.keys() - means.keys()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask_strategy": "'0,1'"}, "no reference 1 .*; 1 are given"),
        ({"mask_strategy": "'1,0'"}, "is of loop 1; one clip is made"),
        ({"mask_strategy": "'0,0,0,0,1,1.5'"}, "edit ratio 1.5 is not within"),
        ({"mask_strategy": "'0,0,0,19'"}, "target_start 19 is outside"),
        ({"mask_strategy": "'0'", "references": "[1,1]"}, "nothing of reference 1"),
        ({"mask_strategy": "'0'", "references": "[0]"}, "give the frames of each reference"),
        ({"mask_strategy": "'0'", "encode": "mode"}, "'mode' is not one of sample, mean"),
        ({"align": "5"}, "has no such option"),
    ],
)
def test_a_strategy_that_cannot_be_is_one_message(folder, options, words):
    with pytest.raises(ConfigError, match=rf"(?s)pipeline\.options\.\w+: .*{words}"):
        stages(folder, **options)
