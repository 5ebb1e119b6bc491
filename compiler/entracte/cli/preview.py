"""Previews in files while a plan runs, and `plan preview`: the fitting of their factors."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from entracte.cli.console import Bars
from entracte.cli.given import meant
from entracte.cli.tables import say
from entracte.disk.folder import make_folder
from entracte.disk.write import writing
from entracte.errors import RunError
from entracte.ir import Output, Plan
from entracte.run.execute import OpenBuild
from entracte.run.preview import (
    FILE,
    LinearPreview,
    Preview,
    Previewer,
    fitted,
    latents_of,
    read_preview,
    shrunk,
    write_preview,
)

_ENDINGS = (".png", ".gif")
_RATE = 8.0
"""Frames per second of an animation whose output says none."""


def previewer_of(
    plan: Plan, build: Path, place: str | None, every: int, factors: Path | None
) -> Previewer | None:
    """What the flags say. Raises `RunError` before anything is run."""
    if place is None:
        if factors is not None:
            raise RunError("--factors: are of previews; name a file with --preview")
        return None
    path = Path(place)
    if not place.endswith("/") and path.suffix.lower() not in _ENDINGS:
        raise RunError(
            f"--preview {place}: name a file that ends in .png or .gif, which shows the newest, or "
            "FOLDER/ for all of them"
        )
    linear = read_preview(factors or build / FILE, plan)
    if place.endswith("/"):
        make_folder(path)
        return Previewer(linear, _Files(plan, lambda n: path / f"{n:04}.png").show, every)
    return Previewer(linear, _Files(plan, lambda _: path).show, every)


class _Files:
    """Writes previews, enlarged to the size of what will be decoded; whole or not at all."""

    def __init__(self, plan: Plan, place: Callable[[int], Path]) -> None:
        self._place = place
        shapes = {t.name: t.port.shape for t in plan.program.tensors}
        outputs = [o for o in plan.program.outputs if o.kind in ("video", "image")]
        self._side = max((shapes[o.values[0]][-2] for o in outputs), default=0)
        self._rate = next((o.rate for o in outputs if o.rate), _RATE)

    def show(self, preview: Preview) -> None:
        """See `Previewer`."""
        from entracte.run.video import enlarged, write_gif, write_picture

        path = self._place(preview.iteration)
        frames = enlarged(preview.frames, max(1, self._side // preview.frames.shape[1]))
        with writing(path, follow=True) as aside:
            if path.suffix.lower() == ".gif":
                write_gif(frames, aside, self._rate)
            else:
                write_picture(frames, aside, ".png")


# ---------------------------------------------------------------- fitting


def fit_preview(
    console: Console,
    opened: OpenBuild,
    prompts: Sequence[str],
    seeds: Sequence[int],
    tensor: str,
    out: Path | None,
) -> None:
    """Run each prompt with each seed, fit all but the last run, judge by the last; write the
    factors beside the plan, or to `out`. Raises `RunError`."""
    plan = opened.plan
    name, output = latents_of(plan, tensor), _output(plan)
    runs = [_given(plan, p, s) for p in prompts or [""] for s in seeds]
    if len(runs) < 2:
        raise RunError("preview: the last run only judges; give two seeds or prompts at least")
    latents, clips = [], []
    with Bars() as bars:
        bars.phase("run", len(runs))
        for k, given in enumerate(runs):
            bars.at(f"run {k + 1} of {len(runs)}", k)
            found = _run(opened, given, name)
            latents.append(found[0])
            clips.append(_rgb(output, found[1]))
        bars.at("done", len(runs))
    source = f"fitted to {len(runs) - 1} clips of the build"
    linear = fitted(name, latents[:-1], clips[:-1], source)
    place = opened.folder / FILE if out is None else out
    write_preview(linear, place)
    inside = min(psnr(linear, z, c) for z, c in zip(latents[:-1], clips[:-1], strict=True))
    held = psnr(linear, latents[-1], clips[-1])
    plain = psnr(
        fitted(name, [0 * z for z in latents[:-1]], clips[:-1], ""), latents[-1], clips[-1]
    )
    say(console, f"wrote {place}: {len(linear.factors)} channels of {name} to RGB")
    say(console, "PSNR of the last iteration's preview to the clip at the latents' size:")
    say(
        console,
        f"  {held:.1f} dB on the last run, which was not fitted ({plain:.1f} dB for one colour)",
    )
    say(console, f"  at least {inside:.1f} dB on the others")


def _output(plan: Plan) -> Output:
    found = [o for o in plan.program.outputs if o.kind in ("video", "image")]
    if len(found) != 1:
        raise RunError(
            f"preview: needs one video or image that is made, and there are {len(found)}"
        )
    return found[0]


def _given(plan: Plan, prompt: str, seed: int) -> dict[str, object]:
    given: dict[str, object] = {meant(plan, "seed", "seed").name: seed}
    if prompt:
        given[meant(plan, "prompt", "text").name] = prompt
    return given


def _run(opened: OpenBuild, given: dict[str, object], tensor: str) -> tuple[Any, Any]:
    """The state after its last iteration, and the output."""
    import numpy as np

    last: list[Any] = []

    def iterated(segment: Any, _: int, fetch: Callable[[str], Any]) -> None:
        if tensor in {name for name, _, _ in segment.state}:
            last[:] = [np.array(fetch(tensor))]

    outcome = opened.compute(given, iterated=iterated)
    return last[0], outcome.outputs[_output(opened.plan).name]


def _rgb(output: Output, array: Any) -> Any:
    """(frames, height, width, 3) from 0 to 1."""
    import numpy as np

    unit = (np.asarray(array, np.float32) - output.low) / (output.high - output.low)
    moved = np.moveaxis(unit[0], 0, -1) if output.kind == "video" else np.moveaxis(unit, 1, -1)
    return np.clip(moved, 0, 1)


def psnr(linear: LinearPreview, latents: Any, clip: Any) -> float:
    """dB between a preview and the clip at its size."""
    import numpy as np

    made = linear.frames(latents)
    wanted = shrunk(clip, made.shape[:3])
    error = float(np.mean((made.astype(np.float64) / 255 - wanted) ** 2))
    return 99.0 if error == 0 else float(-10 * np.log10(error))
