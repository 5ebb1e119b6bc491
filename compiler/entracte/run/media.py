"""Files that a user gives -> tensors: the one module that decodes them.

What each kind becomes is said exactly in docs/plan-format.md ("Inputs"), for runners in other
languages. Files may be anybody's: they are looked at before they are decoded, and whatever a
decoder has against one is one message. PIL, PyAV and numpy are imported by what decodes.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.words import an
from entracte.errors import ConfigError, RunError
from entracte.ir import DType, Input, Port
from entracte.run.resample import resize, samples_needed, sound

if TYPE_CHECKING:
    import numpy as np

MOST_PIXELS, MOST_SIDE = 2**26, 2**15
"""Of one picture: some 8,000 a side, or fewer rows and longer ones. A few bytes can claim any size,
and what makes another size of it grows with its sides."""
_MOST_RATE = 1_000_000
ENDINGS = {
    "image": (".png", ".jpg", ".jpeg", ".webp"),
    "video": (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".m4a"),
    "tensor": (".npy", ".npz", ".safetensors"),
}
"""Of files that are read, by the kind of input."""
_MOST_BYTES = {"image": 2**28, "video": 2**34, "audio": 2**32, "tensor": 2**34}
_FORMATS = {
    "video": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif",
    "audio": "wav,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
}
"""Containers that hold what they are; a playlist would make the library open what it names."""


def decode(name: str, i: Input, path: Path) -> "np.ndarray":
    """The tensor of an input whose file is given. Raises `RunError`, one message."""
    check_file(name, i, path)
    assert i.port is not None
    with _told(name, path, i.kind):
        return _DECODERS[i.kind](i, i.port, path)


def check_file(name: str, i: Input, path: Path) -> None:
    """A regular file of an ending and a size that the kind has. Raises `RunError`."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no name of a file"
        raise RunError(f"input {name!r}: {path}: {why}; give a file") from None
    if not stat.S_ISREG(found.st_mode):
        raise RunError(f"input {name!r}: {path}: is no regular file; give one")
    endings, most = ENDINGS[i.kind], _MOST_BYTES[i.kind]
    if path.suffix.lower() not in endings:
        raise RunError(
            f"input {name!r}: {path}: give {an(i.kind)}, a file that ends in {', '.join(endings)}"
        )
    if not 0 < found.st_size <= most:
        what = "is empty" if not found.st_size else f"has {found.st_size} bytes, at most {most} are"
        raise RunError(f"input {name!r}: {path}: {what}{' read' if found.st_size else ''}")
    if not os.access(path, os.R_OK):
        raise RunError(f"input {name!r}: {path}: you may not read it")


class _Fault(Exception):
    """What is wrong with a file, in words of ours."""


@contextmanager
def _told(name: str, path: Path, kind: str) -> Iterator[None]:
    where = f"input {name!r}: {path}"
    try:
        yield
    except _Fault as fault:
        raise RunError(f"{where}: {fault}") from None
    except ConfigError as error:
        raise RunError(f"input {name!r}: {error}") from None
    except MemoryError:
        raise RunError(f"{where}: there is no memory for it; give a smaller one") from None
    except Exception as error:
        # Decoders raise kinds of their own: SyntaxError, struct.error, av.error.*, ...
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise RunError(f"{where}: cannot be read as {kind} ({said}); is it whole?") from None


def _ranged(i: Input, unit: "np.ndarray") -> "np.ndarray":
    """Fractions of [black, white] in the input's own range, fp32."""
    import numpy as np

    made: np.ndarray = (i.low + (i.high - i.low) * unit).astype(np.float32)
    return made


# ---------------------------------------------------------------- pictures


def _image(i: Input, port: Port, path: Path) -> "np.ndarray":
    import numpy as np

    height, width = port.shape[2:]
    samples, most = _pixels(path)
    unit = resize(samples, i.fit, (height, width)) / most
    return np.ascontiguousarray(_ranged(i, unit).transpose(2, 0, 1)[None])


def _pixels(path: Path) -> "tuple[np.ndarray, int]":
    """(height, width, 3) as they are stored, turned as the file says, and what white is."""
    import warnings

    import numpy as np
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        # It would only warn of sizes that are refused below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with path.open("rb") as file, Image.open(file, formats=("PNG", "JPEG", "WEBP")) as opened:
            _check_pixels(*opened.size)
            image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        # Grey of 16 bits.
        grey = np.asarray(image).astype(np.uint16)
        return np.repeat(grey[:, :, None], 3, axis=2), 65535
    if image.mode in ("CMYK", "YCCK", "LAB", "HSV"):
        raise _Fault(f"its colours are {image.mode}; give it in RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = np.asarray(image.convert("RGBA"))
        return seen[:, :, :3].astype(np.uint16) * seen[:, :, 3:], 255 * 255
    return np.asarray(image.convert("RGB")), 255


def _check_pixels(width: int, height: int) -> None:
    if min(width, height) < 1 or width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise _Fault(
            f"has {height} x {width} pixels; at most {MOST_PIXELS} are read, {MOST_SIDE} a side"
        )


def _video(i: Input, port: Port, path: Path) -> "np.ndarray":
    """Frames as they come, or those that are shown at k / rate seconds."""
    import numpy as np

    frames, height, width = port.shape[2:]
    made = np.empty(port.shape, np.float32)
    done = 0
    for shown in _shown(i, path, frames):
        unit = resize(shown, i.fit, (height, width)) / 255
        made[0, :, done] = _ranged(i, unit).transpose(2, 0, 1)
        done += 1
    if done < frames:
        rate = f" at {i.rate:g} a second" if i.rate else ""
        raise _Fault(f"has {done} frames{rate}, {frames} are needed; give a longer one")
    return made


def _shown(i: Input, path: Path, many: int) -> "Iterator[np.ndarray]":
    """The first `many` frames, (height, width, 3) of 0 to 255."""
    found, before, k = _frames(path), None, 0
    if not i.rate:
        for _, _, pixels in found:
            yield pixels
            k += 1
            if k == many:
                return
        return
    each, end = 1 / Fraction(i.rate), Fraction()
    for time, length, pixels in found:
        while before is not None and k < many and k * each < time:
            yield before
            k += 1
        if k == many:
            return
        before, end = pixels, time + length
    while before is not None and k < many and k * each < end:
        yield before
        k += 1


def _frames(path: Path) -> "Iterator[tuple[Fraction, Fraction, np.ndarray]]":
    """(seconds since the first one, seconds that it lasts, pixels) of each frame. Exactly: rounded,
    a difference of two times may be later than the moment that it is."""
    import numpy as np

    with path.open("rb") as file, open_container(file, "video") as container:
        if not container.streams.video:
            raise _Fault("there are no pictures in it")
        stream = container.streams.video[0]
        _check_pixels(stream.codec_context.width, stream.codec_context.height)
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        first: Fraction | None = None
        for n, frame in enumerate(container.decode(stream)):
            _check_pixels(frame.width, frame.height)
            is_told = frame.pts is not None and frame.time_base is not None
            time = frame.pts * Fraction(frame.time_base) if is_told else n / rate
            first = time if first is None else first
            pixels = frame.to_ndarray(format="rgb24")
            yield time - first, 1 / rate, np.rot90(pixels, round(frame.rotation / 90) % 4)


@contextmanager
def open_container(file: Any, kind: str) -> Iterator[Any]:
    """A `video` or an `audio` file for PyAV, which opens nothing else by itself."""
    import av
    import av.logging

    # Opened by us: the library opens nothing by itself, whatever a file names.
    options = {"format_whitelist": _FORMATS[kind], "protocol_whitelist": "none"}
    with av.open(file, options=options, metadata_errors="ignore") as container:
        yield container


# ---------------------------------------------------------------- sounds


def _audio(i: Input, port: Port, path: Path) -> "np.ndarray":
    import numpy as np

    many = port.shape[1]
    given, samples = _samples(path, lambda rate: samples_needed(rate, i.rate, many))
    # -1 is `low`, 1 is `high`.
    unit = (sound(samples, given, i.rate, many) + 1) / 2
    return np.ascontiguousarray(_ranged(i, unit)[None])


def _samples(path: Path, needed: Callable[[int], int]) -> "tuple[int, np.ndarray]":
    """Its rate, and the mean of its channels in [-1, 1], as much as is needed."""
    import av
    import numpy as np

    with path.open("rb") as file, open_container(file, "audio") as container:
        if not container.streams.audio:
            raise _Fault("there is no sound in it")
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        if not 1 <= rate <= _MOST_RATE:
            raise _Fault(f"has {rate} samples a second")
        same = av.AudioResampler(format="dblp")
        many, found, there = needed(rate), [], 0
        for frame in container.decode(stream):
            for plain in same.resample(frame):
                found.append(plain.to_ndarray().mean(axis=0))
                there += found[-1].size
            if there >= many:
                break
    if not there:
        raise _Fault("there is no sound in it")
    return rate, np.concatenate(found)


# ---------------------------------------------------------------- tensors


def _tensor(i: Input, port: Port, path: Path) -> "np.ndarray":
    read = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors}[path.suffix.lower()]
    return as_port(port, read(i, port, path))


def as_port(port: Port, array: Any) -> "np.ndarray":
    """An array as the tensor of a port: of its shape, its numbers in its type. Raises `_Fault`."""
    import numpy as np

    array = np.asarray(array)
    _check_shape(port, tuple(array.shape), array.dtype)
    if port.dtype is DType.INT32:
        wide = array.astype(np.int64) if array.dtype.kind == "i" else array
        if wide.size and not -(2**31) <= int(wide.min()) <= int(wide.max()) < 2**31:
            raise _Fault("holds numbers that int32 does not")
        return np.array(wide, np.int32, order="C")
    with np.errstate(over="ignore"):
        made = np.array(array, np.float32, order="C")
    if np.isfinite(array).all() and not np.isfinite(made).all():
        raise _Fault("holds numbers that fp32 does not")
    return made


def _check_shape(port: Port, shape: tuple[int, ...], dtype: Any) -> None:
    """Before it is read."""
    kinds = "iu" if port.dtype is DType.INT32 else "f"
    if shape != port.shape or dtype.kind not in kinds:
        wanted = "whole numbers" if kinds == "iu" else "floats"
        raise _Fault(
            f"is {dtype} of {shape}; give {wanted} of {port.shape}, which become {port.dtype}"
        )


def _npy(_: Input, port: Port, path: Path) -> Any:
    with path.open("rb") as file:
        return _array(file, port)


def _array(file: Any, port: Port) -> Any:
    """One array in numpy's format: its header is looked at first."""
    import numpy as np
    from numpy.lib import format as npy

    version = npy.read_magic(file)  # type: ignore[no-untyped-call]
    readers: dict[Any, Any] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    if version not in readers:
        raise _Fault(f"is of version {version} of numpy's format; save it again")
    shape, fortran, dtype = readers[version](file)
    _check_shape(port, shape, dtype)
    wanted = port.size_bytes // port.dtype.width_bytes * dtype.itemsize
    data = file.read(wanted)
    if len(data) < wanted:
        raise _Fault(f"ends after {len(data)} of {wanted} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _npz(i: Input, port: Port, path: Path) -> Any:
    from zipfile import ZipFile

    with ZipFile(path) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        with archive.open(f"{_chosen(i, names)}.npy") as file:
            return _array(file, port)


def _chosen(i: Input, names: list[str]) -> str:
    """The tensor of that name, or the only one."""
    if i.name in names:
        return i.name
    if len(names) != 1:
        told = ", ".join(sorted(names)[:8]) or "none"
        raise _Fault(f"holds {len(names)} tensors ({told}); give one of them the name {i.name!r}")
    return names[0]


def _safetensors(i: Input, port: Port, path: Path) -> Any:
    import numpy as np
    from safetensors import safe_open

    from entracte.store.tensor_file import read_header, reading

    header = read_header(path)
    name = _chosen(i, list(header))
    numpy = {"F16": "f2", "F32": "f4", "F64": "f8", "I8": "i1", "U8": "u1", "I16": "i2",
             "U16": "u2", "I32": "i4", "U32": "u4", "I64": "i8", "U64": "u8"}  # fmt: skip
    if header[name].dtype not in numpy:
        raise _Fault(f"{name} is {header[name].dtype}; give one of {', '.join(numpy)}")
    _check_shape(port, header[name].shape, np.dtype(numpy[header[name].dtype]))
    with reading(path), safe_open(path, "np") as file:
        return file.get_tensor(name)


_DECODERS: "dict[str, Callable[[Input, Port, Path], np.ndarray]]" = {
    "image": _image,
    "video": _video,
    "audio": _audio,
    "tensor": _tensor,
}


def given_array(name: str, i: Input, array: Any) -> "np.ndarray":
    """What is given as an array is the tensor itself. Raises `RunError`."""
    assert i.port is not None
    try:
        return as_port(i.port, array)
    except _Fault as fault:
        raise RunError(f"input {name!r}: {fault}") from None
