"""Where outputs go: which file each is written to, and the files while a run makes them.

A file is whole or not there. Whatever a writer has against an output, the run goes on, and what was
computed is kept (`run/spool.py`).
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entracte.declare.words import an
from entracte.disk.folder import can_write, fresh, put
from entracte.disk.write import told, writing
from entracte.errors import RunError, WriteError
from entracte.run.outputs import FOLDER, FORMATS, Format, Made, Writer, endings_for, usual_name
from entracte.run.spool import Dropped, Spool

Out = str | Path | Mapping[str, str | Path] | None
"""A file, or files by output."""


# ---------------------------------------------------------------- which file


@dataclass(frozen=True, slots=True)
class Place:
    """A file and its format; `path` is a folder's where the format is one of those."""

    path: Path
    format: Format


def place_of(given: str | Path) -> Place:
    """What the ending of a name means. Raises `RunError` for what could not be written."""
    text = os.fspath(given)
    path = Path(text)
    ending = FOLDER if text.endswith(("/", os.sep)) else path.suffix.lower()
    if ending not in FORMATS:
        endings = ", ".join(e for e in FORMATS if e != FOLDER)
        raise RunError(
            f"{text or repr(text)}: the ending decides the format: give one of {endings}, or NAME/ "
            "for a folder of pictures"
        )
    if not os.path.isdir(path.parent):
        raise RunError(f"{text}: there is no folder {path.parent}")
    _check_name(text)
    if ending == FOLDER:
        _check_folder(path)
    elif path.is_dir():
        raise RunError(f"{text}: is a folder; name a file")
    if not can_write(Path(os.path.realpath(path)).parent):
        raise WriteError(f"{text}: cannot be written: its folder is read-only; name another file")
    return Place(path, FORMATS[ending])


def _check_name(text: str) -> None:
    """That it is one that the system takes."""
    try:
        os.lstat(text.rstrip("/"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no name of a file"
        raise RunError(f"{text[:60]!r}: cannot be written: {why}; name another file") from None


def _check_folder(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir() or any(path.iterdir()):
        raise RunError(f"{path}/: is there and no empty folder; name another")


def check_names(out: Out) -> None:
    """What can be wrong with names alone. Raises `RunError`."""
    names = out.values() if isinstance(out, Mapping) else [out]
    for name in names:
        if name is not None:
            place_of(name)


def places_for(made: Sequence[Made], out: Out) -> "list[FileSink]":
    """The files that outputs go to, and whether each can hold what it is to. Raises `RunError`."""
    if out is None:
        return []
    known = {m.output.name: m for m in made}
    if not isinstance(out, Mapping):
        names = _meant(made, place_of(out), os.fspath(out))
        out = dict.fromkeys(names, out)
    stray = sorted(set(out) - set(known))
    if stray:
        raise RunError(f"--out {stray[0]}=...: the plan's outputs are {', '.join(known)}")
    files: dict[str, FileSink] = {}
    for name in (n for n in known if n in out):
        place = place_of(out[name])
        _check_holds(known[name], place, os.fspath(out[name]))
        real = os.path.realpath(place.path)
        if real in files and not place.format.many:
            other = next(iter(files[real].made)).output.name
            raise RunError(
                f"--out {name}={place.path}: {other} goes there too; name another file, or one "
                "that ends in .npz for both"
            )
        if real in files:
            files[real].made.append(known[name])
        else:
            files[real] = FileSink(place, [known[name]])
    return list(files.values())


def _meant(made: Sequence[Made], place: Place, text: str) -> list[str]:
    """The outputs that a file alone is meant for: all, where it holds several; the only one that it
    can hold."""
    names = [m.output.name for m in made]
    if place.format.many or len(names) == 1:
        return names
    fit = [m.output.name for m in made if m.output.kind in place.format.kinds]
    if len(fit) == 1:
        return fit
    example = f"--out {names[0]}={text} --out {names[1]}=..."
    raise RunError(f"{text}: which of the outputs {', '.join(names)}? Write e.g. {example}")


def _check_holds(made: Made, place: Place, text: str) -> None:
    """Raises `RunError`, before any work is done, where a file cannot hold an output."""
    name, port = made.output.name, made.port
    if made.output.kind not in place.format.kinds:
        raise RunError(
            f"{text}: {place.format.ending} files hold {' and '.join(place.format.kinds)}, the "
            f"output {name} is {an(made.output.kind)}, {port.dtype} of {port.shape}; give a file "
            f"that ends in {', '.join(endings_for(made))}"
        )
    if fault := place.format.fault(made):
        raise RunError(f"{text}: {fault}; give a file that ends in {', '.join(endings_for(made))}")


def usual_places(made: Sequence[Made]) -> dict[str, str | Path]:
    """Where outputs go when nobody says so: a file of its kind's own name, or, of several, of the
    output's. Texts go nowhere: they are printed."""
    outputs = [m.output for m in made if m.output.kind != "text"]
    return {o.name: usual_name(o, alone=len(made) == 1) for o in outputs}


# ---------------------------------------------------------------- while a run makes them


@dataclass(eq=False)
class FileSink:
    """One file, of one output, or of several where its format holds them."""

    place: Place
    made: list[Made]
    fault: str = ""
    """Why it is not written; empty: it is."""
    _spools: dict[str, Spool] = field(default_factory=dict)
    _writer: Writer | None = None
    _files: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _done: bool = False

    def begin(self) -> None:
        """Open it. Raises `RunError` where it cannot be written at all."""
        f = self.place.format
        for m in self.made:
            axis = m.output.axis if f.grain_axis is None else f.grain_axis
            self._spools[m.output.name] = Spool(self.place.path, axis)
        try:
            aside = self._files.enter_context(self._aside())
            self._writer = f.open(self.made, aside)
        except Exception as error:
            self.abandon()
            raise self._told(error) from error

    @contextlib.contextmanager
    def _aside(self) -> Iterator[Path]:
        """What becomes the file, or the folder, if the block ends well."""
        path = self.place.path
        if self.place.format.ending != FOLDER:
            with writing(path, follow=True, durable=True) as aside:
                yield aside
            return
        with fresh(path.parent, path.name) as folder, told(path):
            yield folder
            put(folder, path)

    def take(self, output: str, piece: Any) -> None:
        """The next piece of an output."""
        made = next(m.output for m in self.made if m.output.name == output)
        for part in _parts(piece, made.axis):
            self._take(output, self.place.format.grain(made, part))

    def _take(self, output: str, grain: Any) -> None:
        self._spools[output].append(grain)
        if self.fault or self._writer is None:
            return
        try:
            self._writer.take(grain)
        except Exception as error:
            self._fail(error)

    def finish(self) -> None:
        """All came: the file takes its place. What could not be written is kept, and `fault` says
        where."""
        try:
            self._finish()
            if self.fault:
                self.fault = self._kept(self.fault)
        finally:
            self._done = True
            for spool in self._spools.values():
                spool.drop()

    def _finish(self) -> None:
        if self.fault or self._writer is None:
            return
        try:
            self._writer.finish(self._spools)
            self._files.close()
        except Exception as error:
            self._fail(error)

    def _kept(self, fault: str) -> str:
        called = self.place.format.called
        what = f"its {called}"
        kept = [s.keep(self.place.path) for s in self._spools.values()]
        if None in kept:
            verb = "be kept: it is lost" if called == "tensor" else "be kept: they are lost"
            return f"{fault}; nor could {what} {verb}"
        verb = "is" if called == "tensor" and len(kept) == 1 else "are"
        return f"{fault}; {what} {verb} kept in {', '.join(map(str, kept))} (`numpy.load`)"

    def abandon(self) -> None:
        """The run failed: nothing stays."""
        if self._done:
            return
        self._done = True
        self._leave(Dropped())
        for spool in self._spools.values():
            spool.drop()

    def _fail(self, error: Exception) -> None:
        told_error = self._told(error)
        self.fault = str(told_error)

    def _told(self, error: Exception) -> RunError:
        """Close the file, and say why, as one error."""
        said = self._leave(error)
        if isinstance(said, RunError):
            return said
        # Encoders raise kinds of their own.
        why = f"{type(error).__name__}: {error}"
        return RunError(
            f"{self.place.path}: cannot be encoded ({why}); give a file that ends in .npy"
        )

    def _leave(self, error: Exception) -> Exception:
        """Leave the file with an error; returns what that became."""
        if self._writer is not None:
            self._writer.abandon()
        try:
            self._files.__exit__(type(error), error, error.__traceback__)
        except Exception as other:
            return other
        return error


_PART_BYTES = 1 << 20


def _parts(piece: Any, axis: int) -> Iterator[Any]:
    """Of a large piece one part after the other: what becomes of it in a file is never there
    whole."""
    if not piece.ndim or not piece.size:
        yield piece
        return
    axis %= piece.ndim
    many = max(1, _PART_BYTES * piece.shape[axis] // piece.nbytes)
    for at in range(0, piece.shape[axis], many):
        yield piece[(slice(None),) * axis + (slice(at, at + many),)]


@contextlib.contextmanager
def opened(files: Sequence[FileSink]) -> Iterator[dict[str, FileSink]]:
    """The files by output, ready to take; when the block fails, nothing of them stays."""
    try:
        for file in files:
            file.begin()
        yield {m.output.name: file for file in files for m in file.made}
        for file in files:
            file.finish()
    finally:
        for file in files:
            file.abandon()
