"""A folder of weights, as downloads, disks and strangers leave them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import places, safetensor
from tests.fuzz.case import Case, Door

STEMS = ("text", "denoise", "decode")


def doors(case: Case) -> Sequence[Door]:
    """One of its files damaged, replaced, or spread over several."""
    folder, rng = case.folder / "weights", case.rng
    shutil.copytree(case.base / "weights", folder)
    what = rng.random()
    if what < 0.12:
        _tokenizer(case, folder)
    elif what < 0.2:
        _sharded(case, folder)
    elif what < 0.4:
        names = (*(f"{s}.safetensors" for s in STEMS), "tokenizer.json")
        file = folder / rng.choice(names)
        places.replace(file, rng, case.base.parent / "sentinel", case.notes)
    elif what < 0.43:
        places.replace(folder, rng, case.base.parent / "sentinel", case.notes)
    else:
        safetensor.change(folder / f"{rng.choice(STEMS)}.safetensors", case)
    return [Door(("weights", _spelled(case, folder), str(case.folder / "out")))]


def _spelled(case: Case, folder: Path) -> str:
    if case.rng.random() < 0.97:
        return str(folder)
    spec = case.rng.choice((
        "random:x", "random:", "random:99999999999999999999", "random:²", "package:", "package:/",
        "package:no.such.package/x", "package:json", "package:entracte.graphs", "''", "weights/no",
        "http://example.com/x", "~nobody/x", "random:-1", "package:..", "package:.x",
        "package:entracte.graphs/../../x",
    ))  # fmt: skip
    case.notes.append(f"weights: {spec}")
    return spec


def _tokenizer(case: Case, folder: Path) -> None:
    safetensor.change_tokenizer(folder / "tokenizer.json", case)


def _sharded(case: Case, folder: Path) -> None:
    """A folder of shards with an index that lies; or of shards that share a key."""
    stem = case.rng.choice(STEMS)
    file, place = folder / f"{stem}.safetensors", folder / stem
    place.mkdir()
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    shutil.move(file, place / names[0])
    case.notes.append(f"shards of {stem}")
    if case.rng.random() < 0.5:
        shutil.copyfile(place / names[0], place / names[1])
    if case.rng.random() < 0.7:
        safetensor.change(place / names[0], case)
    if case.rng.random() < 0.5:
        lie = '{"metadata": {}, "weight_map": {"inner.weight": "../../../sentinel/victim.txt"}}'
        (place / "model.safetensors.index.json").write_text(case.rng.choice((lie, "{", "")))
    if case.rng.random() < 0.2:
        (place / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'id'\ntR.")
