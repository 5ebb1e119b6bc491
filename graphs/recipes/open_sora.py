"""OpenSoraPipeline: Open-Sora 1.2's text to video or image, as its own code samples it.

No library has it; the folder's components are `text_encoder` (T5-v1.1-XXL), `denoiser` (STDiT3) and
`vae`, with upstream's configurations (`reference/systems.md` sections 1.1, 3.1 and 3.2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.checks import GraphFault
from entracte.graphs.opensora.upstream import denoiser_config, vae_config
from entracte.graphs.opensora.vae import VAEConfig
from entracte.graphs.recipes.guidance import APART, INTERVAL, TOGETHER
from entracte.graphs.recipes.open_sora_encoder import frames_at_once
from entracte.graphs.recipes.open_sora_image import Given, given_frames, with_noise
from entracte.graphs.recipes.parts_rows import token_rows
from entracte.graphs.recipes.recipe import Recipe, Tokens, Value, stage

_AESTHETIC = 6.5
"""Open-Sora was trained with scores in its captions and asks for a good one."""
IMAGE_RATE = 120.0
"""Frames a second that the model is told of one image."""
_STEPS, _GUIDANCE = 30, 7.0
_HALVES = {"port": "text", "axis": 0, "size": 1, "count": 2}
"""Of guidance, one after the other: the prompt's, then that of the null caption."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What is made, and what the models are."""

    params: dict[str, Any]
    """Of every graph: its four numbers and, as JSON, the models."""
    vae: VAEConfig
    latent: tuple[int, int, int, int]
    """Channels, frames, rows, columns."""

    @property
    def frames(self) -> int:
        """Of the video."""
        found: int = self.params["frames"]
        return found


@stage
def joined(whole: Tensor, rest: Tensor) -> Tensor:
    """Spatial latents of whole groups of frames, then of what remains."""
    return torch.cat((whole, rest), dim=2)


def open_sora(r: Recipe) -> None:
    """T5, STDiT3 in a loop of rectified flow, a temporal and a spatial decoder."""
    clip = clip_of(r)
    tokens = prompt_tokens(r)
    text = text_states(r, tokens)
    r.given("seed", kind="seed", default=42)
    z = r.noise((1, *clip.latent))
    given = given_frames(r, clip.vae, z, (clip.params["height"], clip.params["width"]))
    decode(r, clip, sample(r, clip, z, text, tokens.mask, given))


def clip_of(r: Recipe) -> Clip:
    """By the options `frames`, `height`, `width` and `fps`."""
    frames = r.size("frames", 51)
    height, width = r.option("height", 240), r.option("width", 426)
    rate = r.option("fps", 24.0)
    net, vae = denoiser_config(r.config("denoiser")), vae_config(r.config("vae"))
    if net.in_channels != vae.latent_channels:
        raise GraphFault(
            f"{r.folder.path}: the denoiser has {net.in_channels} channels (in_channels), the VAE "
            f"{vae.latent_channels} (scale, shift); give both the same"
        )
    params = {
        "frames": frames,
        "height": height,
        "width": width,
        "fps": IMAGE_RATE if frames == 1 else rate,
        "models": json.dumps({k: r.config(k) for k in ("denoiser", "vae")}, sort_keys=True),
    }
    rows, columns = height // vae.space_factor, width // vae.space_factor
    return Clip(params, vae, (net.in_channels, vae.latent_frames(frames), rows, columns))


def prompt_tokens(r: Recipe) -> Tokens:
    """Of the input `prompt`: each score where the text has none, then cleaned as captions were; of
    `|0|one|1|another` what the first loop, here the only one, shows."""
    text, scores = r.text("prompt", "a red circle moves right"), _scores(r)
    return r.tokenize(
        "tokenizer",
        text,
        r.config("denoiser")["model_max_length"],
        name="tokenize",
        # T5's; its tokenizer.json alone does not say it.
        pad_id=0,
        **({"scores": scores} if scores else {}),
        clean="caption",
        segment=0,
    )


def _scores(r: Recipe) -> list[str]:
    """In upstream's order; what is zero or empty is left out."""
    given = {
        "aesthetic score": r.option("aesthetic_score", _AESTHETIC),
        "motion score": r.option("motion_score", 0.0),
        "camera motion": r.option("camera_motion", ""),
    }
    shown = {k: f"{v:.1f}" if isinstance(v, int | float) else v for k, v in given.items()}
    return [f"{name}: {shown[name]}" for name, value in given.items() if value]


def text_states(r: Recipe, tokens: Tokens) -> Value:
    """T5's, (1, length, width)."""
    text, net = r.config("text_encoder"), r.config("denoiser")
    if text["d_model"] != net["caption_channels"]:
        raise GraphFault(
            f"{r.folder.path}: texts are {text['d_model']} wide (text_encoder.d_model) and the "
            f"denoiser reads {net['caption_channels']} (caption_channels); give both the same"
        )
    sizes = {k: net[k] for k in ("caption_channels", "model_max_length")}
    params: dict[str, Any] = {
        "models": json.dumps({"text_encoder": text, "denoiser": sizes}, sort_keys=True)
    }
    read = {"input_ids": tokens.ids}
    if r.option("text_rows", False):
        params["rows"] = True
        read = {"rows": token_rows(r, "text_encoder", "shared.weight", text["d_model"], tokens)}
    made = r.graph("opensora.text_encoder", "text", params, **read, mask=tokens.mask)
    return Value(f"{made}.features", (1, net["model_max_length"], text["d_model"]))


def _times(r: Recipe, clip: Clip) -> dict[str, Any]:
    """Of the schedule: steps, the clip whose timesteps are shifted, and how."""
    made = {k: clip.params[k] for k in ("frames", "height", "width")}
    made |= {"steps": r.sampling_steps(_STEPS), "discrete": r.option("discrete_timesteps", False)}
    return made if r.option("timestep_transform", True) else {**made, "shift": 1.0}


def sample(
    r: Recipe, clip: Clip, z: Value, text: Value, mask: Value, given: Given | None = None
) -> Value:
    """The loop `sample` of denoiser and step; latents that it ends with. Frames that are `given`
    are not changed before their time, and the denoiser is told so."""
    count = r.evaluations(_STEPS)
    ratios = {} if given is None else {"ratios": list(given.masked.ratios)}
    r.constant("opensora.rflow_schedule", "schedule", **_times(r, clip), evaluations=count,
               **ratios)  # fmt: skip
    guidance, masked, of_frames = r.number("guidance", _GUIDANCE), clip.params, clip.params
    with r.loop("sample", count) as loop:
        state = read = loop.state("z", z if given is None else given.z)
        timestep = loop.scan("timestep", "schedule.timestep", (1,))
        more: dict[str, Value] = {}
        lengths: tuple[int, ...] = (1,)
        if given is not None:
            lengths = (1, clip.latent[1], 1, 1)
            masked, of_frames = {**masked, "x_mask": True}, {**of_frames, "of_frames": True}
            more["x_mask"] = loop.scan("x_mask", "schedule.x_mask", lengths[:2])
            read = with_noise(r, loop, given, state)
        dt = loop.scan("dt", "schedule.dt", lengths)
        way = r.way(TOGETHER)
        if way != TOGETHER:
            text, masked = _captions(r, clip, text), {**masked, "apart": True}
        r.graph("opensora.denoiser", "denoise", masked, z=read, timestep=timestep, text=text,
                mask=mask, **more)  # fmt: skip
        ports = {"velocity": Value("denoise.velocity"), "dt": dt, "guidance": guidance}
        if way == APART:
            r.stages["denoise"]["map"] = _HALVES
        if way == INTERVAL:
            of_frames = {**of_frames, "interval": True}
            ports |= _rested(r)
        r.graph("opensora.guided_euler", "step", of_frames, z=read, **ports)
        r.stages["step"]["precision"] = "fp32"
        loop.next("z", Value("step.z_next", z.shape))
    return state


def _captions(r: Recipe, clip: Clip, text: Value) -> Value:
    """The prompt's features and the denoiser's null caption as rows, before the loop."""
    inputs = {"text": text.name}
    r.stages["captions"] = {"graph": "opensora.caption_rows", "params": clip.params,
                            "inputs": inputs}  # fmt: skip
    return Value("captions.rows")


def _rested(r: Recipe) -> dict[str, Value]:
    """Of guidance in an interval of steps: the other half, as it stands in the others, and which
    steps they are."""
    begin, end = r.guidance.steps(r.steps_here)
    at = {"from": begin, "to": end}
    r.stages["denoise"]["map"] = {**_HALVES, "rests": {"slices": [1], "at": at}}
    return {"unconditional": Value("denoise.velocity_rests"), "within": r.within(begin, end)}


def decode(r: Recipe, clip: Clip, z: Value) -> None:
    """The output `video`, or, of one frame, `image`."""
    latents = _decode_time(r, clip, z)
    if clip.frames == 1:
        params = {**clip.params, "batch": 1, "picture": True}
        r.graph("opensora.spatial_decoder", "decode_space", params, x=latents)
        r.output("image", "image", Value("decode_space.pixels"))
        return
    sides = (clip.params["height"], clip.params["width"])
    size = r.option("decode_frames", frames_at_once(clip.vae, clip.frames, sides))
    params = {**clip.params, "batch": "${pipeline.stages.decode_space.map.size}"}
    r.graph("opensora.spatial_decoder", "decode_space", params, x=latents)
    # Frames do not know of each other: any number of them at once gives the same.
    most = min(clip.vae.micro_frames, clip.frames)
    others = [n for n in range(most, 0, -1) if clip.frames % n == 0 and n != size]
    r.stages["decode_space"]["map"] = {"port": "x", "axis": 2, "size": size,
                                       "sizes": [size, *others]}  # fmt: skip
    r.output("video", "video", Value("decode_space.pixels"), rate=clip.params["fps"])


def _decode_time(r: Recipe, clip: Clip, z: Value) -> Value:
    """Spatial latents of all frames. Whole groups are decoded one by one; what remains is a group
    of its own, as the encoder has it: GroupNorm sees a group, so others would change the video."""
    group = clip.vae.micro_frames
    each = clip.vae.latent_frames(group)
    count, rest = divmod(clip.frames, group)
    made = []
    if count:
        r.graph("opensora.temporal_decoder", "decode_time", clip.params, z=z)
        slices = {"port": "z", "axis": 2, "size": each}
        r.stages["decode_time"]["map"] = slices | ({"count": count} if rest else {})
        made.append(Value("decode_time.frames"))
    if rest:
        name = "decode_time_rest" if count else "decode_time"
        r.graph("opensora.temporal_decoder", name, {**clip.params, "group": rest}, z=z)
        made.append(Value(f"{name}.frames"))
    if count and rest:
        size = clip.latent[1] - count * each
        r.stages["decode_time_rest"] |= {
            "map": {"port": "z", "axis": 2, "size": size, "start": count * each, "count": 1},
            "weights_of": "decode_time",
        }
        return _joined(r, clip, made)
    return made[0]


def _joined(r: Recipe, clip: Clip, parts: list[Value]) -> Value:
    channels, _, rows, columns = clip.latent
    rest = clip.frames % clip.vae.micro_frames
    whole, other = (part.of(1, channels, n, rows, columns)
                    for part, n in zip(parts, (clip.frames - rest, rest), strict=True))  # fmt: skip
    made: Value = r.stage(joined, None, name="join", whole=whole, rest=other,
                          frames=(1, channels, clip.frames, rows, columns))  # fmt: skip
    return made
