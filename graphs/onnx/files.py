"""The file of a model and the files beside it that hold its numbers. All of them are untrusted."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.graphs.onnx.faults import OnnxFault, shown

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

__all__ = ["beside", "files_of", "read_model", "tensors_of"]

_MOST_BYTES = (1 << 31) - 1
"""Of a protocol buffer; larger models keep their numbers in files beside them."""
_MOST_NODES = 200_000


def read_model(path: Path) -> ModelProto:
    """The model, without the numbers that lie in other files. Raises `OnnxFault`."""
    import onnx
    from google.protobuf.message import DecodeError

    _check_file(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise OnnxFault(f"{path}: cannot be read ({error.strerror})") from None
    if text.startswith(b"version https://git-lfs"):
        raise OnnxFault(f"{path}: is a pointer of Git LFS, not the model; fetch it: git lfs pull")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(text)
    except (DecodeError, RecursionError):
        raise OnnxFault(
            f"{path}: is no ONNX model: it is truncated, nested too deeply, or of another format"
        ) from None
    if not _is_text(model):
        raise OnnxFault(f"{path}: is damaged: it holds a name that is no text")
    if not model.graph.node:
        raise OnnxFault(f"{path}: is no ONNX model, or one without any operation")
    if sum(1 for _ in nodes_of(model.graph)) > _MOST_NODES:
        raise OnnxFault(f"{path}: has more than {_MOST_NODES} operations")
    return model


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        raise OnnxFault(f"there is no file {path}") from None
    if not stat.S_ISREG(found.st_mode):
        raise OnnxFault(f"{path}: is no regular file")
    if found.st_size > _MOST_BYTES:
        raise OnnxFault(
            f"{path}: has {found.st_size} bytes, a model in one file at most {_MOST_BYTES}; save "
            "its numbers beside it: onnx.save(model, path, save_as_external_data=True)"
        )


def _is_text(message: Message) -> bool:
    """Whether all names in it are UTF-8; those that are none come as bytes."""
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        several = (
            (value,) if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value
        )
        if field.type == field.TYPE_STRING and not all(isinstance(v, str) for v in several):
            return False
        if field.type == field.TYPE_MESSAGE and not all(map(_is_text, several)):
            return False
    return True


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, also those of branches and bodies. These are nested at most 100 deep."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """All tensors that hold numbers: initializers, and values of attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_of(inner)


def beside(path: Path, location: str) -> Path:
    """The file `location` in the folder of the model `path`. Raises `OnnxFault` where it is none,
    or leads out of the folder, also by a link: the model comes from a stranger."""
    root = path.parent
    try:
        found = (root / location).resolve(strict=True)
        is_file = stat.S_ISREG(found.stat().st_mode)
    except (OSError, RuntimeError, ValueError):
        raise OnnxFault(
            f"{path}: its numbers are in {shown(location)!r}, which is not there; put it beside "
            "the model"
        ) from None
    if os.path.isabs(location) or not found.is_relative_to(root.resolve()) or not is_file:
        raise OnnxFault(
            f"{path}: its numbers are in {shown(location)!r}, which is no file inside the model's "
            "folder; copy it there (a link does not suffice)"
        )
    return found


def files_of(path: Path) -> tuple[Path, ...]:
    """The model's file, and every other one that is read with it. Raises `OnnxFault`."""
    model = read_model(path)
    graphs = [model.graph]
    found = {
        beside(path, entry.value)
        for graph in graphs
        for tensor in tensors_of(graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return (path, *sorted(found))
