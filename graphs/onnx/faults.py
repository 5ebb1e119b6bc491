"""What is refused about an ONNX file."""

from entracte.graphs.checks import GraphFault

__all__ = ["OnnxFault", "shown"]

_LONGEST_NAME = 60


class OnnxFault(GraphFault):
    """One message: the place in the file, what is wrong, what would help."""


def shown(name: str) -> str:
    """A name out of a file, for a message: short, and on one line."""
    text = name.encode("unicode_escape").decode()
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."
