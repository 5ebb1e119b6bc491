"""Commands in this process, as the console scripts call them, with what they print caught."""

import contextlib
import io
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from tests.fuzz.case import Said

if TYPE_CHECKING:
    from entracte.declare.read import Job

READ = "every weight was read"
_MARKS = (
    "Traceback (most recent call last)",
    "internal error",
    "panicked at",
    "Error executing job",
)


def call(words: Sequence[str]) -> Said:
    """`plan ...` or `compile ...`."""
    out, err, trace, status = _stream("strict"), _stream("backslashreplace"), "", 0
    before = sys.argv
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            _main(words)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:  # noqa: BLE001 - what a user would see as a traceback
            status, trace = 1, traceback.format_exc()
        finally:
            sys.argv = before
    return Said(status, _text(out), _text(err), trace)


def _stream(errors: str) -> io.TextIOWrapper:
    """As the interpreter opens them: what has no UTF-8 is an error in one, not in the other."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode("utf-8", "replace")


def _main(words: Sequence[str]) -> None:
    if words[0] == "weights":
        _weights(*words[1:])
        return
    if words[0] == "plan":
        from entracte.cli import plan

        plan.main(list(words[1:]), "plan")
        return
    from entracte.cli import compile as command

    command._sweep.clear()
    sys.argv = list(words)
    command.main()


@cache
def _job() -> "Job":
    from entracte.declare.compose import compose
    from entracte.declare.read import read
    from tests.fuzz.base import CONF, compile_words

    return read(compose(compile_words("random:0")[3:], CONF))


def _weights(spec: str, out: str) -> None:
    """`compile` from where its settings are read: composing them each time would cost the most."""
    from entracte.cli.console import one_message
    from entracte.compile.job import compile_job

    with one_message():
        job = _job()
        compile_job(replace(job, pipeline=replace(job.pipeline, weights=spec), out=out))


def verdict(said: Said) -> tuple[str, str]:
    """(verdict, what to tell of it)."""
    if said.trace or any(mark in said.text for mark in _MARKS):
        return "traceback", said.trace or said.text
    if READ in said.text:
        return "accepted", READ
    if "not enough memory" in said.err:
        return "memory", said.err.strip()
    if said.status == 0:
        return "accepted", ""
    if not said.text.strip():
        return "silent", f"exit status {said.status} and no word"
    return "refused", said.err.strip()[:500] or said.out.strip()[-200:]


def only_read_weights() -> None:
    """From here on a compile ends when it has read all weights: converting them is not tried."""
    from entracte.emit import bundle
    from entracte.errors import RunError

    def make(missing, _) -> None:
        for order in missing:
            order.source.tensors(order.traced, order.form.slots)
        if missing:
            raise RunError(READ)

    assert callable(bundle._make)
    bundle._make = make
