"""Each recipe's denoiser makes of one half of guidance what it makes of it in a batch of both: with
its own library's module, so that halves apart are the picture that the recipes' tests compare."""

from importlib import import_module
from typing import Any

import pytest
import torch

from entracte.graphs.models import build_model
from entracte.graphs.recipes import (
    allegro,
    animatediff,
    cascade,
    cogvideox,
    dit,
    flux2_klein,
    hunyuan_video,
    latte,
    latte_class,
    ltx,
    mochi,
    open_sora_plan,
    parts_halves,
    parts_minisora,
    pixart,
    sana,
    stable_cascade,
    stable_cascade_decoder,
    stable_diffusion,
    stable_diffusion_3,
    stable_video_diffusion,
    wan,
)
from entracte.graphs.recipes.parts import guided

TIME, GUIDANCE = torch.tensor([500.0]), torch.tensor([4.0])
NEAR = 2e-5
"""Of the largest value: sums in another order."""


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def mask(length: int) -> torch.Tensor:
    """A short text and a longer one."""
    places = torch.arange(length)
    return torch.stack([(places < n).float() for n in (2, length // 2)])


def of(name: str) -> Any:
    return import_module(f"tests.recipes.test_{name}")


def pixart_net() -> torch.nn.Module:
    from diffusers import PixArtAlphaPipeline

    return of("pixart").tiny(PixArtAlphaPipeline, is_told=True).transformer


# name: (function, module, z, what is sliced, other ports, settings, guide or None)
CASES: dict[str, Any] = {
    "dit": lambda: (dit.denoise, of("dit").tiny().transformer, normal(1, 4, 8, 8),
                    {"label": torch.tensor([1000, 17])}, {}, {}, guided),
    "stable_diffusion": lambda: (
        stable_diffusion.denoise, of("stable_diffusion").tiny("1.5").unet, normal(1, 4, 8, 8),
        {"states": normal(2, 12, 16)}, {}, {}, guided),
    "stable_diffusion_3": lambda: (
        stable_diffusion_3.denoise, of("stable_diffusion_3").tiny(False).transformer,
        normal(1, 4, 8, 8), {"states": normal(2, 9, 40), "pooled": normal(2, 28)}, {}, {}, guided),
    "pixart": lambda: (
        pixart.denoise, pixart_net(), normal(1, 4, 8, 12),
        {"states": normal(2, 20, 24), "mask": mask(20)}, {},
        {"sizes": [16.0, 24.0], "is_learned": True}, guided),
    "sana": lambda: (
        sana.denoise, of("sana").tiny().transformer, normal(1, 4, 8, 8),
        {"states": normal(2, 8, 16), "mask": mask(8)}, {}, {"scale": 1.0, "is_learned": False},
        guided),
    "latte": lambda: (
        latte.denoise, of("latte").tiny().transformer, normal(1, 4, 3, 8, 12),
        {"states": normal(2, 12, 16)}, {"mask": mask(12)[1:]}, {}, guided),
    "allegro": lambda: (
        allegro.denoise, of("allegro").tiny().transformer, normal(1, 4, 8, 12, 20),
        {"states": normal(2, 24, 16), "mask": mask(24)}, {}, {"scale": 2}, guided),
    "mochi": lambda: (
        mochi.denoise, of("mochi").tiny().transformer, normal(1, 12, 3, 2, 4),
        {"states": normal(2, 16, 16), "mask": mask(16)}, {}, {"is_zeroed": True}, guided),
    "hunyuan_video": lambda: (
        hunyuan_video.denoise, of("hunyuan_video").tiny(True).transformer, normal(1, 4, 6, 4, 8),
        {"states": normal(2, 24, 16), "mask": mask(24), "pooled": normal(2, 8)},
        {"embedded": torch.tensor([6.0])}, {}, guided),
    "flux2_klein": lambda: (
        flux2_klein.denoise, of("flux2_klein").tiny(False).transformer, normal(1, 16, 4, 6),
        {"states": normal(2, 40, 48)}, {}, {"precision": "fp32"}, guided),
    "cascade_prior": lambda: (
        stable_cascade.imagine, of("stable_cascade").prior(), normal(1, 6, 3, 4),
        {"states": normal(2, 12, 16), "pooled": normal(2, 1, 12)}, {}, {}, guided),
    "cascade_decoder": lambda: (
        stable_cascade_decoder.denoise, of("stable_cascade").decoder(), normal(1, 4, 32, 32),
        {"embedding": torch.cat([torch.zeros(1, 6, 3, 3), normal(1, 6, 3, 3)]),
         "pooled": normal(2, 1, 12)}, {}, {}, guided),
    "cascade": lambda: (
        cascade.imagine, build_model("StageC", of("cascade").C), normal(1, 6, 3, 5),
        {"states": normal(2, 12, 16), "pooled": normal(2, 1, 12), "images": normal(2, 10)},
        {}, {}, None),
    "minisora": lambda: (
        parts_minisora.denoise, build_model("DiT", of("minisora").IMAGE), normal(1, 4, 6, 6),
        {"y": normal(2, 24)}, {}, {}, parts_minisora.guided_first),
    "latte_class": lambda: (
        latte_class.denoise, build_model("Latte", of("latte_class").LATTE), normal(1, 4, 3, 4, 4),
        {"y": normal(2, 24)}, {}, {}, latte_class.guide),
    "animatediff": lambda: (
        animatediff.denoise, of("animatediff").tiny().unet, normal(1, 4, 3, 8, 8),
        {"states": normal(2, 12, 16)}, {}, {}, None),
    "cogvideox": lambda: (
        cogvideox.denoise, of("cogvideox").transformer(), normal(1, 3, 4, 4, 4),
        {"states": normal(2, 10, 16)}, {}, {}, None),
    "wan": lambda: (
        wan.denoise, of("wan").transformer(), normal(1, 4, 3, 4, 4),
        {"states": normal(2, 10, 16)}, {}, {}, None),
    "svd": lambda: (
        stable_video_diffusion.denoise, of("stable_video_diffusion").tiny().unet,
        normal(1, 3, 4, 8, 8), {"image": normal(2, 4, 8, 8), "states": normal(2, 1, 12)},
        {"motion": torch.tensor([90.0]), "strength": torch.tensor([0.1])}, {"rate": 9}, None),
    "open_sora_plan": lambda: (
        open_sora_plan.denoise, build_model("OpenSoraT2V_v1_3", of("open_sora_plan").NET),
        normal(1, 4, 2, 4, 8), {"states": normal(2, 12, 16), "mask": mask(12)}, {}, {}, None),
}  # fmt: skip


def ltx_case(has_image: bool) -> Any:
    from diffusers import LTXVideoTransformer3DModel

    net = LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16,
        cross_attention_dim=32, num_layers=2, caption_channels=16,
    )  # fmt: skip
    more = {"first": normal(1, 6, 4)} if has_image else {}
    return (ltx.denoise, net, normal(1, 18 - 6 * has_image, 4),
            {"states": normal(2, 10, 16), "mask": mask(10)}, more,
            {"sizes": [3, 2, 3], "scales": [0.3, 32.0, 32.0]}, None)  # fmt: skip


CASES |= {"ltx": lambda: ltx_case(False), "ltx_image": lambda: ltx_case(True)}


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_one_half_is_its_row_of_both(name):
    torch.manual_seed(1)
    function, net, z, sliced, ports, settings, guide = CASES[name]()
    net = net.eval()
    for x in net.parameters():  # else what the library begins with 0 hides the condition
        if x.dim() > 1 and not x.any():
            x.normal_(std=0.1)
    told = {"step": normal(1, 24)} if name == "cascade" else {"time": TIME}
    more = told | ports | settings
    rows = [
        function(net, z, **{k: x[n : n + 1] for k, x in sliced.items()}, **more) for n in (0, 1)
    ]
    assert (rows[0] - rows[1]).abs().max() > 1e-3 * rows[0].abs().max()
    more |= {"guidance": GUIDANCE} if guide else {}
    want = function(net, z, **sliced, **more)
    got = torch.cat(rows)
    got = guide(got, GUIDANCE) if guide else got
    assert got.shape == want.shape
    assert (got - want).abs().max() <= NEAR * want.abs().max()


def test_where_one_half_stands_guidance_is_the_other():
    """And where both run, it is what both give: with any rule that keeps what two share."""
    without, given = normal(1, 8, 3, 3), normal(1, 8, 3, 4)[..., :3]
    for within, want in ((0.0, given), (1.0, guided(torch.cat([without, given]), GUIDANCE))):
        at = torch.tensor([within])
        made = parts_halves.guide_within(given, without, GUIDANCE, at)
        torch.testing.assert_close(made, want)
        both = parts_halves.halves_within(given, without, at)
        torch.testing.assert_close(guided(both, GUIDANCE), want)
        rule = parts_minisora.guided_first(both, GUIDANCE)
        torch.testing.assert_close(rule[:, :3], want[:, :3])
        torch.testing.assert_close(rule[:, 3:], given[:, 3:])
    standing = parts_halves.halves_within(given, without, torch.tensor([0.0]))
    torch.testing.assert_close(cascade.rescaled(standing, GUIDANCE), given)
