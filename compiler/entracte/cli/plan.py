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

from entracte.cli import offered
from entracte.cli.console import Bars, console, one_message, print_version
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

Build = Annotated[Path, typer.Argument(help="A build folder made by `compile`.")]
Recorded = Annotated[
    Path | None, typer.Option("--run", help="A recorded run; otherwise BUILD/run.json.")
]


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


@app.command()
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


def build_folder(build: Path) -> Path:
    """Where a recorded run lies: a plan may be given as its folder or as its file."""
    return build if build.is_dir() else build.parent


@app.command()
def trace(
    build: Build,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")] = Path(
        "trace.json"
    ),
    run: Recorded = None,
) -> None:
    """Write the predicted and the recorded run as a trace for Perfetto or chrome://tracing.

    Exit status 1 also where that run took more than is proven; the trace is written.
    """
    from entracte.cli.trace import write_trace

    with one_message():
        alarmed = write_trace(build, out, run or build_folder(build))
    if alarmed:
        raise typer.Exit(1)


@app.command()
def graph(
    build: Build,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="dot, mermaid or svg.", metavar="NAME", autocompletion=offered.formats
        ),
    ] = "dot",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file to write; printed without.")
    ] = None,
    chunks: Annotated[bool, typer.Option("--chunks", help="Every chunk of every stage.")] = False,
) -> None:
    """Draw the pipeline: stages, loops, maps, and the bytes that go from one to the next."""
    from entracte.cli.graph import draw_graph

    with one_message():
        draw_graph(build, form, out, chunks=chunks)


@app.command()
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


@app.command()
def report(
    build: Build,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; BUILD/report.html by default.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A recorded run; BUILD/run.json if it is there.")
    ] = None,
) -> None:
    """One HTML page to look at: pipeline, timeline, memory, waits, policies, chunks.

    Exit status 1 also where the recorded run took more than is proven; the page is written.
    """
    from entracte.cli.report import report_build

    with one_message():
        alarmed = report_build(console, build, out, run)
    if alarmed:
        raise typer.Exit(1)


Given = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="An input of the plan: name=value; of images, videos, audios and tensors name=FILE.",
    ),
]
Prompt = Annotated[str | None, typer.Option(help="The input `prompt`, or the only text.")]
Shown = Annotated[
    str | None,
    typer.Option("--progress", help="lines, json or none; auto: a bar in a terminal, else lines."),
]
Silent = Annotated[bool, typer.Option("--quiet", help="Tell no progress.")]
Wordy = Annotated[bool, typer.Option("--verbose", help="Tell every step as it is done.")]
Seed = Annotated[int | None, typer.Option(help="The input `seed`, or the only seed.")]


@app.command()
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
            answers=answers, scale=scale, metadata=metadata,
        )  # fmt: skip
        words = Words(inputs or [], prompt or [], prompts, negative, seed or [], seeds)
        runs = runs_of(opened.plan, words)
        kept = snapshots_of(snapshots, resume=resume, several=len(runs) > 1)
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
                alarmed = run_batch(console, opened, runs, record, resume=resume, how=how)
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


@app.command()
def preview(
    build: Build,
    prompt: Annotated[
        list[str] | None, typer.Option(help="The input `prompt`; given again, more runs.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds as 0-3 or 0,2,8-11: a run for each.")] = "0-3",
    tensor: Annotated[str, typer.Option(help="The latents: a state of a loop.")] = "",
    device: Annotated[
        str,
        typer.Option(
            help="reference, coreml, or auto: coreml on macOS, reference elsewhere.",
            metavar="NAME",
            autocompletion=offered.devices,
        ),
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file; otherwise BUILD/preview.json.")
    ] = None,
) -> None:
    """Fit the factors of previews (`plan run --preview`): latents to RGB, by least squares.

    The build is run for each prompt and seed; the last run is not fitted, it says how good it is.
    """
    from entracte.cli.batch import seeds_of
    from entracte.cli.preview import fit_preview
    from entracte.run.execute import open_build

    with one_message():
        opened = open_build(build, device=device)
        fit_preview(console, opened, prompt or [], seeds_of(seeds), tensor, out)


@app.command()
def whence(
    file: Annotated[Path, typer.Argument(help="A file, or a folder of pictures, of `plan run`.")],
    build: Annotated[
        Path | None, typer.Option(help="Exit status 1 where it is of another plan than this.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, for scripts.")] = False,
) -> None:
    """How a file was made, as it says itself: inputs, plan, versions, and the line to type."""
    from entracte.cli.whence import show_whence

    with one_message():
        same = show_whence(console, file, build, as_json=as_json)
    if not same:
        raise typer.Exit(1)


@app.command()
def verify(
    build: Build,
    prompt: Prompt = None,
    seed: Seed = None,
    inputs: Given = None,
    save: Annotated[bool, typer.Option(help="Write the PSNRs into the plan.")] = True,
    distinct: Annotated[
        bool, typer.Option("--distinct", help="One package of each kind, alone; for large builds.")
    ] = False,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the source's weights are, as pipeline.weights; STAGE=FOLDER for a stage's."
        ),
    ] = None,
    loras: Annotated[
        list[str] | None,
        typer.Option("--lora", help="A LoRA file that was merged, in the order of pipeline.lora."),
    ] = None,
    packages: Annotated[
        list[str] | None,
        typer.Option("--allow-package", help="A Python package whose graphs may be imported."),
    ] = None,
    cache: Annotated[str, typer.Option(help="Where traces are kept: a folder.")] = "auto",
    progress: Shown = None,
    quiet: Silent = False,
    verbose: Wordy = False,
) -> None:
    """Check the plan, and every package against the torch source: PSNR, largest error.

    Exit status 1 where one is below its floor, or the run took more than is proven.
    """
    from entracte.cli.given import given_by_name
    from entracte.cli.progress import how_of
    from entracte.cli.verify import show_verification
    from entracte.plan.file import read_plan
    from entracte.verify.source import Origin

    places = [_place(text) for text in weights or ()]
    origin = Origin(
        weights=next((place for stage, place in places if not stage), None),
        stage_weights=tuple((stage, place) for stage, place in places if stage),
        loras=tuple(loras or ()),
        packages=tuple(packages or ()),
        cache=cache,
    )
    with one_message(), Bars(how_of(progress, quiet=quiet, verbose=verbose)) as bars:
        given = given_by_name(read_plan(build), inputs or [], prompt=prompt, seed=seed)
        failed = show_verification(build, given, bars, save=save, distinct=distinct, origin=origin)
    if failed:
        raise typer.Exit(1)


def _place(text: str) -> tuple[str, str]:
    """(stage, place) of `STAGE=PLACE`; no stage for a place alone (`./a=b` is one)."""
    stage, equals, place = text.partition("=")
    return (stage, place) if equals and stage.isidentifier() else ("", text)


@app.command()
def predict(
    package: Annotated[Path, typer.Argument(help="An .mlpackage, made by anyone.")],
    inputs: Annotated[Path, typer.Argument(help="An .npz with one array per input.")],
    out: Annotated[Path | None, typer.Option(help="Write the outputs to this .npz.")] = None,
    function: Annotated[
        str | None, typer.Option(help="Function of a multifunction package.")
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="Arithmetic: hybrid, round, fp32.",
            metavar="NAME",
            autocompletion=offered.policies,
        ),
    ] = "hybrid",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what Core ML is known to refuse.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Name the first operation that leaves fp16's range; exit 1."),
    ] = False,
) -> None:
    """Run one package on the reference device and print its outputs."""
    from entracte.cli.predict import predict_package

    with one_message():
        found = predict_package(
            console, package, inputs, out,
            function=function, policy=policy, strict=strict, watch=watch,
        )  # fmt: skip
    if found:
        raise typer.Exit(1)


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="An .mlpackage, made by anyone; a build folder.")],
    out: Annotated[
        Path | None, typer.Argument(help="The file to write; its name ends in .onnx.")
    ] = None,
    swift: Annotated[
        Path | None,
        typer.Option(help="Of a build folder: a folder for an Xcode project with runner and app."),
    ] = None,
    function: Annotated[str, typer.Option(help="Function of a multifunction package.")] = "main",
    policy: Annotated[
        str,
        typer.Option(
            help="round keeps fp16 rounding and overflow visible; fp32 has neither.",
            metavar="NAME",
            autocompletion=offered.export_policies,
        ),
    ] = "round",
    seed: Annotated[int, typer.Option(help="Seed of the inputs it is checked on.")] = 0,
) -> None:
    """Write one package as an ONNX model, checked against the reference device; or a build as an
    app for a phone (`--swift`)."""
    from entracte.cli.export import export_package, export_swift, unsuited

    with one_message():
        if (fault := unsuited(out, swift)) is not None:
            raise RunError(fault)
        if swift is not None:
            export_swift(source, swift)
        elif out is not None:
            export_package(source, out, function=function, policy=policy, seed=seed)
