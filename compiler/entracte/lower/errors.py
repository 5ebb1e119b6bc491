"""The one error of this package."""

from entracte.errors import EntracteError

__all__ = ["LowerError"]


class LowerError(EntracteError):
    """A chunk that cannot be converted, with its name, the cause and the remedy."""
