"""The errors a user can meet. Each is one message: place, given, allowed, remedy."""


class EntracteError(ValueError):
    """A fault in what the user gave. Shown as one message, without a traceback."""


class ConfigError(EntracteError):
    """A setting that cannot be read or does not make sense."""


class DoesNotFit(EntracteError):
    """A pipeline that no partition or schedule fits into the budget: where and how much; and the
    `target.memory` that is enough for all of it, 0 where nobody looked for that."""

    def __init__(
        self, message: str, chunk: str = "", need_bytes: int = 0, memory_bytes: int = 0
    ) -> None:
        super().__init__(message)
        self.chunk = chunk
        self.need_bytes = need_bytes
        self.memory_bytes = memory_bytes


class PlanError(EntracteError):
    """A plan or build folder that is missing, damaged, unsafe or of another version."""


class RunError(EntracteError):
    """An input or a device that makes a run impossible."""


class WriteError(RunError):
    """A file or folder that cannot be written: the place, and what the system says."""
