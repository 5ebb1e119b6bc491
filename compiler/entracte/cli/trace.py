"""`plan trace`: the predicted and the recorded run for Perfetto."""

from pathlib import Path

from entracte.cli.console import console
from entracte.cli.files import read_for_show
from entracte.cli.observed import show_alarm
from entracte.cli.tables import say
from entracte.disk.write import write_text
from entracte.inspect.perfetto import trace
from entracte.run.alarm import alarm_of
from entracte.run.record import run_of


def write_trace(build: Path, out: Path, run: Path) -> bool:
    """Write the trace of a build's plan; `run` is a recorded run, or a folder that may hold one.

    Whether that run took more than is proven.
    """
    plan = read_for_show(build)
    recorded = run_of(plan, run)
    write_text(out, trace(plan, recorded), follow=True, remedy="name another file with --out")
    runs = "predicted run only" if recorded is None else "predicted and observed run"
    say(console, f"wrote {out}: {runs}; open it at https://ui.perfetto.dev")
    alarm = None if recorded is None else alarm_of(plan, recorded)
    show_alarm(console, alarm)
    return alarm is not None
