"""What a graph factory returns: a module, its ports, and where its weights come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from entracte.graphs.checks import (
    GraphFault,
    arrays_of,
    call_of,
    kind_of,
    module_of,
    name_of,
    pairs_of,
    ports_of,
    shape_of,
    texts_of,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True)
class Input:
    """One input: a name (a parameter of `forward`), a static shape, `float` or `int`.

    Raises `GraphFault` for anything else; so do the values below.
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "float"

    def __post_init__(self) -> None:
        what = f"Input {self.name!r}"
        name_of(what, self.name)
        object.__setattr__(self, "shape", shape_of(what, self.shape))
        kind_of(what, self.kind)


@dataclass(frozen=True)
class Graph:
    """A stage's torch module as the compiler needs it.

    Attributes:
        module: in eval mode. Where a `checkpoint` gives the weights, its parameters need hold no
            data (they may be on the meta device), and what they hold is not looked at. Buffers
            that no checkpoint holds must be real: `on_meta` of `entracte.graphs` does that.
        inputs: the first parameters of `forward`, by their names and in their order.
        outputs: names of what `forward` returns: of a tensor, of the tensors of a tuple in order,
            or of those tensors of a mapping that are wanted (a `ModelOutput` of transformers or
            diffusers is one). None may equal an input's name.
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

    def __post_init__(self) -> None:
        module_of("module", self.module)
        inputs = (self.inputs,) if isinstance(self.inputs, Input) else tuple(self.inputs)
        for one in inputs:
            if not isinstance(one, Input):
                raise GraphFault(f"inputs: {one!r} is no Input; write Input('x', (1, 8))")
        outputs = texts_of("outputs", self.outputs)
        for name in outputs:
            name_of("outputs", name)
        names = [i.name for i in inputs]
        ports_of(names, outputs)
        if self.checkpoint is not None and not isinstance(self.checkpoint, str):
            raise GraphFault(f"checkpoint: {self.checkpoint!r} is no text; give a file's stem")
        given = {
            "inputs": inputs,
            "outputs": outputs,
            "key_map": pairs_of("key_map", self.key_map, str),
            "scales": pairs_of("scales", self.scales, (int, float)),
            "owns": texts_of("owns", self.owns),
        }
        for key, value in given.items():
            object.__setattr__(self, key, value)
        call_of("inputs", self.module, names)
        for name, variant in self.variants.items():
            call_of(f"variants[{name!r}]", module_of(f"variants[{name!r}]", variant), names)


@dataclass(frozen=True)
class Constants:
    """Tensors computed when compiling (a sampler's tables): {name: array}; integers become int32,
    fp16 stays, all else becomes fp32."""

    arrays: "dict[str, np.ndarray]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", arrays_of(self.arrays))
