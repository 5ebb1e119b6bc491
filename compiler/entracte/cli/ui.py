"""`entracte ui`: plan, compile, run and compare in a browser."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from entracte.cli.console import console, errors, one_message
from entracte.cli.start import guarded

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str], name: str) -> None:
    """Entry point, with the words behind `ui`."""
    guarded(lambda: app(args=arguments, prog_name=name))


@app.command()
def ui(
    root: Annotated[Path, typer.Option(help="The only folder that is read and written.")] = Path(),
    host: Annotated[
        str, typer.Option(help="Where to listen; another than loopback lets others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
    config_dir: Annotated[
        Path | None, typer.Option(help="Yaml files of your own, as `compile --config-dir`.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """A web page of this machine: dry runs with their timeline, builds, runs, history, and two
    side by side. Ends with Ctrl-C, and what runs with it."""
    from entracte.ui.server import address, listening, serve, warning
    from entracte.ui.studio import Studio

    with one_message():
        studio = Studio(root, config_dir)
        bound = listening(host, port)
        at = address(host, bound.getsockname()[1])
        if told := warning(studio, host, bound.getsockname()[1]):
            errors.print(told, markup=False)
        console.print(f"{at}  (Ctrl-C ends it)", soft_wrap=True, markup=False)
        if browser:
            import webbrowser

            webbrowser.open(at)
        serve(studio, bound, host)
