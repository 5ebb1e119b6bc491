"""Values that a shell offers after an option.

Spelled here: what knows them takes seconds to import, and a shell waits at every key.
`tests/mistakes/test_words.py` holds them against the tables that the options are checked by.
"""

DEVICES = ("auto", "reference", "coreml", "null")
POLICIES = ("hybrid", "round", "fp32")
EXPORT_POLICIES = ("round", "fp32")
FORMATS = ("dot", "mermaid", "svg")


def devices(incomplete: str) -> list[str]:
    """Of `--device`."""
    return _beginning(DEVICES, incomplete)


def policies(incomplete: str) -> list[str]:
    """Of `--policy`, where the reference device computes."""
    return _beginning(POLICIES, incomplete)


def export_policies(incomplete: str) -> list[str]:
    """Of `--policy`, where an ONNX model is written."""
    return _beginning(EXPORT_POLICIES, incomplete)


def formats(incomplete: str) -> list[str]:
    """Of `plan graph --format`."""
    return _beginning(FORMATS, incomplete)


def _beginning(values: tuple[str, ...], incomplete: str) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]
