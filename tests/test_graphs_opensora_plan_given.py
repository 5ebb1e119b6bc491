"""Open-Sora Plan 1.3: frames that are given, their mask, and how pictures are prepared."""

import pytest
import torch

from entracte.graphs.opensora_plan.given import (
    BLACK,
    SPACE,
    clip_of,
    compressed,
    folded,
    frame_mask,
    masked,
    places,
)
from entracte.graphs.opensora_plan.resize import centre, scaled, scaled_size, stride_size, weights
from tests.upstream import case

MASKS = case("osp13_mask_compressor")
RESIZE = case("osp13_i2v_resize")


def normal(pixels):
    """uint8 (frames, 3, height, width) -> (1, 3, frames, height, width) from -1 to 1."""
    return (pixels.float() / 255 * 2 - 1).transpose(0, 1)[None]


@pytest.mark.parametrize("run", MASKS.about["runs"], ids=lambda r: r["run"])
def test_masks_are_upstreams(run):
    given, want = MASKS.inputs(run["run"]), MASKS.outputs(run["run"])
    if "mask" in given:
        torch.testing.assert_close(compressed(given["mask"]), want["folded"], rtol=0, atol=1e-6)
        return
    frames, size = want["mask"].shape[2], want["mask"].shape[3:]
    known = run.get("indices")
    known = places(run["mask_type"], frames) if known is None else [k % frames for k in known]
    mask = frame_mask(known, frames).expand(-1, -1, -1, *size)
    assert torch.equal(mask, want["mask"])
    assert torch.equal(compressed(mask), want["folded"])
    small = [n // SPACE for n in size]
    assert torch.equal(folded(frame_mask(known, frames)).expand(-1, -1, -1, *small), want["folded"])
    pixels = normal(given["pixels"])
    if pixels.shape[2] == frames:
        torch.testing.assert_close(masked(pixels, mask), want["masked_pixels_normalised"])
        pixels = pixels[:, :, list(known)]
    if known:
        made = clip_of(pixels, known, frames)
        torch.testing.assert_close(made, want["masked_pixels_normalised"])


def test_what_is_to_be_made_is_black():
    frames = torch.full((1, 3, 2, 1, 1), 0.5)
    made = masked(frames, frame_mask([1], 2))
    assert made[0, 0, :, 0, 0].tolist() == [BLACK, 0.5]


@pytest.mark.parametrize("run", RESIZE.about["runs"], ids=lambda r: r["run"])
def test_pictures_are_prepared_as_upstream_does(run):
    x = RESIZE.inputs(run["run"])["frames"].float()
    want = RESIZE.outputs(run["run"])["frames"]
    if run["mode"] == "crop_for_hw=True":
        made = scaled(x, tuple(run["shape"][2:]))
    else:
        target = scaled_size(tuple(x.shape[2:]), run["max_hxw"])
        made = centre(scaled(x, target), stride_size(target, RESIZE.config["hw_stride"]))
    torch.testing.assert_close(made, want, rtol=0, atol=1e-4 * 255)


@pytest.mark.parametrize("size", RESIZE.about["sizes"])
def test_sizes_are_upstreams(size):
    made = scaled_size((size["height"], size["width"]), size["max_hxw"])
    final = stride_size(made, 32)
    assert list(made) == size["resized"]
    assert list(final) == size["final"]
    left_out = [(a - b) // 2 for a, b in zip(made, final, strict=True)]
    assert left_out == size["crop_top_left"]


@pytest.mark.parametrize(("size", "many"), [(7, 7), (7, 3), (5, 11), (9, 1), (1, 4), (2, 2)])
def test_weights_are_torchs(size, many):
    x = torch.randn(1, 1, size, 4, generator=torch.Generator().manual_seed(0))
    want = torch.nn.functional.interpolate(
        x, (many, 4), mode="bilinear", align_corners=True, antialias=True
    )
    torch.testing.assert_close(weights(size, many) @ x[0, 0], want[0, 0])
