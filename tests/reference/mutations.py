"""Random changes of a Core ML model that leave it a readable message."""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.proto import Model_pb2
from google.protobuf.descriptor import FieldDescriptor as Field

_WHOLE = (0, 1, 2, 3, 5, -1, -2, 7, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1)
_REAL = (0.0, 1.0, -1.0, float("nan"), float("inf"), 1e30, 1e-30)
_TEXT = ("", "x", "x0", "main", "../../x", "a\0b", "CoreML7", "reflect", "same", "\u00e9" * 10)
_ENUM = (0, 1, 2, 10, 11, 21, 22, 23, 31, 35, 65552, 65568, 131104, 99)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """The same model with one to three fields changed, dropped, doubled or exchanged."""
    model = Model_pb2.Model()
    model.ParseFromString(data)
    for _ in range(rng.integers(1, 4)):
        places: list[tuple[Any, Any]] = []
        _collect(model, places)
        owner, field = places[rng.integers(0, len(places))]
        try:
            _change(owner, field, rng)
        except (ValueError, TypeError, OverflowError):
            continue  # protobuf itself refuses this value for this field
    return bytes(model.SerializeToString())


def _repeated(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))


def _collect(message: Any, places: list[tuple[Any, Any]]) -> None:
    for field, value in message.ListFields():
        places.append((message, field))
        if field.message_type is None:
            continue
        inner = [value]
        if field.message_type.GetOptions().map_entry:
            inner = [value[key] for key in value]
        elif _repeated(value):
            inner = list(value)
        for item in inner:
            if hasattr(item, "ListFields"):
                _collect(item, places)


def _change(owner: Any, field: Any, rng: np.random.Generator) -> None:
    value = getattr(owner, field.name)
    if field.message_type is None and not _repeated(value):
        setattr(owner, field.name, _drawn(field, rng))
    elif not _repeated(value):
        owner.ClearField(field.name)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        keys = sorted(value)
        key, other = (keys[rng.integers(0, len(keys))] for _ in range(2))
        if rng.integers(0, 2) or not hasattr(value[key], "CopyFrom"):
            del value[key]
        else:
            value[key].CopyFrom(value[other])
    else:
        _change_list(value, field, rng)


def _change_list(items: Any, field: Any, rng: np.random.Generator) -> None:
    index, kind = int(rng.integers(0, len(items))), rng.integers(0, 3)
    if kind == 0:
        del items[index]
    elif field.message_type is None:
        items[index] = _drawn(field, rng)
    elif kind == 1:
        items.add().CopyFrom(items[index])
    else:
        items[index].CopyFrom(items[int(rng.integers(0, len(items)))])


def _drawn(field: Any, rng: np.random.Generator) -> Any:
    kinds: dict[int, Any] = {
        Field.TYPE_FLOAT: _REAL, Field.TYPE_DOUBLE: _REAL, Field.TYPE_STRING: _TEXT,
        Field.TYPE_BOOL: (False, True), Field.TYPE_ENUM: _ENUM, Field.TYPE_BYTES: (b"", b"\0" * 9),
    }  # fmt: skip
    values = kinds.get(field.type, _WHOLE)
    return values[rng.integers(0, len(values))]
