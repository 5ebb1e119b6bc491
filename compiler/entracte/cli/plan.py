"""`plan`: look at, run and verify what `compile` made; execute any package."""

import sys

if __name__ == "__main__":
    # First of all, so that it holds while the rest is imported.
    from entracte.cli.start import start

    start("entracte.cli.plan")
    sys.exit()

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from entracte.cli import offered, one_file
from entracte.cli.calibrate import calibrate
from entracte.cli.console import Bars, console, one_message, print_version
from entracte.cli.fits import fits
from entracte.cli.one_file import graph, trace, whence
from entracte.cli.packages import export, predict, verify
from entracte.cli.shared import (
    Build,
    Given,
    Recorded,
    Shown,
    Silent,
    Wordy,
    build_folder,
)
from entracte.cli.start import guarded
from entracte.errors import PlanError, RunError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    # Of the subcommands too.
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None, name: str | None = None) -> None:
    """Entry point of the console script; or with the arguments of another one, by its name."""
    guarded(lambda: app(args=arguments, prog_name=name))


def _version(asked: bool) -> None:
    if asked:
        print_version()
        raise typer.Exit


@app.callback()
def _plan(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Entracte's version."),
    ] = False,
) -> None:
    """Look at, run and verify the build folders that `compile` makes."""


@app.command(short_help="Tables of a plan: stages, chunks, memory, time, the last run.")
def show(
    build: Build,
    stage: Annotated[str | None, typer.Option(help="Only this stage's chunks.")] = None,
    chunk: Annotated[str | None, typer.Option(help="Only this chunk.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="What the tables show as JSON, for scripts.")
    ] = False,
    run: Recorded = None,
) -> None:
    """Tables: stages, chunks, one steady iteration of each loop, memory, time, the last run.

    Exit status 1 also where that run took more than is proven.
    """
    from entracte.cli.files import read_for_show
    from entracte.cli.show import show_plan
    from entracte.cli.show_json import plan_json
    from entracte.run.alarm import alarm_of
    from entracte.run.record import run_of

    with one_message():
        plan = read_for_show(build)
        recorded = run_of(plan, run or build_folder(build))
        graphs = {c.graph for c in plan.chunks} | {v.graph for c in plan.chunks for v in c.others}
        stages = graphs | {graph.split(".")[0] for graph in graphs}
        if stage is not None and stage not in stages:
            raise PlanError(f"--stage {stage}: the plan's stages are {', '.join(sorted(stages))}")
        if chunk is not None and chunk not in {c.id for c in plan.chunks}:
            names = ", ".join(c.id for c in plan.chunks)
            raise PlanError(f"--chunk {chunk}: the plan's chunks are {names}")
        if as_json:
            typer.echo(plan_json(plan, stage=stage, chunk=chunk, run=recorded))
        else:
            show_plan(console, plan, stage=stage, chunk=chunk, run=recorded)
    if recorded is not None and alarm_of(plan, recorded):
        raise typer.Exit(1)


app.command(short_help="The predicted and the recorded run, for Perfetto.")(trace)
app.command(short_help="A drawing of the pipeline.")(graph)


@app.command(short_help="What changed from one plan to others; for CI.")
def compare(
    builds: Annotated[list[Path], typer.Argument(help="The base, then what to compare with it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    time: Annotated[
        str | None, typer.Option("--max-time-increase", help="Of the predicted time: 2%, 0.5s.")
    ] = None,
    peak: Annotated[
        str | None, typer.Option("--max-peak-increase", help="Of peak memory: 0, 2%, 1MiB.")
    ] = None,
    loaded: Annotated[
        str | None, typer.Option("--max-loaded-increase", help="Of bytes read in a run.")
    ] = None,
    packages: Annotated[
        str | None, typer.Option("--max-weights-increase", help="Of the chunks' weights.")
    ] = None,
) -> None:
    """What changed from one plan to others. Exit status 1: worse than allowed, or a recorded run
    took more than is proven; 2: an error."""
    from entracte.cli.compare import compare_builds

    limits = {"makespan": time, "peak": peak, "loaded": loaded, "weights": packages}
    with one_message(status=2):
        bad = compare_builds(console, builds, limits, as_json=as_json)
    if bad:
        raise typer.Exit(1)


@app.command(short_help="One HTML page to look at and to share.")
def report(
    builds: Annotated[
        list[Path], typer.Argument(help="A build folder made by `compile`; two: side by side.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The page; BUILD/report.html by default, of two comparison.html."
        ),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="A recorded run; BUILD/run.json if it is there. Two: side by side."),
    ] = None,
    clip: Annotated[
        list[Path] | None,
        typer.Option(help="What a run made: a clip, a picture, a folder of pictures."),
    ] = None,
) -> None:
    """One HTML page to look at: pipeline, timeline, memory, waits, policies, chunks.

    Of two builds, or of two runs of one: what differs, and both on one axis. Exit status 1 also
    where a recorded run took more than is proven; the page is written.
    """
    from entracte.cli.report import report as write_report

    with one_message():
        alarmed = write_report(console, builds, out, run or [], clip or [])
    if alarmed:
        raise typer.Exit(1)


@app.command(short_help="Execute the plan and write what it makes.")
def run(  # noqa: PLR0913 - the options of a command
    build: Build,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="The input `prompt`, or the only text; given again: a run for each."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="A file with a prompt in each line: a run for each.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="The input `negative`: the negative prompt.")
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(
            help="The input `seed`, or the only seed; `random` draws one; given again: a run for "
            "each."
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds as 0-3 or 0,2,8-11: a run for each.")
    ] = None,
    out: Annotated[
        list[str] | None,
        typer.Option(
            help="A file, or NAME=FILE for each output. Video: .mp4 .webm .gif .png, image: .png "
            ".jpg .webp, both: FOLDER/; audio: .wav; text: .txt; any: .npy .npz .safetensors. "
            "Without: clip.mp4, image.png, audio.wav, output.npy; of several NAME.mp4 ...; text is "
            "printed. Of several runs clip-PROMPT-SEED.mp4 ..., and nothing is overwritten."
        ),
    ] = None,
    inputs: Given = None,
    device: Annotated[
        str,
        typer.Option(
            help="reference, coreml, null, or auto: coreml on macOS, reference elsewhere.",
            metavar="NAME",
            autocompletion=offered.devices,
        ),
    ] = "auto",
    policy: Annotated[
        str,
        typer.Option(
            help="Arithmetic of the reference device: hybrid, round, fp32.",
            metavar="NAME",
            autocompletion=offered.policies,
        ),
    ] = "hybrid",
    record: Annotated[
        Path | None, typer.Option(help="Write what was observed here, not to BUILD/run.json.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            help="Record what the device answers in this folder, for runners of other machines."
        ),
    ] = None,
    scale: Annotated[
        int, typer.Option(min=1, max=64, help="Enlarge clips and GIFs so many times.")
    ] = 1,
    metadata: Annotated[
        bool, typer.Option(help="Write into files how they were made; `plan whence` reads it.")
    ] = True,
    conditioning: Annotated[
        str | None,
        typer.Option(
            "--keep-conditioning",
            help="Keep what follows from a prompt and other inputs but the seed in this folder, "
            "`auto` is the cache; a later run with the same ones loads no text encoder.",
            metavar="FOLDER",
        ),
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option(
            help="Of several runs, compute once what follows from the same inputs, and keep loaded "
            "what the next one needs."
        ),
    ] = True,
    snapshots: Annotated[
        Path | None,
        typer.Option(
            help="Keep in this folder, at the ends of iterations, what is needed to go on after an "
            "interruption; it goes when the run is done.",
            metavar="FOLDER",
        ),
    ] = None,
    preview: Annotated[
        str | None,
        typer.Option(
            help="Show while it runs what the loop has so far, approximately: a .png or .gif that "
            "is replaced, or FOLDER/ for all. `plan preview` makes it possible.",
            metavar="FILE",
        ),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Iterations from one preview to the next.")] = 1,
    factors: Annotated[
        Path | None, typer.Option(help="Factors of previews; otherwise BUILD/preview.json.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on: of several runs, only those whose files are missing; with --snapshots "
            "from where the run was.",
        ),
    ] = False,
    progress: Shown = None,
    quiet: Silent = False,
    verbose: Wordy = False,
) -> None:
    """Execute the plan and write its outputs; then planned against observed.

    Several prompts or seeds: a run for each pair, one after another. Exit status 1 also where one
    took more than is proven; the outputs are written before.
    """
    from entracte.cli.batch import Words, drawn, run_batch, runs_of
    from entracte.cli.given import out_by_name
    from entracte.cli.observed import finish_run
    from entracte.cli.preview import previewer_of
    from entracte.cli.progress import how_of
    from entracte.cli.snapshots import Told, snapshots_of
    from entracte.inspect.pace import pace_of
    from entracte.progress.values import Expected
    from entracte.run.execute import open_build
    from entracte.run.record import place_for
    from entracte.run.runner import whole_note

    with one_message():
        opened = open_build(
            build, device=device, policy=policy, out=out_by_name(out or []), keep=False, usual=True,
            answers=answers, scale=scale, metadata=metadata, conditioning=conditioning,
        )  # fmt: skip
        if conditioning is not None and not reuse:
            raise RunError("--no-reuse: takes nothing from --keep-conditioning; leave one out")
        words = Words(inputs or [], prompt or [], prompts, negative, seed or [], seeds)
        runs = runs_of(opened.plan, words)
        kept = snapshots_of(snapshots, resume=resume, several=len(runs) > 1)
        if kept is not None and conditioning is not None:
            raise RunError("--keep-conditioning: not with --snapshots; leave one out")
        told = Told(kept)
        looks = previewer_of(opened.plan, opened.folder, preview, every, factors)
        if looks is not None and len(runs) > 1:
            raise RunError("--preview: is of one run; give one prompt and one seed")
        opened = replace(opened, snapshots=kept, kept=told.kept)
        if note := whole_note(opened.plan, opened.device):
            console.print(note)
        if note := drawn(words, runs):
            console.print(note)
        how = how_of(progress, quiet=quiet, verbose=verbose)
        if len(runs) > 1:
            with told.on_the_way_out():
                alarmed = run_batch(
                    console, opened, runs, record, resume=resume, reuse=reuse, how=how
                )
            if alarmed:
                raise typer.Exit(1)
            return
        place = place_for(build, record, opened.device.name)
        given = runs[0].inputs
        pace = pace_of(opened.plan, build_folder(build), opened.device.name)
        expected = Expected(ground="run" if pace.same else "")
        with told.on_the_way_out(), Bars(how, expected) as bars:
            bars.steps("run", pace)
            seen = (lambda *_: None) if looks is None else looks.iterated
            outcome = opened.compute(given, lambda stage, done, _: bars.at(stage, done), seen)
        finish_run(console, opened, outcome, place, needed=record is not None)
        told.cost(console, outcome.run)
    if outcome.alarm:
        raise typer.Exit(1)


app.command(short_help="On which targets a pipeline or a build fits.")(fits)
app.command(short_help="Fit a target's figures to recorded runs.")(calibrate)
app.command(short_help="Fit the factors that previews are drawn by.")(one_file.preview)
app.command(short_help="How a file was made, as it says itself.")(whence)
app.command(short_help="Check the plan, and every package against its source.")(verify)
app.command(short_help="Execute one package, made by anyone.")(predict)
app.command(short_help="A package as ONNX, or a build as an app for a phone.")(export)
