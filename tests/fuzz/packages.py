"""An .mlpackage that anybody may have made: its manifest, its program, its weights."""

import json
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz import places
from tests.fuzz.case import Case, Door
from tests.fuzz.mutate import TEXTS, alike, as_text, broken, mutated

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def doors(case: Case) -> Sequence[Door]:
    """One of the build's packages, changed, or inputs for it that are."""
    rng = case.rng
    origin = rng.choice(sorted((case.base / "build" / "packages").iterdir()))
    package = case.folder / "mine.mlpackage"
    shutil.copytree(origin, package)
    inputs = case.folder / "inputs.npz"
    write_inputs(package, inputs)
    way = rng.choices(
        (_manifest, _program, _raw_program, _weights, _place, _inputs), (10, 45, 12, 18, 8, 7)
    )[0]
    way(case, package, inputs)
    predict = ("plan", "predict", str(package), str(inputs))
    if rng.random() < 0.05:
        return [Door(("plan", "export", str(package), str(case.folder / "out.onnx")))]
    extra = rng.choice(((), (), ("--strict",), ("--watch",), ("--policy", "round")))
    return [Door((*predict, *extra))]


def write_inputs(package: Path, file: Path) -> None:
    """Zeros, or ones, of what the sound package takes."""
    import numpy as np

    from entracte.reference.protos import protos

    _, schema = protos()
    model = schema.Model()
    model.ParseFromString((package / MODEL).read_bytes())
    kinds = schema.Model.DESCRIPTOR.file.pool.FindMessageTypeByName(
        "CoreML.Specification.ArrayFeatureType"
    ).enum_types_by_name["ArrayDataType"]
    made = {}
    described = model.description
    for feature in described.input or described.functions[0].input:
        array = feature.type.multiArrayType
        name = kinds.values_by_number[array.dataType].name
        dtype = {"INT32": np.int32, "FLOAT16": np.float16}.get(name, np.float32)
        made[feature.name] = np.ones(tuple(array.shape), dtype)
    np.savez(file, **made)


def _manifest(case: Case, package: Path, _: Path) -> None:
    file = package / "Manifest.json"
    raw = file.read_bytes()
    if case.rng.random() < 0.4:
        file.write_bytes(broken(raw, case.rng, case.notes))
        return
    body = json.loads(raw)
    if case.rng.random() < 0.3:
        key = body["rootModelIdentifier"]
        body["itemInfoEntries"][key]["path"] = case.rng.choice(TEXTS)
    made = as_text(mutated(body, case.rng, case.notes))
    file.write_bytes(made.encode("utf-8", "surrogatepass"))


def _raw_program(case: Case, package: Path, _: Path) -> None:
    file = package / MODEL
    file.write_bytes(broken(file.read_bytes(), case.rng, case.notes))


def _place(case: Case, package: Path, _: Path) -> None:
    file = package / case.rng.choice((MODEL, WEIGHTS, "Manifest.json", "Data", "."))
    if file == package or not file.exists():
        file = package / MODEL
    places.replace(file, case.rng, case.base.parent / "sentinel", case.notes)


def _inputs(case: Case, _: Path, inputs: Path) -> None:
    import numpy as np

    rng = case.rng
    if rng.random() < 0.5:
        inputs.write_bytes(broken(inputs.read_bytes(), rng, case.notes))
        return
    with np.load(inputs) as found:
        arrays = {name: found[name] for name in found.files}
    name = rng.choice(list(arrays))
    value = arrays[name]
    arrays[name] = rng.choice((
        value.astype(np.float64), value.astype(np.complex64), value.reshape(-1), value[..., :1],
        np.array("text"), np.array(1), np.zeros((0, 3)), value.astype(np.int64) * 10**9,
        value.astype(bool), np.full(value.shape, np.nan), value.astype("U4"), -value,
        value.astype("M8[s]"),
    ))  # fmt: skip
    case.notes.append(f"input {name}: {arrays[name].dtype} {arrays[name].shape}")
    np.savez(inputs, **arrays)


# ---------------------------------------------------------------- weights


def _weights(case: Case, package: Path, inputs: Path) -> None:
    """Headers and records of a blob file, or its length."""
    file = package / WEIGHTS
    if not file.is_file():
        _program(case, package, inputs)
        return
    rng, made = case.rng, bytearray(file.read_bytes())
    records = [i for i in range(0, len(made) - 32, 64) if made[i : i + 4] == b"\xef\xbe\xad\xde"]
    if not records or rng.random() < 0.3:
        file.write_bytes(broken(bytes(made), rng, case.notes))
        return
    at, field = rng.choice(records), rng.randrange(5)
    form, place = (("<I", 0), ("<I", 4), ("<Q", 8), ("<Q", 16), ("<Q", 24))[field]
    (now,) = struct.unpack_from(form, made, at + place)
    top = 2**32 if form == "<I" else 2**64
    value = rng.choice((0, 1, 7, now + 1, now * 2, now - 1, top - 1, top // 2, len(made), 2**40))
    struct.pack_into(form, made, at + place, value % top)
    case.notes.append(f"weight.bin record {at} field {field}: {now} -> {value % top}")
    file.write_bytes(bytes(made))


# ---------------------------------------------------------------- programs


def _program(case: Case, package: Path, _: Path) -> None:
    from entracte.reference.protos import protos

    _, schema = protos()
    model = schema.Model()
    file = package / MODEL
    model.ParseFromString(file.read_bytes())
    for _ in range(1 + min(int(case.rng.expovariate(1.2)), 4)):
        change_message(model, case)
    file.write_bytes(model.SerializePartialToString())


def _messages(message: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every message inside, with its place."""
    yield where, message
    for field, value in message.ListFields():
        name = f"{where}.{field.name}"
        for k, item in _items(field, value):
            yield from _messages(item, f"{name}[{k}]")


def _items(field: Any, value: Any) -> list[tuple[Any, Any]]:
    """(key, message) of what a field holds."""
    if field.message_type is None:
        return []
    if field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"].message_type
        return list(value.items()) if inner is not None else []
    return list(enumerate(value)) if _is_repeated(field) else [("", value)]


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated)


def change_message(model: Any, case: Case) -> None:
    """One field of one message: another value, gone, twice, or from elsewhere."""
    rng = case.rng
    all_messages = list(_messages(model))
    where, message = rng.choice(all_messages)
    if rng.random() < 0.15:
        alikes = [m for _, m in all_messages if m.DESCRIPTOR is message.DESCRIPTOR]
        other = type(message)()
        other.CopyFrom(rng.choice(alikes))
        message.CopyFrom(other)
        case.notes.append(f"copied onto {where}")
        return
    present = [f for f, _ in message.ListFields()]
    fields = present if present and rng.random() < 0.85 else list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = rng.choice(fields)
    case.notes.append(f"{where}.{field.name}")
    if rng.random() < 0.2:
        message.ClearField(field.name)
    elif field.message_type is not None:
        _change_items(message, field, rng)
    else:
        _change_scalar(message, field, rng)


def _change_items(message: Any, field: Any, rng: Any) -> None:
    value = getattr(message, field.name)
    if field.message_type.GetOptions().map_entry:
        keys = list(value)
        if keys:
            _change_entry(value, field, rng.choice(keys), rng)
    elif not _is_repeated(field):
        value.SetInParent()
    elif len(value):
        k = rng.randrange(len(value))
        if rng.random() < 0.5:
            value.add().CopyFrom(value[k])
        else:
            del value[k]
    else:
        value.add()


def _change_entry(value: Any, field: Any, key: Any, rng: Any) -> None:
    """An entry of a map under another name, or without its own."""
    if field.message_type.fields_by_name["value"].message_type is None:
        value[key] = rng.choice(TEXTS[:20]) if isinstance(value[key], str) else 0
        return
    kept = type(value[key])()
    kept.CopyFrom(value[key])
    if rng.random() < 0.6:
        del value[key]
    if isinstance(key, str) and rng.random() < 0.7:
        value[_encodable(alike(key, rng))].CopyFrom(kept)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _change_scalar(message: Any, field: Any, rng: Any) -> None:
    """Another value of the same type, if the type can hold it."""
    now = getattr(message, field.name)
    try:
        if not _is_repeated(field):
            setattr(message, field.name, _scalar(now, field, rng))
        elif len(now) and rng.random() < 0.7:
            now[rng.randrange(len(now))] = _scalar(now[0], field, rng)
        else:
            now.extend([_scalar(now[0] if len(now) else 0, field, rng)])
    except (ValueError, TypeError, OverflowError):
        message.ClearField(field.name)


def _scalar(now: Any, field: Any, rng: Any) -> Any:
    if field.enum_type is not None:
        return rng.choice([v.number for v in field.enum_type.values])
    if isinstance(now, bytes):
        return rng.choice((b"", now[:-1], now + b"\x00", b"\xff" * len(now), now * 2))
    made = alike(now, rng)
    return _encodable(made) if isinstance(made, str) else made
