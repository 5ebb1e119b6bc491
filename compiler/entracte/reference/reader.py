"""From a package's protobuf to `program` values."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from entracte.reference import mil
from entracte.reference.errors import PackageError, malformed
from entracte.reference.package import model_file
from entracte.reference.protos import protos

_MAX_ELEMENTS = 1 << 44
_NUMPY = {
    "bool": np.bool_, "fp16": np.float16, "fp32": np.float32, "fp64": np.float64,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip


@functools.cache
def warm_up() -> None:
    """Import what reading needs now, so that no first load pays for it."""
    protos()


@functools.cache
def _dtype_names() -> dict[int, str]:
    schema, _ = protos()
    names = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64", "BFLOAT16": "bf16",
             "FLOAT8E4M3FN": "fp8e4m3fn", "FLOAT8E5M2": "fp8e5m2"}  # fmt: skip
    return {
        number: names.get(name, name.lower())
        for name, number in schema.DataType.items()
        if name != "UNUSED_TYPE"
    }


def read_program(path: str | Path) -> mil.Program:
    """Read a package's program; weights stay in their files.

    Raises:
        PackageError: unreadable, not an ML Program, or malformed.
    """
    package = Path(path)
    model_path = model_file(package)
    _, model_pb2 = protos()
    from google.protobuf.message import DecodeError

    model = model_pb2.Model()
    try:
        model.ParseFromString(model_path.read_bytes())
    except DecodeError as error:
        raise PackageError(package, f"{model_path.name} is not a Core ML model: {error}") from None
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        raise PackageError(package, f"holds a {kind or 'nothing'}, only ML Programs are executed")
    with malformed(package):
        return _Reader(package).program(model, model_path.parent)


class _Reader:
    """Carries the package's name into every error."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.place = ""

    def fail(self, message: str, op: str = "") -> PackageError:
        return PackageError(self.package, message, op=op, place=self.place)

    def program(self, model: Any, folder: Path) -> mil.Program:
        functions = {
            name: self.function(name, model.mlProgram.functions[name])
            for name in sorted(model.mlProgram.functions)
        }
        if not functions:
            raise self.fail("the program has no function")
        description = model.description
        described = {entry.name: entry for entry in description.functions}
        interfaces = {name: self.interface(described.get(name, description)) for name in functions}
        default = description.defaultFunctionName or "main"
        if default not in functions:
            default = next(iter(functions))
        return mil.Program(str(self.package), str(folder), functions, interfaces, default)

    def interface(self, description: Any) -> mil.Interface:
        images: dict[str, mil.Image] = {}
        optional: dict[str, float] = {}
        flexible: dict[str, mil.Flexible] = {}
        for feature in description.input:
            kind = feature.type.WhichOneof("Type")
            if kind == "imageType":
                image = feature.type.imageType
                images[feature.name] = self.image(image)
            if kind != "multiArrayType":
                continue
            array = feature.type.multiArrayType
            if feature.type.isOptional:
                which = array.WhichOneof("defaultOptionalValue")
                optional[feature.name] = float(getattr(array, which)) if which else 0.0
            found = self.flexible(array)
            if found is not None:
                flexible[feature.name] = found
        outputs = tuple(self.described(feature) for feature in description.output)
        return mil.Interface(images, optional, flexible, outputs)

    @staticmethod
    def image(proto: Any) -> mil.Image:
        return mil.Image(proto.width, proto.height, proto.ColorSpace.Name(proto.colorSpace))

    def described(self, feature: Any) -> mil.Described:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            return mil.Described(feature.name, image=self.image(feature.type.imageType))
        if kind != "multiArrayType":
            return mil.Described(feature.name)
        array = feature.type.multiArrayType
        return mil.Described(feature.name, array.ArrayDataType.Name(array.dataType))

    @staticmethod
    def flexible(array: Any) -> mil.Flexible | None:
        which, default = array.WhichOneof("ShapeFlexibility"), tuple(array.shape)
        if which == "enumeratedShapes":
            shapes = tuple(tuple(s.shape) for s in array.enumeratedShapes.shapes)
            return mil.Flexible(shapes, default=default)
        if which == "shapeRange":
            ranges = tuple((r.lowerBound, r.upperBound) for r in array.shapeRange.sizeRanges)
            return mil.Flexible(ranges=ranges, default=default)
        return None

    def function(self, name: str, proto: Any) -> mil.Function:
        self.place = f"function {name!r}"
        opset = proto.opset
        number = opset.removeprefix("CoreML")
        if not number.isdigit() or opset == number:
            raise self.fail(f"unknown operation set {opset!r}")
        if opset not in proto.block_specializations:
            raise self.fail(f"no block for its operation set {opset!r}")
        inputs = tuple(self.named(entry) for entry in proto.inputs)
        # CoreML5 is the operation set of iOS15, CoreML8 that of iOS18.
        return mil.Function(
            name, inputs, int(number) + 10, self.block(proto.block_specializations[opset])
        )

    def block(self, proto: Any) -> mil.Block:
        return mil.Block(
            tuple(self.named(entry) for entry in proto.inputs),
            tuple(proto.outputs),
            tuple(self.operation(entry) for entry in proto.operations),
        )

    def operation(self, proto: Any) -> mil.Operation:
        outputs = tuple(self.named(entry) for entry in proto.outputs)
        name = outputs[0].name if outputs else proto.type
        attributes = {key: proto.attributes[key] for key in proto.attributes}
        named = attributes.pop("name", None)
        if named is not None and named.immediateValue.tensor.strings.values:
            name = named.immediateValue.tensor.strings.values[0] or name
        inputs: dict[str, tuple[mil.Binding, ...]] = {
            key: tuple(self.binding(b, name) for b in proto.inputs[key].arguments)
            for key in proto.inputs
        }
        for key, value in attributes.items():
            inputs.setdefault(key, (self.value(value, name),))
        blocks = tuple(self.block(entry) for entry in proto.blocks)
        return mil.Operation(proto.type, name, inputs, outputs, blocks)

    def binding(self, proto: Any, op: str) -> mil.Binding:
        if proto.WhichOneof("binding") == "name":
            name: str = proto.name
            return name
        return self.value(proto.value, op)

    def named(self, proto: Any) -> mil.Named:
        return mil.Named(proto.name, self.type(proto.type))

    def type(self, proto: Any) -> mil.Type:
        which = proto.WhichOneof("type")
        if which == "tensorType":
            return self.tensor_type(proto.tensorType)
        if which == "stateType":
            return mil.StateType(self.tensor_type(proto.stateType.wrappedType.tensorType))
        if which == "listType":
            element = self.type(proto.listType.type)
            length = self.dimension(proto.listType.length)
            return mil.ListType(element if isinstance(element, mil.TensorType) else None, length)
        return mil.OtherType(which or "none")

    def tensor_type(self, proto: Any) -> mil.TensorType:
        names = _dtype_names()
        if proto.dataType not in names:
            raise self.fail(f"unknown element type {proto.dataType}")
        shape = tuple(self.dimension(d) for d in proto.dimensions)
        if math.prod(d for d in shape if d) > _MAX_ELEMENTS:
            raise self.fail(f"absurd shape {shape}")
        if any(d.unknown.variadic for d in proto.dimensions):
            return mil.TensorType(names[proto.dataType], (None,), ranked=False)
        return mil.TensorType(names[proto.dataType], shape)

    @staticmethod
    def dimension(proto: Any) -> int | None:
        if proto.WhichOneof("dimension") == "constant":
            return int(proto.constant.size)
        return None

    def value(self, proto: Any, op: str) -> mil.Value:
        kind = self.type(proto.type)
        which = proto.WhichOneof("value")
        if which == "blobFileValue":
            blob = proto.blobFileValue
            return mil.Value(kind, blob=(blob.fileName, int(blob.offset)))
        immediate = proto.immediateValue
        inner = immediate.WhichOneof("value")
        if inner in ("list", "tuple"):
            items = getattr(immediate, inner).values
            return mil.Value(kind, items=tuple(self.value(item, op) for item in items))
        if inner != "tensor" or not isinstance(kind, mil.TensorType):
            raise self.fail(f"a constant of kind {inner or 'none'} is not supported", op)
        return self.tensor_value(immediate.tensor, kind, op)

    def tensor_value(self, proto: Any, kind: mil.TensorType, op: str) -> mil.Value:
        which = proto.WhichOneof("value")
        if kind.elements is None:
            raise self.fail("a constant whose shape is not known", op)
        if which is None and kind.elements == 0:
            return mil.Value(kind, data=b"")
        if kind.dtype == "string":
            strings = tuple(proto.strings.values)
            self.check_count(len(strings), kind.elements, op)
            return mil.Value(kind, strings=strings)
        if which == "bytes":
            data = bytes(proto.bytes.values)
            self.check_count(len(data), kind.nbytes, op)
            return mil.Value(kind, data=data)
        if which is None or kind.dtype not in _NUMPY:
            raise self.fail(f"a {kind.dtype} constant without values", op)
        values = getattr(proto, which).values
        self.check_count(len(values), kind.elements, op)
        array = np.array(values, dtype=np.float64 if which in ("floats", "doubles") else np.int64)
        return mil.Value(kind, data=array.astype(_NUMPY[kind.dtype]).tobytes())

    def check_count(self, found: int, wanted: int | None, op: str) -> None:
        if found != wanted:
            raise self.fail(f"a constant holds {found} values or bytes, its type says {wanted}", op)
