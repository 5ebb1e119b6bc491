"""Equal chunks as one graph that takes their weights as inputs: the graph once, and for each chunk
a file of arrays.

The graph is made from the chunks' template (`lower/as_inputs.py`), so a chunk computes what its own
package would. An entry of the cache holds a copy of the graph, the arrays and what was noted.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.codec import decode, encode
from entracte.disk.write import write_text, writing
from entracte.emit import make
from entracte.emit.make import CHUNK, FACTS, PACKAGES, TEMPLATE, Order
from entracte.ir import Arrays, Package, Port
from entracte.lower.errors import LowerError
from entracte.store.arrays import header_of, in_order
from entracte.store.cache import Cache, link_tree, size_bytes
from entracte.store.seal import note_sha256

if TYPE_CHECKING:
    import numpy as np

    from entracte.lower.as_inputs import Array

__all__ = ["ARRAYS", "GRAPHS", "NO_LAYOUT", "arrays_of", "make_arrays", "make_graph", "refusal_in"]

GRAPHS = "graphs"
ARRAYS = "arrays.safetensors"
NO_LAYOUT = "their conversion computes with their weights, or keeps some in the program"
"""Of chunks whose template does not say where weights are."""
_LIST = "arrays.json"
_REFUSED = "refused.txt"


def make_graph(order: Order, cache: Cache, template: Path) -> None:
    """The graph of all chunks that are like this one, or why there can be none: both are kept."""
    from entracte.lower.as_inputs import weights_as_inputs

    with cache.making(GRAPHS, order.twin_key) as entry:
        try:
            arrays = weights_as_inputs(template / TEMPLATE, entry / CHUNK)
        except LowerError as error:
            write_text(entry / _REFUSED, str(error))
            return
        write_text(entry / _LIST, json.dumps(encode(arrays)))


def refusal_in(graph: Path) -> str:
    """What an entry of a graph says against it; empty: nothing."""
    place = graph / _REFUSED
    return place.read_text() if place.exists() else ""


def make_arrays(order: Order, cache: Cache, template: Path) -> None:
    """A chunk's entry: the graph that its twins have, its own arrays, and the facts of both."""
    from entracte.lower.as_inputs import Array

    graph = cache.folder(GRAPHS, order.twin_key)
    if graph is None:
        raise LowerError(f"{order.chunk.id}: its graph was just made and is damaged or gone")
    arrays: tuple[Array, ...] = decode(
        tuple[Array, ...], json.loads((graph / _LIST).read_text()), str(graph)
    )
    with cache.making(PACKAGES, order.key) as entry:
        link_tree(graph / CHUNK, entry / CHUNK)
        found = _write(order, arrays, template, entry / ARRAYS)
        write_text(entry / FACTS, json.dumps(encode(_facts(order, entry / CHUNK, found))))


def arrays_of(entry: Path) -> "dict[str, np.ndarray]":
    """The arrays of an entry, by name; none where it holds a package of its own."""
    from safetensors.numpy import load_file

    path = entry / ARRAYS
    return load_file(path) if path.exists() else {}


def _write(order: Order, arrays: "tuple[Array, ...]", template: Path, path: Path) -> Arrays:
    ports = in_order([a.port for a in arrays])
    of = {a.port.name: a for a in arrays}
    digest = hashlib.sha256()
    with writing(path) as aside, aside.open("wb") as file:
        for block in _blocks(order, [of[p.name] for p in ports], header_of(ports), template):
            file.write(block)
            digest.update(block)
    note_sha256(path, digest.hexdigest())
    return Arrays(path="", digest=digest.hexdigest(), file_bytes=path.stat().st_size, ports=ports)


def _blocks(
    order: Order, arrays: "list[Array]", header: bytes, template: Path
) -> Iterator[bytes | memoryview]:
    """The file, piece by piece: one weight is in memory."""
    import numpy as np

    from entracte.lower import package
    from entracte.lower.stamp import Pieces, Unstampable

    layout = make.read_layout(template)
    assert layout is not None
    fields = {f.start: f for f in layout.fields}
    names = dict(enumerate(order.form.slots))
    pieces = Pieces(layout, lambda slot: make.values_of(order, slot), names)
    stored = np.memmap(template / TEMPLATE / package.WEIGHT_FILE, dtype=np.uint8, mode="r")
    yield header
    for array in arrays:
        field = fields.get(array.start)
        try:
            data = stored[array.start : array.start + array.size] if field is None \
                else pieces.of(field)  # fmt: skip
        except Unstampable as error:
            raise LowerError(
                f"{order.chunk.id}: {error}, and inputs of its graph are fp16; give "
                "partition.weights=stored"
            ) from None
        if len(data) != array.size:
            raise LowerError(f"{order.chunk.id}: {array.port.name} has {len(data)} bytes")
        yield data.data


def _facts(order: Order, path: Path, arrays: Arrays) -> Package:
    from entracte.lower import package
    from entracte.reference.info import describe_all

    kept_bytes, infos = describe_all(path)
    peaks = [i.activation_peak_bytes for i in infos.values()]
    if kept_bytes or len(peaks) != 1 or peaks[0] is None:
        raise LowerError(f"{order.chunk.id}: its graph keeps weights, or has open shapes")
    return Package(
        chunk="",
        path="",
        digest=package.canonical_digest(path),
        file_bytes=size_bytes(path),
        weight_bytes=_bytes(arrays.ports),
        activation_bytes=peaks[0],
        precision=order.traced.stage.precision,
        compression=order.traced.stage.compression,
        inputs=order.chunk.inputs,
        outputs=order.chunk.outputs,
        arrays=arrays,
    )


def _bytes(ports: tuple[Port, ...]) -> int:
    return sum(p.size_bytes for p in ports)
