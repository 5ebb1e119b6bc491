"""`plan trace`: the predicted and the recorded run for Perfetto."""

from pathlib import Path

from entracte.cli.console import console
from entracte.cli.files import read_for_show
from entracte.cli.tables import say
from entracte.disk.write import write_text
from entracte.inspect.perfetto import trace
from entracte.run.record import run_of


def write_trace(build: Path, out: Path, run: Path) -> None:
    """Write the trace of a build's plan; `run` is a recorded run, or a folder that may hold one."""
    plan = read_for_show(build)
    recorded = run_of(plan, run)
    write_text(out, trace(plan, recorded), follow=True, remedy="name another file with --out")
    runs = "predicted run only" if recorded is None else "predicted and observed run"
    say(console, f"wrote {out}: {runs}; open it at https://ui.perfetto.dev")
