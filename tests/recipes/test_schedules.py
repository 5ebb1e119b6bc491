"""Schedulers as tables and one step: against the library's own, run over random latents with a
model that is no sum and with given noise, for every class and what its configuration may say."""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import sys
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from entracte.graphs import GraphFault
from entracte.graphs.recipes import recipe_of
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.schedules import step as stages
from entracte.graphs.schedules.kinds import KINDS
from entracte.graphs.schedules.probe import steps_of
from tests.recipes.harness import check, compiled, normal, run, steps_noise
from tests.recipes.test_stable_diffusion import tiny
from tools import schedulers_table

PAGE = Path(__file__).parent.parent.parent / "docs" / "schedulers.md"

SHAPE = (1, 4, 2, 3)
NEAR, TIMES = 2e-5, 4
"""Of the largest value; and how many times the library's own error at fp32: some schedules begin
where next to nothing is left of a picture."""
STEPS = (5, 1, 2, 8, 3)
OPTIONS: dict[str, tuple[Any, ...]] = {
    "beta_schedule": ("scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("v_prediction", "sample", "flow_prediction"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "steps_offset": (1,),
    "use_karras_sigmas": (True,),
    "use_exponential_sigmas": (True,),
    "use_beta_sigmas": (True,),
    "use_flow_sigmas": (True,),
    "rescale_betas_zero_snr": (True,),
    "clip_sample": (True, False),
    "clip_sample_range": (0.4,),
    "set_alpha_to_one": (False,),
    "variance_type": ("fixed_large", "fixed_small_log", "learned"),
    "algorithm_type": ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis"),
    "solver_type": ("midpoint", "heun", "bh1", "bh2", "logrho"),
    "solver_order": (1, 3),
    "predictor_order": (1, 3),
    "corrector_order": (1, 3),
    "lower_order_final": (False, True),
    "euler_at_final": (True,),
    "final_sigmas_type": ("sigma_min", "zero"),
    "predict_x0": (False,),
    "disable_corrector": ((0, 1),),
    "skip_prk_steps": (True, False),
    "shift": (3.0,),
    "flow_shift": (5.0,),
    "shift_terminal": (0.1,),
    "use_dynamic_shifting": (True,),
    "time_shift_type": ("linear",),
    "stochastic_sampling": (True,),
    "invert_sigmas": (True,),
    "interpolation_type": ("log_linear",),
    "timestep_type": ("continuous",),
    "sigma_schedule": ("exponential",),
    "clip_denoised": (False,),
    "thresholding": (True,),
}  # fmt: skip
"""Option -> values other than the class's default; some are refused by some classes."""
ONE_OF = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas")
SLOW = ("DPMSolverSDEScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler")
"""Their constructors compute all steps of training one by one."""
NEEDS_TORCHSDE = ("CosineDPMSolverMultistepScheduler", "DPMSolverSDEScheduler")
SCHEDULERS = [
    pytest.param(name, marks=pytest.mark.skipif(
        name in NEEDS_TORCHSDE and importlib.util.find_spec("torchsde") is None,
        reason="this scheduler of diffusers needs torchsde",
    ))
    for name in sorted(KINDS)
]  # fmt: skip


class BrownianPath:
    """Noise of `torchsde`'s schedulers, of given normal numbers for intervals that do not overlap:
    increments over the root of the distance."""

    def __init__(self, noise: Iterator[torch.Tensor]) -> None:
        self._noise, self._at = noise, dict[float, tuple[float, torch.Tensor]]()

    def __call__(self, start: Any, stop: Any) -> torch.Tensor:
        begin, end, fresh = float(start), float(stop), next(self._noise)
        if begin not in self._at:
            self._at[begin] = end, fresh * abs(end - begin) ** 0.5
            return fresh
        middle, moved = self._at[begin]
        return (moved + fresh * abs(end - middle) ** 0.5) / abs(end - begin) ** 0.5


def model(z: torch.Tensor, time: float) -> torch.Tensor:
    return torch.sin(z + time / 1000)


def noise_at(i: int) -> torch.Tensor:
    return normal(5, *SHAPE, salt=1, iteration=i)


def of_library(
    name: str, config: dict[str, Any], steps: int, given: dict[str, Any], dtype: torch.dtype
) -> torch.Tensor:
    """As pipelines call their schedulers."""
    made = getattr(diffusers, name).from_config(config)
    made.set_timesteps(steps, **given)
    module, index = sys.modules[type(made).__module__], 0
    before = getattr(module, "randn_tensor", None)
    module.randn_tensor = lambda *_, **__: noise_at(index).to(dtype)  # type: ignore[attr-defined]
    if name in NEEDS_TORCHSDE:
        made.noise_sampler = BrownianPath(noise_at(i).to(dtype) for i in count())
    times = made.timesteps
    times = times[:-1] if name in ("DDPMWuerstchenScheduler", "SCMScheduler") else times
    sigma = float(getattr(made, "init_noise_sigma", 1))
    z, last = normal(4, *SHAPE).to(dtype) * sigma, None
    try:
        for i, time in enumerate(times):
            index = i
            read = made.scale_model_input(z, time) if hasattr(made, "scale_model_input") else z
            output = model(read, float(time))
            if name == "CogVideoXDPMScheduler":
                back = times[i - 1] if i > 0 else None
                z, last = made.step(output, last, time, back, z, return_dict=False)
            elif name == "UnCLIPScheduler":
                after = None if i + 1 == len(times) else times[i + 1]
                z = made.step(output, time, z, prev_timestep=after).prev_sample
            elif name == "DDPMWuerstchenScheduler":
                z = made.step(output, time.expand(1), z).prev_sample
            else:
                z = made.step(output, time, z, return_dict=False)[0]
            z = z.to(dtype)
    finally:
        module.randn_tensor = before  # type: ignore[attr-defined]
    return z


def of_tables(name: str, config: dict[str, Any], steps: int, given: dict[str, Any]) -> torch.Tensor:
    """What is compiled, called as the loop does."""
    args = (name, json.dumps(config), steps)
    more = json.dumps(given)
    tables = stages.table(*args, more).arrays
    graph = stages.step(*args, SHAPE, more)
    ports = {port.name: port.shape for port in graph.inputs}
    z = stages.start(*args, SHAPE, more).module(normal(4, *SHAPE))
    history = torch.zeros(ports.get("history", (0,)))
    for i, time in enumerate(tables["time"]):
        read = z * float(tables["scale"][i]) if "scale" in tables else z
        parts = torch.tensor(tables["parts"][i : i + 1])
        values = {"z": z, "output": model(read, float(time)), "parts": parts,
                  "noise": noise_at(i), "history": history}  # fmt: skip
        z, *rest = graph.module(*(values[port] for port in ports))
        history = rest[0] if rest else history
    return z


def configs(name: str) -> Iterator[dict[str, Any]]:
    """Each option alone, and some of several, drawn at random."""
    takes = inspect.signature(getattr(diffusers, name).__init__).parameters
    known = {key: values for key, values in OPTIONS.items() if key in takes}
    plain: dict[str, Any] = {"clip_sample": False} if "clip_sample" in takes else {}
    plain |= {"num_train_timesteps": 100} if name in SLOW else {}
    yield plain if name in SLOW else {}
    for key, values in known.items():
        for value in values:
            yield {**plain, key: value}
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    for _ in range(8):
        kept = {key: draw.choice(len(v)) for key, v in known.items() if draw.random() < 0.4}
        made = {key: known[key][i] for key, i in kept.items() if key != "thresholding"}
        made |= {"num_train_timesteps": 100} if name in SLOW else {}
        for stray in [key for key in ONE_OF if key in made][1:]:
            del made[stray]
        # Without any signal a sample is predicted by dividing by 0, which cutting off would hide.
        yield made | (plain if "rescale_betas_zero_snr" in made else {})


def given_for(name: str, config: dict[str, Any], steps: int) -> dict[str, Any]:
    """Arguments of `set_timesteps` that pipelines give."""
    made: dict[str, Any] = {"mu": 0.7} if config.get("use_dynamic_shifting") else {}
    if name == "SCMScheduler" and steps != 2:
        made["intermediate_timesteps"] = None
    return made


@pytest.mark.parametrize("name", SCHEDULERS)
def test_tables_and_step_give_what_the_library_gives(name):
    compared = 0
    for config, steps in zip(configs(name), [*STEPS] * 20, strict=False):
        given = given_for(name, config, steps)
        try:
            want = of_library(name, config, steps, given, torch.float64)
            rough = of_library(name, config, steps, given, torch.float32)
        except Exception:
            want = rough = torch.tensor(math.nan)
        if not rough.isfinite().all() or config.get("thresholding"):
            with pytest.raises(GraphFault, match=name):
                of_tables(name, config, steps, given)
            continue
        error = float((of_tables(name, config, steps, given) - want).abs().max())
        allowed = NEAR * float(want.abs().max()) + TIMES * float((rough - want).abs().max())
        assert error <= allowed, f"{config}, {steps} steps: {error:.1e}, of {allowed:.1e}"
        compared += 1
    assert compared >= 1


def test_what_is_remembered_is_no_more_than_is_read():
    """A scheduler that keeps every output and reads the last three of those before; one whose
    second evaluations read what the first left."""
    assert steps_of("IPNDMScheduler", "{}", 50).remembered == 3
    assert steps_of("HeunDiscreteScheduler", "{}", 50).remembered == 2


def ask(pipe: Any, seed: int, latents: torch.Tensor) -> np.ndarray:
    """The library's picture, with the noise of the compiled loop."""
    with steps_noise(pipe.scheduler, seed), torch.no_grad():
        return pipe(
            "a red cat", negative_prompt="b", latents=latents, guidance_scale=4.0,
            num_inference_steps=3, output_type="pt",
        ).images  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["EulerAncestralDiscreteScheduler", pytest.param("DDPMScheduler", marks=pytest.mark.slow)],
)
def test_another_scheduler_for_a_folder(tmp_path, name):
    """One that scales and starts large; one that cuts off, by its own default: the folder's
    configuration says nothing of it."""
    tiny("1.5").save_pretrained(tmp_path / "folder")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "folder")
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
    want = ask(pipe, 3, normal(3, 1, 4, 8, 8))
    words = [f"pipeline.options.scheduler={name}", "sampler.steps=3"]
    built = compiled(tmp_path / "folder", tmp_path / "build", *words)
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, "fp32")


@pytest.mark.parametrize("said", [{"clip_sample": True, "steps_offset": 0}, {}])
def test_what_the_pipelines_constructor_mends(tmp_path, said):
    """Stable Diffusion's mends the offset and cutting off, also where the folder says nothing."""
    pipe = tiny("2.1")
    pipe.save_pretrained(tmp_path)
    file = tmp_path / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text()) | said
    kept = {k: v for k, v in config.items() if said or k not in ("clip_sample", "steps_offset")}
    file.write_text(json.dumps(kept))
    mended = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path).scheduler.config
    assert mended["steps_offset"] == 1 and mended["clip_sample"] is False
    declared = recipe_of_folder(tmp_path)
    config = json.loads(declared.stages["sample_step"]["params"]["config"])
    assert {k: config[k] for k in ("steps_offset", "clip_sample")} == {
        k: mended[k] for k in ("steps_offset", "clip_sample")
    }


def recipe_of_folder(folder: Path) -> Recipe:
    """What the folder's recipe declares."""
    made = Recipe(model_folder(folder), {}, 3, random=True)
    recipe_of(made.folder.kind)(made)
    return made


def test_the_page_is_what_the_tool_prints():
    """Rows of schedulers that need a package which is not here are left out of the comparison."""
    kept = (schedulers_table.HEAD, *map(row_or_nothing, sorted(KINDS)))
    said = PAGE.read_text("utf-8")
    assert said.startswith(kept[0])
    assert len(said.splitlines()) == len(kept[0].splitlines()) + len(KINDS)
    for line in kept[1:]:
        assert line in said, f"python -m tools.schedulers_table > {PAGE}"


def row_or_nothing(name: str) -> str:
    has_all = name not in NEEDS_TORCHSDE or importlib.util.find_spec("torchsde") is not None
    return schedulers_table.row(name) if has_all else ""


def test_refusals_say_what_to_do():
    with pytest.raises(GraphFault, match=r"'DIMScheduler' is not known.*DDIMScheduler.*options"):
        steps_of("DIMScheduler", "{}", 3)
    with pytest.raises(GraphFault, match=r"DDIMScheduler: .*thresholding.*options.scheduler"):
        steps_of("DDIMScheduler", '{"thresholding": true}', 3)
    with pytest.raises(GraphFault, match=r"LCMScheduler: diffusers refuses.*100.*options"):
        steps_of("LCMScheduler", "{}", 100)
    with pytest.raises(GraphFault, match=r"DDIMScheduler: .* be set with sigmas"):
        steps_of("DDIMScheduler", "{}", 3, '{"sigmas": [1.0]}')
