"""Hooks of mkdocs (mkdocs.yml): the site also has the pages that lie beside docs/.

`start.md` of the site is the README. Links between the two places lead to each other there too; one
to a file that is no page (a source, a folder) stays as its text.
"""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BESIDE = {"README.md": "start.md", "ARCHITECTURE.md": "ARCHITECTURE.md",
          "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}  # fmt: skip
"""Page beside docs/ -> its name in the site."""
_LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*)\]\((?!https?:|#)([^)#\s]+)(#[\w-]+)?\)"
)


def on_files(files: Any, config: Any) -> Any:
    """Bring them in, as if they lay in docs/."""
    from mkdocs.structure.files import File

    for name, shown in BESIDE.items():
        text = _linked((ROOT / name).read_text(), ROOT)
        files.append(File.generated(config, shown, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of docs/ that lead out of it."""
    return (
        _linked(markdown, ROOT / "docs") if page.file.src_uri not in BESIDE.values() else markdown
    )


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
