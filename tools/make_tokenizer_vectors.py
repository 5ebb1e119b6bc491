"""What the `tokenizers` library makes of texts: vectors for the runner's own tokenizers.

    python -m tools.make_tokenizer_vectors            # tests/vectors/tokenizations.jsonl
    python -m tools.make_tokenizer_vectors --train    # first, tests/vectors/tokenizers/*.json anew
    python -m tools.make_tokenizer_vectors --charsmap spiece.model   # and one with its characters

Small tokenizers lie in tests/vectors/tokenizers: some trained (their trainers need not give the
same each time, so the files are kept), some as the compiler makes them of
tests/vectors/sentencepiece. The texts are those of `tools/tokenizer_samples.py`: no character that
Unicode 14.0 lacks.
"""

import argparse
import json
import random
import struct
import unicodedata
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from tools.tokenizer_refusals import refused
from tools.tokenizer_samples import SAMPLES, SEED, texts

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"
FOLDER, FILE = VECTORS / "tokenizers", VECTORS / "tokenizations.jsonl"
CHARACTERS = VECTORS / "tokenizer_characters.json"
TEXTS = VECTORS / "tokenizer_texts.json"
REFUSED, SCORES = VECTORS / "tokenizer_refused.jsonl", VECTORS / "tokenizer_scores.json"
_PIECES = VECTORS / "sentencepiece"
_DRAWN_IDS = 8
_SHOWN = 8


def train() -> None:
    """Writes the files of tokenizers."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in SAMPLES.items():
        _write(name, make())
    for name, body in _compiled():
        _write(name, body)


def _write(name: str, body: dict[str, Any]) -> None:
    from tokenizers import Tokenizer

    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    Tokenizer.from_str(text)
    (FOLDER / f"{name}.json").write_text(text + "\n")


def _compiled() -> Iterator[tuple[str, dict[str, Any]]]:
    """SentencePiece's models as the compiler writes them."""
    import shutil
    import tempfile

    from entracte.emit.tokenizer.folder import read_tokenizer

    kinds = json.loads((_PIECES / "kinds.json").read_text())
    kinds["siglip"] = {"file": "spiece.model", "class": "SiglipTokenizer", "of": "unigram"}
    for name, kind in kinds.items():
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            shutil.copy(_PIECES / f"{kind.get('of', name)}.model", folder / kind["file"])
            config = {"tokenizer_class": kind["class"], "pad_token": "<unk>", "extra_ids": 3}
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
            found = read_tokenizer(kind["file"], partial(_there, folder))
        yield f"pieces_{name}", json.loads(found.data)


def _there(folder: Path, name: str) -> Path | None:
    return folder / name if (folder / name).is_file() else None


def charsmap(model: Path) -> None:
    """A tokenizer that shows, byte by byte, what a SentencePiece model's characters become."""
    import base64

    from entracte.emit.tokenizer.sentencepiece import read_sentencepiece

    made = SAMPLES["normal_nfc"]()
    spelled = base64.b64encode(read_sentencepiece(model.read_bytes()).charsmap).decode()
    made["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": spelled}
    _write("normal_charsmap", made)


# ---------------------------------------------------------------- cases


def spelled_texts() -> str:
    return json.dumps(texts(), indent=0) + "\n"


def lines() -> Iterator[str]:
    """A line for each tokenizer and text: see `_case`; and for ids drawn at random."""
    for file in sorted(FOLDER.glob("*.json")):
        encoder = _encoder(file)
        for number, text in enumerate(texts()):
            yield _line([file.stem, number, *_case(encoder, text)])
        yield from (_line([file.stem, number, *cut]) for number, cut in _cuts(encoder))
        rng = random.Random(f"{SEED} {file.stem}")
        for _ in range(_DRAWN_IDS):
            ids = [rng.randrange(encoder.get_vocab_size() + 2) for _ in range(rng.randrange(1, 14))]
            yield _line([file.stem, None, ids, _decoded(encoder, ids)])


def _line(record: list[Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _encoder(file: Path) -> Any:
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(file.read_text())
    made.no_padding()
    made.no_truncation()
    return made


def _case(encoder: Any, text: str) -> list[Any]:
    """Ids with marks; a hash of where each token stands and whether it is a mark; how many without
    marks; the decoded text, left out where it is the text. What is long is its count and a hash.
    Where the library fails, null."""
    try:
        made = encoder.encode(text)
        plain = encoder.encode(text, add_special_tokens=False)
    except Exception:
        return [None]
    places = [
        number
        for (begin, end), mark in zip(made.offsets, made.special_tokens_mask, strict=True)
        for number in (begin, end, mark)
    ]
    decoded = _decoded(encoder, made.ids)
    found = [_short(made.ids), hashed(places), len(plain.ids)]
    return found if decoded == _spelled(text) else [*found, decoded]


def _cuts(encoder: Any) -> Iterator[tuple[int, list[Any]]]:
    """Of some texts `[length, side]` and the ids that are left, where there are more of them."""
    for number, side in ((7, "right"), (8, "left"), (9, "right"), (41, "left"), (86, "left")):
        for length in (2, 3, 5):
            encoder.enable_truncation(length, direction=side)
            found = _case(encoder, texts()[number])
            if found[0] is not None:
                yield number, [[length, side], found[0], found[1]]
    encoder.no_truncation()


def _short(ids: list[int]) -> Any:
    return ids if len(ids) <= _SHOWN else {"count": len(ids), "hash": hashed(ids)}


def _spelled(text: str) -> Any:
    if len(text) <= _SHOWN:
        return text
    return {"count": len(text), "hash": hashed([ord(c) for c in text])}


def _decoded(encoder: Any, ids: list[int]) -> Any:
    try:
        return _spelled(encoder.decode(ids, skip_special_tokens=True))
    except BaseException:
        return None


def hashed(numbers: list[int]) -> int:
    """FNV-1a, 32 bits, of the numbers as four bytes each, low ones first."""
    value = 0x811C9DC5
    for byte in b"".join(number.to_bytes(4, "little") for number in numbers):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


# ---------------------------------------------------------------- characters

_CLASSES = {
    "space": r"\s", "word": r"\w", "digit": r"\d", "letter": r"\p{L}", "number": r"\p{N}",
    "mark": r"\p{M}",
    "punctuation": r"\p{P}", "symbol": r"\p{S}", "upper": r"\p{Lu}", "lower": r"\p{Ll}",
    "title": r"\p{Lt}",
    "modifier": r"\p{Lm}", "other_letter": r"\p{Lo}", "separator": r"\p{Z}", "dot": r".",
    "not_space": r"[^\S]",
    "folded": r"(?i:[sdmtk])",
}  # fmt: skip


def characters() -> str:
    """Runs of the characters of each class that patterns and parts of the library know; and a hash
    of what some normalizers make of all characters of Unicode 14.0, `|` between them."""
    from tokenizers import normalizers

    found: dict[str, Any] = {"known": list(runs([ord(c) for c in _known()]))}
    found |= {name: list(runs(points)) for name, points in _classes().items()}
    for name in ("Lowercase", "NFC", "NFD", "NFKC", "NFKD"):
        made = getattr(normalizers, name)().normalize_str("|".join(_known()))
        found[name] = hashed([ord(c) for c in made])
    return json.dumps(found, separators=(",", ":")) + "\n"


@cache
def _known() -> str:
    points = (c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c not in (2, 0x7C))
    return "".join(chr(c) for c in points if unicodedata.category(chr(c)) != "Cn")


def _classes() -> dict[str, list[int]]:
    from tokenizers import Regex, normalizers, pre_tokenizers

    known, found = _known(), {}
    between = "\x02".join(known)
    for name, regex in _CLASSES.items():
        made = normalizers.Replace(Regex(rf"(?!\x02)(?:{regex})"), "").normalize_str(between)
        found[name] = [
            ord(c) for c, left in zip(known, made.split("\x02"), strict=True) if not left
        ]
    spaced = pre_tokenizers.WhitespaceSplit().pre_tokenize_str(known)
    found["white_space"] = _lacking("".join(word for word, _ in spaced))
    numeric = pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str("|".join(known))
    found["numeric"] = [ord(word) for word, _ in numeric if len(word) == 1 and word != "|"]
    words = pre_tokenizers.Whitespace().pre_tokenize_str("|".join(known))
    found["word_of_rust"] = [ord(w) for w, _ in words if len(w) == 1 and w != "|"]
    return found


def _lacking(kept: str) -> list[int]:
    there = set(kept)
    return [ord(c) for c in _known() if c not in there]


def runs(points: list[int]) -> Iterator[int]:
    """First and last of each run of neighbours, one after the other."""
    start = None
    for n, point in enumerate(points):
        start = point if start is None else start
        if n + 1 == len(points) or points[n + 1] != point + 1:
            yield from (start, point)
            start = None


# ---------------------------------------------------------------- scores


def scores() -> str:
    """Numbers as they are spelled, and the bits of what the library reads: it rounds twice."""
    from tokenizers import Tokenizer

    rng = random.Random(SEED)
    drawn = [repr(-rng.random() * 10 ** rng.randrange(-3, 3)) for _ in range(300)]
    spelled = [
        *drawn, "0", "-0.0", "-1", "12", "1e3", "-2.5E-3", "1.5e+2", "-0.1234567890123456789012345",
        "123456789012345678901234567890", "-18446744073709551616.25", "18446744073709551615.0",
        "1844674407370955161.06", "1e308", "-1e-308", "5e-324", "1e-400", "123e-330", "0e999",
        "0.0e-999",
        "9007199254740993", "-9223372036854775809", "18446744073709551616", "3.0e0",
        "100000000000000000000.5e-20",
    ]  # fmt: skip
    entries = ",".join(f'["{n}",{number}]' for n, number in enumerate(spelled))
    made = Tokenizer.from_str(
        '{"version":"1.0","model":{"type":"Unigram","unk_id":0,"vocab":[' + entries + "]}}"
    )
    found = [score for _, score in json.loads(made.to_str())["model"]["vocab"]]
    bits = [struct.pack(">d", float(score)).hex() for score in found]
    return json.dumps(list(zip(spelled, bits, strict=True)), separators=(",", ":")) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--charsmap", type=Path)
    given = parser.parse_args()
    if given.train:
        train()
    if given.charsmap:
        charsmap(given.charsmap)
    TEXTS.write_text(spelled_texts())
    FILE.write_text("".join(f"{line}\n" for line in lines()))
    CHARACTERS.write_text(characters())
    SCORES.write_text(scores())
    REFUSED.write_text("".join(f"{_line(list(given))}\n" for given in refused()))


if __name__ == "__main__":
    main()
