"""Links of the pages: every file, heading and picture that one names is there.

    python -m tools.page_links             # the Markdown, as GitHub shows it
    python -m tools.page_links build/site  # a site that mkdocs has built

Prints each link that leads nowhere; exit status 1 if there is one. Addresses on the web are not
asked.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent
_ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|//", re.IGNORECASE)
"""An address with a scheme, or on another host."""
_ADDRESS = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src"}


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page can be entered (`anchors`), and what it leads to (`links`, as written)."""

    anchors: frozenset[str]
    links: tuple[str, ...]


def markdown_page(text: str) -> Page:
    """Headings have the anchors that GitHub gives them; links in code are none."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    anchors: list[str] = []
    links: list[str] = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type != "inline":
            continue
        links += _inline_links(token)
        if before is not None and before.type == "heading_open":
            anchors.append(_anchor(token, anchors))
    return Page(frozenset(anchors), tuple(links))


def _inline_links(token: Token) -> Iterator[str]:
    for child in token.children or ():
        if (address := child.attrGet("href") or child.attrGet("src")) is not None:
            yield str(address)
        if child.type == "image":
            yield from _inline_links(child)


def _anchor(heading: Token, taken: list[str]) -> str:
    """In small letters, without punctuation, with hyphens for spaces; a second one ends in `-1`."""
    said = "".join(c.content for c in heading.children or () if c.type in ("text", "code_inline"))
    plain = re.sub(r"[^\w\- ]", "", said.lower()).replace(" ", "-")
    same = [a for a in taken if re.fullmatch(re.escape(plain) + r"(-\d+)?", a)]
    return f"{plain}-{len(same)}" if same else plain


@dataclass(slots=True)
class _Html(HTMLParser):
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {v for k in ("id", "name") if (v := given.get(k))}
        if address := given.get(_ADDRESS.get(tag, "")):
            self.links.append(address)


def html_page(text: str) -> Page:
    """Elements with an `id` can be entered; pictures, styles and scripts are links too."""
    read = _Html()
    read.feed(text)
    return Page(frozenset(read.anchors), tuple(read.links))


@cache
def _page(path: Path) -> Page:
    text = path.read_text(errors="replace")
    return markdown_page(text) if path.suffix == ".md" else html_page(text)


def faults(pages: list[Path], top: Path) -> list[str]:
    """`PAGE: LINK (reason)` of each link that leads nowhere, or out of `top`.

    Args:
        pages: files that end in `.md` or `.html`.
        top: the folder in which everything lies that they may lead to.
    """
    _page.cache_clear()
    return [
        f"{page.relative_to(top)}: {link} ({fault})"
        for page in pages
        for link in _page(page).links
        if (fault := _fault(page, link, top.resolve())) is not None
    ]


def _fault(page: Path, link: str, top: Path) -> str | None:
    if _ELSEWHERE.match(link):
        return None
    target, _, anchor = unquote(link).partition("#")
    place = (page.parent / target.partition("?")[0]).resolve() if target else page.resolve()
    if not place.is_relative_to(top):
        return "leads out"
    if not place.exists():
        return "there is no such file"
    if anchor and place.suffix == page.suffix and anchor not in _page(place).anchors:
        return f"{place.name} has no such heading"
    return None


def markdown_faults() -> list[str]:
    """Of the pages of this clone."""
    return faults(sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]), ROOT)


def site_faults(site: Path) -> list[str]:
    """Of a site that mkdocs has built. Its page for what is not found has addresses of the host."""
    return faults([p for p in sorted(site.rglob("*.html")) if p.name != "404.html"], site)


def main() -> None:
    """Print them."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("site", type=Path, nargs="?", help="built by mkdocs; else the pages here")
    site = reader.parse_args().site
    found = markdown_faults() if site is None else site_faults(site)
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
