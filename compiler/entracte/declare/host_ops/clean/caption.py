"""`clean: caption`: what DeepFloyd's IF did to captions, and all pipelines that took it over.

Source: `_clean_caption` of diffusers' pipelines (PixArt, Latte, Sana, Allegro, ...) and
`clean_caption` of Open-Sora 1.2, which is the same; told in rules of our own.
"""

import re
from urllib.parse import unquote_plus

from entracte.declare.host_ops.clean.markup import text_of
from entracte.declare.host_ops.clean.mend import mend
from entracte.declare.host_ops.clean.references import references_read

_HOST = r"[a-zA-Z0-9.\-]+\.(?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"
_BEGIN = r"(?:/{1,3}|[a-zA-Z0-9%])"
_FILES = "(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)"
_DASHES = (
    "\u002d\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0"
    "\ufe31\ufe32\ufe58\ufe63\uff0d"
)
_Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*rows: tuple[str, str]) -> _Rules:
    return tuple((re.compile(pattern), made) for pattern, made in rows)


_ADDRESSES = _rules(
    ("<person>", "person"),
    (rf"\b(?:https?:{_BEGIN}|{_HOST})", ""),
    (rf"\b(?:www:{_BEGIN}|{_HOST})", ""),
)
_SIGNS = _rules(
    (r"@\w+\b", ""),
    ("[\u31c0-\u9fff]+", ""),
    (f"[{_DASHES}]+", "-"),
    ("[`´«»“”¨]", '"'),
    ("[‘’]", "'"),
    ("&quot;?", ""),
    ("&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),
    (r"\d:\d\d\s+\Z", ""),
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.{_FILES}", ""),
    ("[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~)(\]\[}{|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)
_JOINED, _FEW = re.compile("[-_]"), 3
"""Words that are joined to one, and how many joints a caption may keep."""
_WORDS = _rules(
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b{_FILES}(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # noqa: RUF001 (the second is a Cyrillic letter)
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),
    (r"\s+", " "),
)
_ENDS = _rules(
    (r"\A[\"']([\w\W]+)[\"']\Z", r"\1"),
    (r"\A['_,\-:;]", ""),
    (r"['_,\-:+]\Z", ""),
    (r"\A\.\S+\Z", ""),
)


def clean_caption(caption: str) -> str:
    """The caption without addresses, markup, numbers of articles, names of files and the like."""
    text = _applied(_ADDRESSES, unquote_plus(caption).strip().lower())
    text = _applied(_SIGNS, text_of(text))
    if len(_JOINED.findall(text)) > _FEW:
        text = _JOINED.sub(" ", text)
    text = references_read(references_read(mend(text)))
    return _applied(_ENDS, _applied(_WORDS, text)).strip()


def _applied(rules: _Rules, text: str) -> str:
    for pattern, made in rules:
        text = pattern.sub(made, text)
    return text
