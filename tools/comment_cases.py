"""What tests/vectors/media.jsonl gives of runs: what files say of how they were made, and several
runs of one plan. `tools/make_media_vectors.py` says what this side makes of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from entracte.run.metadata import Metadata, comment_of
from tools.media_cases import Record, output_of

_PLAN = "0a" * 32
_RUNNER = {"made_by": "entracte 0.1.0", "pipeline": "tiny_t2v", "plan": _PLAN}
_ODD = 'a "red" \\ circle,\n\tmoves\x7f\x00 \u00fc \u2028 \U0001f680 \ud7ff\ue000'
_COMMENT = '{"made_by":"entracte 0.1.0","inputs":{"prompt":"a \\"b\\" \\u00fc","seed":3}}'


def metadata_of(record: Record) -> str:
    """What a file says of how it was made, from a record's fields."""
    inputs = [(k, v[0] * v[1] if isinstance(v, list | tuple) else v) for k, v in record["inputs"]]
    tables = {"inputs": tuple(inputs), "versions": tuple((k, v) for k, v in record["versions"])}
    names = ("made_by", "pipeline", "plan", "device", "arithmetic")
    return comment_of(Metadata(**{k: record[k] for k in names}, **tables))


def _metadata(
    what: str, *inputs: tuple[str, str | int | float | tuple[str, int]], **more: Any
) -> Record:
    """A text may be given as a letter and how often it stands there."""
    plain = {"device": "reference", "arithmetic": "hybrid", "versions": [["python", "3.11.9"]]}
    return {"does": "metadata", "what": what, **_RUNNER, "inputs": inputs, **plain} | more


def _said() -> Iterator[Record]:
    yield _metadata("nothing given", versions=[], arithmetic="", device="coreml")
    yield _metadata("a prompt and a seed", ("prompt", "a red circle"), ("seed", 3))
    yield _metadata("letters of all kinds", ("prompt", _ODD), (_ODD, "x"), pipeline=_ODD)
    numbers = (0, -1, 2**63 - 1, -(2**63), 0.5, -0.0, 5.0, 1e16, 1e22, 123456789.125, 1e-7, 3.4e38)
    yield _metadata("numbers", *((f"n{k}", n) for k, n in enumerate(numbers)))
    # 200 letters stay where all is too long, 201 do not; what is not ASCII is six bytes a letter.
    letters = (("a", 60_000), ("b", 200), ("\u00e9", 200), ("\U0001f680", 201))
    yield _metadata("a text that is too long", *((f"t{k}", t) for k, t in enumerate(letters)))
    room = 60_000 - _written_bytes(_metadata("", ("p", "")))
    # The last length that is told, and the first that is not.
    yield _metadata("as long as there is room", ("p", ("a", room)))
    yield _metadata("a letter more", ("p", ("a", room + 1)))
    yield _metadata("too much", *((f"t{k}", ("\U0001f680", 200)) for k in range(30)))


def _written_bytes(record: Record) -> int:
    return len(metadata_of(record))


def _files() -> Iterator[Record]:
    """Each format with a comment, and the one that has no room for it."""
    draw = np.random.default_rng(21)

    def some(shape: tuple[int, ...]) -> np.ndarray:
        made: np.ndarray = draw.uniform(0, 1, shape).astype(np.float32)
        return made

    sound = output_of("audio", -1, [some((1, 31))], low=-1.0, rate=8000.0)
    video = output_of("video", 2, [some((1, 3, 2, 4, 6)), some((1, 3, 1, 4, 6))])
    image = output_of("image", 0, [some((1, 3, 5, 3))])
    tensor = output_of("tensor", 0, [some((2, 3))])
    other = output_of("tensor", 0, [some((1,))], name="other")
    for ending, outputs in (
        (".png", [image]),
        (".png", [video]),
        ("/", [video]),
        (".wav", [sound]),
        (".npz", [tensor, other]),
        (".safetensors", [tensor, other]),
        (".npy", [tensor]),
    ):
        # An odd and an even number of bytes.
        for comment in (_COMMENT, _COMMENT + " "):
            what = f"{outputs[0]['kind']} with {len(comment)} letters"
            yield {"does": "write", "what": what, "ending": ending, "outputs": outputs,
                   "comment": comment}  # fmt: skip


# ---------------------------------------------------------------- several runs


def _batch(what: str, out: str, *values: tuple[str, list[str | int]]) -> Record:
    return {"does": "batch", "what": what, "out": out, "values": values}


def _batches() -> Iterator[Record]:
    circle, square = "a red circle", "A blue  Square!"
    seeds: tuple[str, list[str | int]] = ("seed", [0, 1, 12])
    yield _batch("one", "clip.mp4", ("prompt", [circle]), ("seed", [3]))
    yield _batch("none", "clip.mp4")
    yield _batch("seeds", "a.b/clip.mp4", ("prompt", [circle]), seeds)
    yield _batch("prompts and seeds", "frames/", ("prompt", [circle, square]), seeds)
    yield _batch("without an ending", "clip", ("prompt", [circle, square]))
    yield _batch("a hidden one", "x/.npy", ("prompt", [circle, square]))
    yield _batch("the same letters", "clip.NPZ", ("prompt", [circle, "a red, circle", "RED"]))
    yield _batch("no letters", "x.npy", ("prompt", ["\u8d64\u3044\u4e38", circle]))
    yield _batch("many without letters", "x.npy", ("prompt", ["\u4e38" * k for k in range(1, 12)]))
    long = "a picture of a very large square that moves up"
    kelvin = "300 \u212a \u0130 \u00df \u0661"
    yield _batch("long ones", "x.npy", ("prompt", [long, "b" * 60 + " c", "d " * 40, kelvin]))
    yield _batch("a text twice", "x.npy", ("prompt", [circle, "b", circle]))
    yield _batch("a seed twice", "x.npy", ("seed", [4, 5, 4]))
    yield _batch("too many", "x.npy", ("a", list(range(101))), ("b", list(range(100))))


def given() -> Iterator[Record]:
    """All records, without what is made of them."""
    yield from _said()
    yield from _files()
    yield from _batches()
