"""What newcomers bring runs to its end, and gives what their own libraries give.

Everything in fp32, so that what differs is an error and no rounding: 1e-4 of the largest.
"""

import wave
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import entracte
import entracte.graphs
from tests.newcomers import clip, own, picture, registry, speech

CONF = Path(__file__).parent / "conf"
NEAR = 1e-4


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, place in registry.names().items():
        monkeypatch.setitem(entracte.graphs._BUILT_IN, name, place)
    (tmp_path / "weights").mkdir()
    return tmp_path


def compiled(here: Path, name: str, *more: str):
    overrides = ["+target=host", f"pipeline={name}", "workers=1", *more]
    if name != "own":
        overrides.append(f"pipeline.weights={here / 'weights'}")
    built = entracte.compile_pipeline(overrides, out=here / "build", config_dir=CONF)
    assert built.plan.verify == "on"
    return built


def near(got, want) -> None:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= NEAR * np.abs(want).max()


def write_wave(path: Path, samples) -> np.ndarray:
    """16-bit samples, and what they are again as numbers."""
    whole = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.RATE)
        file.writeframes(whole.tobytes())
    return whole.astype(np.float32) / 32768


@pytest.mark.slow
@torch.no_grad()
def test_speech_becomes_tokens(here):
    torch.manual_seed(3)
    model = speech.model()
    model.save_pretrained(here / "weights" / "model")
    built = compiled(here, "speech")
    samples = write_wave(
        here / "sound.wav", np.random.default_rng(0).standard_normal(speech.RATE) * 0.1
    )
    entracte.run_build(
        built.folder, {"sound": here / "sound.wav"}, out={"tokens": here / "tokens.npy"}
    )
    features = speech.extractor()(samples, sampling_rate=speech.RATE, return_tensors="pt")
    ids = list(speech.START)
    while len(ids) < speech.TOKENS and ids[-1] != speech.END:
        made = model(input_features=features.input_features, decoder_input_ids=torch.tensor([ids]))
        ids.append(int(made.logits[0, -1].argmax()))
    wanted = ids[len(speech.START) :]
    got = np.load(here / "tokens.npy")[0].tolist()
    # What was not made when the loop ended early is 0.
    assert got == wanted + [0] * (len(got) - len(wanted))


@torch.no_grad()
def test_an_image_becomes_a_clip(here):
    torch.manual_seed(4)
    modules = {
        "encoder": clip.Encoder(), "denoiser": clip.Denoiser(), "decoder": clip.Decoder(False),
    }  # fmt: skip
    for name, module in modules.items():
        save_file(module.state_dict(), here / "weights" / f"{name}.safetensors")
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(here / "image.png")
    built = compiled(here, "clip")
    entracte.run_build(
        built.folder,
        {"image": here / "image.png", "pace": "fast", "seed": 5},
        out={"video": here / "clip.npy", "latents": here / "latents.npz"},
    )
    image = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    latent = modules["encoder"](image)
    from entracte.declare.host_ops import random_normal

    z = torch.tensor(random_normal(5, (1, 4, 3, 4, 4)))
    for dt in clip.start().arrays["dt"]:
        z = modules["denoiser"](z, latent, torch.tensor(dt)[None], torch.tensor([2]))
    near(np.load(here / "latents.npz")["latents"], z)
    near(np.load(here / "clip.npy"), clip.whole(modules["decoder"], torch.cat([latent, z], 2)))
    shown = entracte.run_build(
        built.folder, {"image": here / "image.png"}, out={"video": here / "a.mp4"}
    )
    assert iio.improps(here / "a.mp4", plugin="pyav").shape[0] == 7
    assert dict(shown.run.outputs)["video"] == 4


@torch.no_grad()
def test_text_becomes_an_image(here):
    picture.save(here / "weights")
    built = compiled(here, "picture")
    prompt = "a red cat and zebra"
    entracte.run_build(
        built.folder, {"prompt": prompt, "seed": 3}, out={"image": here / "image.npy"}
    )
    near(np.load(here / "image.npy"), picture_by_diffusers(here / "weights", prompt, 3))
    entracte.run_build(built.folder, {"prompt": prompt, "seed": 3}, out=here / "image.png")
    shown = np.asarray(Image.open(here / "image.png"))
    made = np.load(here / "image.npy")[0].transpose(1, 2, 0)
    assert np.array_equal(shown, np.clip(np.rint((made + 1) / 2 * 255), 0, 255).astype(np.uint8))


def picture_by_diffusers(folder: Path, prompt: str, seed: int):
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from entracte.declare.host_ops import random_normal

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text = CLIPTextModel.from_pretrained(folder / "text_encoder")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    ids = tokenizer(
        ["", prompt], padding="max_length", max_length=picture.LENGTH, truncation=True,
        return_tensors="pt",
    ).input_ids  # fmt: skip
    states = text(ids).last_hidden_state
    scheduler = picture.scheduler()
    scheduler.set_timesteps(picture.STEPS)
    z = torch.tensor(random_normal(seed, (1, 4, 8, 8)))
    for t in scheduler.timesteps:
        without, with_text = unet(torch.cat([z, z]), t, states).sample.chunk(2)
        noise = without + picture.GUIDANCE * (with_text - without)
        z = scheduler.step(noise, t, z).prev_sample
    return vae.decode(z / vae.config.scaling_factor).sample


@torch.no_grad()
def test_a_module_of_ones_own_gives_its_logits(here):
    built = compiled(here, "own")
    x = np.random.default_rng(2).standard_normal((1, own.FEATURES)).astype(np.float32)
    np.save(here / "x.npy", x)
    entracte.run_build(built.folder, {"x": here / "x.npy"}, out={"logits": here / "logits.npz"})
    near(np.load(here / "logits.npz")["logits"], own.classifier(16).module(torch.tensor(x)))


def test_an_onnx_file_gives_what_onnx_runtime_gives(here):
    from onnxruntime import InferenceSession

    own.save_onnx(here / "weights" / "classifier.onnx")
    built = compiled(here, "onnx_file")
    x = np.random.default_rng(2).standard_normal((1, own.FEATURES)).astype(np.float32)
    np.savez(here / "x.npz", x=x)
    entracte.run_build(built.folder, {"x": here / "x.npz"}, out={"logits": here / "logits.npy"})
    session = InferenceSession(here / "weights" / "classifier.onnx")
    near(np.load(here / "logits.npy"), session.run(None, {"x": x})[0])
