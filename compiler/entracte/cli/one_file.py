"""Commands of `plan` that write a file or tell of one: `trace`, `graph`, `preview`, `whence`."""

from pathlib import Path
from typing import Annotated

import typer

from entracte.cli import offered
from entracte.cli.console import console, one_message
from entracte.cli.shared import Build, Recorded, build_folder


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
