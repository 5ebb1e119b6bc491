"""What both commands share: one console, progress, and errors as one message."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from entracte.cli.faults import drop_output, fault_of
from entracte.cli.progress import (
    EVERY_S,
    OFTEN_S,
    How,
    bar_text,
    json_end,
    json_text,
    line_text,
)
from entracte.cli.start import is_ending
from entracte.errors import EntracteError
from entracte.progress.tracker import Tracker
from entracte.progress.values import NOTHING, Expected, LoopSpan, PhaseTime, Progress
from entracte.store.origin import VERSION

if TYPE_CHECKING:
    from entracte.inspect.pace import Pace

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def show_error(error: EntracteError) -> None:
    """Print a user's fault as one message."""
    errors.print("error:", style="bold red", end=" ")
    errors.print(_visible(str(error)), markup=False)


def _visible(text: str) -> str:
    """What would move a terminal's cursor as its escape: messages quote what strangers wrote."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


@contextmanager
def one_message(status: int = 1) -> Iterator[None]:
    """Whatever goes wrong inside ends the command with one message, without a traceback."""
    try:
        yield
    except BrokenPipeError:
        drop_output()
        sys.exit(status)
    except Exception as error:  # noqa: BLE001 - the last one before a traceback
        if type(error).__module__.partition(".")[0] in ("click", "typer"):
            raise  # their way to end a command
        if is_ending():
            raise
        show_error(fault_of(error))
        sys.exit(status)
    except KeyboardInterrupt:
        errors.print("interrupted; nothing half-written was left behind")
        sys.exit(130)


def print_version() -> None:
    """What `--version` of every command says."""
    print(f"entracte {VERSION}")


class _Said(logging.Handler):
    """What the compiler says in its log, printed above the bars."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print(Text(f"note: {record.getMessage()}"), soft_wrap=True)


class Bars:
    """A `Reporter` that tells progress as the flags say: a bar in a terminal, else lines or JSON
    on stderr.

    Inside `with` it prints what the compiler's log says.

    Args:
        how: of the flags; without, what `choose` was told.
        expected: what phases took last time.
        clock: seconds, rising.
    """

    def __init__(
        self,
        how: How | None = None,
        expected: Expected = NOTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._how = how or _chosen[-1]
        self._form = _form(self._how)
        self._clock, self._said = clock, _Said(logging.WARNING)
        self.began = self._told_s = clock()
        self._tracker = Tracker(expected, clock, self._tell)
        self._live = Live(
            get_renderable=self._drawn, console=console, transient=True, refresh_per_second=4
        )
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.phases: tuple[PhaseTime, ...] = ()
        """What phases took, once all is done."""

    def __enter__(self) -> "Bars":
        if self._form == "bar":
            self._live.start()
        elif self._form in ("lines", "json"):
            threading.Thread(target=self._watch, daemon=True).start()
        log = logging.getLogger("entracte")
        log.addHandler(self._said)
        # Hydra disables those that it finds, and libraries raise the level of all.
        log.disabled = False
        log.setLevel(self._said.level)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self.phases = self._tracker.end()
        if self._form == "bar":
            self._live.stop()
        elif self._form == "json":
            took_s = self._clock() - self.began
            self._print(json_end(self.phases, took_s, ok=kind is None))
        log = logging.getLogger("entracte")
        log.removeHandler(self._said)
        log.setLevel(logging.NOTSET)

    def phase(
        self,
        name: str,
        total: int,
        unit_bytes: bool = False,
        *,
        units_s: Sequence[float] = (),
        loops: Sequence[LoopSpan] = (),
        names: Sequence[str] = (),
    ) -> None:
        """Start the next phase; the one before it is complete. See `Tracker.phase`."""
        self._tracker.phase(name, total, unit_bytes, units_s=units_s, loops=loops, names=names)

    def steps(self, name: str, pace: "Pace") -> None:
        """Start the phase that runs a plan's steps."""
        self.phase(name, len(pace.names), units_s=pace.steps_s, loops=pace.loops, names=pace.names)

    def start(self, label: str) -> None:
        """What runs now; several may."""
        self._tracker.start(label)

    def advance(self, label: str, amount: int = 1) -> None:
        """So many units more of the current phase are done; `label` is what they belong to."""
        self._tracker.advance(label, amount)
        if self._how.verbose and amount:
            self._print(f"  {label} is done")

    def at(self, label: str, completed: int, of: int | None = None) -> None:
        """Set the current phase's position. See `Tracker.at`."""
        self._tracker.at(label, completed, of)
        if self._how.verbose and (progress := self._tracker.now()):
            self._print(line_text(progress))

    def beat(self) -> None:
        """Tell again what runs, where nothing was told for a while."""
        progress = self._tracker.now()
        if progress is not None and self._clock() - self._told_s >= EVERY_S:
            self._write("running", progress)

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self.beat()

    def _tell(self, event: str, progress: Progress) -> None:
        since_s = self._clock() - self._told_s
        if self._form == "json":
            due = event == "phase" or since_s >= OFTEN_S or progress.done == progress.of
        else:
            due = event == "phase" or since_s >= EVERY_S
        if due:
            self._write(event, progress)

    def _write(self, event: str, progress: Progress) -> None:
        self._told_s = self._clock()
        if self._form == "json":
            self._print(json_text(event, progress))
        elif self._form == "lines":
            self._print(line_text(progress))

    def _print(self, text: str) -> None:
        """One whole line on stderr: results alone go to stdout."""
        with self._lock:
            errors.print(Text(_visible(text)), soft_wrap=True)

    def _drawn(self) -> Text:
        progress = self._tracker.now()
        return Text("") if progress is None else bar_text(progress, console.width)


_chosen = [How()]


def choose(how: How) -> None:
    """How this process tells progress, unless `Bars` is told otherwise: `compile`'s flags."""
    _chosen[:] = [how]


def _form(how: How) -> str:
    if how.form != "auto":
        return how.form
    return "bar" if console.is_terminal and not console.is_dumb_terminal else "lines"
