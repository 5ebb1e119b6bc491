"""The commands' first step, and how they end when they are told to: at once, leaving nothing.

Imports nothing of weight, so that it holds also while a command's own modules are imported, which
takes a second. A signal becomes the exception `Ended`, so whatever is open is closed on the way
out: workers are ended, unfinished files and folders removed. Should something swallow it, or take
too long, the same is done without asking anybody.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
_GRACE_S = 3.0
"""How long the way out may take."""
_AS_SHELLS_SAY = 128
"""Exit status of a command that a signal ended: this and the signal's number."""

_told: list[int] = []
"""The signals that came."""


class Ended(BaseException):
    """A signal: no `except Exception` on the way out holds it up."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def entracte() -> None:
    """The command `entracte`."""
    start("entracte.cli.main")


def compile_() -> None:
    """The command `compile`."""
    start("entracte.cli.compile")


def plan() -> None:
    """The command `plan`."""
    start("entracte.cli.plan")


def start(module: str) -> None:
    """Import a command's module, by its name, and call its `main`."""
    guarded(lambda: import_module(module).main())


def guarded(call: Callable[[], None]) -> None:
    """Call a command. Ends the process where a signal came, or its output cannot be written."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGPIPE) is _handler:  # an outer call does it
        call()
        return
    _open_streams()
    before = _arm()
    try:
        _written(call)
    except (Ended, KeyboardInterrupt) as error:
        _end(getattr(error, "number", signal.SIGINT))
    except BaseException:
        # Libraries (OmegaConf) make another exception of whatever passes through them.
        if _told:
            _end(_told[0])
        raise
    finally:
        _clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def is_ending() -> bool:
    """Whether a signal came, whatever the exception on its way out has become."""
    return bool(_told)


def _open_streams() -> None:
    """Whoever starts a command may have closed its streams (`>&-`): what is opened next would get
    their numbers, and what libraries print would land in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _arm() -> dict[int, Any]:
    """Take the signals; who had them before."""
    before: dict[int, Any] = {}
    for number in _SIGNALS:
        # What is ignored stays so: nohup, and what a shell starts in the background. (SIGPIPE is
        # ignored by Python itself.)
        handler = signal.getsignal(number)
        if number == signal.SIGPIPE or handler is not signal.SIG_IGN:
            before[number] = handler
            signal.signal(number, _handler)
    return before


def _written(call: Callable[[], None]) -> None:
    """The call, and all that it prints."""
    try:
        try:
            call()
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        if _is_unread():
            _end(signal.SIGPIPE)
        _unwritten(error)
    except OSError as error:
        _unwritten(error)


def _is_unread() -> bool:
    """Whether nobody reads what is printed any more."""
    streams = select.poll()
    for number in (1, 2):
        streams.register(number, 0)
    # A descriptor that is closed (POLLNVAL) was never read.
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in streams.poll(0))


def _unwritten(error: OSError) -> NoReturn:
    """Say so, and let the rest go nowhere: Python would try to write it again, and complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with contextlib.suppress(OSError, ValueError):
        print(f"error: {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
    sys.exit(1)


def _handler(number: int, _: FrameType | None) -> None:
    if number == signal.SIGPIPE and not _is_unread():
        return  # a browser or a worker hung up: whoever wrote to it gets a BrokenPipeError
    _told.append(number)
    if len(_told) == 1:
        watch = threading.Timer(_GRACE_S, _end, (number,))
        watch.daemon = True
        watch.start()
        raise Ended(number)
    if number != signal.SIGPIPE:  # asked again: no more waiting
        _end(_told[0])


def _end(number: int) -> NoReturn:
    """End the process, without the seconds that an interpreter takes to leave large libraries."""
    with contextlib.suppress(Exception):
        if "multiprocessing" in sys.modules:
            import multiprocessing

            for worker in multiprocessing.active_children():
                worker.kill()
                worker.join()
        _clear()
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # the cursor, which progress bars hide
        if number != signal.SIGPIPE:  # else whoever read the output has enough: nothing to tell
            print(_words(number), file=sys.stderr, flush=True)
    os._exit(_AS_SHELLS_SAY + number)


def _clear() -> None:
    """Remove what is unfinished. Where nothing was begun, nobody has imported what knows of it:
    its import must not delay the taking of the signals."""
    if "entracte.disk.left" in sys.modules:
        sys.modules["entracte.disk.left"].clear()


def _words(number: int) -> str:
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    return f"{what}; nothing half-written was left behind"
