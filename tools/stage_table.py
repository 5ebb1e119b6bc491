"""One row per stage of a plan, as Markdown: chunks, bytes, memory, work, predicted times.

compile target=iphone15pro pipeline=on_device_sora dry_run=true out=build/dry
python -m tools.stage_table build/dry
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from entracte.clock.timeline import predicted
from entracte.ir import Chunk, ChunkFacts, Plan
from entracte.plan.file import read_plan
from entracte.units import format_bytes

HEAD = (
    "part", "chunks", "weights", "largest chunk", "activations", "FLOPs of a call", "calls",
    "loads", "predicted load", "predicted call",
)  # fmt: skip


def loads_of(plan: Plan) -> dict[str, int]:
    """How often each chunk is loaded in a whole video."""
    found = dict.fromkeys((c.id for c in plan.chunks), 0)
    for event in predicted(plan).bars:
        found[event.label] += event.queue == "load"
    return found


def row(name: str, chunks: Sequence[Chunk], plan: Plan) -> list[str]:
    by_id: dict[str, ChunkFacts] = {f.id: f for f in plan.facts}
    facts = [by_id[c.id] for c in chunks]
    calls, loads = plan.program.call_counts, loads_of(plan)
    return [
        name,
        str(len(chunks)),
        format_bytes(sum(f.weight_bytes for f in facts)),
        format_bytes(max(f.weight_bytes for f in facts)),
        format_bytes(max(f.activation_bytes for f in facts)),
        f"{sum(c.flops for c in chunks) / 1e9:,.1f} G",
        str(max(calls[c.id] for c in chunks)),
        str(sum(loads[c.id] for c in chunks)),
        f"{sum(f.load_s for f in facts):.2f} s",
        f"{sum(f.exec_s for f in facts):.2f} s",
    ]


def table(plan: Plan) -> str:
    graphs = dict.fromkeys(c.graph for c in plan.chunks)
    rows = [row(g, [c for c in plan.chunks if c.graph == g], plan) for g in graphs]
    marks = ["---", *["---:"] * (len(HEAD) - 1)]
    lines = [list(HEAD), marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    plan = read_plan(parser.parse_args().build)
    print(table(plan))
    forecast = plan.forecast
    print(
        f"\npeak {format_bytes(forecast.peak_bytes)} of {format_bytes(plan.target.budget_bytes)}; "
        f"{forecast.makespan_s:.0f} s, {forecast.loads} loads of "
        f"{format_bytes(forecast.loaded_bytes)}; policy {plan.schedule.policy.name}"
    )


if __name__ == "__main__":
    main()
