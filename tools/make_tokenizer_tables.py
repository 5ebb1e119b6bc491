"""What the `tokenizers` library knows of characters, as Swift source for the runner's tokenizers.

The library is built of several crates, each with the Unicode tables of its year; so the tables are
asked of the library itself, all characters at once:

    python tools/make_tokenizer_tables.py            # writes the Swift files
    python tools/make_tokenizer_tables.py --check    # says whether they are what it writes
"""

import argparse
import sys
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

SWIFT = Path(__file__).parent.parent / "compiler/swift/Sources/EntracteText/Tables"
_WIDTH = 100
_HANGUL = range(0xAC00, 0xAC00 + 11172)
_BETWEEN = "\x01"
"""Stands between characters that are asked about: nothing composes with it or sorts across it."""


def characters() -> list[str]:
    """All but halves of surrogate pairs, and what stands between them."""
    found = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    found.remove(_BETWEEN)
    return found


@cache
def normalized(form: str) -> dict[str, str]:
    """Character -> what the library's normal form makes of it, where that is something else."""
    from tokenizers import normalizers

    asked = characters()
    made = getattr(normalizers, form)().normalize_str(_BETWEEN.join(asked)).split(_BETWEEN)
    if len(made) != len(asked):
        raise AssertionError(f"{form}: {len(made)} of {len(asked)}")
    return {a: b for a, b in zip(asked, made, strict=True) if a != b}


def removed(normalizer: Any) -> list[int]:
    """Characters that a normalizer leaves out; it keeps `|`."""
    asked = [c for c in (*characters(), _BETWEEN) if c != "|"]
    made = normalizer.normalize_str("|".join(asked)).split("|")
    if len(made) != len(asked):
        raise AssertionError(f"{len(made)} of {len(asked)}")
    return sorted(ord(c) for c, found in zip(asked, made, strict=True) if not found)


def classes() -> dict[str, list[int]]:
    """Name in Swift -> code points."""
    from tokenizers import normalizers, pre_tokenizers

    def bert(**on: bool) -> Any:
        given = dict.fromkeys(
            ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False
        )
        return normalizers.BertNormalizer(**(given | on))

    punctuation = pre_tokenizers.Punctuation("removed")
    kept = "".join(c for c, _ in punctuation.pre_tokenize_str("".join(characters())))
    return {
        "combiningMark": removed(normalizers.StripAccents()),
        "bertMark": removed(bert(strip_accents=True)),
        "bertOther": removed(bert(clean_text=True)),
        "punctuation": sorted({ord(c) for c in characters()} - {ord(c) for c in kept}),
    }


def runs(points: list[int]) -> Iterator[tuple[int, int]]:
    """(first, count) of neighbours."""
    start = None
    for n, point in enumerate(points):
        if start is None:
            start = point
        if n + 1 == len(points) or points[n + 1] != point + 1:
            yield start, point - start + 1
            start = None


def spelled_runs(points: list[int]) -> str:
    """Gap and count of each run, hexadecimal; a count of 1 is not spelled."""
    out, at = [], 0
    for first, count in runs(points):
        out.append(f"{first - at:x}" + (f"+{count:x}" if count > 1 else ""))
        at = first + count
    return " ".join(out)


def spelled_decompositions() -> tuple[str, str]:
    """Canonical ones (with `!` where nothing composes to the character), and compatible ones where
    they are others. Each entry: the gap to the entry before, `:`, the characters."""
    nfc, nfd, nfkd = (normalized(form) for form in ("NFC", "NFD", "NFKD"))

    def spelled(found: dict[str, str], mark: Callable[[str], str]) -> str:
        out, at = [], 0
        for c in sorted(found):
            if ord(c) in _HANGUL:
                continue
            out.append(f"{ord(c) - at:x}{mark(c)}:" + ",".join(f"{ord(d):x}" for d in found[c]))
            at = ord(c)
        return " ".join(out)

    other = {c: made for c, made in nfkd.items() if made != nfd.get(c, c)}
    return spelled(nfd, lambda c: "!" if c in nfc else ""), spelled(other, lambda _: "")


def spelled_classes_of_marks() -> str:
    """Runs of equal combining classes: gap, count, class."""
    found = {ord(c): unicodedata.combining(c) for c in characters() if unicodedata.combining(c)}
    found = {c: n for c, n in found.items() if _sorts(c, n)}
    out, at = [], 0
    for first, count, of in _equal_runs(found):
        out.append(f"{first - at:x}" + (f"+{count:x}" if count > 1 else "") + f":{of:x}")
        at = first + count
    return " ".join(out)


def _equal_runs(found: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    points = sorted(found)
    start = 0
    for n in range(1, len(points) + 1):
        last = points[n - 1]
        if n < len(points) and points[n] == last + 1 and found[points[n]] == found[last]:
            continue
        yield points[start], last - points[start] + 1, found[last]
        start = n


@cache
def _form() -> Any:
    from tokenizers import normalizers

    return normalizers.NFD()


def _sorts(point: int, number: int) -> bool:
    """Whether the library, whose tables are older, knows that the mark has that class."""
    low, high = "\u0334", "\u0345"  # of the lowest class, 1, and of the highest, 240
    mark = chr(point)
    if number > 1:
        return str(_form().normalize_str("a" + mark + low)) == "a" + low + mark
    return str(_form().normalize_str("a" + high + mark)) == "a" + mark + high


# ---------------------------------------------------------------- Swift


def lines(text: str) -> Iterator[str]:
    """Words of a text, as many on a line as have room."""
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > _WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def literal(name: str, doc: str, text: str) -> str:
    body = "\n".join(f"        {line}" for line in lines(text))
    return f'    /// {doc}\n    static let {name} = """\n{body}\n        """\n'


_HEAD = """\
// Written by tools/make_tokenizer_tables.py, which asks the `tokenizers` library (0.23): its crates
// have the Unicode tables of different years. Do not edit.

"""
_CLASS_DOCS = {
    "combiningMark": "What `StripAccents` leaves out.",
    "bertMark": "What `BertNormalizer` leaves out as an accent.",
    "bertOther": "What `BertNormalizer` leaves out as a control character.",
    "punctuation": "What `Punctuation` and `BertPreTokenizer` take for punctuation.",
}


def files() -> dict[str, str]:
    """Name of a Swift file -> its text."""
    found = classes()
    body = "\n".join(literal(n, _CLASS_DOCS[n], spelled_runs(found[n])) for n in found)
    canonical, compatible = spelled_decompositions()
    forms = "\n".join(
        [
            literal(
                "canonical",
                "Gap to the entry before (hexadecimal), `!` where none composes to it, `:`, parts.",
                canonical,
            ),
            literal("compatible", "Those that have another compatible one.", compatible),
            literal(
                "combiningClasses",
                "Gap, `+` and how many where it is not one, `:`, class.",
                spelled_classes_of_marks(),
            ),
        ]
    )
    return {
        "CharacterTables.swift": f"{_HEAD}/// Runs of code points: gap to the run before, `+` and "
        f"how many where it is not one; hexadecimal.\nenum CharacterTables {{\n{body}}}\n",
        "NormalFormTables.swift": f"{_HEAD}/// Decompositions but those of Hangul syllables, and "
        f"combining classes.\nenum NormalFormTables {{\n{forms}}}\n",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    SWIFT.mkdir(parents=True, exist_ok=True)
    wrong = []
    for name, text in files().items():
        file = SWIFT / name
        if check and (not file.is_file() or file.read_text() != text):
            wrong.append(name)
        if not check:
            file.write_text(text)
    if wrong:
        print(f"not what is written today: {', '.join(wrong)}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
