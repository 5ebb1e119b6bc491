"""`entracte`: all commands under one name, for where `compile` or `plan` means something else."""

import sys

from entracte.cli.start import guarded

HELP = """\
Usage: entracte COMMAND ...

Compile generative pipelines that do not fit into a phone's memory into Core ML packages that do.

Commands:
  compile  Compile a configuration into a build folder; the same as the command `compile`.
  plan     Look at, run and verify build folders; the same as the command `plan`.
  ui       Both in a browser, on this machine (needs `pip install "entracte[ui]"`).

Options:
  --version   Entracte's version.
  -h, --help  This page; `entracte compile -h` and `entracte plan -h` have more.
"""


def main() -> None:
    """Call the command that the first word names."""
    guarded(_main)


def _main() -> None:
    word, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if word == "compile":
        from entracte.cli import compile as command

        # Hydra reads its arguments there.
        sys.argv = ["compile", *rest]
        command.main()
    elif word == "plan":
        from entracte.cli import plan

        plan.main(rest, "entracte plan")
    elif word == "ui":
        from entracte.cli import ui

        ui.main(rest, "entracte ui")
    elif word == "--version":
        from entracte.cli.console import print_version

        print_version()
    elif word in ("-h", "--help"):
        print(HELP, end="")
    else:
        from entracte.cli.console import errors

        errors.print(
            f"error: {word!r} is no command; give compile, plan or ui (entracte -h)", markup=False
        )
        sys.exit(2)
