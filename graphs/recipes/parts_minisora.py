"""What the pipelines of MiniSora's DiT family share: guidance of the first channels, and loops over
the steps of their own samplers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.minisora import ddpm, transport
from entracte.graphs.minisora.dit import sizes_of
from entracte.graphs.recipes.loops import Loop
from entracte.graphs.recipes.recipe import Recipe, Value, image_scale, stage

GUIDED = 3
"""Channels that guidance reaches, of whatever the latents have: upstream's models were sampled
so."""
_STEPS = 250


def guided_first(both: Tensor, guidance: Tensor) -> Tensor:
    """Classifier-free guidance of a batch [without, with] as DiT has it: (2, C, ...) -> (1, C,
    ...); channels behind the first three are those with the condition."""
    without, given = both.chunk(2)
    first = without[:, :GUIDED]
    return torch.cat([first + guidance * (given[:, :GUIDED] - first), given[:, GUIDED:]], 1)


@stage
def denoise(
    net: nn.Module, z: Tensor, time: Tensor, y: Tensor, guidance: Tensor | None = None
) -> Tensor:
    """What a step reads, (1, ...): of one row of y, or with guidance of [without, with]."""
    count = y.shape[0]
    made: Tensor = net(z.expand(count, *z.shape[1:]), time.expand(count), y)
    return made if guidance is None else guided_first(made, guidance)


@stage
def guide(both: Tensor, guidance: Tensor) -> Tensor:
    """Of [without, with], computed one after the other."""
    return guided_first(both, guidance)


class Stepping:
    """A sampler's loop while its stages are declared."""

    def __init__(self, recipe: Recipe, loop: Loop, z: Value, time: Value, step: str) -> None:
        self._recipe, self._loop, self._step = recipe, loop, step
        self.z, self.time = z, time
        self.params: dict[str, Any] = {}
        self.reads: dict[str, Value] = {}
        self.salt = 0

    def step(self, output: Value) -> None:
        """With what the model made; in fp32."""
        reads = {"z": self.z, "output": output, **self.reads}
        if self.salt:
            reads["noise"] = self._recipe.noise(self.z.shape, "sample_noise", salt=self.salt)
        made = self._recipe.graph(self._step, "sample_step", self.params, **reads)
        self._recipe.stages[made]["precision"] = "fp32"
        self._loop.next("z", Value(f"{made}.z_next", self.z.shape))
        if "history" in reads:
            self._loop.next("history", Value(f"{made}.history_next", self.z.shape))


@contextmanager
def ddpm_loop(r: Recipe, z: Value, *, learn_sigma: bool) -> Iterator[Stepping]:
    """Respaced DDPM, or DDIM (`sampler`), by the folder's scheduler_config.json."""
    steps = r.sampling_steps(_STEPS)
    # As the folder says, but what a model gives is the model's to say.
    settings = _scheduler(r) | {"learn_sigma": learn_sigma}
    settings["sampling_method"] = r.option("sampler", settings.get("sampling_method", "ddpm"))
    config = json.dumps(settings, sort_keys=True)
    respacing = r.option("respacing", "") or str(steps)
    count = ddpm.evaluations(config, respacing)
    table = r.constant("minisora.ddpm_table", "sample_table", config=config, respacing=respacing)
    with r.loop("sample", count) as loop:
        made = Stepping(r, loop, loop.state("z", z), loop.scan("time", f"{table}.time", (1,)),
                        "minisora.ddpm_step")  # fmt: skip
        made.reads = {"parts": loop.scan("parts", f"{table}.parts", ())}
        made.params = {"config": config, "shape": list(z.shape)}
        made.salt = int(settings["sampling_method"] == "ddpm")
        yield made


@contextmanager
def transport_loop(r: Recipe, z: Value) -> Iterator[Stepping]:
    """SiT's flow or stochastic equation (`sampler`), by the folder's scheduler_config.json."""
    settings, points = _scheduler(r), r.sampling_steps(_STEPS)
    for option, key, default in _CHOICES:
        settings[key] = r.option(option, settings.get(key, default))
    params = {"config": json.dumps(settings, sort_keys=True), "points": points}
    plan, shaped = transport.plan_of(**params), {**params, "shape": list(z.shape)}
    table = r.constant("minisora.transport_table", "sample_table", **params)
    if plan.start:
        first = r.noise(z.shape, "start_noise", salt=2)
        name = r.graph("minisora.transport_start", "sample_start", shaped, z=z, noise=first)
        r.stages[name]["precision"] = "fp32"
        z = Value(f"{name}.z_start", z.shape)
    kept = transport.remembers(plan)
    if kept:
        r.constant("zeros", "sample_zeros", shape_of="sample_step.history", dtype="fp32")
    with r.loop("sample", plan.evaluations) as loop:
        made = Stepping(r, loop, loop.state("z", z), loop.scan("time", f"{table}.time", (1,)),
                        "minisora.transport_step")  # fmt: skip
        made.params, made.salt = shaped, int(plan.has_noise)
        made.reads = {"parts": loop.scan("parts", f"{table}.parts", ())}
        if kept:
            zeros = Value("sample_zeros.zeros", z.shape)
            made.reads["history"] = loop.state("history", zeros)
        yield made


_CHOICES = (
    ("sampler", "sampling_method", "euler"), ("path", "path_type", "Linear"),
    ("diffusion_form", "diffusion_form", "sigma"), ("diffusion_norm", "diffusion_norm", 1.0),
    ("last_step", "last_step", "Mean"), ("last_step_size", "last_step_size", 0.04),
)  # fmt: skip
"""Option -> upstream's key, and its default."""


def _scheduler(r: Recipe) -> dict[str, Any]:
    given: Mapping[str, Any] = r.config("scheduler") if r.folder.has("scheduler") else {}
    return dict(given)


def latents_of(r: Recipe, axes: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The transformer's configuration for the size that the user wants, and the latents' shape."""
    config, scale = r.config("transformer"), image_scale(r.config("vae"))
    size = sizes_of("input_size", config["input_size"], axes)
    patch = sizes_of("patch_size", config["patch_size"], axes)
    wanted = [
        r.size(name, size[k - 2] * scale, scale * patch[k - 2]) // scale
        for k, name in enumerate(("height", "width"))
    ]
    frames = [r.size("frames", size[0], patch[0])] if axes == 3 else []
    found = (*frames, *wanted)
    return config | {"input_size": list(found)}, (1, config["in_channels"], *found)
