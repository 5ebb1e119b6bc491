"""Drawn texts and what our rules make of them: tests/vectors/cleaning_drawn.jsonl.

    python -m tools.make_drawn_cleaning [FILE]

For runners in other languages, which must clean a prompt as `compiler/entracte` does
(docs/prompts.md). A line each: the text, then as `lower`, `caption` and `prompt` clean it. Needs no
library; characters are of Unicode 3.2, or named here, so that every Python draws the same.
"""

import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from entracte.declare.host_ops.clean import CLEAN
from tools.make_cleaning_vectors import _MISREAD, _drawn, _pieces
from tools.one_word import place

FILE = Path(__file__).parents[1] / "tests" / "vectors" / "cleaning_drawn.jsonl"
_COUNT, _SEED = 1500, 16
_TAGS = _pieces(r"""
< < < > > / / = ' " ! ? - -- ] [ & # ; x X a b p br pre rt script style template textarea 1 0
<b <b> </ </b> <pre> </pre> <script> </script </ſcrıpt> <![cdata[ ]]> <!-- --> &amp; &lt; &#65;
&#x41 &#150; &notit; &a= '' == é <a␠x= <b␠y=" <i␠z==' <u␠v='' <p␠=' <b/␠c==" .""") + [
    "\x00", "\t", "\n", "\r", "\f", "\xa0",
]  # fmt: skip
_RULES = _pieces(r"""
a b F x X × х 1 2 12 123 12345 1234567 . . , : ; - _ / \ \n ' " @ # * ( ) [ ] { } | ~ ½ « ” ’
free shipping worldwide download click for on page image images .png .jpg mp4 .com www. www:
http:// https: .gov .ru +: %41 %c3%a9 %c3 %f0%9f %zz &quot &quot; &amp <person> 10x2.5 a1b
1a1 ab12 a1b1c 3:15 192.168.1.1 #123 #12345 é ٣ ² 中 ー — ‑ Σ ΣΑΣ ΑΣ'Α ΑΣ. Α'Σ İ ß ŉ""") + [
    "\u0301", "\xa0", "\u2028", "\x1f", "\x85",
]  # fmt: skip
_LETTERS = [chr(code) for code in range(0x20, 0x7F)]
_LATER = [*"🎬👩🚀🇩🇪🏽🥇🫠𞤀ꭰ𝼀Ꞔ", "\u200d", "\ufe0f", "\U0001e900"]
"""Of Unicode 4 to 14."""


def drawn() -> Iterator[str]:
    """The texts: no half of UTF-16 is in them, which texts of other languages cannot hold."""
    rng = random.Random(_SEED)
    kinds: tuple[Callable[[random.Random], str], ...] = (
        _drawn, _of(_TAGS, 30), _of(_TAGS + _RULES, 20), _of(_RULES, 20), _misread, _any, _letters,
    )  # fmt: skip
    for number in range(_COUNT):
        yield kinds[number % len(kinds)](rng)


def _of(pool: list[str], most: int) -> Callable[[random.Random], str]:
    def made(rng: random.Random) -> str:
        pieces = []
        for _ in range(rng.randint(1, most)):
            piece = rng.choice(pool)
            pieces += [piece.upper() if rng.random() < 0.1 else piece]
            pieces += [rng.choice(("", "", "", " ", "  ", "\n"))]
        return "".join(pieces)

    return made


def _misread(rng: random.Random) -> str:
    """Lines of UTF-8, read as something else up to three times, some of them damaged."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        line = " ".join(rng.choice(_MISREAD) for _ in range(rng.randint(1, 3)))
        for _ in range(rng.randint(0, 3)):
            kind = rng.choice(("latin-1", "windows"))
            line = "".join(_character(byte, kind) for byte in line.encode())
        if rng.random() < 0.2:
            place = rng.randrange(len(line))
            line = (
                line[:place] + rng.choice(("\xa0", " ", "", "中", "&eacute;")) + line[place + 1 :]
            )
        lines.append(line)
    return "\n".join(lines)


def _character(byte: int, kind: str) -> str:
    if kind == "latin-1":
        return chr(byte)
    return bytes([byte]).decode("cp1252", "ignore") or chr(byte)


def _any(rng: random.Random) -> str:
    """Characters of all kinds, between spaces and letters."""
    made = []
    for _ in range(rng.randint(1, 12)):
        made += [rng.choice(_LATER) if rng.random() < 0.1 else _assigned(rng)]
        made += [rng.choice(("", "", " ", "a", "Σ", "1", f"&#{rng.randrange(0x3000)};"))]
    return "".join(made)


def _assigned(rng: random.Random) -> str:
    tops = (0x3000, 0x3000, 0x10000, 0x10000, 0x20000, 0xE0200)
    while True:
        c = chr(rng.randrange(0x80, rng.choice(tops)))
        if unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs", "Co"):
            return c


def _letters(rng: random.Random) -> str:
    pool = _LETTERS + list("&<>;#/'\"") * 4
    return "".join(rng.choice(pool) for _ in range(rng.randint(1, 60)))


def made() -> str:
    """The file's text."""
    rows = (
        [text, *(CLEAN[rule](text) for rule in ("lower", "caption", "prompt"))] for text in drawn()
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    place(__doc__, FILE).write_text(made(), encoding="ascii")
