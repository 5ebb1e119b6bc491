"""A comment in a file, written and read: where each format has room for a text.

Clips and GIFs have a comment; PNG a tEXt chunk, JPEG a comment segment, WebP an image description
in its Exif, .wav the comment of a LIST INFO chunk, .npz the archive's comment, .safetensors a text
among its `__metadata__`. .npy and .txt have none. What is written is ASCII; what is read may be
anybody's.
"""

import io
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.errors import ConfigError, RunError

if TYPE_CHECKING:
    from av.container import InputContainer

KEY = "entracte"
SAFETENSORS = "__metadata__"
MOST_BYTES = 60_000
"""Of a comment: a JPEG's segment and a ZIP archive's comment end below 64 KiB."""
_DESCRIPTION = 0x010E
"""Exif's tag of what an image is."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


# ---------------------------------------------------------------- written


def commented(ending: str, text: str) -> "dict[str, object]":
    """What PIL's writer of such a picture takes to put a comment into it."""
    if not text:
        return {}
    if ending == ".png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("Comment", text)
        return {"pnginfo": info}
    if ending == ".webp":
        from PIL import Image

        exif = Image.Exif()
        exif[_DESCRIPTION] = text
        return {"exif": exif.tobytes()}
    return {"comment": text.encode()}


def comment_wave(path: Path, text: str) -> None:
    """Put a LIST INFO chunk behind the samples of a .wav, and count it in the file's size; not
    where that size, which has 32 bits, would not hold it."""
    data = text.encode() + b"\0"
    data += b"\0" * (len(data) % 2)
    with path.open("r+b") as file:
        end = file.seek(0, io.SEEK_END)
        if end + len(data) + 32 >= 2**32:
            return
        # Chunks begin at even places.
        file.write(b"\0" * (end % 2))
        file.write(b"LIST" + struct.pack("<I", 12 + len(data)) + b"INFOICMT")
        file.write(struct.pack("<I", len(data)) + data)
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", size))


# ---------------------------------------------------------------- read


def read_comment(path: Path) -> str | None:
    """The comment of a file; of a folder, that of its first picture. None where there is none.

    Raises `RunError` for what is no such file.
    """
    if path.is_dir():
        path = next(iter(sorted(path.glob("*.png"))), path / "00000.png")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise RunError(
            f"{path}: files of this ending say nothing of how they were made; give one that ends "
            f"in {', '.join(_READERS)}, or a folder of pictures"
        )
    if not path.is_file():
        raise RunError(f"{path}: there is no such file; give one that `plan run` wrote")
    try:
        found = read(path)
    except ConfigError as error:
        raise RunError(str(error)) from None
    except Exception as error:
        # Decoders raise kinds of their own.
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise RunError(f"{path}: cannot be read ({said}); is it whole?") from None
    return found[:MOST_BYTES] if found else None


def _picture(path: Path) -> str | None:
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        # No pixel is decoded.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            found = image.info.get("Comment", image.info.get("comment"))
            if found is None:
                found = image.getexif().get(_DESCRIPTION)
    return found.decode("ascii", "replace") if isinstance(found, bytes) else _text(found)


_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None


def _clip(path: Path) -> str | None:
    from entracte.run.media import open_container

    with path.open("rb") as file, open_container(file, "video") as opened:
        return _of(opened)


def _sound(path: Path) -> str | None:
    from entracte.run.media import open_container

    with path.open("rb") as file, open_container(file, "audio") as opened:
        return _of(opened)


def _of(opened: "InputContainer") -> str | None:
    """Matroska's names are in capitals."""
    found: Mapping[str, str] = opened.metadata
    return next((text for key, text in found.items() if key.lower() == "comment"), None)


def _archive(path: Path) -> str | None:
    from zipfile import ZipFile

    with ZipFile(path) as archive:
        return archive.comment.decode("ascii", "replace")


def _tensors(path: Path) -> str | None:
    from entracte.store.tensor_file import read_texts

    return read_texts(path).get(KEY)


_READERS: "dict[str, Callable[[Path], Any]]" = {
    ".mp4": _clip,
    ".webm": _clip,
    **dict.fromkeys(_PICTURES, _picture),
    ".wav": _sound,
    ".npz": _archive,
    ".safetensors": _tensors,
}
