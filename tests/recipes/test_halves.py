"""Guidance in one batch, one half after the other, and in some steps only, for every recipe that
has two halves: the recipes' own tests again, whose right values are the library's or a loop's by
hand.

Together or apart, the library's picture is the right one. In an interval its own pipeline gives it
too: in the other steps the denoiser answers without the prompt what it answers with it, and
guidance of two that are equal is either of them.
"""

import functools
import inspect
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest
import torch

from entracte.graphs import models
from entracte.graphs.recipes.guidance import APART, INTERVAL, TOGETHER
from tests.recipes import harness
from tests.recipes.by_torch import planned, ran


@dataclass(frozen=True)
class Case:
    """One recipe's test, and how the denoiser is called in it."""

    module: str
    test: str
    denoiser: Any
    """A class, or (kind, configuration) of ours."""
    given: dict[str, Any] = field(default_factory=dict)
    calls: str = "batch"
    """`batch`: of [without, with]; `first`: of [with, without]; `pair`: with, then without."""
    evaluations: int = 0
    """Of one sampling, where there are several in a test."""
    own: str = TOGETHER


PICTURE, VIDEO = "test_a_folder_becomes_a_picture", "test_a_folder_becomes_a_video"
FP32 = {"precision": "fp32"}


def diffusers(name: str) -> Any:
    return getattr(import_module("diffusers"), name)


CASES = {
    "dit": Case("dit", "test_a_class_becomes_a_picture", "DiTTransformer2DModel",
                {"guidance": 3.0}, "first"),
    "stable_diffusion": Case("stable_diffusion", PICTURE, "UNet2DConditionModel",
                             {"version": "1.5"}),
    "sdxl": Case("stable_diffusion_xl", PICTURE, "UNet2DConditionModel", evaluations=2),
    "sd3": Case("stable_diffusion_3", PICTURE, "SD3Transformer2DModel", {"has_t5": False}),
    "pixart": Case("pixart", PICTURE, "PixArtTransformer2DModel", {"cls": "PixArtAlphaPipeline"}),
    "sana": Case("sana", PICTURE, "SanaTransformer2DModel"),
    "latte": Case("latte", VIDEO, "LatteTransformer3DModel"),
    "allegro": Case("allegro", VIDEO, "AllegroTransformer3DModel"),
    "mochi": Case("mochi", VIDEO, "MochiTransformer3DModel", {"negative": "b"}),
    "hunyuan_video": Case("hunyuan_video", VIDEO, "HunyuanVideoTransformer3DModel",
                          {"is_guided": True}, "pair"),
    "flux2_klein": Case("flux2_klein", PICTURE, "Flux2Transformer2DModel",
                        {"is_distilled": False}, "pair"),
    "cascade_prior": Case("stable_cascade", "test_prior", "StableCascadeUNet", {},
                          "first"),
    "cascade_decoder": Case("stable_cascade", "test_decoder", "StableCascadeUNet", {},
                            "first"),
    "minisora_dit": Case("minisora", "test_a_class_becomes_a_picture", ("DiT", "IMAGE"), {},
                         "first"),
    "minisora_sit": Case("minisora", "test_a_class_becomes_a_picture_along_a_path",
                         ("SiT", "IMAGE"), {"sampler": "euler"}, "first"),
    "minisora_video": Case("minisora", "test_a_text_becomes_a_video", ("OpenDiTLatte", "VIDEO"),
                           {"kind": "OpenDiTLatte", "level": "text_model.", "sampler": "ddpm"},
                           "first", own=APART),
    "latte_class": Case("latte_class", "test_a_class_becomes_a_clip", ("Latte", "LATTE"),
                        {"extras": 2}, "first"),
    "animatediff": Case("animatediff", "test_a_folder_becomes_frames", "UNetMotionModel",
                        {"guidance": 4.0}, own=APART),
    "cogvideox": Case("cogvideox", "test_a_text_becomes_a_video", "CogVideoXTransformer3DModel",
                      own=APART),
    "ltx": Case("ltx", "test_a_text_becomes_a_video", "LTXVideoTransformer3DModel", own=APART),
    "wan": Case("wan", VIDEO, "WanTransformer3DModel", {}, "pair", own=APART),
    "svd": Case("stable_video_diffusion", "test_a_picture_begins_to_move",
                "UNetSpatioTemporalConditionModel", {"levels": 2, "at_once": 3}, own=APART),
    "cascade": Case("cascade", "test_the_whole_pipeline", ("StageC", "C"), {}, "pair"),
    "open_sora_image": Case("open_sora_image", "test_a_picture_and_a_clip_become_a_video",
                            "opensora", {}, "first"),
    "open_sora_plan": Case("open_sora_plan", "test_a_text_becomes_a_video", None, own=APART),
}  # fmt: skip


def class_of(case: Case) -> type[torch.nn.Module]:
    if case.denoiser == "opensora":
        from entracte.graphs.opensora.denoiser import STDiT3

        return STDiT3
    if isinstance(case.denoiser, str):
        return diffusers(case.denoiser)
    kind, config = case.denoiser
    module = import_module(f"tests.recipes.test_{case.module}")
    return type(models.build_model(kind, getattr(module, config)))


def answered_alike(case: Case, monkeypatch, begin: int, end: int) -> None:
    """Outside of the steps [begin, end) both halves are the one with the prompt."""
    kind = class_of(case)
    plain, seen = kind.forward, {"calls": 0, "with": None}

    @functools.wraps(plain)
    def forward(self, *args, **kwargs):
        made = plain(self, *args, **kwargs)
        x = made if isinstance(made, torch.Tensor) else made[0]
        if harness.compiling or (case.calls != "pair" and len(x) == 1):
            return made
        step, seen["calls"] = seen["calls"], seen["calls"] + 1
        step = step // 2 if case.calls == "pair" else step
        if begin <= (step % case.evaluations if case.evaluations else step) < end:
            return made
        if case.calls == "pair":
            if seen["calls"] % 2:
                seen["with"] = x
            x = seen["with"]
        else:
            x = x[1:] if case.calls == "batch" else x[:1]
            x = torch.cat([x, x])
        if isinstance(made, torch.Tensor):
            return x
        return (x, *made[1:]) if isinstance(made, tuple) else type(made)(sample=x)

    monkeypatch.setattr(kind, "forward", forward)


def asked(case: Case, request, tmp_path, monkeypatch) -> None:
    """The recipe's own test, without packages."""
    module = import_module(f"tests.recipes.test_{case.module}")
    monkeypatch.setattr(module, "compiled", planned)
    monkeypatch.setattr(module, "run", ran)
    test = getattr(module, case.test)
    given = FP32 | case.given
    if isinstance(given.get("cls"), str):
        given["cls"] = diffusers(given["cls"])
    known = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}
    for name in inspect.signature(test).parameters:
        if name not in given:
            fixture = getattr(module, name, None)
            given[name] = known[name] if fixture is None else made(fixture, request)
    test(**given)


def made(fixture, request):
    """What a fixture of another module gives."""
    inner = getattr(fixture, "__wrapped__", None) or fixture._fixture_function
    found = inner(*(request.getfixturevalue(n) for n in inspect.signature(inner).parameters))
    if inspect.isgenerator(found):
        value = next(found)
        request.addfinalizer(lambda: next(found, None))
        return value
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_other_way_is_the_librarys_picture_too(name, request, tmp_path, monkeypatch):
    case = CASES[name]
    way = TOGETHER if case.own == APART else APART
    monkeypatch.setattr(harness, "MORE", [f"guidance={way}", "verify=off"])
    asked(case, request, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.denoiser])
def test_guidance_in_an_interval(name, request, tmp_path, monkeypatch):
    """In the first step, or, of three and more, the second."""
    case = CASES[name]
    module = import_module(f"tests.recipes.test_{case.module}")
    begin = 1 if getattr(module, "STEPS", 3) > 2 else 0
    answered_alike(case, monkeypatch, begin, begin + 1)
    monkeypatch.setattr(harness, "MORE", [
        f"guidance={INTERVAL}", f"guidance.begin={begin}", f"guidance.end={begin + 1}",
        "verify=off",
    ])  # fmt: skip
    asked(case, request, tmp_path, monkeypatch)
