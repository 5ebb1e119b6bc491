"""Pairs of texts as the real libraries clean them: tests/vectors/text_cleaning_more.json.

    python -m tools.make_cleaning_vectors [FILE]

Needs what the project does without: ftfy, beautifulsoup4 and diffusers (whose `_clean_caption` and
`prompt_clean` are called as they are). Texts are drawn of a seed from words, signs, markup and odd
characters. Those in which ftfy's guess at mojibake plays a part stand apart, under `mojibake`:
docs/prompts.md says which of them our rules leave as they are.
"""

import html
import json
import random
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.one_word import place

FILE = Path(__file__).parents[1] / "tests" / "vectors" / "text_cleaning_more.json"
_PAIRS, _SEED = 400, 20


def _pieces(text: str) -> list[str]:
    """Parted by white space; an underlined space is a space."""
    return [piece.replace("␠", " ") for piece in text.split()]


_WORDS = _pieces(r"""
a red circle moves right woman at the beach, sunny. city-street snow_fall slow-motion Don't free
shipping download page 12 click for on here worldwide image images png jpg dog.mp4 IMG_12.JPG 1080p
4k 3d x1 jc6640 abc123def 66a77 j2d1a2a 10x20 5×7 3.5x4 3:15 #12 #12345 #1234567 123456 192.168.1.10
https://example.org/a.png http:foo www.example.com/x?y=1 www:abc me@mail.com @nick <person> Score:
6.5. left. |0| |1| %20 %C3%A9 a+b %zz % 100% + \n \\ / * ~ § ... .. . , ; : - -- _ ' " '' ""
! ? ( ) [ ] { } ® © ™ ¿ ¡ º""")
_SIGNS = _pieces("""
é ü ñ ß İ ı ΟΔΟΣ ς ﬁ ﬂ ﬆ ĳ ǆ ŉ ＡＢＣ １２ ｱｲｳ ｶﾞ “ ” ‘ ’ « » ´ ` ¨ … – — ― 가 日本語 一只猫
カタカナ ㈱ ㌔ 🎬 🇩🇪 ٣ ४ ² ½ Ⅷ ① א ب ไทย хx × ﷺ ￡ ＜b＞ ＆amp； ʼ ‛ ‟ µ Å 𝐀""") + [
    "\u2028", "\x85", "\x1b[31m", "\x00", "\x07", "\u200b", "\u200d", "\ufeff", "\u202e", "e\u0301",
    "A\u030a", "\u1100\u1161", "\ufffc", "\xa0", "\u2003", "\u3000", "👩\u200d🚀",
]  # fmt: skip
_MARKUP = _pieces("""
<b> </b> <i␠class='x'> <br> <br/> </br> <p> </p> <script>x<b>y</script> <script> <style>a{}</style>
<template> </template> <rt> </rt> <pre> < > <3 <- << <a␠href="x>y"> <a␠href='x <img␠src=x/> </>
</␠b> </1> <!--␠c␠--> <!-- <!doctype␠html> <!x> <?pi> <![CDATA[x]]> <ruby> & && &amp; &amp
&amp;amp; &lt; &lt;b&gt; &gt; &quot; &quot &#39; &#39 &#x27; &#x110000; &#0; &#150; &#xzz; &# &#;
&nbsp; &copy; &copy &eacute; &EACUTE; &Eacute; &foo; &foo &notit; &not &hellip; &ngE; &a""")
_MISREAD = _pieces("""
Café à la crème, naïve fiancée's étude — “quoted” ‘single’ … • € £5 © 2020 ½ × ÷ ° élève Noël
Ærøskøbing Straße über Öl niño señor São Paulo Привет мир Красный круг Γειά σου κόσμε 🎬 👍🏽 → ★
✔ ♥ 一只猫 日本語 カタカナ 한국어 Żółć gęślą Příliš žluťoučký čeština ığüşöç İstanbul ไทย العربية
עברית""")


def main(file: Path = FILE) -> None:
    """Writes the file."""
    import bs4
    import ftfy
    from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
    from diffusers.pipelines.wan import pipeline_wan

    warnings.filterwarnings("ignore")
    modules = {"html": html, "ftfy": ftfy}
    for name in (PixArtAlphaPipeline.__module__, pipeline_wan.__name__):
        vars(sys.modules[name]).update(modules)
    vars(sys.modules[PixArtAlphaPipeline.__module__])["BeautifulSoup"] = bs4.BeautifulSoup
    bare = object.__new__(PixArtAlphaPipeline)
    rng, fix = random.Random(_SEED), ftfy.fix_text

    def without(clean: Callable[[str], str], text: str) -> str:
        ftfy.fix_text = lambda text: fix(text, fix_encoding=False)
        try:
            return clean(text)
        finally:
            ftfy.fix_text = fix

    def pairs(clean: Callable[[str], str]) -> list[list[str]]:
        made: dict[str, str] = {}
        while len(made) < _PAIRS:
            text = _drawn(rng)
            if (out := clean(text)) == without(clean, text):
                made[text] = out
        return [list(pair) for pair in made.items()]

    said = {
        "libraries": {"ftfy": ftfy.__version__, "beautifulsoup4": bs4.__version__,
                      "python (html.parser)": sys.version.split()[0]},
        "unicode": unicodedata.unidata_version,
        "caption": pairs(lambda text: bare._clean_caption(bare._clean_caption(text))),
        "prompt": pairs(pipeline_wan.prompt_clean),
        "mojibake": [[text, fix(text)] for text in _misread()],
    }  # fmt: skip
    text = json.dumps(said, ensure_ascii=True, indent=0)
    file.write_text(re.sub(r"\n(?=[\]\"]|\[\n)", "", text) + "\n")


def _drawn(rng: random.Random) -> str:
    pools: Sequence[Sequence[str]] = rng.choice(
        ((_WORDS,), (_WORDS, _SIGNS), (_WORDS, _MARKUP), (_SIGNS, _SIGNS, _WORDS),
         (_WORDS, _SIGNS, _MARKUP), ([chr(code) for code in range(32, 127)],))
    )  # fmt: skip
    made = []
    for _ in range(rng.randint(1, 12)):
        word = rng.choice(rng.choice(pools))
        made += [word.upper() if rng.random() < 0.1 else word]
        made += [rng.choice(("", " ", " ", " ", "  ", "\n", "\t"))]
    return "".join(made)


def _misread() -> list[str]:
    """UTF-8, read as Latin-1 and as Windows-1252 (where it has no character, as the control)."""
    whole = [*_MISREAD, "a “red” circle moves — à droite, très vite"]
    texts = [word.encode().decode("latin-1") for word in whole]
    for word in whole:
        texts += ["".join(_windows(byte) for byte in word.encode())]
    return list(dict.fromkeys(text for text in texts if not text.isascii()))


def _windows(byte: int) -> str:
    return bytes([byte]).decode("cp1252", "ignore") or chr(byte)


if __name__ == "__main__":
    main(place(__doc__, FILE))
