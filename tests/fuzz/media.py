"""Inputs of every kind: files that somebody was sent, and words that are no numbers."""

import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz import places, safetensor
from tests.fuzz.case import Case, Door
from tests.fuzz.mutate import NUMBERS, TEXTS, broken

SIZE = (8, 10)
"""Height and width of pictures: not those of the pipeline, so that they are resized."""
_PLAIN = {
    "strength": ("0", "2", "1e-9"),
    "seed": ("0", "18446744073709551616"),
    "mode": ("slow", "fast", "0", "1"),
    "prompt": ("a circle", "", "red a red a red"),
}
_NUMBERS = tuple(map(str, NUMBERS[:28])) + ("x", "1_0", "\uff11", "1e999", "0x1", " 1", "", "slow ")


def make_media(folder: Path) -> None:
    """A sound file of every ending that is read, in a folder for each input."""
    import numpy as np

    drawn = np.random.default_rng(0)
    for name, make in (("picture", _pictures), ("clip", _clips), ("sound", _sounds)):
        (folder / name).mkdir(parents=True)
        make(folder / name, drawn)
    for name, array in (
        ("given", drawn.standard_normal((1, 3)).astype(np.float32)),
        ("order", np.array([[0, 1, 2, 3]])),
    ):
        (folder / name).mkdir()
        _tensors(folder / name, name, array)


def _pictures(folder: Path, drawn: Any) -> None:
    import numpy as np
    from PIL import Image

    whole = drawn.integers(0, 256, (*SIZE, 4), dtype=np.uint8)
    for mode in ("RGB", "L", "1", "P", "LA", "RGBA"):
        Image.fromarray(whole).convert(mode).save(folder / f"{mode}.png")
    Image.fromarray(drawn.integers(0, 65536, SIZE, dtype=np.uint16)).save(folder / "I16.png")
    picture = Image.fromarray(whole[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    picture.convert("CMYK").save(folder / "CMYK.jpeg")
    picture.save(folder / "plain.webp", lossless=True)


def _clips(folder: Path, drawn: Any) -> None:
    import av
    import numpy as np
    from PIL import Image

    frames = drawn.integers(0, 256, (6, 16, 32, 3), dtype=np.uint8)
    for ending, codec in ((".mp4", "mpeg4"), (".avi", "mpeg4"), (".mkv", "mpeg4"), (".mov", "png")):
        with av.open(str(folder / f"plain{ending}"), "w") as out:
            stream = out.add_stream(codec, rate=8, width=32, height=16)
            stream.pix_fmt = "yuv420p" if codec == "mpeg4" else "rgb24"
            for frame in frames:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            out.mux(stream.encode())
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(folder / "plain.gif", save_all=True, append_images=rest, duration=125)


def _sounds(folder: Path, drawn: Any) -> None:
    import wave

    import av
    import numpy as np

    samples = drawn.integers(-(2**15), 2**15, (2, 400), dtype=np.int16)
    with wave.open(str(folder / "plain.wav"), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(11_025)
        out.writeframes(samples.T.tobytes())
    for ending, codec, form in ((".flac", "flac", "s16"), (".m4a", "aac", "fltp")):
        given = samples if form == "s16" else samples.astype(np.float32) / 2**15
        layout = given.T.reshape(1, -1) if form == "s16" else given
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(layout), form, "stereo")
        frame.sample_rate = 16_000
        with av.open(str(folder / f"plain{ending}"), "w") as out:
            stream = out.add_stream(codec, rate=16_000, layout="stereo")
            out.mux(stream.encode(frame))
            out.mux(stream.encode())


def _tensors(folder: Path, name: str, array: Any) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    np.save(folder / "plain.npy", array)
    np.savez_compressed(folder / "plain.npz", **{name: array})
    save_file({name: array}, folder / "plain.safetensors")


# ---------------------------------------------------------------- cases


def doors(case: Case) -> Sequence[Door]:
    """The sound build, given one to three things of which most are damaged."""
    rng, words = case.rng, []
    names = rng.sample(
        ["picture", "clip", "sound", "given", "order", *_PLAIN], rng.choice((1, 1, 2, 3))
    )
    for name in names:
        value = _file(case, name) if name not in _PLAIN else _word(case, name)
        words += ["--input", f"{name}={value}"]
    if rng.random() < 0.05:
        words += [
            "--input",
            rng.choice(("", "=", "picture", "nope=1", "picture=", "=x", *TEXTS[:30])),
        ]
    case.notes.append(" ".join(words)[:300])
    return [Door(("plan", "run", str(case.base / "build"), "--device", "null", *words))]


def _word(case: Case, name: str) -> str:
    if case.rng.random() < 0.6:
        return case.rng.choice(_PLAIN[name])
    return case.rng.choice(_NUMBERS if case.rng.random() < 0.7 else TEXTS)


def _file(case: Case, name: str) -> Path:
    rng = case.rng
    origin = rng.choice(sorted((case.base / "media" / name).iterdir()))
    file = case.folder / origin.name
    shutil.copyfile(origin, file)
    way = rng.choices(
        (_sound, _flipped, _cut, _text_like, _placed, _renamed, _lies), (20, 30, 10, 8, 8, 8, 16)
    )[0]
    case.notes.append(f"{name} {origin.name}: {way.__name__}")
    return way(case, file)


def _sound(_: Case, file: Path) -> Path:
    return file


def _flipped(case: Case, file: Path) -> Path:
    """Bits anywhere, or in the first bytes, where sizes and kinds are said."""
    made, rng = bytearray(file.read_bytes()), case.rng
    most = rng.choice((64, len(made)))
    for _ in range(rng.choice((1, 2, 8, 64))):
        k = rng.randrange(min(most, len(made)))
        made[k] = rng.choice((0, 255, 127, 128, made[k] ^ (1 << rng.randrange(8))))
    file.write_bytes(made)
    return file


def _cut(case: Case, file: Path) -> Path:
    raw = file.read_bytes()
    file.write_bytes(raw[: case.rng.randrange(len(raw))] + bytes(case.rng.choice((0, 0, 100))))
    return file


def _text_like(case: Case, file: Path) -> Path:
    file.write_bytes(broken(file.read_bytes(), case.rng, case.notes))
    return file


def _placed(case: Case, file: Path) -> Path:
    places.replace(file, case.rng, case.base.parent / "sentinel", case.notes)
    return file


def _renamed(case: Case, file: Path) -> Path:
    """Another kind's ending, or none that is known."""
    endings = (".png", ".jpg", ".webp", ".mp4", ".gif", ".mkv", ".wav", ".flac", ".npy", ".npz",
               ".safetensors", "", ".txt", ".PNG", ".m3u8", ".svg", ".pt")  # fmt: skip
    return file.rename(file.with_name(f"mine{case.rng.choice(endings)}"))


def _lies(case: Case, file: Path) -> Path:
    """What the format's own rules make worst; where nothing is known, flipped bits."""
    return _LIES.get(file.suffix, _flipped)(case, file)


def _png(case: Case, file: Path) -> Path:
    """Another size in its header, sealed; or a picture of that size, all of one colour."""
    rng = case.rng
    side = rng.choice(((2**31 - 1, 2**31 - 1), (2**26, 1), (1, 2**26), (0, 8), (65536, 65536)))
    raw = bytearray(file.read_bytes())
    struct.pack_into(">II", raw, 16, *side)
    if rng.random() < 0.3:
        raw[24], raw[25] = rng.choice(((16, 6), (1, 3), (2, 0), (8, 7), (16, 0), (0, 0)))
    struct.pack_into(">I", raw, 29, zlib.crc32(raw[12:29]))
    file.write_bytes(raw)
    return file


def _jpeg(case: Case, file: Path) -> Path:
    """Another size, or no number of colours."""
    raw = bytearray(file.read_bytes())
    at = max(raw.find(b"\xff\xc0"), raw.find(b"\xff\xc2"))
    struct.pack_into(">HH", raw, at + 5, *case.rng.choice(((65535, 65535), (0, 8), (8, 65500))))
    if case.rng.random() < 0.3:
        raw[at + 9] = case.rng.choice((0, 2, 4, 255))
    file.write_bytes(raw)
    return file


def _wav(case: Case, file: Path) -> Path:
    """Channels, rates and lengths that it does not have."""
    raw = bytearray(file.read_bytes())
    form, at = case.rng.choice((("<H", 20), ("<H", 22), ("<I", 24), ("<H", 32), ("<H", 34),
                                ("<I", 16), ("<I", 40), ("<I", 4)))  # fmt: skip
    top = 2**16 if form == "<H" else 2**32
    struct.pack_into(form, raw, at, case.rng.choice((0, 1, 3, 255, top // 2, top - 1)))
    file.write_bytes(raw)
    return file


def _arrays(case: Case, file: Path) -> Path:
    """Other shapes and types, objects (which are pickles), names, and lies about sizes."""
    import numpy as np

    rng, base = case.rng, np.ones((1, 3), np.float32)
    array = rng.choice((
        base, base * np.nan, base * np.inf, base.astype(np.float64) * 1e300, base[0], base[None],
        base.astype(np.float16), np.asfortranarray(base), np.ones((1, 3), ">f4"), np.zeros((1, 0)),
        np.ones((1, 4), np.int8), np.ones((1, 4), np.uint64) * 2**63, np.full((1, 4), -(2**40)),
        np.full((1, 4), 7), np.full((1, 4), -1), np.ones((1, 3), complex), np.array("x"),
        np.ones((1, 3), bool), np.array([[None, 1, "x"]], object), np.zeros((1, 4), "M8[s]"),
        np.zeros((1, 3), [("a", "f4")]),
    ))  # fmt: skip
    case.notes.append(f"{array.dtype} {array.shape}")
    if file.suffix == ".npy":
        np.save(file, array)
    else:
        np.savez_compressed(file, **{rng.choice(("given", "order", "x", "a/b", "../x")): array},
                            **({"y": array} if rng.random() < 0.3 else {}))  # fmt: skip
    if rng.random() < 0.3:
        raw = file.read_bytes()
        shape = str(array.shape).encode()
        lie = rng.choice((b"(1,99999999999)", b"(-1, 3)", b"(2**63,)", b"(1, 3, )", b"()"))
        file.write_bytes(raw.replace(shape, lie))
    return file


def _weights(case: Case, file: Path) -> Path:
    safetensor.change(file, case)
    return file


_LIES: dict[str, Callable[[Case, Path], Path]] = {
    ".png": _png, ".jpg": _jpeg, ".jpeg": _jpeg, ".wav": _wav, ".npy": _arrays, ".npz": _arrays,
    ".safetensors": _weights,
}  # fmt: skip
