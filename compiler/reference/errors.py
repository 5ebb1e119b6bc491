"""The one error of the reference device."""

from __future__ import annotations


class PackageError(ValueError):
    """A package that cannot be read, is not supported, or fails while it runs.

    Attributes:
        package: the package's path as it was given.
        op: the MIL operation's name, empty when no single operation is at fault.
        place: function or file inside the package, empty when it is the whole package.
    """

    def __init__(self, package: object, message: str, *, op: str = "", place: str = "") -> None:
        self.package = str(package)
        self.op = op
        self.place = place
        where = "".join((f", {place}" if place else "", f", operation {op!r}" if op else ""))
        super().__init__(f"{self.package}{where}: {message}")
