"""Previews: latents to RGB by factors, held against numbers worked out by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from entracte.cli.preview import previewer_of, psnr
from entracte.errors import RunError
from entracte.ir import DType, Port, Segment, TensorDecl
from entracte.run.preview import (
    FILE,
    LinearPreview,
    Previewer,
    fitted,
    latents_of,
    read_preview,
    shrunk,
    write_preview,
)

LOOP = Segment(name="loop", count=4, steps=(), state=(("z", "noise", "next"), ("n", "a", "b")))
LINEAR = LinearPreview(
    tensor="z", factors=((0.5, 0.0, 0.0), (0.0, 0.25, -1.0)), bias=(0.0, 0.5, 1.0), source="hand"
)
SHAPES = {"z": (1, 2, 3, 4, 5), "n": (1,), "video": (1, 3, 6, 8, 10)}


def plan_like(segments=(LOOP,), shapes=SHAPES):
    tensors = [TensorDecl(Port(n, s, DType.FP32)) for n, s in shapes.items()]
    output = SimpleNamespace(name="video", kind="video", values=("video",), rate=8.0)
    program = SimpleNamespace(tensors=tensors, segments=segments, outputs=(output,))
    return SimpleNamespace(program=program)


def test_a_pixel_is_the_sum_of_its_channels():
    z = np.zeros((1, 2, 1, 1, 3), np.float32)
    z[0, :, 0, 0] = [[1, 2, -1], [0, 1, 2]]
    # Pixel by pixel: (0.5, 0.5, 1), (1, 0.75, 0), (-0.5 is 0, 1, -1 is 0); 127.5 goes to even.
    wanted = [[[[128, 128, 255], [255, 191, 0], [0, 255, 0]]]]
    assert LINEAR.frames(z).tolist() == wanted
    assert LINEAR.frames(z[:, :, 0]).tolist() == wanted, "pictures have no frames"


def test_every_second_iteration_and_the_last():
    told = []
    previewer = Previewer(LINEAR, told.append, 3)
    for done in (1, 2, 3, 4):
        previewer.iterated(LOOP, done, lambda name: np.zeros(SHAPES[name], np.float32))
    assert [(p.loop, p.iteration, p.count) for p in told] == [("loop", 3, 4), ("loop", 4, 4)]
    assert told[0].frames.shape == (3, 4, 5, 3) and told[0].frames.dtype == np.uint8
    previewer.iterated(replace(LOOP, state=()), 3, lambda _: 1 / 0)
    with pytest.raises(RunError, match="give 1 or more"):
        Previewer(LINEAR, told.append, 0)


def test_clips_shrink_to_the_latents_frames():
    clip = np.arange(6, dtype=np.float32).repeat(2 * 2 * 3).reshape(6, 2, 2, 3)
    assert shrunk(clip, (3, 1, 1))[:, 0, 0, 0].tolist() == [0.5, 2.5, 4.5]
    causal = shrunk(clip[:5], (3, 1, 2))
    assert causal.shape == (3, 1, 2, 3) and causal[:, 0, 0, 0].tolist() == [0, 1.5, 3.5]
    with pytest.raises(RunError, match="no multiple"):
        shrunk(clip, (4, 1, 1))


def test_factors_that_made_a_clip_are_found_again():
    z = np.random.default_rng(0).uniform(-0.4, 0.4, (2, 1, 2, 3, 4, 5)).astype(np.float32)
    factors = np.array(LINEAR.factors)
    clips = [
        (np.moveaxis(x[0], 0, -1) @ factors + LINEAR.bias).repeat(2, 0).repeat(2, 1).repeat(2, 2)
        for x in z
    ]
    found = fitted("z", list(z), clips, "x")
    assert np.allclose(found.factors, factors, atol=1e-5)
    assert np.allclose(found.bias, LINEAR.bias, atol=1e-5)
    # What is left is clamping and the rounding to 8 bits: at most half of a level, 1/510.
    inside = [np.clip(c, 0, 1) for c in clips]
    assert psnr(found, z[0], inside[0]) > 20 * np.log10(510)


def test_factors_are_read_as_a_strangers(tmp_path):
    path, plan = tmp_path / FILE, plan_like()
    write_preview(LINEAR, path)
    assert read_preview(path, plan) == LINEAR
    for change, words in (
        ({"tensor": "noise"}, "no state of a loop is 'noise'"),
        ({"factors": ((0.0, 0.0, 0.0),)}, "1 channels, z has 2"),
        ({"bias": (0.0, 0.0, 1e7)}, "beyond"),
    ):
        write_preview(replace(LINEAR, **change), path)
        with pytest.raises(RunError, match=words):
            read_preview(path, plan)
    path.write_text('{"tensor": "z", "factors": [[NaN, 0, 0]], "bias": [0, 0, 0]}')
    with pytest.raises(RunError, match="plan preview BUILD"):
        read_preview(path, plan)
    with pytest.raises(RunError, match="fits factors"):
        read_preview(tmp_path / "none.json", plan)


def test_which_latents_are_meant():
    assert latents_of(plan_like()) == "z"
    both = plan_like(shapes=SHAPES | {"n": (1, 4, 8, 8)})
    with pytest.raises(RunError, match="2: z, n; name one"):
        latents_of(both)
    assert latents_of(both, "n") == "n"
    with pytest.raises(RunError, match="none"):
        latents_of(plan_like((replace(LOOP, sliced=True),)))


def test_files_are_as_large_as_the_clip(tmp_path):
    """A picture that is replaced, an animation, or one of each iteration."""
    import imageio.v3 as iio

    write_preview(LINEAR, tmp_path / FILE)
    z = np.random.default_rng(0).standard_normal(SHAPES["z"])
    # 4 x 5 pixels, twice as large; a sheet has a border of two pixels on each side.
    sheet = (4 * 2 + 4, 3 * (5 * 2 + 2) + 2, 3)
    for name, shown, shape in (
        ("p.png", "p.png", sheet),
        ("p.gif", "p.gif", (3, 8, 10, 3)),
        ("all/", "all/0004.png", sheet),
    ):
        place = f"{tmp_path}/{name}"
        previewer = previewer_of(plan_like(), tmp_path, place, 2, None)
        for done in (2, 4):
            previewer.iterated(LOOP, done, lambda _: z)
        assert iio.imread(tmp_path / shown).shape == shape
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["0002.png", "0004.png"]
    for place, words in (("p.mp4", ".png or .gif"), (None, "--preview")):
        with pytest.raises(RunError, match=words):
            previewer_of(plan_like(), tmp_path, place, 1, tmp_path / FILE)
