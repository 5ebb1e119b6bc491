"""What was observed in a recorded run, set beside the plan's claims."""

from dataclasses import dataclass

from entracte.clock.table import pages_of
from entracte.ir import ChunkFacts, Plan, Run
from entracte.program.workload import Workload


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure, claimed and observed. `kind` is bytes, seconds or count."""

    name: str
    kind: str
    claimed: float
    observed: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class ChunkClaim:
    """Seconds of one load and one call, on average, and activation bytes: claimed and observed. The
    first load is cold on both sides. A load is of one page where the run loaded pages."""

    chunk: str
    calls: int
    loads: int
    load_s: tuple[float, float]
    exec_s: tuple[float, float]
    activation_bytes: tuple[int, int]


def claims(plan: Plan, run: Run) -> tuple[Claim, ...]:
    """The whole run: what the plan promised and what was seen."""
    f = plan.forecast
    device = f"predicted for {plan.target.name}, observed on device {run.device}"
    bound = "claimed: at most, for any timing"
    loads = sum(c.loads for c in run.chunks)
    rows = [
        Claim("time", "seconds", f.makespan_s, run.wall_s, device),
        Claim("peak memory", "bytes", f.peak_bytes, run.peak_bytes, bound),
        Claim("waiting for loads", "seconds", f.stall_s, run.stall_s),
        Claim("read", "bytes", f.loaded_bytes, run.loaded_bytes),
        Claim("loads", "count", f.loads, loads),
    ]
    counts = {g.name: g.count for g in plan.program.segments}
    rows += [
        Claim(f"iterations of {name}", "count", counts.get(name, 0), done, "ended early")
        for name, done in run.iterations
    ]
    return tuple(rows)


def _loaded_pages(plan: Plan, run: Run) -> bool:
    """Not all devices do (`devices/protocol.py`): a load of less than a chunk tells."""
    sizes = {f.id: f.weight_bytes for f in plan.facts}
    return any(e.queue == "load" and e.size_bytes < sizes[e.label] for e in run.bars)


def chunk_claims(plan: Plan, run: Run) -> tuple[ChunkClaim, ...]:
    """One load and one call of each chunk, on average."""
    facts = {f.id: f for f in plan.facts}
    pages = pages_of(Workload.of(plan)) if _loaded_pages(plan, run) else {}
    rows = []
    for c in run.chunks:
        f = facts[c.chunk]
        rows.append(
            ChunkClaim(
                c.chunk,
                c.calls,
                c.loads,
                (_load_s(f, c.loads, pages.get(c.chunk, 1)), c.load_s / max(1, c.loads)),
                (f.exec_s, c.exec_s / max(1, c.calls)),
                (f.activation_bytes, c.peak_activation_bytes),
            )
        )
    return tuple(rows)


def _load_s(f: ChunkFacts, loads: int, pages: int) -> float:
    """Of so many loads in a run, each of a chunk or of one of its `pages`; the first is cold."""
    return f.load_s / pages + (f.cold_s / loads if loads else 0.0)
