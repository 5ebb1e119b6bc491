"""One chunk -> one package, in a worker's process: converted, or stamped from a template.

A finished package is an entry of the cache: a folder with `chunk.mlpackage` and `facts.json`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.codec import decode, encode
from entracte.disk import left
from entracte.disk.write import write_bytes, write_text
from entracte.emit.repair import Repair
from entracte.errors import ConfigError
from entracte.ir import Chunk, DType, FunctionPorts, Package, Port
from entracte.store.cache import Cache, link_tree, size_bytes
from entracte.store.form import Form
from entracte.store.seal import note_sha256, sealed
from entracte.trace.names import MAIN

if TYPE_CHECKING:
    import numpy as np
    import torch

    from entracte.lower.stamp import Layout
    from entracte.trace.traced import Traced
    from entracte.trace.weights import WeightSource

PACKAGES = "packages"
TEMPLATES = "templates"
MARKED = "marked"
FACTS = "facts.json"
CHUNK = "chunk.mlpackage"
TEMPLATE = "template.mlpackage"
LAYOUT = "layout.json"


@dataclass(frozen=True)
class Order:
    """What one package is made from; it travels to the worker's process."""

    traced: "Traced"
    chunk: Chunk
    form: Form
    source: "WeightSource"
    deployment: str
    key: str
    """Of the package in the cache."""
    twin_key: str
    """Of the template it could be stamped from."""
    repair: Repair = Repair()
    own_key: str = ""
    """The key of a package that holds its weights, where this one shares a graph."""

    @property
    def functions(self) -> tuple[str, ...]:
        """Of the package, `main` first."""
        return (MAIN, *(v.name for v in self.chunk.variants))

    @property
    def features(self) -> dict[str, dict[str, str]]:
        """Function -> neutral names of its inputs and outputs -> their names in the pipeline."""
        return {function: self._features(function) for function in self.functions}

    def _features(self, function: str) -> dict[str, str]:
        from entracte.lower.rename import input_name, output_name

        given, made = self.chunk.ports_of(function)
        inputs = {input_name(i): p.name for i, p in enumerate(given)}
        return inputs | {output_name(i): p.name for i, p in enumerate(made)}


def chunk_module(
    traced: "Traced",
    chunk: Chunk,
    tensors: "Mapping[str, torch.Tensor]",
    function: str = MAIN,
    *,
    input_names: Sequence[str] | None = None,
    weight_names: Mapping[str, str] | None = None,
) -> "torch.nn.Module":
    """The chunk as a torch module (fp32): what is converted, and what packages are judged by.

    The names to give are as for `frontend.extract`.
    """
    from entracte.frontend.extract import extract

    # A weight's name in the function's program: tables of variants are named apart.
    inside = traced.functions[function].inside
    nodes, inputs, outputs = traced.boundary(chunk, function)
    return extract(
        traced.program_of(function),
        nodes,
        dict(zip(inputs, input_names or inputs, strict=True)),
        outputs,
        {inside.get(name, name): tensor for name, tensor in tensors.items()},
        weight_names={inside.get(n, n): new for n, new in (weight_names or {}).items()},
    )


def example_inputs(inputs: Sequence[Port]) -> "tuple[torch.Tensor, ...]":
    """Zeros in the types the torch chunk computes in: fp32 and int32."""
    import torch

    return tuple(
        torch.zeros(p.shape, dtype=torch.int32 if p.dtype is DType.INT32 else torch.float32)
        for p in inputs
    )


def facts_of(entry: Path) -> Package:
    """What was noted when the entry was made; its chunk and path are still to be filled in."""
    package: Package = decode(Package, json.loads((entry / FACTS).read_text()), str(entry))
    return package


# ---------------------------------------------------------------- conversion


def convert_order(order: Order, cache: Cache) -> None:
    """Convert a chunk with its own weights and keep the package."""
    tensors = order.source.tensors(order.traced, order.form.slots)
    with cache.making(PACKAGES, order.key) as entry:
        path = entry / CHUNK
        convert_neutral(order, tensors, path)
        digest = _finish(order, path)
        _write_facts(order, path, digest, entry)


def convert_neutral(order: Order, tensors: "Mapping[str, torch.Tensor]", path: Path) -> None:
    """A package with neutral names; of several functions, if the chunk has them."""
    from entracte.lower.merge import merge_functions

    if len(order.functions) == 1:
        _convert_function(order, MAIN, tensors, path)
        return
    single = {f: path.with_name(f"{path.stem}.{f}.mlpackage") for f in order.functions}
    for function, place in single.items():
        _convert_function(order, function, tensors, place)
    merge_functions(single, path)
    for place in single.values():
        left.remove(place)


def _convert_function(
    order: Order, function: str, tensors: "Mapping[str, torch.Tensor]", path: Path
) -> None:
    from entracte.lower.convert import Conversion, convert_chunk
    from entracte.lower.rename import weight_name

    chunk, traced = order.chunk, order.traced
    given, made = chunk.ports_of(function)
    names = {name: new for new, name in order.features[function].items()}
    inputs, outputs = _neutral(given, names), _neutral(made, names)
    module = chunk_module(
        traced,
        chunk,
        tensors,
        function,
        input_names=[p.name for p in inputs],
        weight_names={name: weight_name(i) for i, name in enumerate(order.form.slots)},
    )
    how = Conversion(
        traced.stage.precision,
        order.deployment,
        traced.stage.compression,
        traced.functions[function].fp32_nodes,
        traced.backend,
        islands=order.repair.nodes(traced, chunk, function),
    )
    convert_chunk(module, example_inputs(given), inputs=inputs, outputs=outputs, how=how, path=path)


def _neutral(ports: tuple[Port, ...], names: Mapping[str, str]) -> list[Port]:
    return [replace(p, name=names[p.name]) for p in ports]


def _finish(order: Order, path: Path) -> str:
    """Give a converted package its readable names; its digest."""
    from entracte.lower import package
    from entracte.lower.rename import rename

    spec = package.read_spec(path)
    rename(spec, order.features, dict(enumerate(order.form.slots)))
    write_bytes(path / package.MODEL_FILE, spec.SerializeToString(deterministic=True))
    package.normalise(path)
    return package.canonical_digest(path)


def _write_facts(order: Order, path: Path, digest: str, entry: Path) -> None:
    from entracte.reference.info import describe_all

    weight_bytes, infos = describe_all(path)
    peaks = [p for i in infos.values() if (p := i.activation_peak_bytes) is not None]
    if len(peaks) < len(infos):
        raise ConfigError(f"{order.chunk.id}: the package has open shapes; all must be static")
    stage = order.traced.stage
    package = Package(
        chunk="",
        path="",
        digest=digest,
        file_bytes=size_bytes(path),
        weight_bytes=weight_bytes,
        activation_bytes=max(peaks),
        precision=stage.precision,
        compression=stage.compression,
        inputs=order.chunk.inputs,
        outputs=order.chunk.outputs,
        functions=order.functions,
        own_ports=tuple(FunctionPorts(v.name, v.inputs, v.outputs) for v in order.chunk.others),
    )
    write_text(entry / FACTS, json.dumps(encode(package)))


# ---------------------------------------------------------------- stamping


SEEDS = (0, 1)


def convert_marked(order: Order, cache: Cache, seed: int) -> None:
    """Convert a chunk with markers in place of its weights, and keep the package."""
    with cache.making(MARKED, _marked_key(order, seed)) as entry:
        convert_neutral(order, _marked(order, seed), entry / TEMPLATE)


def make_template(order: Order, cache: Cache) -> bool:
    """Compare the two marked conversions; whether the chunk's twins can be stamped.

    What was found out is kept either way, so that it is tried only once.
    """
    from entracte.lower.template import find_layout

    halves = [cache.folder(MARKED, _marked_key(order, seed)) for seed in SEEDS]
    first, second = (half / TEMPLATE for half in halves if half is not None)
    _note_digests(first.parent)
    shapes = {i: order.traced.shapes[order.form.slots[i]] for i in _own_slots(order)}
    with cache.making(TEMPLATES, order.twin_key) as entry:
        layout = find_layout(first, second, shapes, order.traced.stage.compression)
        link_tree(first, entry / TEMPLATE)
        write_text(entry / LAYOUT, json.dumps(encode(layout)))
    for seed in SEEDS:
        cache.drop(MARKED, _marked_key(order, seed))
    return layout is not None


def _note_digests(entry: Path) -> None:
    """Of files that the cache just found to be what they were: links to them are not read again."""
    for name, known in sealed(entry).items():
        note_sha256(entry / name, known)


def is_marked(order: Order, cache: Cache, seed: int) -> bool:
    """Whether `convert_marked` was done before."""
    return cache.folder(MARKED, _marked_key(order, seed)) is not None


def _marked_key(order: Order, seed: int) -> str:
    return f"{order.twin_key}{seed}"


def _own_slots(order: Order) -> list[int]:
    return [i for i in range(len(order.form.slots)) if i not in order.form.literal]


def _marked(order: Order, seed: int) -> "dict[str, torch.Tensor]":
    """Markers for the weights of its own, the true values of what all twins share."""
    import torch

    from entracte.lower.template import marker

    slots = order.form.slots
    shared = [slots[i] for i in sorted(order.form.literal)]
    tensors = dict(order.source.tensors(order.traced, shared)) if shared else {}
    for i in _own_slots(order):
        values = marker(i, order.traced.shapes[slots[i]], seed)
        tensors[slots[i]] = torch.from_numpy(values)
    return tensors


def read_layout(entry: Path) -> "Layout | None":
    """The layout kept with a template; None if its chunk cannot be stamped."""
    from entracte.lower.stamp import Layout

    data = json.loads((entry / LAYOUT).read_text())
    return None if data is None else decode(Layout, data, str(entry))


def stamp_order(order: Order, cache: Cache, template: Path) -> None:
    """Write the chunk's weights into its template and keep the package.

    A chunk whose weights fp16 cannot hold is converted instead.
    """
    from entracte.lower.stamp import Unstampable, stamp

    layout = read_layout(template)
    assert layout is not None
    slots = order.form.slots
    try:
        with cache.making(PACKAGES, order.key) as entry:
            path = entry / CHUNK
            digest = stamp(
                template / TEMPLATE,
                layout,
                lambda slot: values_of(order, slot),
                features=order.features,
                names=dict(enumerate(slots)),
                path=path,
            )
            _write_facts(order, path, digest, entry)
    except Unstampable:
        convert_order(order, cache)


def values_of(order: Order, slot: int) -> "np.ndarray":
    """A weight of the chunk, by its slot."""
    name = order.form.slots[slot]
    return order.source.tensors(order.traced, [name])[name].numpy()
