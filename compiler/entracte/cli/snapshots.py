"""What `plan run` says of snapshots: what was kept where a run was interrupted, what they cost."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from entracte.cli.console import errors
from entracte.cli.start import Ended
from entracte.cli.tables import say
from entracte.errors import RunError
from entracte.ir import Run
from entracte.run.keeper import Kept, Snapshots
from entracte.run.snapshot import FILE
from entracte.units import format_seconds


def snapshots_of(folder: Path | None, *, resume: bool, several: bool) -> Snapshots | None:
    """What the flags say. Raises `RunError`."""
    if resume and folder is None and not several:
        raise RunError(
            "--resume: goes on with several runs, or from the snapshots of one; leave it out, give "
            "several seeds, or name the folder with --snapshots"
        )
    if folder is None:
        return None
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--snapshots {folder}: is no folder; name one")
    return Snapshots(folder, resume)


class Told:
    """The snapshots of a run, as they are kept; inside `with` it says what is left of them when the
    run does not reach its end."""

    def __init__(self, snapshots: Snapshots | None) -> None:
        self._snapshots = snapshots
        self._last: Kept | None = None
        self._count, self._spent_s = 0, 0.0

    def kept(self, kept: Kept) -> None:
        """One is on the disk."""
        self._last = kept
        self._count += 1
        self._spent_s += kept.seconds

    def cost(self, console: Console, run: Run) -> None:
        """What they took of a run's time."""
        if self._count:
            share = 100 * self._spent_s / run.wall_s
            what = "snapshot" if self._count == 1 else "snapshots"
            spent = format_seconds(self._spent_s)
            say(console, f"{self._count} {what} in {spent}, {share:.1f} % of the run", style="dim")

    @contextlib.contextmanager
    def on_the_way_out(self) -> Iterator["Told"]:
        """Whatever ends the run is told what was kept, and raised again."""
        try:
            yield self
        except BaseException as error:
            if text := self._left(isinstance(error, Ended | KeyboardInterrupt)):
                with contextlib.suppress(OSError):
                    errors.print(text, markup=False)
            raise

    def _left(self, interrupted: bool) -> str:
        if self._snapshots is None:
            how = "`--snapshots FOLDER` keeps what is needed to go on"
            return f"nothing of the run was kept; {how}" if interrupted else ""
        folder = self._snapshots.folder
        if self._last is not None:
            k = self._last
            where = f"{k.segment}, {k.iteration} of {k.count} iterations"
            what = where if k.iteration else f"all before {k.segment}"
        elif interrupted and not (folder / FILE).exists():
            return f"no snapshot was due yet in {folder}: --resume would begin anew"
        elif not interrupted:
            return ""
        else:
            what = "the snapshot that the run began with"
        return f"kept in {folder}: {what}; the same command with --resume goes on from there"
