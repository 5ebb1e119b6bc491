"""What the page shows of a job, of the history and of two plans, as HTML; all texts escaped.

What a plan, a record or a file name holds may be anybody's: it reaches the page by `escape` only.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlencode

from entracte.progress.words import amount, left, turn
from entracte.ui.guard import SHOWN
from entracte.ui.history import Entry
from entracte.ui.jobs import RUNNING, Status
from entracte.ui.places import PREVIEWS
from entracte.units import format_seconds

MEDIA = {".mp4": "video", ".webm": "video", ".gif": "image", ".png": "image", ".jpg": "image",
         ".webp": "image", ".wav": "audio", ".txt": "text"}  # fmt: skip
"""Endings that are shown, and as what."""
_KINDS = {"plan": "dry run", "build": "compile", "run": "run", "fits": "where it fits"}


def report_at(build: str, record: str = "") -> str:
    """Address of a plan's page; with a run's record, of both."""
    return f"{SHOWN}report?{urlencode({'build': build, 'record': record})}"


def pair_at(before: str, after: str) -> str:
    """Address of the page of two plans, builds or runs."""
    return f"{SHOWN}pair?{urlencode({'before': before, 'after': after})}"


def file_at(name: str, mark: object = "") -> str:
    """Address of a file of a run; `mark` changes where the file does."""
    return f"{SHOWN}file?{urlencode({'name': name, 'mark': str(mark)})}"


# ---------------------------------------------------------------- a job


def job_html(status: Status | None) -> str:
    """How far it is, what it said, and the line to type."""
    if status is None:
        return '<p class="quiet">Nothing runs.</p>'
    task = status.task
    place = f" {task.place}" if task.place else ""
    parts = [
        f'<div class="job {escape(status.state)}" role="status">',
        f"<p><b>{_KINDS.get(task.kind, 'job')}</b>{escape(place)}: "
        f"{escape(status.state)}, {escape(_clock(status.seconds))}</p>",
        _progress(status),
        _said(status),
        f"<p class='typed'>In a terminal, in the same folder:</p>{typed(task.line)}",
        "</div>",
    ]
    return "".join(parts)


def typed(line: str) -> str:
    """A command to copy; lines are broken between words."""
    words = " ".join(f"<span>{escape(word)}</span>" for word in line.split(" "))
    return f"<pre class='line'><code>{words}</code></pre>"


def _progress(status: Status) -> str:
    p = status.progress
    if status.state != RUNNING:
        return ""
    if p is None:
        return "<progress></progress><p>begins</p>"
    told = ", ".join(t for t in (f"{int(100 * p.share)} % of all", left(p)) if t)
    what = ", ".join(t for t in (turn(p.loop) or amount(p), p.name) if t)
    return (
        f'<progress max="1" value="{min(1.0, max(0.0, p.share)):.4f}">{escape(told)}</progress>'
        f"<p>{escape(told)}</p><p><b>{escape(p.phase)}</b>: {escape(what)}</p>"
    )


def _said(status: Status) -> str:
    if status.state == RUNNING or not (status.said or status.lines):
        return ""
    errors = "\n".join(status.said)
    told = (
        f'<pre class="error">{escape(errors)}</pre>' if errors and status.state == "failed" else ""
    )
    # What a program is to read is shown as what it means.
    lines = () if status.task.kind == "fits" else status.lines
    text = "\n".join((*lines, *(() if told else status.said)))
    if not text:
        return told
    return f"{told}<details><summary>What it printed</summary><pre>{escape(text)}</pre></details>"


def _clock(seconds: float) -> str:
    """Whole seconds from ten on: what runs is looked at each second."""
    return f"{seconds:.0f} s" if 10 <= seconds < 60 else format_seconds(seconds)


# ---------------------------------------------------------------- pages and files


def report_html(build: str, record: str = "") -> str:
    """A plan's page, in a frame that can reach nothing of this page."""
    return _framed(report_at(build, record), build)


def pair_html(before: str, after: str) -> str:
    """The page of two plans, builds or runs, framed as a plan's is."""
    return _framed(pair_at(before, after), f"{before} and {after}")


def _framed(address: str, name: str) -> str:
    at, told = escape(address), escape(name)
    return (
        f"<p><a href='{at}' target='_blank' rel='noopener'>{told} in a page of its own"
        f"</a></p><iframe class='report' title='report of {told}' sandbox='allow-scripts' "
        f"src='{at}'></iframe>"
    )


def media_html(root: Path, place: str) -> str:
    """What a run made: videos, pictures, sounds and texts; of others the names."""
    folder = root / place
    files = sorted(f for f in folder.glob("*") if f.is_file() and f.name != "run.json")
    return "".join(_medium(f"{place}/{f.name}", f) for f in files[:20])


def preview_html(root: Path, place: str) -> str:
    """The newest picture that a run has laid down so far, if there is one."""
    found = [f for f in (root / place / PREVIEWS).glob("[!.]*") if f.suffix in (".png", ".gif")]
    if not found:
        return ""
    newest = max(found, key=lambda f: (f.stat().st_mtime_ns, f.name))
    at = escape(file_at(f"{place}/{PREVIEWS}/{newest.name}", newest.stat().st_mtime_ns))
    return f"<p>So far, in a cheap preview:</p><img class='made' alt='preview' src='{at}'>"


def _medium(name: str, file: Path) -> str:
    at = escape(file_at(name, file.stat().st_mtime_ns))
    kind = MEDIA.get(file.suffix.lower())
    caption = f"<p><a href='{at}' download='{escape(file.name)}'>{escape(name)}</a></p>"
    if kind == "video":
        return f"<video class='made' controls loop autoplay muted src='{at}'></video>{caption}"
    if kind == "image":
        return f"<img class='made' alt='{escape(file.name)}' src='{at}'>{caption}"
    if kind == "audio":
        return f"<audio controls src='{at}'></audio>{caption}"
    return caption if kind else f"<p>{escape(name)}</p>"


# ---------------------------------------------------------------- tables


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Cells are text. On a phone a row becomes a card whose cells say what they are."""
    top = "".join(f"<th scope='col'>{escape(h)}</th>" for h in head)
    lines = "".join(
        "<tr>" + "".join(f"<td data-of='{escape(h)}'>{escape(c)}</td>"
                         for h, c in zip(head, row, strict=True)) + "</tr>"
        for row in rows
    )  # fmt: skip
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table class='rows'>{told}<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def history_html(entries: Sequence[Entry]) -> str:
    """The newest first."""
    if not entries:
        return '<p class="quiet">Nothing was done here yet.</p>'
    return "".join(_entry(n, e) for n, e in reversed(list(enumerate(entries))))


def _entry(number: int, e: Entry) -> str:
    made = e.state == "done"
    links = ""
    if made and e.place:
        at = report_at(e.of, f"{e.place}/run.json") if e.kind == "run" else report_at(e.place)
        links = f" · <a href='{escape(at)}' target='_blank' rel='noopener'>report</a>"
    said = f"<p class='said'>{escape(e.said)}</p>" if e.said and not made else ""
    date = f"{e.date.replace('T', ' ').rstrip('Z')} UTC"
    told = " · ".join((*filter(None, (e.place,)), e.state, _clock(e.seconds), date))
    return (
        f"<div class='entry {escape(e.state)}'><p><b>{number + 1}. {_KINDS.get(e.kind, 'job')}</b> "
        f"{escape(told)}{links}</p>{said}{typed(e.line)}</div>"
    )
