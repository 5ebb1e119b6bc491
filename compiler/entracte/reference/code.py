"""Compiled blocks and the loop that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from entracte.reference import mil
from entracte.reference.errors import PackageError
from entracte.reference.registry import Compute

Frame = list[Any]
"""All values of a load; a register is an index into it."""
Instruction = tuple[
    Compute, tuple[int, ...], "int | tuple[int, ...]", tuple[int, ...], mil.Operation
]
"""What is run, the registers it reads and writes and those it clears, and what it is in MIL."""

_FAULTS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
           MemoryError)  # fmt: skip
"""What torch and our handlers raise for values that do not fit."""


class Watcher(Protocol):
    """Sees every instruction before it runs, and its results before they are dropped."""

    @property
    def detailed(self) -> bool:
        """Whether someone looks at every operation's result."""

    def before(self, operation: mil.Operation, run: Compute, values: Sequence[Any]) -> None:
        """Called before each operation; raises to refuse it."""

    def after(self, operation: mil.Operation, out: Any, result: Any, frees: Sequence[int]) -> None:
        """Called after each operation."""


@dataclass(slots=True)
class Session:
    """The frame of a load and who watches it."""

    package: str
    function: str
    frame: Frame = field(default_factory=list)
    watcher: Watcher | None = None
    iterations: int = 100_000
    """Of all loops together in one call; more are taken for a loop that never ends."""
    counted: int = 0

    def new_register(self, value: Any = None) -> int:
        """Add a register to the frame."""
        self.frame.append(value)
        return len(self.frame) - 1

    def fail(self, message: str, op: str = "") -> PackageError:
        """An error that names package, function and operation."""
        place = f"function {self.function!r}"
        return PackageError(self.package, message, op=op, place=place)

    def count_iteration(self) -> None:
        """Raises ValueError when the loops of this call have gone on for too long."""
        self.counted += 1
        if self.counted > self.iterations:
            raise ValueError(f"did not end after {self.iterations} iterations")


@dataclass(slots=True)
class Code:
    """A block as instructions; calling it binds its inputs, runs, and returns its outputs."""

    session: Session
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    instructions: list[Instruction]
    uses: set[int]
    """Registers of enclosing blocks that this one reads."""
    clears: tuple[int, ...] = ()
    quick: list[Instruction] | None = None
    """The same with groups of operations run as one: done unless each of them is looked at."""

    def __call__(self, values: Sequence[Any]) -> Any:
        """Bind the inputs, run, and give the outputs: the value itself where there is only one."""
        frame = self.session.frame
        for register, value in zip(self.inputs, values, strict=True):
            frame[register] = value
        self.run()
        results = [frame[register] for register in self.outputs]
        for register in self.clears:
            frame[register] = None
        return results[0] if len(results) == 1 else results

    def run(self) -> None:
        """Execute the instructions on the frame.

        Raises:
            PackageError: an operation failed; it is named.
        """
        watcher = self.session.watcher
        instructions = self.instructions if self.quick is None else self.quick
        if watcher is not None:
            self._run_watched(watcher, self.instructions if watcher.detailed else instructions)
            return
        frame = self.session.frame
        operation: mil.Operation | None = None
        try:
            for run, ins, out, frees, operation in instructions:  # noqa: B007
                result = run(*[frame[register] for register in ins])
                if isinstance(out, int):
                    frame[out] = result
                else:
                    for register, value in zip(out, result, strict=True):
                        frame[register] = value
                for register in frees:
                    frame[register] = None
        except PackageError:
            raise
        except _FAULTS as error:
            raise self._failed(operation, error) from error

    def _run_watched(self, watcher: Watcher, instructions: list[Instruction]) -> None:
        frame = self.session.frame
        operation: mil.Operation | None = None
        try:
            for run, ins, out, frees, operation in instructions:
                given = [frame[register] for register in ins]
                watcher.before(operation, run, given)
                result = run(*given)
                del given  # what is freed below must not live on in it
                outs = (out,) if isinstance(out, int) else out
                values = (result,) if isinstance(out, int) else result
                for register, value in zip(outs, values, strict=True):
                    frame[register] = value
                watcher.after(operation, outs, values, frees)
                for register in frees:
                    frame[register] = None
        except PackageError:
            raise
        except _FAULTS as error:
            raise self._failed(operation, error) from error

    def _failed(self, operation: mil.Operation | None, error: Exception) -> PackageError:
        name, kind = (operation.name, operation.type) if operation else ("", "")
        reason = str(error).split("\n")[0]
        return self.session.fail(f"{kind}: {reason}", name)
