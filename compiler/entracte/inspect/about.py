"""What to know before any figure of a plan is believed: what it makes, of which weights, how large
it is, what was never tried, and the command that makes it again."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from entracte.codec import parse_json
from entracte.disk.places import is_random
from entracte.errors import PlanError
from entracte.inspect.command import Command, command_of
from entracte.inspect.fidelity import harm_of
from entracte.inspect.graphs import disk_bytes
from entracte.ir import DType, HostStep, Plan, Run
from entracte.run.outputs import Made, made_of
from entracte.units import format_bytes

_NATIVE = "reference"
"""Compute unit of a target that is no device of Apple's."""
_FITTED = re.compile(r"(\w+): fitted to \d+ observations? of run (.+)")
"""The source of a figure that recorded runs gave."""
_APPLE = "coreml"
"""`Run.device` of a run by Core ML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The head of `plan show` and of the report, as figures; `about_lines` has the words."""

    makes: tuple[str, ...]
    """Of each output its kind and size."""
    loops: tuple[tuple[str, int, bool], ...]
    """(name, iterations, whether it may end early)"""
    weights: str | None
    """Where they are from, as `pipeline.weights` says it, empty where every module brings its own;
    None where the settings do not say."""
    stage_weights: tuple[tuple[str, str], ...]
    """(stage, the same of it alone)"""
    loras: int
    """LoRA files that were merged into them."""
    forms: tuple[tuple[str, int], ...]
    """(precision or compression, packages); of a dry run (precision, 0) as it is asked for."""
    weight_bytes: int
    package_bytes: int
    """On disk, and so in an app; 0 before they are built."""
    table_bytes: int
    """Of files that host steps read rows of; in a build folder and in an app too."""
    is_native: bool
    """It is for the reference device, which any machine is."""
    estimated: tuple[str, ...]
    """Figures of the target that are no more than estimates."""
    halves: str
    """Of guidance: what `guidance=auto` chose, and why; empty without it."""
    harm: tuple[str, ...]
    """What options of the plan did to the demo, where they did harm."""
    fitted: tuple[tuple[str, str], ...]
    """(figure, runs) of a target that was derived from these (`calibrate/`)."""
    units: tuple[tuple[str, str, int, int], ...]
    """(graph, unit, chunks, of so many) that run on another unit than the target's."""
    command: Command | None
    chosen: tuple["Chosen", ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting that was left to the planner: its value, and (value, predicted seconds) of all
    that were tried, None where one does not fit."""

    key: str
    value: str
    tried: tuple[tuple[str, float | None], ...]


def about(plan: Plan, *, composes: bool = True) -> About:
    """All of it, from the plan alone.

    Args:
        composes: the command too, for which a configuration is composed.
    """
    given = _settings(plan)
    settings = _group(given, "pipeline")
    return About(
        makes=_makes(plan),
        loops=tuple(
            (s.name, s.count, s.until is not None)
            for s in plan.program.segments
            if s.is_loop and not s.sliced
        ),
        weights=str(settings["weights"]) if "weights" in settings else None,
        stage_weights=tuple(_of_stages(settings)),
        loras=_count(settings.get("lora")),
        forms=_forms(plan, settings),
        weight_bytes=sum(f.weight_bytes for f in plan.facts),
        package_bytes=disk_bytes(plan),
        table_bytes=_table_bytes(plan),
        is_native=plan.target.compute_unit == _NATIVE,
        estimated=plan.target.estimated,
        halves=str(_group(given, "guidance").get("chosen", "")),
        harm=harm_of(given),
        fitted=tuple(_fitted(plan)),
        units=other_units(plan),
        command=command_of(plan) if composes else None,
        chosen=tuple(_chosen(plan)),
    )


def other_units(plan: Plan) -> tuple[tuple[str, str, int, int], ...]:
    """`About.units`, in the order of the chunks."""
    target = plan.target.compute_unit
    counts = Counter((c.graph, c.compute_unit) for c in plan.chunks)
    whole = Counter(c.graph for c in plan.chunks)
    return tuple(
        (graph, unit, n, whole[graph])
        for (graph, unit), n in counts.items()
        if unit not in ("", target)
    )


def _settings(plan: Plan) -> Mapping[str, Any]:
    """They may be any text."""
    try:
        found = parse_json(plan.settings)
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _group(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = settings.get(name)
    return found if isinstance(found, Mapping) else {}


def _chosen(plan: Plan) -> Iterator[Chosen]:
    """As the settings tell it; nothing where they are not what a compile writes."""
    try:
        settings = parse_json(plan.settings)
        for key, tried in settings.get("chosen", {}).items():
            value: Any = settings
            for part in key.split("."):
                value = value[part]
            seconds = ((str(v), None if s is None else float(s)) for v, s in tried.items())
            yield Chosen(str(key), str(value), tuple(seconds))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return


def _of_stages(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    stages = settings.get("stages")
    for name, stage in stages.items() if isinstance(stages, Mapping) else ():
        if isinstance(stage, Mapping) and stage.get("weights"):
            yield str(name), str(stage["weights"])


def _count(lora: object) -> int:
    if not lora:
        return 0
    return len(lora) if isinstance(lora, list) else 1


def _forms(plan: Plan, settings: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    if not plan.built:
        return ((str(settings["precision"]), 0),) if "precision" in settings else ()
    packages = plan.packages
    forms = (p.precision if p.compression == "none" else p.compression for p in packages)
    return tuple(Counter(forms).most_common())


def _table_bytes(plan: Plan) -> int:
    """Each file once, by what its step says of it: rows of `width` numbers."""
    tables: dict[str, int] = {}
    for segment in plan.program.segments:
        for step in segment.steps:
            params = dict(step.params) if isinstance(step, HostStep) else {}
            rows, width = params.get("rows"), params.get("width")
            if isinstance(rows, int) and isinstance(width, int):
                size = 4 if params.get("dtype") == DType.FP32 else 2
                tables[str(params.get("file"))] = rows * width * size
    return sum(tables.values())


# ---------------------------------------------------------------- what it makes


def _makes(plan: Plan) -> tuple[str, ...]:
    try:
        return tuple(map(_made, made_of(plan)))
    except PlanError:
        return tuple(f"{o.name}: {o.kind}" for o in plan.program.outputs)


def _made(made: Made) -> str:
    output, shape = made.output, made.port.shape
    kind = output.kind if output.name == output.kind else f"{output.name}: {output.kind}"
    rate = f", {output.rate:g} a second" if output.rate else ""
    if output.kind == "video":
        return f"{kind} of {shape[2]} frames of {shape[4]} x {shape[3]}{rate}"
    if output.kind == "image":
        several = f"{shape[0]} of " if shape[0] > 1 else ""
        return f"{kind} of {several}{shape[3]} x {shape[2]}"
    if output.kind == "audio":
        return f"{kind} of {shape[-1]} samples{rate}"
    if output.kind == "text":
        return f"{kind} of {shape[-1]} tokens at most"
    return f"{kind} of {' x '.join(map(str, shape)) or '1'}"


# ---------------------------------------------------------------- in words


def about_lines(a: About, run: Run | None = None) -> tuple[tuple[str, str], ...]:
    """(label, sentence) for the head of a table or a page."""
    lines = (
        ("makes", "; ".join((*a.makes, *map(_loop, a.loops)))),
        ("weights", _weights(a)),
        ("size", _size(a)),
        ("halves", f"of guidance: {a.halves}" if a.halves else ""),
        ("demo", "; ".join(a.harm)),
        ("chosen", "; ".join(map(_of_choice, a.chosen))),
        ("untried", _untried(a, run)),
        ("units", _unit_times(a)),
        ("rates", _rates(a)),
        ("made by", a.command.text if a.command else ""),
        ("", "; ".join(a.command.notes) if a.command else ""),
    )
    return tuple((label, text) for label, text in lines if text)


def _of_choice(made: Chosen) -> str:
    """Only what can be shown: settings may hold any text."""
    tried = ", ".join(
        f"{value} ({'does not fit' if s is None else f'{s:.5g} s'})" for value, s in made.tried
    )
    text = f"{made.key}={made.value} by predicted time, of {tried}"
    return text if text.isprintable() else repr(text)


def _loop(loop: tuple[str, int, bool]) -> str:
    name, count, may_end = loop
    return f"loop {name}: {count} iterations{' at most' if may_end else ''}"


def _weights(a: About) -> str:
    if a.weights is None:
        return ""
    parts = [_place(a.weights)]
    parts += [f"of {stage}: {_place(place)}" for stage, place in a.stage_weights]
    if a.loras:
        parts.append(f"with {a.loras} LoRA file{'s' * (a.loras > 1)} merged")
    return "; ".join(parts)


def _place(place: str) -> str:
    if is_random(place):
        return (
            f"random numbers ({place}): sizes and planned times are those of the model, "
            "what it makes is noise"
        )
    shown = place if place.isprintable() else repr(place)
    return shown or "the modules' own"


def _size(a: About) -> str:
    tables = f", and {format_bytes(a.table_bytes)} of tables" if a.table_bytes else ""
    if not a.package_bytes:
        form = f", {a.forms[0][0]}" if a.forms else ""
        return f"{format_bytes(a.weight_bytes)} of weights{form}{tables}; packages are not made yet"
    forms = ", ".join(f"{count} {form}" for form, count in a.forms)
    app = "" if a.is_native else (
        ", on disk and in an app; what Core ML compiles of them on the device comes on top, "
        "never measured"
    )  # fmt: skip
    return f"{format_bytes(a.package_bytes)} of packages ({forms}){tables}{app}"


def _unit_times(a: About) -> str:
    """What their times are, where some chunks run elsewhere."""
    units = dict.fromkeys(unit for _, unit, _, _ in a.units)
    chunks = sum(n for _, _, n, _ in a.units)
    if not units or a.is_native:
        return ""
    return (
        f"{chunks} chunk{'s run' if chunks > 1 else ' runs'} on {', '.join(units)}; their times "
        "are with the target's figures, which are of its own unit: of another none are published"
    )


def _fitted(plan: Plan) -> Iterator[tuple[str, str]]:
    for source in plan.target.sources:
        found = _FITTED.fullmatch(source)
        if found is not None and source.isprintable():
            yield found[1], found[2]


def _rates(a: About) -> str:
    """Which figures are from runs, by these; all others are the profile's."""
    by_run: dict[str, list[str]] = {}
    for figure, run in a.fitted:
        by_run.setdefault(run, []).append(figure)
    told = [f"{', '.join(figures)} fitted to run {run}" for run, figures in by_run.items()]
    return f"{'; '.join(told)}; all others are the profile's" if told else ""


def _untried(a: About, run: Run | None) -> str:
    if a.is_native:
        never = "Core ML and phones: this plan is for the reference device"
    else:
        never = "Core ML, phones and Macs: Entracte was made without Apple hardware"
    if run is not None and run.device == _APPLE:
        never += "; but this build has run on Core ML, see below"
    estimated = f"; estimated of the target: {', '.join(a.estimated)}" if a.estimated else ""
    return f"{never}. Times are predicted, the peak is proven{estimated}"
