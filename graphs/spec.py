"""What a graph factory returns: a module, its ports, and where its weights come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True)
class Input:
    """One input: a name (a parameter of `forward`), a static shape, `float` or `int`."""

    name: str
    shape: tuple[int, ...]
    kind: str = "float"


@dataclass(frozen=True)
class Graph:
    """A stage's torch module as the compiler needs it.

    Attributes:
        module: in eval mode. Where a `checkpoint` gives the weights, its parameters need hold no
            data (they may be on the meta device), and what they hold is not looked at. Buffers
            that no checkpoint holds must be real: `on_meta` of `entracte.graphs` does that.
        inputs: in the order of `forward`'s parameters.
        outputs: names of what `forward` returns, in order; none may equal an input's name.
        checkpoint: stem of a file or folder inside the pipeline's weights folder,
            `STEM.safetensors` or `STEM/*.safetensors` (docs/weights.md has all that is read). None:
            the module holds its numbers, and these are its weights, whatever `pipeline.weights`
            says.
        key_map: (prefix in the module, prefix in the checkpoint); the longest match wins.
        scales: (suffix of a weight's name in the module, factor): the checkpoint's value is
            multiplied by it when it is read.
        owns: prefixes of the checkpoint's keys that this graph reads completely: a key of the
            file that begins with one of them and that the module does not have is an error.
            Files may hold more than one stage needs (an encoder beside a decoder).
        variants: other functions over the same weights by name: modules with the same parameter
            names and shapes, the same inputs and outputs. Where there is no checkpoint they hold
            the same numbers too.
    """

    module: "nn.Module"
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    checkpoint: str | None = None
    key_map: tuple[tuple[str, str], ...] = (("", ""),)
    scales: tuple[tuple[str, float], ...] = ()
    owns: tuple[str, ...] = ()
    variants: "Mapping[str, nn.Module]" = field(default_factory=dict)


@dataclass(frozen=True)
class Constants:
    """Tensors computed when compiling (a sampler's tables): {name: array}; integers become int32,
    fp16 stays, all else becomes fp32."""

    arrays: "dict[str, np.ndarray]" = field(default_factory=dict)
