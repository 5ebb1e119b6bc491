"""The factory `onnx`: a file, the sizes that it leaves open, inputs that get a fixed value."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.graphs.onnx.assemble import OPSETS, Assembly
from entracte.graphs.onnx.faults import OnnxFault, shown
from entracte.graphs.onnx.files import read_model
from entracte.graphs.onnx.module import OnnxModule
from entracte.graphs.onnx.ports import declared_inputs, output_names, port_names
from entracte.graphs.spec import Graph, Input

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["stage"]

Pairs = Mapping[str, object] | tuple[tuple[str, object], ...]


def stage(
    file: str, shapes: Pairs = (), values: Pairs = (), outputs: tuple[str, ...] = ()
) -> Graph:
    """The model in an ONNX file.

    Args:
        file: its place.
        shapes: an input's name and its shape, or the name of an open size and a number.
        values: inputs that are given a number (or several) for good.
        outputs: names of the outputs that are wanted, all by default.

    Raises:
        OnnxFault: a ValueError; the file is damaged, or holds what is not carried out.
    """
    if not isinstance(file, str):
        raise OnnxFault(f"file: {file!r} is no name of a file")
    path = Path(file)
    model = _inlined(path)
    assembly = Assembly(path, _opset(path, model))
    inputs = declared_inputs(
        path, model.graph, _mapping("shapes", shapes), _mapping("values", values)
    )
    known = {i.name: assembly.known(i.name, i.value) for i in inputs if i.value is not None}
    open_ = [i for i in inputs if i.value is None]
    given = {i.name: assembly.given(i.name, i.shape, i.dtype) for i in open_}
    with _quiet():
        made = assembly.run(model.graph, {}, given | known)
    wanted = output_names(path, model.graph, outputs)
    results = assembly.results(model.graph, made, {})
    by_name = {o.name: v for o, v in zip(model.graph.output, results, strict=True)}
    chosen = [by_name[name] for name in wanted]
    for name, value in zip(wanted, chosen, strict=True):
        if value.is_constant:
            raise OnnxFault(
                f"{path}: the output {shown(name)!r} depends on no input; leave it out: "
                f"outputs: [{', '.join(n for n in wanted if not by_name[n].is_constant)}]"
            )
    steps, constants = assembly.needed(chosen)
    module = OnnxModule(
        [(given[i.name].key, i.shape, i.dtype) for i in open_],
        constants,
        steps,
        [value.key for value in chosen],
        f"{_digest(path)} {assembly.read.hexdigest()}",
    )
    names = port_names([*(i.name for i in open_), *wanted])
    ports = [
        Input(name, i.shape or (1,), "float" if i.dtype.is_floating_point else "int")
        for name, i in zip(names, open_, strict=False)
    ]
    return Graph(module.eval(), tuple(ports), tuple(names[len(open_) :]))


def _mapping(what: str, given: Pairs) -> dict[str, object]:
    try:
        return {str(name): value for name, value in dict(given).items()}
    except (TypeError, ValueError):
        raise OnnxFault(
            f"{what}: {given!r:.60} is no mapping; write {what}: {{NAME: ...}}"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's log of a node that does not fit: the message says what is needed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inlined(path: Path) -> ModelProto:
    """The model, with functions of its own written out where they are called."""
    model = read_model(path)
    if not model.functions:
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the library's own types, some of them C++
        raise OnnxFault(
            f"{path}: its functions cannot be written out ({type(error).__name__}); inline them "
            "when exporting"
        ) from None


def _opset(path: Path, model: ModelProto) -> int:
    found = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not found or found[0] not in OPSETS:
        raise OnnxFault(
            f"{path}: is of opset {found[0] if found else 'none'}; known are {OPSETS[0]} to "
            f"{OPSETS[-1]}: export it anew, or onnx.version_converter.convert_version(model, 17)"
        )
    return found[0]
