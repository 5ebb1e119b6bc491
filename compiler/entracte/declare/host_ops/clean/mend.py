"""What broken software left in a text, mended: the defaults of ftfy's `fix_text`, in rules of ours.

Mojibake, the hard part, is mended where a whole line is UTF-8 that was read as Latin-1 or as
Windows-1252 and has one of the common signs of it; docs/prompts.md says what is left alone.
"""

import html
import re
import unicodedata
from html.entities import html5

_MOST = 1_000_000
"""Characters that are mended together, where no line ends before."""
_REFERENCE = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_ESCAPE = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")
_LINE_BREAK = re.compile("\r\n|[\r\u2028\u2029\x85]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
_SIGN = re.compile(
    "[\x80-\x9f]|[ÂÃÎÐ][^\\x00-\\x7f…ŒŽ’¥]|[Ä-ÑØÜÝ][ƒˆ˜†‡‰¤¦§¨ª¬¯°±²³µ¶¸¹º¼½¾]"
    "|[ß-ñ][€¢£¥ŠŒŽŸƒˆ˜†‡‰¤¦¨ª¬¯¸º]|â‚¬"
)
"""Of UTF-8 that was read as something else: controls that nobody types; an accented letter before a
character that hardly ever follows one."""

_LIGATURES = {
    "Ĳ": "IJ", "ĳ": "ij", "ŉ": "ʼn", "Ǆ": "DŽ", "ǅ": "Dž", "ǆ": "dž", "Ǉ": "LJ", "ǈ": "Lj",
    "ǉ": "lj", "Ǌ": "NJ", "ǋ": "Nj", "ǌ": "nj", "Ǳ": "DZ", "ǲ": "Dz", "ǳ": "dz", "ﬀ": "ff",
    "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ſt", "ﬆ": "st",
}  # fmt: skip
_GONE = (*range(9), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF,
         *range(0xFFF9, 0xFFFD))  # fmt: skip


def _windows() -> dict[str, int]:
    """Windows-1252: a byte for each of its characters; one that has none is the control of its
    number."""
    read = {}
    for byte in range(256):
        try:
            read[bytes([byte]).decode("cp1252")] = byte
        except UnicodeDecodeError:
            read[chr(byte)] = byte
    return read


def _widths() -> dict[int, str]:
    """Full and half widths as usual ones; the wide space is no form of another in Unicode."""
    forms = (chr(code) for code in range(0xFF01, 0xFFF0))
    return {ord(c): unicodedata.normalize("NFKC", c) for c in forms} | {0x3000: " "}


_WINDOWS = _windows()
_BYTES = ({chr(code): code for code in range(256)}, _WINDOWS)
_MARKS = {byte: c for c, byte in _WINDOWS.items() if 0x80 <= byte < 0xA0}
_QUOTES = dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'") | dict.fromkeys(
    range(0x201C, 0x2020), '"'
)


def mend(text: str) -> str:
    """The text, every line mended until nothing changes. References are read up to the first line
    that has a `<`: it and all behind it are taken for HTML."""
    made, references = [], True
    for line in _lines(text):
        references = references and "<" not in line
        made.append(_mended(line, references))
    return "".join(made)


def _lines(text: str) -> list[str]:
    """With the `\\n` that ends each."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    return [line[k : k + _MOST] for line in lines for k in range(0, len(line), _MOST)]


def _mended(line: str, references: bool) -> str:
    before = None
    while line != before:
        before = line
        line = _REFERENCE.sub(_read, line) if references else line
        line = _reread(line)
        line = line.translate(_MARKS).translate(_CODES[0]).translate(_CODES[1]).translate(_QUOTES)
        line = _LINE_BREAK.sub("\n", line)
        line = _HALF.sub("\ufffd", _PAIR.sub(_joined, line))
        line = _ESCAPE.sub("", line).translate(dict.fromkeys(_GONE))
        line = unicodedata.normalize("NFC", line)
    return line


_CODES = ({ord(c): letters for c, letters in _LIGATURES.items()}, _widths())


def _reread(line: str) -> str:
    """The line, read as UTF-8 as long as it can have been misread."""
    while not line.isascii() and _SIGN.search(line):
        found = _as_utf8(line)
        if found is None:
            break
        line = found
    return line


def _as_utf8(line: str) -> str | None:
    for table in _BYTES:
        try:
            return bytes(table[c] for c in line).decode()
        except (KeyError, UnicodeDecodeError):
            continue
    return None


def _read(match: re.Match[str]) -> str:
    """A reference that ends in `;`: by its number, by its name, or by its name all in capitals."""
    spelled = match.group()
    name = spelled[1:]
    if name in html5:
        return html5[name]
    if name.startswith("#"):
        plain = html.unescape(spelled)
        return spelled if ";" in plain else plain
    small = name.lower()
    if small in html5 and name == name.upper() and html.unescape(spelled) == spelled:
        return html5[small].upper()
    return spelled


def _joined(match: re.Match[str]) -> str:
    """The character that two halves of UTF-16 are."""
    return match.group().encode("utf-16-le", "surrogatepass").decode("utf-16-le")
