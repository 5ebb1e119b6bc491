"""What a graph factory returns: a module, its ports, and where its weights come from."""

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
        module: in eval mode. Its parameters need hold no data: weights are read from
            `checkpoint`. Buffers that no checkpoint holds must be real tensors.
        inputs: in the order of `forward`'s parameters.
        outputs: names of what `forward` returns, in order; none may equal an input's name.
        checkpoint: file name inside the pipeline's weights folder; None for no weights.
        key_map: (prefix in the module, prefix in the checkpoint); the longest match wins.
    """

    module: "nn.Module"
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    checkpoint: str | None = None
    key_map: tuple[tuple[str, str], ...] = (("", ""),)


@dataclass(frozen=True)
class Constants:
    """Tensors computed when compiling (a sampler's tables): {name: array}, fp32 or int32."""

    arrays: "dict[str, np.ndarray]" = field(default_factory=dict)
