"""The errors of the reference device. All are `PackageError`s.

The kinds below it are what coremltools' `MLModel.predict` raises in the same situation, so a test
written for one catches the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from entracte.errors import EntracteError

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError,
              RuntimeError, MemoryError)  # fmt: skip
"""What taking a damaged program apart may raise (RecursionError is a RuntimeError)."""


class PackageError(EntracteError):
    """A package that cannot be read, is not supported, or fails while it runs.

    Attributes:
        package: the package's path as it was given.
        message: what is wrong, without the place.
        op: the MIL operation's name, empty when no single operation is at fault.
        place: function or file inside the package, empty when it is the whole package.
    """

    def __init__(self, package: object, message: str, *, op: str = "", place: str = "") -> None:
        self.package = str(package)
        self.message = message
        self.op = op
        self.place = place
        where = "".join((f", {place}" if place else "", f", operation {op!r}" if op else ""))
        super().__init__(f"{self.package}{where}: {message}")

    # KeyError would print its message as a quoted key.
    __str__ = ValueError.__str__


class UnknownInputError(PackageError, KeyError):
    """`predict` was given an input that the model does not have."""


class InputKindError(PackageError, TypeError):
    """`predict` was given something that is no array (or, for an image input, no picture)."""


class PredictionError(PackageError, RuntimeError):
    """What Core ML itself refuses: missing inputs, shapes, element types, failing operations."""


@contextmanager
def malformed(package: object) -> Iterator[None]:
    """Whatever reading and preparing raises inside, besides PackageError, is the package's fault.

    The original error stays attached as the cause: it may be a fault of ours after all.
    """
    try:
        yield
    except PackageError:
        raise
    except _MALFORMED as error:
        raise PackageError(package, f"malformed: {type(error).__name__}: {error}") from error
