"""`plan graph`: the pipeline as DOT, Mermaid or SVG."""

from pathlib import Path

import typer

from compiler.cli.console import console
from compiler.cli.files import write_text
from compiler.cli.tables import say
from compiler.diagram import diagram
from compiler.diagram_text import render
from compiler.plan import read_plan


def draw_graph(build: Path, form: str, out: Path | None, *, chunks: bool) -> None:
    """Write the diagram of a build's plan to a file, or print it."""
    text = render(diagram(read_plan(build), chunks=chunks), form)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_text(text, out)
    say(console, f"wrote {out}")
