"""Deterministic .mlpackage folders.

coremltools writes random identifiers into Manifest.json, the date into the model and its map
fields in an order that changes from process to process; weight.bin alone is stable
(`reference/conversion.md`, section 8). `normalise` makes the same program the same bytes.

Models are protobuf messages, whose classes coremltools brings: `Any` here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entracte.disk import left
from entracte.disk.write import write_bytes, write_text
from entracte.lower.boundary import Copy
from entracte.lower.errors import LowerError
from entracte.lower.identity import (
    MANIFEST,
    MODEL_FILE,
    WEIGHT_FILE,
    combined_digest,
    manifest_text,
)
from entracte.lower.ports import DType
from entracte.reference.protos import protos
from entracte.store.seal import file_sha256, known_sha256

__all__ = [
    "ARRAY_TYPES",
    "FLOAT32",
    "MANIFEST",
    "MIL_TYPES",
    "MODEL_FILE",
    "WEIGHT_FILE",
    "add_copies",
    "canonical_digest",
    "combined_digest",
    "described_ports",
    "digest_of",
    "flag_value",
    "manifest_text",
    "normalise",
    "read_spec",
    "string_value",
    "write_manifest",
    "write_spec",
]

FLOAT32 = 11
"""MIL.proto's number for fp32 values."""
MIL_TYPES = {DType.FP16: 10, DType.FP32: FLOAT32, DType.INT32: 23}
"""MIL.proto's numbers for values."""
ARRAY_TYPES = {DType.FP16: 65552, DType.FP32: 65568, DType.INT32: 131104}
"""FeatureTypes.proto's numbers for the same."""


def read_spec(path: Path) -> Any:
    """The Model message of the package at `path` (weights stay on disk)."""
    spec = protos()[1].Model()
    spec.ParseFromString((path / MODEL_FILE).read_bytes())
    return spec


def write_spec(path: Path, spec: Any) -> None:
    """The package's model: the same message gives the same bytes."""
    write_bytes(path / MODEL_FILE, spec.SerializeToString(deterministic=True))


def normalise(path: Path) -> None:
    """Rewrite the package at `path` so that the same program gives the same bytes anywhere.

    Removes the conversion date and tool versions from the model, serialises it with sorted maps,
    removes files that are neither model nor weights, and writes a manifest whose identifiers
    derive from the content. weight.bin is left as it is.

    Raises:
        LowerError: not a package.
    """
    _check_package(path)
    spec = read_spec(path)
    spec.description.metadata.userDefined.clear()
    spec.mlProgram.attributes.clear()
    write_spec(path, spec)
    _remove_strangers(path)
    weights = path / WEIGHT_FILE
    write_manifest(path, known_sha256(weights) if weights.exists() else None)


def write_manifest(path: Path, weights_sha256: str | None) -> None:
    """The package's manifest, beside the model that is there already."""
    text = manifest_text(file_sha256(path / MODEL_FILE), weights_sha256)
    write_text(path / MANIFEST, text)


def _check_package(path: Path) -> None:
    for name in (MANIFEST, MODEL_FILE):
        if not (path / name).is_file():
            raise LowerError(f"{path}: not an .mlpackage folder: {name} is missing")


def _remove_strangers(path: Path) -> None:
    """coremltools adds an executorch debug mapping, which names this machine's source files."""
    keep = {path / name for name in (MANIFEST, MODEL_FILE, WEIGHT_FILE)}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file not in keep:
            left.remove(file)


def canonical_digest(path: Path) -> str:
    """SHA-256, in hex, of a normalised package: model, then weights.

    The manifest is left out, since it follows from the two.
    """
    _check_package(path)
    weights = path / WEIGHT_FILE
    return digest_of(path, known_sha256(weights) if weights.is_file() else None)


def digest_of(path: Path, weights_sha256: str | None) -> str:
    """`canonical_digest` of a package whose weights' digest is known already."""
    return combined_digest(file_sha256(path / MODEL_FILE), weights_sha256)


def drop_repeated(path: Path, asked: Sequence[str]) -> dict[str, str]:
    """Leave each output once that the converter gives several times under one name: it makes one of
    operations that compute the same.

    Args:
        asked: names of the outputs as they were asked for, in order.

    Returns:
        Name of an output that is none any more -> the output that is the same.
    """
    spec = read_spec(path)
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    made = list(block.outputs)
    if len(made) != len(asked) or len(set(made)) == len(made):
        return {}
    described = {feature.name: feature.SerializeToString() for feature in spec.description.output}
    kind = type(spec.description.output[0])
    block.outputs[:] = list(dict.fromkeys(made))
    del spec.description.output[:]
    spec.description.output.extend(kind.FromString(described[n]) for n in block.outputs)
    write_spec(path, spec)
    return {want: name for want, name in zip(asked, made, strict=True) if want != name}


def add_copies(path: Path, copies: Sequence[Copy], order: Sequence[str]) -> None:
    """Add outputs that repeat the value of another input or output.

    Args:
        path: the package.
        copies: what to add: an identity of the source, or a cast where the dtypes differ.
        order: the names of all outputs, in the order in which the description shall list them.
    """
    spec = read_spec(path)
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    types = {value.name: value.type for value in function.inputs}
    types.update({value.name: value.type for op in block.operations for value in op.outputs})
    features = {f.name: f for f in [*spec.description.input, *spec.description.output]}
    for copy in copies:
        _append_copy(block, copy, types[copy.source])
        feature = type(features[copy.source])()
        feature.CopyFrom(features[copy.source])
        feature.name = copy.port.name
        feature.type.multiArrayType.dataType = ARRAY_TYPES[copy.port.dtype]
        features[copy.port.name] = feature
    # copies of the messages, since deleting the list below ends those it holds
    chosen = [features[name] for name in order]
    ordered = [type(f).FromString(f.SerializeToString()) for f in chosen]
    del spec.description.output[:]
    spec.description.output.extend(ordered)
    block.outputs[:] = list(order)
    write_spec(path, spec)


def _append_copy(block: Any, copy: Copy, source_type: Any) -> None:
    dtype = copy.port.dtype
    is_same = source_type.tensorType.dataType == MIL_TYPES[dtype]
    if not is_same:
        constant = block.operations.add(type="const")
        name = f"copy_{copy.port.name}_dtype"
        constant.attributes["name"].CopyFrom(string_value(name))
        constant.attributes["val"].CopyFrom(string_value(str(dtype)))
        constant.outputs.add(name=name, type=string_value("").type)
    operation = block.operations.add(type="identity" if is_same else "cast")
    operation.inputs["x"].arguments.add(name=copy.source)
    if not is_same:
        operation.inputs["dtype"].arguments.add(name=name)
    made = operation.outputs.add(name=copy.port.name, type=source_type)
    made.type.tensorType.dataType = MIL_TYPES[dtype]
    operation.attributes["name"].CopyFrom(string_value(f"copy_{copy.port.name}"))


def string_value(text: str) -> Any:
    """A text as a constant's value."""
    return _constant("STRING", "strings", text)


def flag_value(value: bool) -> Any:
    """A truth value as a constant's value."""
    return _constant("BOOL", "bools", value)


def _constant(kind: str, field: str, value: object) -> Any:
    mil = protos()[0]
    made = mil.Value()
    made.type.tensorType.dataType = getattr(mil.DataType, kind)
    getattr(made.immediateValue.tensor, field).values.append(value)
    return made


def described_ports(path: Path) -> dict[str, list[tuple[str, tuple[int, ...], DType]]]:
    """`input` and `output` -> (name, shape, dtype) of each feature, as the package declares them.

    Raises:
        LowerError: a feature that is not a plain array of a known dtype.
    """
    spec = read_spec(path)
    described = spec.description
    return {
        "input": [_feature(feature) for feature in described.input],
        "output": [_feature(feature) for feature in described.output],
    }


def _feature(feature: Any) -> tuple[str, tuple[int, ...], DType]:
    array = feature.type.multiArrayType
    names = {number: dtype for dtype, number in ARRAY_TYPES.items()}
    if array.dataType not in names:
        raise LowerError(f"feature `{feature.name}`: array type {array.dataType} is not supported")
    return feature.name, tuple(array.shape), names[array.dataType]
