"""`plan graph`: the pipeline as DOT, Mermaid or SVG."""

from pathlib import Path

import typer

from entracte.cli.console import console
from entracte.cli.tables import say
from entracte.disk.write import write_text
from entracte.inspect.diagram import diagram
from entracte.inspect.diagram_text import render
from entracte.plan.file import read_plan


def draw_graph(build: Path, form: str, out: Path | None, *, chunks: bool) -> None:
    """Write the diagram of a build's plan to a file, or print it."""
    text = render(diagram(read_plan(build), chunks=chunks), form)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_text(out, text, follow=True, remedy="name another file with --out")
    say(console, f"wrote {out}")
