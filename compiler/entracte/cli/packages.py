"""Commands of `plan` about packages: `verify`, `predict`, `export`."""

from pathlib import Path
from typing import Annotated

import typer

from entracte.cli import offered
from entracte.cli.console import Bars, console, one_message
from entracte.cli.shared import Build, Given, Prompt, Seed, Shown, Silent, Wordy
from entracte.errors import RunError


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
