"""Write tests/vectors/media.jsonl: files in and files out, what they say of how they were made, and
several runs of a plan, for runners in other languages.

    python -m tools.make_media_vectors

One record a line: what is given (`tools/media_cases.py`, `tools/comment_cases.py`; files as
base64), and what this side makes
of it. The test of this side computes the latter anew from the given that stands in the file, so no
record depends on how some version of a library packs a picture.
"""

import base64
import hashlib
import json
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np

from entracte.errors import RunError
from entracte.ir import DType, Input, Output, Port
from entracte.run import media
from entracte.run.batch import batch_of, named
from entracte.run.outputs import Made
from entracte.run.resample import resize, samples_needed, sound
from entracte.run.sinks import FileSink, place_of
from entracte.run.video import to_pictures
from entracte.run.wave import to_samples
from tools.comment_cases import given as given_runs
from tools.comment_cases import metadata_of
from tools.media_cases import Record, as_text, given, pixels_of, samples_of

FILE = Path(__file__).parent.parent / "tests" / "vectors" / "media.jsonl"


def gives(record: Record) -> Record:
    """What a record's given becomes."""
    return {
        "metadata": _gives_said,
        "batch": _gives_batch,
        "read": _gives_read,
        "show": _gives_shown,
        "resize": _gives_resized,
        "resample": _gives_resampled,
        "level": _gives_levels,
        "write": _gives_written,
    }[record["does"]](record)


def _said(error: RunError, *places: str) -> Record:
    """A refusal without the names of files; of a library's words only that they are some."""
    text = str(error)
    for place in places:
        text = text.removeprefix(place)
    return {"fault": text.partition(" (")[0] if text.startswith("cannot be read as") else text}


def _gives_read(record: Record) -> Record:
    i = record["input"]
    port = Port(i["name"], tuple(i["shape"]), DType(i["dtype"]))
    made = Input(
        name=i["name"],
        kind=i["kind"],
        default=None,
        port=port,
        low=i["low"],
        high=i["high"],
        fit=i["fit"],
        rate=i["rate"],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{record['ending']}"
        path.write_bytes(base64.b64decode(record["file"]))
        try:
            array = media.decode(i["name"], made, path)
        except RunError as error:
            return _said(error, f"input 'x': {path}: ")
    return _tensor_or_digest(array)


def _tensor_or_digest(array: np.ndarray) -> Record:
    data = np.ascontiguousarray(array).tobytes()
    if len(data) <= 256:
        return {"tensor": as_text(data)}
    return {"sha256": hashlib.sha256(data).hexdigest()}


def _gives_shown(record: Record) -> Record:
    first = Fraction(*record["frames"][0])
    each = 1 / Fraction(*record["stream"])
    frames = [(Fraction(*t) - first, each, k) for k, t in enumerate(record["frames"])]
    i = Input(name="x", kind="video", default=None, port=None, rate=record["rate"])
    with mock.patch.object(media, "_frames", lambda _: iter(frames)):
        return {"shown": list(media._shown(i, Path(), record["many"]))}


def _gives_resized(record: Record) -> Record:
    made = resize(pixels_of(*record["from"]), record["fit"], tuple(record["to"])) / 255
    return _tensor_or_digest(made.astype(np.float32))


def _gives_resampled(record: Record) -> Record:
    given_hz, wanted, many = record["given"], record["wanted"], record["many"]
    made = sound(samples_of(record["samples"]), given_hz, wanted, many)
    return _tensor_or_digest(made.astype(np.float32)) | {
        "needed": samples_needed(given_hz, wanted, many)
    }


def _gives_levels(record: Record) -> Record:
    values = np.frombuffer(base64.b64decode(record["values"]), np.float32)
    low, high = record["low"], record["high"]
    if record["kind"] == "audio":
        return {"levels": as_text(to_samples(values[None], low, high).tobytes())}
    planes = np.repeat(values[None, None, None], 3, axis=1)
    return {"levels": as_text(to_pictures(planes, low, high)[0, 0, :, 0].tobytes())}


def _gives_written(record: Record) -> Record:
    """The file's bytes; of pictures their pixels, for others may pack them as they like."""
    with tempfile.TemporaryDirectory() as folder:
        name = f"{folder}/x{record['ending']}"
        try:
            made, pieces = zip(*map(_made, record["outputs"]), strict=True)
            made = tuple(replace(m, metadata=record.get("comment", "")) for m in made)
            sink = FileSink(place_of(name), list(made))
            for one in made:
                _check(one, name)
            sink.begin()
        except RunError as error:
            return _said(error, name)
        for one, parts in zip(made, pieces, strict=True):
            for part in parts:
                sink.take(one.output.name, part)
        sink.finish()
        assert not sink.fault, sink.fault
        return _written(Path(name))


def _check(made: Made, name: str) -> None:
    """As before a run, but for the endings that the message lists: others have others."""
    from entracte.run.sinks import _check_holds

    try:
        _check_holds(made, place_of(name), name)
    except RunError as error:
        raise RunError(str(error).partition("; give a file")[0]) from None


def _made(o: Record) -> tuple[Made, list[np.ndarray]]:
    dtypes = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32}
    pieces = [
        np.frombuffer(base64.b64decode(p["data"]), dtypes[o["dtype"]]).reshape(p["shape"])
        for p in o["pieces"]
    ]
    shape = list(pieces[0].shape)
    shape[o["axis"]] = sum(p.shape[o["axis"]] for p in pieces)
    output = Output(
        name=o["name"],
        kind=o["kind"],
        values=("a",),
        axis=o["axis"],
        rate=o["rate"],
        low=o["low"],
        high=o["high"],
    )
    return Made(output, Port(o["name"], tuple(shape), DType(o["dtype"]))), pieces


def _written(path: Path) -> Record:
    from PIL import Image

    pictures = sorted(path.iterdir()) if path.is_dir() else [path] * (path.suffix == ".png")
    if pictures:
        arrays = [np.asarray(Image.open(p).convert("RGB")) for p in pictures]
        texts = [as_text(c) for p in pictures if (c := _text_chunks(p.read_bytes()))]
        return {
            "pictures": [
                {"shape": a.shape, "sha256": hashlib.sha256(a.tobytes()).hexdigest()}
                for a in arrays
            ]
        } | ({"texts": texts} if texts else {})
    data = path.read_bytes()
    return (
        {"file": as_text(data)}
        if len(data) <= 300
        else {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    )


def _text_chunks(data: bytes) -> bytes:
    """A PNG's chunks `tEXt`, with their lengths and checksums."""
    found, at = b"", 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        found += data[at:end] if data[at + 4 : at + 8] == b"tEXt" else b""
        at = end
    return found


# ---------------------------------------------------------------- runs


def _gives_said(record: Record) -> Record:
    text = metadata_of(record)
    if len(text) <= 1000:
        return {"comment": text}
    return {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _gives_batch(record: Record) -> Record:
    try:
        runs = batch_of({}, dict(record["values"]))
    except RunError as error:
        return {"fault": str(error)}
    return {
        "runs": [
            {
                "name": r.name,
                "inputs": list(r.inputs.items()),
                "differing": r.differing,
                "out": named(record["out"], r.name),
            }
            for r in runs
        ]
    }


def line_of(record: Record) -> str:
    """A record as it stands in the file."""
    return json.dumps(record, separators=(",", ":"))


def main() -> None:
    """Write the file."""
    records = [*given(), *given_runs()]
    lines = [line_of(r | {"gives": gives(r)}) for r in records]
    FILE.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{FILE}: {len(lines)} records, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
