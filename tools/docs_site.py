"""Hooks of mkdocs (mkdocs.yml): the site also has the pages that lie beside docs/.

`start.md` of the site is the README. Links between the two places lead to each other there too; one
to a file that is no page (a source, a folder) stays as its text. Reports that
`python -m tools.gallery` has made are brought in too, and the gallery's pictures lead to them. When
all is written, every link of the HTML is followed: `mkdocs build --strict` fails where one leads
nowhere.
"""

import logging
import re
import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOG = logging.getLogger("mkdocs.hooks.docs_site")
"""With --strict, what it warns of fails the build."""
REPORTS = ROOT / "build" / "gallery"
GALLERY = "gallery.md"
BESIDE = {"README.md": "start.md", "ARCHITECTURE.md": "ARCHITECTURE.md",
          "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}  # fmt: skip
"""Page beside docs/ -> its name in the site."""
_PICTURE = re.compile(r"!\[[^\]]*\]\(pictures/gallery_(\w+)\.png\)")
_LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*)\]\((?!https?:|#)([^)#\s]+)(#[\w-]+)?\)"
)


def on_files(files: Any, config: Any) -> Any:
    """Bring them in, as if they lay in docs/."""
    from mkdocs.structure.files import File

    for name, shown in BESIDE.items():
        text = _linked((ROOT / name).read_text(), ROOT)
        files.append(File.generated(config, shown, content=text))
    for report in sorted(REPORTS.glob("*.html")):
        files.append(File.generated(config, f"reports/{report.name}", abs_src_path=str(report)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of docs/ that lead out of it; in the gallery those to the reports that there are."""
    if page.file.src_uri == GALLERY:
        markdown = opened(markdown, {p.stem for p in REPORTS.glob("*.html")})
    return (
        _linked(markdown, ROOT / "docs") if page.file.src_uri not in BESIDE.values() else markdown
    )


def opened(markdown: str, reports: Set[str]) -> str:
    """The gallery with its pictures as links to these reports; the others stay pictures."""

    def led(match: re.Match[str]) -> str:
        if match[1] in reports:
            return f"[{match[0]}](reports/{match[1]}.html)"
        LOG.info("gallery: no report %s; `python -m tools.gallery` makes it", match[1])
        return match[0]

    return _PICTURE.sub(led, markdown)


def on_post_build(config: Any) -> None:
    """Follow every link of what was written."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # a hook is run as a file alone
    from tools.page_links import site_faults

    for fault in site_faults(Path(config.site_dir)):
        LOG.warning("a link leads nowhere: %s", fault)


def _linked(text: str, place: Path) -> str:
    """Links as they are in the site, of a page that lies in `place`."""

    def led(match: re.Match[str]) -> str:
        mark, label, target, anchor = match.groups(default="")
        path = (place / target).resolve()
        label = _LINK.sub(led, label)
        if path.is_relative_to(ROOT / "docs"):
            return f"{mark}[{label}]({path.relative_to(ROOT / 'docs')}{anchor})"
        shown = BESIDE.get(str(path.relative_to(ROOT)))
        return f"[{label}]({shown}{anchor})" if shown else label

    return _LINK.sub(led, text)
