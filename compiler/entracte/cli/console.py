"""What both commands share: one console, progress bars, and errors as one message."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from entracte.cli.faults import drop_output, fault_of
from entracte.cli.start import is_ending
from entracte.errors import EntracteError
from entracte.store.origin import VERSION

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
    """A `Reporter` that draws one bar per phase with what is being done and the time left.

    Inside `with` it prints what the compiler's log says.
    """

    def __init__(self) -> None:
        label = TextColumn(
            "{task.fields[label]}",
            markup=False,
            table_column=Column(width=22, no_wrap=True, overflow="ellipsis"),
        )
        self._progress = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description:8}"),
            BarColumn(bar_width=18),
            _Amount(),
            label,
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._said = _Said(logging.WARNING)
        self.began = time.monotonic()

    def __enter__(self) -> "Bars":
        self._progress.start()
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
        self._progress.stop()
        log = logging.getLogger("entracte")
        log.removeHandler(self._said)
        log.setLevel(logging.NOTSET)

    def phase(self, name: str, total: int, unit_bytes: bool = False) -> None:
        """Start the next phase; the one before it is complete."""
        if self._task is not None:
            task = next(t for t in self._progress.tasks if t.id == self._task)
            self._progress.update(self._task, completed=task.total, label="")
        self._task = self._progress.add_task(name, total=total, label="", bytes=unit_bytes)

    def advance(self, label: str, amount: int = 1) -> None:
        """So many units more of the current phase are done; `label` is what they belong to."""
        assert self._task is not None
        self._progress.update(self._task, advance=amount, label=label)

    def at(self, label: str, completed: int) -> None:
        """Set the current phase's position."""
        assert self._task is not None
        self._progress.update(self._task, completed=completed, label=label)


class _Amount(DownloadColumn):
    """Bytes for phases that move bytes, counts for the others."""

    def __init__(self) -> None:
        super().__init__(binary_units=True)
        self._count = MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.fields.get("bytes"):
            return super().render(task)
        return self._count.render(task)
