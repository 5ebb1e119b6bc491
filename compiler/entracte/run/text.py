"""Tokens of an output as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from entracte.disk.read import inside
from entracte.errors import RunError
from entracte.ir import Output


def text_of(output: Output, tokens: Sequence[int], folder: Path) -> str:
    """Up to the first token that ends it, by the tokenizer in the build folder. Raises
    `RunError`."""
    from entracte.declare import host_ops

    ends = [n for n, token in enumerate(tokens) if token in output.end]
    path = inside(folder, output.tokenizer)
    if path is None or not path.is_file():
        raise RunError(f"{folder}: there is no file {output.tokenizer}; compile again")
    text: str = host_ops.detokenize(tokens[: ends[0]] if ends else tokens, path)  # type: ignore[attr-defined]
    return text


def texts_of(
    outputs: Sequence[Output], arrays: Mapping[str, Any], folder: Path
) -> dict[str, str]:
    """Of those outputs that are texts and are there: by name."""
    return {
        o.name: text_of(o, arrays[o.name].reshape(-1).tolist(), folder)
        for o in outputs
        if o.kind == "text" and o.name in arrays
    }
