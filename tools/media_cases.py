"""What tests/vectors/media.jsonl gives: files as strangers and cameras write them, times, sizes,
numbers, pieces of outputs. `tools/make_media_vectors.py` says what this side makes of them."""

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

Record = dict[str, Any]
_FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    0.25,
    1e-3,
    0.4999999,
    0.50196075,
    127.5 / 255,
    126.5 / 255,
    0.5 / 255,
    1.5 / 255,
    254.5 / 255,
    2.0,
    -3.0,
    1e30,
    -1e30,
    float("nan"),
    float("inf"),
    float("-inf"),
    0.5 / 32767,
    1.5 / 32767,
    -0.5 / 32767,
    1e-40,
]


def as_text(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()


def _input(kind: str, shape: tuple[int, ...], **more: Any) -> Record:
    plain = {
        "name": "x",
        "kind": kind,
        "shape": shape,
        "dtype": "fp32",
        "low": 0.0,
        "high": 1.0,
        "fit": "crop",
        "rate": 0.0,
    }
    return plain | more


def _read(
    kind: str, what: str, ending: str, data: bytes, shape: tuple[int, ...], **more: Any
) -> Record:
    return {
        "does": "read",
        "what": what,
        "input": _input(kind, shape, **more),
        "ending": ending,
        "file": as_text(data),
    }


# ---------------------------------------------------------------- given: pictures


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(  # noqa: PLR0913 - the fields of a header
    width: int,
    height: int,
    depth: int,
    kind: int,
    data: bytes,
    *,
    laced: int = 0,
    more: bytes = b"",
) -> bytes:
    header = _part(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, laced))
    return b"\x89PNG\r\n\x1a\n" + header + more + _part(b"IDAT", data) + _part(b"IEND", b"")


def _rows(pixels: np.ndarray, filters: bool = False) -> bytes:
    """Rows of bytes (height, row bytes, of 3 a pixel where filtered) with the byte of their filter,
    each row another."""
    made, before = b"", np.zeros(pixels.shape[1], int)
    for y, row in enumerate(pixels.astype(int)):
        left = np.concatenate([np.zeros(3, int), row])[: len(row)]
        corner = np.concatenate([np.zeros(3, int), before])[: len(row)]
        p = left + before - corner
        a, b, c = abs(p - left), abs(p - before), abs(p - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, before, corner))
        guess = (0 * row, left, before, (left + before) // 2, paeth)
        kind = y % 5 if filters else 0
        made += bytes([kind]) + ((row - guess[kind]) % 256).astype(np.uint8).tobytes()
        before = row
    return made


def _laced(pixels: np.ndarray) -> bytes:
    """The seven pictures of an interlaced one (height, width, 3), one behind the other."""
    places = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    parts = (pixels[y::dy, x::dx] for y, x, dy, dx in places)
    return b"".join(_rows(p.reshape(len(p), -1)) for p in parts if p.size)


def _picture(what: str, png: bytes, shape: tuple[int, ...] = (1, 3, 6, 9), **more: Any) -> Record:
    return _read("image", what, ".png", png, shape, **more)


def _nine(depth: int, kind: int, rows: np.ndarray, more: bytes = b"") -> bytes:
    """A picture of 6 rows of 9 pixels."""
    return _png(9, 6, depth, kind, zlib.compress(_rows(rows)), more=more)


def _pictures() -> Iterator[Record]:
    draw = np.random.default_rng(16)
    colours = draw.integers(0, 256, (6, 9, 3), np.uint8)
    flat = colours.reshape(6, 27)
    for how in ("crop", "pad", "stretch"):
        for sides in ((6, 9), (4, 4), (3, 11), (13, 5), (1, 1)):
            fit = {"fit": how, "low": -1.0, "high": 1.0}
            yield _picture(f"{how} to {sides}", _nine(8, 2, flat), (1, 3, *sides), **fit)
    yield from _packings(flat)
    laced = _png(9, 6, 8, 2, zlib.compress(_laced(colours)), laced=1)
    yield _picture("interlaced", laced)
    deep = draw.integers(0, 256, (6, 54), np.uint8)
    wide = _png(27, 6, 16, 0, zlib.compress(_rows(deep)))
    yield _picture("colours of 16 bits", _nine(16, 2, deep))
    yield _picture("grey of 16 bits", wide, (1, 3, 6, 27))
    yield _picture("grey and alpha", _nine(8, 4, deep[:, :18]))
    yield _picture("grey and alpha of 16 bits", _nine(16, 4, deep[:, :36]))
    yield _picture("alpha", _nine(8, 6, deep[:, :36]))
    yield _picture("alpha, smaller", _nine(8, 6, deep[:, :36]), (1, 3, 2, 5))
    for depth in (1, 2, 4, 8):
        bits = draw.integers(0, 256, (6, (9 * depth + 7) // 8), np.uint8)
        palette = _part(b"PLTE", draw.integers(0, 256, 3 * 2**depth, np.uint8).tobytes())
        clear = palette + _part(b"tRNS", bytes([7, 255]))
        yield _picture(f"grey of {depth} bits", _nine(depth, 0, bits))
        yield _picture(f"a palette of {depth} bits", _nine(depth, 3, bits, palette))
        yield _picture(f"a palette with alpha of {depth} bits", _nine(depth, 3, bits, clear))
    key = _part(b"tRNS", struct.pack(">HHH", *colours[2, 3]))
    yield _picture("one colour is clear", _nine(8, 2, flat, key))
    key = _part(b"tRNS", struct.pack(">H", int(flat[1, 1])))
    grey = _png(27, 6, 8, 0, zlib.compress(_rows(flat)), more=key)
    yield _picture("one grey is clear", grey, (1, 3, 6, 27))
    for orientation in range(1, 9):
        turned = _nine(8, 2, flat, _part(b"eXIf", _exif(orientation)))
        yield _picture(f"turned by {orientation}", turned, (1, 3, 6, 6), fit="stretch")
    yield from _broken(_nine(8, 2, flat))


def _packings(flat: np.ndarray) -> Iterator[Record]:
    """Every filter of rows; every kind of block, by level and strategy."""
    plain, fixed, letters, runs = 0, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE
    for level, strategy in ((0, plain), (9, plain), (6, fixed), (6, letters), (6, runs)):
        pack = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
        data = pack.compress(_rows(flat, filters=True)) + pack.flush()
        yield _picture(f"filters, packed by {level} {strategy}", _png(9, 6, 8, 2, data))
    even = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 150, axis=1)
    long = _png(50, 40, 8, 2, zlib.compress(_rows(even), 9))
    yield _picture("long matches", long, (1, 3, 4, 5))


def _exif(orientation: int) -> bytes:
    """TIFF with one entry, the highest byte first: the orientation, a number of 16 bits."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _broken(whole: bytes) -> Iterator[Record]:
    """Files that this side refuses, in its libraries' words: others refuse them in theirs."""
    shape = (1, 3, 6, 9)
    for what, data in {
        "cut off": whole[:-40],
        "no picture": b"not a picture",
        "a wrong checksum": whole[:50] + bytes([whole[50] ^ 1]) + whole[51:],
        "too large": _png(10_000, 9_000, 8, 2, zlib.compress(b"")),
        "too wide": _png(40_000, 2, 8, 2, zlib.compress(b"")),
        "empty": _png(9, 6, 8, 2, zlib.compress(b"")),
    }.items():
        yield _read("image", what, ".png", data, shape)


# ---------------------------------------------------------------- given: sounds, tensors, times


def _wav(
    samples: np.ndarray, rate: int, code: int, bits: int, data: bytes, *, wide: bool = False
) -> bytes:
    channels = samples.shape[1]
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits)
    if wide:
        form = struct.pack("<HHIIHH", 0xFFFE, channels, rate, rate * block, block, bits)
        guid = struct.pack("<H", code) + bytes.fromhex("000000001000800000aa00389b71")
        form += struct.pack("<HHI", 22, bits, (1 << channels) - 1) + guid
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"junk" + struct.pack("<I", 3) + b"abc\0"
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _sounds() -> Iterator[Record]:
    draw = np.random.default_rng(3)
    for channels in (1, 2):
        samples = draw.uniform(-0.9, 0.9, (40, channels))
        whole = np.round(samples * 2**31).astype("<i4")
        by_bits = {
            8: ((whole >> 24) + 128).astype(np.uint8).tobytes(),
            16: (whole >> 16).astype("<i2").tobytes(),
            24: b"".join(x.tobytes()[1:] for x in whole.reshape(-1)),
            32: whole.tobytes(),
        }
        for bits, data in by_bits.items():
            yield _read(
                "audio",
                f"{bits} bits of {channels}",
                ".wav",
                _wav(samples, 8000, 1, bits, data),
                (1, 44),
                rate=8000.0,
                low=-1.0,
            )
        for bits in (32, 64):
            data = samples.astype(f"<f{bits // 8}").tobytes()
            yield _read(
                "audio",
                f"floats of {bits} bits, {channels}",
                ".wav",
                _wav(samples, 8000, 3, bits, data),
                (1, 30),
                rate=8000.0,
                low=-1.0,
            )
        for rate in (6000.0, 8000.5, 44100.0, 900.0):
            yield _read(
                "audio",
                f"{channels} at {rate}",
                ".wav",
                _wav(samples, 8000, 1, 16, by_bits[16], wide=True),
                (1, 50),
                rate=rate,
                low=-2.0,
                high=0.5,
            )
    yield _read(
        "audio", "no sound", ".wav", _wav(np.zeros((0, 1)), 8000, 1, 16, b""), (1, 4), rate=8000.0
    )
    yield _read("audio", "no form", ".wav", b"RIFF no sound", (1, 4), rate=8000.0)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _zip(method: int, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(_npy(array))
    return file.getvalue()


def _tensors() -> Iterator[Record]:
    from safetensors.numpy import save

    draw = np.random.default_rng(5)
    floats = draw.standard_normal((2, 3, 4))
    whole = draw.integers(-100, 100, (2, 3, 4))
    shape = floats.shape
    for kind in ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8"):
        yield _read("tensor", f"npy {kind}", ".npy", _npy(floats.astype(kind)), shape)
    halves = np.arange(0, 65536, 37, dtype=np.uint16).view(np.float16)
    yield _read("tensor", "halves", ".npy", _npy(halves), halves.shape)
    yield _read("tensor", "fortran", ".npy", _npy(np.asfortranarray(floats)), shape)
    yield _read("tensor", "scalar in one", ".npy", _npy(np.float64([2.5])), (1,))
    for kind in ("i1", "<i2", "<i4", "<i8", ">i2", ">i8"):
        yield _read("tensor", f"npy {kind}", ".npy", _npy(whole.astype(kind)), shape, dtype="int32")
    for kind in ("u1", "<u2", ">u4", "<u8"):
        yield _read(
            "tensor", f"npy {kind}", ".npy", _npy(abs(whole).astype(kind)), shape, dtype="int32"
        )
    for what, array in {
        "too large": np.array([2**31]),
        "too small": np.array([-(2**31) - 1]),
        "far too large": np.array([2**63], np.uint64),
        "floats": np.array([1.0]),
        "truth": np.array([True]),
        "texts": np.array(["a"]),
        "two": np.array([1, 2], np.int16),
        "none": np.zeros((0,), np.int8),
        "as it is": np.array([2**31 - 1]),
    }.items():
        yield _read("tensor", what, ".npy", _npy(array), (1,), dtype="int32")
    for what, array in {
        "too large for fp32": np.array([1e39, 1.0]),
        "infinite": np.array([np.inf, 1e39]),
        "not one": np.array([np.nan, 1.0]),
        "whole": np.array([1, 2]),
        "complex": np.array([1j, 2]),
        "one row": np.array([[1.0, 2.0]]),
    }.items():
        yield _read("tensor", what, ".npy", _npy(array), (2,))
    yield _read("tensor", "cut off", ".npy", _npy(floats)[:-5], shape)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        small, other = floats.astype(np.float32), np.zeros((2, 3, 4), np.float16)
        yield _read("tensor", f"npz by {method}", ".npz", _zip(method, a=other, x=small), shape)
        yield _read("tensor", f"the only one by {method}", ".npz", _zip(method, y=small), shape)
        yield _read(
            "tensor", f"none of two by {method}", ".npz", _zip(method, b=small, a=small), shape
        )
    for array in (floats, floats.astype(np.float32), floats.astype(np.float16)):
        yield _read(
            "tensor",
            f"safetensors {array.dtype}",
            ".safetensors",
            save({"y": array[:1], "x": array}),
            shape,
        )
    for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
        yield _read(
            "tensor",
            f"safetensors {kind}",
            ".safetensors",
            save({"only": abs(whole).astype(kind)}),
            shape,
            dtype="int32",
        )
    yield _read(
        "tensor", "safetensors of truth", ".safetensors", save({"x": np.array([True])}), (1,)
    )
    yield _read(
        "tensor", "safetensors of another shape", ".safetensors", save({"x": floats}), (2, 3, 5)
    )


def _times() -> Iterator[Record]:
    """Frames by (time, unit), the stream's rate, and which are shown."""
    tenths = [[k, 10] for k in range(6)]
    ntsc = [[1001 * k + 7, 30000] for k in range(12)]
    odd = [[0, 600], [17, 600], [61, 600], [300, 600], [301, 600]]
    for frames, stream in ((tenths, [10, 1]), (ntsc, [30000, 1001]), (odd, [24, 1])):
        for rate in (0.0, 10.0, 5.0, 20.0, 4.0, 0.3, 29.97, 24.0, 1e-3, 30000 / 1001, 1e6):
            yield {"does": "show", "frames": frames, "stream": stream, "rate": rate, "many": 9}


# ---------------------------------------------------------------- given: sizes, levels, files


def _sizes() -> Iterator[Record]:
    for how in ("crop", "pad", "stretch"):
        for source, target in (((97, 131), (64, 48)), ((31, 17), (90, 200)), ((240, 13), (20, 64))):
            yield {"does": "resize", "fit": how, "from": source, "to": target}
    for given, wanted, many in (
        (44100, 16000.0, 700),
        (8000, 44100.0, 900),
        (48000, 8000.0, 300),
        (16000, 16000.0, 1500),
        (3, 2.5, 60),
    ):
        yield {"does": "resample", "given": given, "wanted": wanted, "many": many, "samples": 1200}


def pixels_of(height: int, width: int) -> np.ndarray:
    """(height, width, 3): a picture that any language can draw."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((y * 37 + x * 101 + c * 59 + y * x * 7) % 256).astype(np.uint8)


def samples_of(many: int) -> np.ndarray:
    """A sound that any language can make."""
    n = np.arange(many)
    made: np.ndarray = ((n * 7919 + n * n * 31) % 65536 - 32768) / 32768
    return made


def _levels() -> Iterator[Record]:
    drawn = np.random.default_rng(9).uniform(-1.2, 1.2, 151).astype(np.float32)
    values = np.concatenate([np.float32(_FLOATS), drawn])
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.1, 0.7), (1.0, 0.0), (-2.5, 3.0)):
        for kind in ("image", "audio"):
            yield {
                "does": "level",
                "kind": kind,
                "low": low,
                "high": high,
                "values": as_text(values.tobytes()),
            }


def output_of(kind: str, axis: int, pieces: list[np.ndarray], **more: Any) -> Record:
    """An output and its pieces."""
    names = {"float16": "fp16", "float32": "fp32", "int32": "int32"}
    return {
        "name": "x",
        "kind": kind,
        "axis": axis,
        "rate": 8.0,
        "low": 0.0,
        "high": 1.0,
        "dtype": names[pieces[0].dtype.name],
        "pieces": [{"shape": p.shape, "data": as_text(p.tobytes())} for p in pieces],
    } | more


def _files() -> Iterator[Record]:
    draw = np.random.default_rng(11)

    def some(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        made: np.ndarray = (draw.standard_normal(shape) * 0.6).astype(dtype)
        return made

    parts = [some((2, 3, 2)), some((2, 1, 2)), some((2, 4, 2))]
    long = some((1, 3, 2, 4, 5), np.float16)
    for ending in (".npy", ".npz", ".safetensors"):
        for what, outputs in {
            "whole": [output_of("tensor", 0, [some((2, 3))])],
            "joined": [output_of("tensor", 1, parts)],
            "joined at the end": [output_of("tensor", -1, [some((2, 3, 1), np.float16)] * 2)],
            "a video": [output_of("video", 2, [long, long, long[:, :, :1]])],
            "texts": [output_of("text", 1, [np.arange(5, dtype=np.int32)[None]])],
            "a number": [output_of("tensor", 0, [some((1,))])],
        }.items():
            yield {"does": "write", "what": what, "ending": ending, "outputs": outputs}
        if ending != ".npy":
            both = [
                output_of("tensor", 1, parts),
                output_of("image", 0, [some((1, 3, 2, 2))], name="other"),
            ]
            yield {"does": "write", "what": "two", "ending": ending, "outputs": both}
    for channels in ((), (2,)):
        pieces = [some((1, *channels, 30)), some((1, *channels, 1))]
        yield {
            "does": "write",
            "what": "a sound",
            "ending": ".wav",
            "outputs": [output_of("audio", -1, pieces, low=-1.0, rate=16000.0)],
        }
    frames = [some((1, 3, 2, 4, 6)), some((1, 3, 1, 4, 6))]
    for ending in (".png", "/"):
        yield {
            "does": "write",
            "what": "a video",
            "ending": ending,
            "outputs": [output_of("video", 2, frames, low=-1.0)],
        }
        yield {
            "does": "write",
            "what": "images",
            "ending": ending,
            "outputs": [output_of("image", 0, [some((10, 3, 3, 4))])],
        }
    yield {
        "does": "write",
        "what": "an image",
        "ending": ".png",
        "outputs": [output_of("image", 0, [some((1, 3, 7, 5), np.float16)])],
    }
    yield from _unfit(some)


def _unfit(some: Any) -> Iterator[Record]:
    """What a file cannot hold: told before anything is computed."""
    for what, ending, output in (
        ("a tensor as pictures", ".png", output_of("tensor", 0, [some((4,))])),
        ("a video as a sound", ".wav", output_of("video", 2, [some((1, 3, 1, 4, 4))])),
        ("a sound of half a sample", ".wav", output_of("audio", -1, [some((1, 8))], rate=8000.5)),
        ("a text as pictures", "/", output_of("text", 1, [np.zeros((1, 3), np.int32)])),
    ):
        yield {"does": "write", "what": what, "ending": ending, "outputs": [output]}


def given() -> Iterator[Record]:
    """All records, without what is made of them."""
    yield from _pictures()
    yield from _sounds()
    yield from _tensors()
    yield from _times()
    yield from _sizes()
    yield from _levels()
    yield from _files()
