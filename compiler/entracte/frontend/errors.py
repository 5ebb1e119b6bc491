"""The one error of this package."""

from entracte.errors import EntracteError

__all__ = ["GraphError"]


class GraphError(EntracteError):
    """A module that does not become a graph, or a piece that cannot be cut out of one."""
