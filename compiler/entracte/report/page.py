"""Page model -> one HTML file that fetches nothing and runs nothing but its own two scripts.

Whatever a plan holds reaches the page as text: the templates escape it, the data is JSON in which
no tag can end, and the scripts write it with `textContent`. The policy in the page's head lets a
browser run only scripts with these digests.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache, partial
from importlib.resources import files
from typing import Any

from entracte.inspect.compared import comparison, decibels
from entracte.inspect.overview import ChunkRow, StageRow
from entracte.inspect.typed import limit
from entracte.report.model import Page
from entracte.report.track import KINDS
from entracte.store.origin import VERSION
from entracte.units import format_bytes, format_count, format_seconds

TIMELINE_SCRIPTS = ("levels.js", "memory.js", "picture.js", "bars.js", "timeline.js",
                    "controls.js", "select.js", "search.js")  # fmt: skip
SCRIPTS = ("base.js", "units.js", "tables.js", "diagram.js", *TIMELINE_SCRIPTS, "charts.js",
           "report.js")  # fmt: skip
SWEEP_SCRIPTS = ("base.js", "units.js", "tables.js", "sweep.js")


def render(page: Page) -> str:
    """The report of one plan."""
    data = {
        "title": page.title,
        "stages": [_stage(page, s) for s in page.stages],
        "chunks": [_chunk(page, c) for c in page.chunks],
        "segments": [
            {"name": g.name, "count": g.count, "loop": g.is_loop}
            for g in page.plan.program.segments
        ],
        "flow": asdict(page.flow),
        "tracks": [asdict(t) for t in page.tracks],
        "choices": [asdict(c) for c in page.choices],
        "kinds": KINDS,
        "policies": [asdict(p) for p in page.policies],
        "lower_bound_s": page.plan.forecast.lower_bound_s,
        "lower_bound": page.plan.forecast.lower_bound,
    }
    values = {
        "page": page,
        "plan": page.plan,
        "limit": partial(limit, page.plan),
        "comparison": comparison(page.plan),
    }
    return fill("report.html", SCRIPTS, data, values)


def _stage(page: Page, s: StageRow) -> dict[str, object]:
    """What the scripts read of a stage."""
    return {
        "name": s.name,
        "colour": page.colours[s.name],
        "chunks": s.chunks,
        "weight_bytes": s.weight_bytes,
    }


def _chunk(page: Page, c: ChunkRow) -> dict[str, object]:
    """What the scripts read of a chunk."""
    return {
        "id": c.id,
        "stage": c.stage,
        "colour": page.colours[c.stage],
        "weight_bytes": c.weight_bytes,
        "activation_bytes": c.activation_bytes,
        "loads": c.loads,
        "calls": c.calls,
        "kept": page.kept[c.id],
        "holds": page.holds[c.id],
        "form": c.form,
        "package": page.packages.get(c.id, ""),
        "psnr_db": c.psnr_db,
    }


def fill(
    template: str, scripts: Iterable[str], data: Mapping[str, Any], values: Mapping[str, Any]
) -> str:
    """A template with its scripts, its data and the page's common parts."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("entracte.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": format_bytes,
        "seconds": format_seconds,
        "count": format_count,
        "decibels": decibels,
        "change": change,
        "ratio": lambda value: f"{value:.2f} ×" if value < 1000 else f"{format_count(value)} ×",
        "share": lambda part, whole: f"{100 * part / whole:.1f}" if whole else "0",
    }
    own = "(() => {\n'use strict';\n" + "".join(asset(name) for name in scripts) + "})();\n"
    vendor = asset("vendor.js")
    return environment.get_template(template).render(
        **values,
        version=VERSION,
        policy=_policy(vendor, own),
        # Ours, not the plan's: these four are the page itself.
        style=Markup(asset("report.css")),
        vendor=Markup(vendor),
        own=Markup(own),
        data=Markup(as_json(data)),
    )


def change(seconds: float) -> str:
    """A difference of times with its sign."""
    if abs(seconds) < 5e-7:
        return "0"
    return f"{'+' if seconds > 0 else '−'}{format_seconds(abs(seconds))}"


def as_json(data: object) -> str:
    """JSON that stays inside its script element, whatever the strings hold."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@cache
def asset(name: str) -> str:
    """A file of `assets/`, with a last newline."""
    return (files("entracte.report") / "assets" / name).read_text("utf-8").rstrip("\n") + "\n"


def _policy(*scripts: str) -> str:
    """Nothing may be fetched; only these scripts may run."""
    digests = " ".join(f"'sha256-{_digest(s)}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
