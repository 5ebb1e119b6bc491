"""The text of a piece of HTML, as Beautiful Soup with Python's own parser gives it (`.text`)."""

import re
from collections.abc import Callable
from html.entities import html5

_SPACES = " \n\t\f\r"
_HIDDEN = ("script", "style", "template", "rt", "rp")
"""Elements whose text is none of the page's."""
_KEEPING = ("pre", "textarea")
"""Elements in which white space is kept as it is."""
_RAW = ("script", "style")
"""Elements in which there are no tags but their own end."""
_EMPTY = {
    "area", "base", "basefont", "bgsound", "br", "col", "command", "embed", "frame", "hr", "image",
    "img", "input", "isindex", "keygen", "link", "menuitem", "meta", "nextid", "param", "source",
    "spacer", "track", "wbr",
}  # fmt: skip
"""Elements that have no text and no end."""
_START = re.compile(
    r"""<([a-zA-Z][^\t\n\r\f />\x00]*)
    (?:[\s/]*
        (?:(?<=['"\s/])[^\s/>][^\s/=>]*
            (?:\s*=+\s*(?:'[^']*'|"[^"]*"|(?!['"])[^>\s]*)\s*)?
            (?:\s|/(?!>))*)*
    )?\s*(/?>)?""",
    re.VERBOSE,
)
_END = re.compile(r"</(?:\s*([a-zA-Z][-.a-zA-Z0-9:_]*)\s*>|([a-zA-Z][^\t\n\r\f />\x00]*)[^>]*>)")
_KEPT = re.compile(r"<!\[cdata\[(.*?)\]\s*\]\s*>", re.DOTALL | re.IGNORECASE)
_DROPPED = re.compile(r"<!--.*?--\s*>|<(?:\?|!(?!--)|/)[^>]*>", re.DOTALL)
_NUMBER = re.compile(r"&#(?:([0-9]+)|[xX]([0-9a-fA-F]+))(?:;|(?=[^0-9a-fA-F]))")
_NAME = re.compile(r"&([a-zA-Z][-.a-zA-Z0-9]*)(?:;|(?=[^a-zA-Z0-9]))")
_WIDE, _DIGITS = 0x10FFFF, 8
_REPLACEMENT = "\ufffd"


def text_of(markup: str) -> str:
    """What a reader of it would see: no tags, comments or declarations; references read."""
    page = _Page(markup)
    page.read()
    return "".join(page.made)


class _Page:
    """A page, read from its begin to its end."""

    def __init__(self, markup: str) -> None:
        self._markup, self._place, self._again = markup, 0, False
        self._open: list[str] = []
        self._empty: list[str] = []
        self._run: list[str] = []
        self.made: list[str] = []

    def read(self) -> None:
        markup = self._markup
        while self._place < len(markup):
            begin = re.compile("[<&]").search(markup, self._place)
            self._take(begin.start() if begin else len(markup))
            if begin is None:
                break
            rest = markup[self._place : self._place + 2]
            if rest[0] == "<":
                self._tag(rest)
            elif rest == "&#":
                self._number()
            else:
                self._name()
        self._end_run()

    # ---------------------------------------------------------------- text

    def _take(self, end: int) -> None:
        """As it stands, up to there."""
        if end > self._place:
            self._run.append(self._markup[self._place : end])
        self._place = end

    def _end_run(self, is_marked: bool = False) -> None:
        """A tag ends a run of text. One of nothing but white space is a line break or a space."""
        if not self._run:
            return
        text = "".join(self._run)
        self._run = []
        if not text.strip(_SPACES) and not any(name in _KEEPING for name in self._open):
            text = "\n" if "\n" in text else " "
        if is_marked or not any(name in _HIDDEN for name in self._open):
            self.made.append(text)

    # ---------------------------------------------------------------- tags

    def _tag(self, begin: str) -> None:
        for pattern, does in self._kinds:
            if match := pattern.match(self._markup, self._place):
                return does(self, match)
        if begin[1:] and not begin[1].isascii() or begin[1:] not in ("/", "!", "?"):
            return self._take(self._place + 1)
        return self._unended()

    def _unended(self) -> None:
        """What is no tag because it does not end is text: up to the next `>`, else the next `<`."""
        self._again = True
        ends = self._markup.find(">", self._place + 1) + 1
        begins = self._markup.find("<", self._place + 1)
        self._take(ends or (begins if begins > 0 else self._place + 1))

    def _starts(self, match: re.Match[str]) -> None:
        name, end = match[1].lower(), match[2]
        after = self._markup[match.end() : match.end() + 1]
        if end is None and (after in ("", "=", "/") or after.isascii() and after.isalpha()):
            return self._unended()
        if end is None:
            return self._take(match.end())
        self._end_run()
        self._place = match.end()
        if end == ">" and name in _EMPTY:
            self._empty.append(name)
        elif end == ">":
            self._open.append(name)
            if name in _RAW:
                self._skip(name)
        return None

    def _skip(self, name: str) -> None:
        end = re.compile(rf"</\s*{name}\s*>", re.IGNORECASE).search(self._markup, self._place)
        self._place = end.start() if end else len(self._markup)

    def _ends(self, match: re.Match[str]) -> None:
        self._place = match.end()
        name = (match[1] or match[2]).lower()
        if name in self._empty:
            self._empty.remove(name)
            return
        self._end_run()
        while name in self._open and self._open.pop() != name:
            pass

    def _keeps(self, match: re.Match[str]) -> None:
        self._end_run()
        self._run, self._place = [match[1]], match.end()
        self._end_run(is_marked=True)

    def _drops(self, match: re.Match[str]) -> None:
        if match[0] != "</>":
            self._end_run()
        self._place = match.end()

    _kinds: tuple[tuple[re.Pattern[str], Callable[["_Page", re.Match[str]], None]], ...] = (
        (_START, _starts), (_END, _ends), (_KEPT, _keeps), (_DROPPED, _drops),
    )  # fmt: skip

    # ---------------------------------------------------------------- references

    def _number(self) -> None:
        match = _NUMBER.match(self._markup, self._place)
        if match:
            self._run.append(_character(match))
            self._place = match.end()
        elif self._again or ";" not in self._markup[self._place :]:
            # The parser gives up at its second one, and what is left stays as it is.
            self._take(len(self._markup))
        else:
            self._again = True
            self._take(self._place + 2)

    def _name(self) -> None:
        match = _NAME.match(self._markup, self._place)
        rest = self._markup[self._place + 1 :]
        if match:
            name = match[1]
            self._run.append(html5.get(name, html5.get(name + ";", "&" + name)))
            self._place = match.end()
        elif len(rest) == 1 and rest.isascii() and rest.isalpha():
            # The parser loses the & of one letter at the end.
            self._place += 1
            self._take(len(self._markup))
        elif rest[:1].isascii() and rest[:1].isalpha():
            self._take(len(self._markup))
        else:
            self._take(self._place + 1)


def _character(match: re.Match[str]) -> str:
    """By its number; those of controls that nobody types are of Windows-1252."""
    digits = (match[1] or match[2]).lstrip("0") or "0"
    code = int(digits, 10 if match[1] else 16) if len(digits) <= _DIGITS else _WIDE + 1
    if code == 0 or code > _WIDE or 0xD800 <= code < 0xE000:
        return _REPLACEMENT
    if 0x80 <= code < 0xA0:
        return bytes([code]).decode("cp1252", "ignore") or chr(code)
    return chr(code)
