"""What cases change is sound: the build of everything computes what its modules, put together by
hand, do. It has every construct of a configuration, so they are together right here too."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.fuzz import base, graphs
from tests.test_truth import normal_numbers

IDS, MASK = torch.tensor([[1, 2, 3, 0]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
"""Of "a red circle", of four."""


def module(folder, factory, stem=None):
    """With the numbers of its file, or its own."""
    made = factory().module
    if stem is not None:
        values = load_file(folder / f"{stem}.safetensors")
        made.load_state_dict({k: v for k, v in values.items() if k != "table.weight"})
    return made


def jitter(iteration: int) -> torch.Tensor:
    """Of the seed 0 and the salt 1 (docs/plan-format.md)."""
    many = 2**64

    def mixed(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % many
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % many
        return x ^ (x >> 31)

    start = mixed(0) + 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03 * (iteration + 1)
    return torch.tensor([normal_numbers(mixed(start % many), 3)], dtype=torch.float32)


def loop(folder):
    """The state after it, what it collects, and the hint that it reads."""
    table = load_file(folder / "text.safetensors")["table.weight"]
    features = module(folder, graphs.text, "text")(table[IDS[0]][None], MASK)
    ones = torch.ones(1, 3)
    hint = module(folder, graphs.hint, "hint")(
        ones[..., None, None].expand(1, 3, 8, 8) / 2, torch.zeros(1, 3, 2, 8, 8),
        torch.zeros(1, 8), ones, torch.ones(1, 4, dtype=torch.int32),
        torch.ones(1, dtype=torch.int32),
    )  # fmt: skip
    denoise, guide = module(folder, graphs.denoise, "denoise"), module(folder, graphs.guide)
    z = torch.tensor(normal_numbers(0, 3 * 4 * 8 * 8), dtype=torch.float32).reshape(graphs.FRAMES)
    mean, waves, tokens, guided = torch.zeros(1, 3), [], [], None
    for i in range(base.STEPS):
        if i % 2 == 0:
            guided = guide(z, hint)
        dt = torch.full((1, 2), 1 / base.STEPS)
        z, mean, wave, token, done = denoise(
            z, mean, dt, jitter(i), features, guided, torch.tensor([0.5])
        )
        waves.append(wave)
        tokens.append(int(token))
        assert not done
    return z, torch.cat(waves, 1), tokens, hint


def decoded(folder, z):
    """Frame by frame, in tiles that fade into each other, and two frames at a time."""
    smooth, decode = (
        module(folder, graphs.smooth, "smooth"),
        module(folder, graphs.sharpen, "decode"),
    )
    before, frames, pictures = torch.zeros(1, 3, 1, 8, 8), [], []
    for k in range(4):
        made, picture, before = smooth(z[:, :, k : k + 1], before)
        frames.append(made)
        pictures.append(picture)
    x = torch.cat(frames, 2)
    one, two, three = (decode(x[:, :, :, i : i + 4]) for i in (0, 2, 4))
    ramp = torch.tensor([0.0, 0.5])[:, None]
    sharp = torch.cat(
        [
            one[:, :, :, :2], one[:, :, :, 2:] * (1 - ramp) + two[:, :, :, :2] * ramp,
            two[:, :, :, 2:] * (1 - ramp) + three[:, :, :, :2] * ramp, three[:, :, :, 2:],
        ],
        3,
    )  # fmt: skip
    first = decode(torch.zeros(1, 3, 2, 8, 8))
    video = torch.cat([first, decode(sharp[:, :, :2]), decode(sharp[:, :, 2:])], 2)
    return video, torch.cat(pictures, 2)


def by_hand(weights: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Every output, of the inputs' defaults."""
    with torch.no_grad():
        z, track, tokens, hint = loop(weights)
        video, poster = decoded(weights, z)
        logits = torch.cat([hint, graphs.feature().module(z)])
    vocabulary = {v: k for k, v in base.TOKENIZER["model"]["vocab"].items()}
    words = " ".join(vocabulary[t] for t in tokens)
    return {"video": video, "poster": poster, "track": track, "logits": logits}, words
