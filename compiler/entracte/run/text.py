"""Tokens of an output as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from entracte.declare.host_ops import detokenize
from entracte.disk.read import inside
from entracte.errors import RunError
from entracte.ir import Output


def text_of(output: Output, tokens: Sequence[int], folder: Path) -> str:
    """Up to the first token that ends it, by the tokenizer in the build folder. Raises
    `RunError`."""
    path = inside(folder, output.tokenizer)
    if path is None or not path.is_file():
        raise RunError(f"{folder}: there is no file {output.tokenizer}; compile again")
    return detokenize(tokens, path, output.end)


def texts_of(
    outputs: Sequence[Output], arrays: Mapping[str, Any], folder: Path
) -> tuple[dict[str, str], list[str]]:
    """Of those outputs that are texts and are there: by name; and what keeps others from being
    texts, for the run is done and told all the same."""
    texts, faults = {}, []
    for output in outputs:
        if output.kind != "text" or output.name not in arrays:
            continue
        tokens = arrays[output.name].reshape(-1).tolist()
        try:
            texts[output.name] = text_of(output, tokens, folder)
        except RunError as error:
            keep = f"`--out {output.name}=FILE.npy` keeps its tokens"
            faults.append(f"output {output.name}: {error}; {keep}")
    return texts, faults
