"""What a run gives, as files: one row for each ending.

The ending of a file's name says what is meant. To add one, write its row here and put it into
`FORMATS`. A writer takes pieces as they are made; formats that need all at once take them at the
end, from the disk (`run/spool.py`). numpy and what encodes pictures are imported by what writes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from entracte.declare.edges import joined_port, output_fault
from entracte.errors import PlanError
from entracte.ir import Output, Plan, Port, TensorDecl
from entracte.run.comment import KEY, SAFETENSORS
from entracte.run.spool import Spool
from entracte.run.video import (
    Clip,
    Frames,
    enlarged,
    image_fault,
    to_frames,
    to_pictures,
    video_fault,
    write_gif,
    write_picture,
    write_sheet,
)
from entracte.run.wave import Wave, to_samples, wave_fault

FOLDER = "/"
"""In place of an ending: a folder of numbered pictures."""


@dataclass(frozen=True, slots=True)
class Made:
    """An output and the tensor that all its parts are together."""

    output: Output
    port: Port
    folder: Path = Path()
    """Of the build: where its tokenizer is."""
    scale: int = 1
    """How many times clips and GIFs are enlarged."""
    metadata: str = ""
    """What its file says of how it was made (`run/metadata.py`)."""


class Writer(Protocol):
    """One file in the making."""

    def take(self, piece: Any) -> None:
        """The next piece, as the format's `grain` made it."""

    def finish(self, spools: Mapping[str, Spool]) -> None:
        """All came; they are also in the spools, by output."""

    def abandon(self) -> None:
        """The file is not to be: close it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file."""

    ending: str
    kinds: tuple[str, ...]
    """Of outputs that it holds."""
    grain: Callable[[Output, Any], Any]
    """A piece as the file has it."""
    grain_axis: int | None = 0
    """Along which such pieces are joined; None: as the output says."""
    called: str = "tensor"
    """What is kept where the file cannot be written."""
    fault: Callable[[Made], str | None] = lambda _: None
    """Why such a file cannot hold it."""
    open: Callable[[Sequence[Made], Path], Writer]
    many: bool = False
    """It holds several outputs, by name."""


def made_of(
    plan: Plan, folder: Path = Path(), *, scale: int = 1, metadata: str = ""
) -> tuple[Made, ...]:
    """The outputs of a plan, each as the tensor of all its parts; `scale` and `metadata` are those
    of `Made`. Raises `PlanError` for one that is not of its kind."""
    decls = {t.name: t for t in plan.program.tensors}
    found = []
    for output in plan.program.outputs:
        ports = [_whole(decls[v], output.axis) for v in output.values]
        if fault := output_fault(output, ports):
            raise PlanError(f"plan: output {output.name}: {fault}")
        found.append(Made(output, joined_port(output, ports), folder, scale, metadata))
    return tuple(found)


def _whole(decl: TensorDecl, axis: int) -> Port:
    """All pieces of a part."""
    shape = list(decl.port.shape)
    if decl.streamed:
        shape[axis] *= decl.streamed
    return replace(decl.port, shape=tuple(shape))


# ---------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True)
class _AtEnd:
    """A writer that needs all at once."""

    write: Callable[[Mapping[str, Spool]], None]

    def take(self, piece: Any) -> None:
        """It is in the spool."""

    def finish(self, spools: Mapping[str, Spool]) -> None:
        self.write(spools)

    def abandon(self) -> None:
        """Nothing was begun."""


def _only(spools: Mapping[str, Spool]) -> Spool:
    (spool,) = spools.values()
    return spool


def _video_grain(output: Output, piece: Any) -> Any:
    return to_frames(piece, output.low, output.high)


def _image_grain(output: Output, piece: Any) -> Any:
    return to_pictures(piece, output.low, output.high)


def _pictures(output: Output, piece: Any) -> Any:
    return (_video_grain if output.kind == "video" else _image_grain)(output, piece)


def _clip(ending: str) -> Format:
    return Format(
        ending=ending,
        kinds=("video",),
        grain=_video_grain,
        called="frames",
        fault=lambda m: video_fault(m.port.shape, ending, m.output.rate, m.scale),
        open=lambda made, path: _open_clip(ending, made[0], path),
    )


def _open_clip(ending: str, made: Made, path: Path) -> Writer:
    shape, rate = made.port.shape, made.output.rate
    return Clip(path, ending, shape, rate, scale=made.scale, metadata=made.metadata)


def _gif(made: Sequence[Made], path: Path) -> Writer:
    def write(spools: Mapping[str, Spool]) -> None:
        large = enlarged(_only(spools).mapped(), made[0].scale)
        write_gif(large, path, made[0].output.rate, made[0].metadata)

    return _AtEnd(write)


def _picture(ending: str, kinds: tuple[str, ...]) -> Format:
    def write(made: Sequence[Made], path: Path) -> Writer:
        encode = write_sheet if made[0].output.kind == "video" else write_picture
        metadata = made[0].metadata
        return _AtEnd(lambda spools: encode(_only(spools).mapped(), path, ending, metadata))

    return Format(
        ending=ending,
        kinds=kinds,
        grain=_pictures,
        called="pictures",
        fault=lambda m: _pictures_fault(m, ending),
        open=write,
    )


def _pictures_fault(made: Made, ending: str) -> str | None:
    if made.output.kind == "image":
        return image_fault(made.port.shape, ending)
    return video_fault(made.port.shape, ending, made.output.rate)


def _text(made: Sequence[Made], path: Path) -> Writer:
    from entracte.run.text import text_of

    def write(spools: Mapping[str, Spool]) -> None:
        tokens = _only(spools).mapped().reshape(-1).tolist()
        path.write_text(text_of(made[0].output, tokens, made[0].folder) + "\n", "utf-8")

    return _AtEnd(write)


def _tensor(
    ending: str, write: Callable[[Mapping[str, Spool], Path, str], None], many: bool
) -> Format:
    return Format(
        ending=ending,
        kinds=("video", "image", "audio", "text", "tensor"),
        grain=lambda _, piece: piece,
        grain_axis=None,
        open=lambda made, path: _AtEnd(lambda spools: write(spools, path, made[0].metadata)),
        many=many,
    )


def _write_npy(spools: Mapping[str, Spool], path: Path, _: str) -> None:
    with path.open("wb") as file:
        _only(spools).write_npy(file)


def _write_npz(spools: Mapping[str, Spool], path: Path, metadata: str) -> None:
    from typing import cast
    from zipfile import ZipFile

    with ZipFile(path, "w") as archive:
        # Of the archive, and no entry: whoever goes through the entries finds arrays only.
        archive.comment = metadata.encode()
        for name, spool in spools.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                spool.write_npy(cast(BinaryIO, file))


def _write_safetensors(spools: Mapping[str, Spool], path: Path, metadata: str) -> None:
    """The header, padded to 8 bytes as the library does, then the tensors in its order."""
    import json

    codes = {"float16": "F16", "float32": "F32", "int32": "I32"}
    header: dict[str, Any] = {SAFETENSORS: {KEY: metadata}} if metadata else {}
    at = 0
    for name, spool in spools.items():
        header[name] = {
            "dtype": codes[spool.dtype.name],
            "shape": list(spool.shape),
            "data_offsets": [at, at + spool.size_bytes],
        }
        at += spool.size_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for spool in spools.values():
            for block in spool.blocks():
                file.write(block)


_ROWS = (
    _clip(".mp4"),
    _clip(".webm"),
    Format(
        ending=".gif",
        kinds=("video",),
        grain=_video_grain,
        called="frames",
        fault=lambda m: video_fault(m.port.shape, ".gif", m.output.rate, m.scale),
        open=_gif,
    ),
    _picture(".png", ("image", "video")),
    _picture(".jpg", ("image",)),
    _picture(".jpeg", ("image",)),
    _picture(".webp", ("image",)),
    Format(
        ending=FOLDER,
        kinds=("video", "image"),
        grain=_pictures,
        called="pictures",
        fault=lambda m: _pictures_fault(m, FOLDER),
        open=lambda made, path: Frames(path, made[0].metadata),
    ),
    Format(
        ending=".wav",
        kinds=("audio",),
        grain=lambda output, piece: to_samples(piece, output.low, output.high),
        called="samples",
        fault=lambda m: wave_fault(m.port.shape, m.output.rate),
        open=lambda made, path: Wave(
            path, made[0].port.shape, made[0].output.rate, made[0].metadata
        ),
    ),
    Format(
        ending=".txt", kinds=("text",), grain=lambda _, piece: piece, grain_axis=None, open=_text
    ),
    _tensor(".npy", _write_npy, many=False),
    _tensor(".npz", _write_npz, many=True),
    _tensor(".safetensors", _write_safetensors, many=True),
)
FORMATS = {row.ending: row for row in _ROWS}
_USUAL = {
    "video": ("clip", ".mp4"),
    "image": ("image", ".png"),
    "audio": ("audio", ".wav"),
    "text": ("text", ".txt"),
    "tensor": ("output", ".npy"),
}
"""Of a kind: what its file is called, and its ending."""


def usual_name(output: Output, *, alone: bool) -> str:
    """What an output's file is called where nobody says so: as its kind is, or, of several outputs,
    as the output is."""
    stem, ending = _USUAL[output.kind]
    return f"{stem if alone else output.name}{ending}"


def endings_for(made: Made) -> list[str]:
    """Of files that can hold an output."""
    rows = FORMATS.values()
    return [r.ending for r in rows if made.output.kind in r.kinds and r.fault(made) is None]
