"""What others do about weights that do not fit, beside our planner: one clock, one budget.

    python tools/bench_rivals.py            # tables in Markdown; --json FILE: every row
    python tools/bench_rivals.py --windows  # the window LP among the bounds: minutes, not seconds
    python tools/bench_rivals.py --grid     # the quick part of the grid of tools/bench_plan.py

Made-up chunks with the sizes of three published models. Seconds are predicted; each rule's schedule
is proven to stay within the budget before it is timed (`tools/rivals.py`: the rules and their
sources). The bound is the largest of compute, load, volume and first reads (`first_reads`).

The models (bytes and FLOPs of blocks from their published widths; decoders are left out, since
every rule loads them once; the budget is what weights may take):

H3     50 blocks of 735 MB, 20 forwards, 15.7 GB/s, 1.35 or 2.14 s of computing for a forward, no
       contention: h3.c's published figures (tests/planner/test_published.py). The denoiser alone.
Wan    2.1 1.3B: 24 blocks of umT5-XXL (9.3 GB without the embedding), then 50 forwards of 30 blocks
       (width 1536, MLP 8960) with guidance, 17 frames of 480x832 (7,800 tokens). iphone17pro.
FLUX   .1: 24 blocks of T5-XXL (9.2 GB), then 4 forwards (schnell) or 28 (dev) of 19 double blocks
       (36 d^2 weights, d = 3072) and 38 single ones (15 d^2), 1024x1024 (4,608 tokens). macbook_m3.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from entracte.check.proof import check  # noqa: E402
from entracte.clock.predict import predict  # noqa: E402
from entracte.cost import ATTENTION, MATMUL, cold_seconds, load_seconds, work_seconds  # noqa: E402
from entracte.errors import DoesNotFit  # noqa: E402
from entracte.ir import ChunkFacts, Target, Work  # noqa: E402
from entracte.program.workload import Workload  # noqa: E402
from entracte.schedule.bounds import Bound, best_bound, lower_bound, volume, window  # noqa: E402
from tests.planner.programs import Part, make_program  # noqa: E402
from tools.bench_plan import grid, program_of  # noqa: E402
from tools.rivals import RULES, Ruled  # noqa: E402
from tools.rivals_picture import picture  # noqa: E402

SHARES = (0.25, 0.5, 0.75, 1.05)
"""Budgets, in weights of the denoiser; before them, room for two of its largest chunks."""


@dataclass(frozen=True)
class Block:
    """A chunk's bytes and nominal seconds."""

    weight_bytes: int
    load_s: float
    exec_s: float
    cold_s: float = 0.0


@dataclass(frozen=True)
class Model:
    """An encoder that runs once, may be none, and a denoiser's blocks, called `count` times."""

    name: str
    encoder: tuple[Block, ...]
    denoiser: tuple[Block, ...]
    count: int
    contention: float = 1.0

    def workload(self, budget_bytes: int) -> Workload:
        """Activations of nothing: the budget is what weights may take, and a toy's tensors."""
        runs = [(1, self.encoder)] * bool(self.encoder) + [(self.count, self.denoiser)]
        parts = tuple(Part(n, tuple(b.weight_bytes for b in blocks)) for n, blocks in runs)
        program, _, made = make_program(parts)
        blocks = [b for _, own in runs for b in own]
        facts = {f.id: _facts(f, b) for f, b in zip(made, blocks, strict=True)}
        return Workload(program, facts, budget_bytes + 64, self.contention)

    def budgets(self) -> Iterator[tuple[str, int]]:
        total = sum(b.weight_bytes for b in self.denoiser)
        largest = max(b.weight_bytes for b in (*self.encoder, *self.denoiser))
        yield "two blocks", 2 * largest
        for share in SHARES:
            if share * total > 2 * largest:
                yield f"{100 * share:.0f} %", int(share * total)


def _facts(facts: ChunkFacts, b: Block) -> ChunkFacts:
    return replace(facts, activation_bytes=0, load_s=b.load_s, exec_s=b.exec_s, cold_s=b.cold_s)


@dataclass(frozen=True)
class Ran:
    """What a rule's schedule takes, by prediction; the processor time of making it."""

    seconds: float
    peak_bytes: int
    read_bytes: int
    planning_s: float


@dataclass(frozen=True)
class Row:
    """One rule for one model in one budget."""

    model: str
    budget: str
    budget_bytes: int
    rule: str
    bound_s: float
    bound: str
    seconds: float
    peak_bytes: int
    read_bytes: int
    planning_s: float


# ---------------------------------------------------------------- the models, and the grid


def models() -> Iterator[Model]:
    for forward_s in (1.35, 2.14):
        block = Block(735_000_000, 735e6 / 15.7e9, forward_s / 50)
        yield Model(f"H3, {forward_s:.2f} s", (), (block,) * 50, 20)
    phone, mac = target("iphone17pro"), target("macbook_m3")
    wide, mlp, tokens = 1536, 8960, 7800
    wan = on(phone, 8 * wide**2 + 2 * wide * mlp, tokens, wide, calls=2)
    umt5 = on(phone, 9_300_000_000 // 2 // 24, 512, 4096)
    yield Model("Wan 1.3B", (umt5,) * 24, (wan,) * 30, 50, phone.contention)
    d, tokens = 3072, 4608
    double, single = (on(mac, n * d**2, tokens, d) for n in (36, 15))
    t5 = on(mac, 9_200_000_000 // 2 // 24, 512, 4096)
    # Of a double block's weights half see the text's 512 tokens, half the picture's 4,096.
    double = replace(double, exec_s=on(mac, 36 * d**2, tokens // 2, d, scores=tokens).exec_s)
    for steps in (4, 28):
        blocks = (double,) * 19 + (single,) * 38
        yield Model(f"FLUX, {steps} steps", (t5,) * 24, blocks, steps, mac.contention)


def on(
    device: Target, weights: int, tokens: int, width: int, *, calls: int = 1, scores: int = 0
) -> Block:
    """A block of so many fp16 weights, each used by every token, with self-attention over `scores`
    tokens (all of them if not said)."""
    size, scores = 2 * weights, scores or tokens
    products = Work(MATMUL, 2 * weights * tokens, size)
    attention = Work(ATTENTION, 4 * scores**2 * width, 0)
    seconds = work_seconds(products, device) + work_seconds(attention, device)
    return Block(
        size,
        load_seconds(size, device),
        calls * seconds + device.call_overhead_s,
        cold_seconds(size, device),
    )


def target(name: str) -> Target:
    from hydra import compose, initialize_config_dir

    from entracte.declare.read import read
    from entracte.declare.settings import register

    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return read(compose("compile", [f"+target={name}"])).target


def on_grid() -> Iterator[tuple[str, str, float, float]]:
    """Of each instance and rule that fits: equal or unequal chunks, the rule, its time over the
    best bound, bytes read in models for an iteration."""
    for instance in grid(quick=True):
        workload = Workload(*program_of(instance))
        made = {rule: own for rule, f in RULES.items() if (own := ran(f, workload)) is not None}
        if "ours" not in made:
            continue
        total = sum(f.weight_bytes for f in workload.facts.values()) * instance.iterations
        bound = best_bound(workload, enough_s=min(own.seconds for own in made.values()))
        kind = "equal" if instance.kind == "equal" else "unequal"
        for rule, own in made.items():
            yield kind, rule, own.seconds / bound.seconds, own.read_bytes / total


# ---------------------------------------------------------------- runs and tables


def rows_of(model: Model, windows: bool) -> Iterator[Row]:
    for budget, size in model.budgets():
        workload = model.workload(size)
        made = {rule: ran(schedule, workload) for rule, schedule in RULES.items()}
        fits = {rule: own for rule, own in made.items() if own is not None}
        bound = bound_of(workload, fits["ours"].seconds if windows else 0.0)
        for rule, own in fits.items():
            yield Row(model.name, budget, size, rule, bound.seconds, bound.name, *astuple(own))


def ran(rule: Callable[[Workload], Ruled], workload: Workload) -> Ran | None:
    """None: it does not fit."""
    begin = time.process_time()
    try:
        made = rule(workload)
    except DoesNotFit:
        return None
    spent, facts = time.process_time() - begin, tuple(made.workload.facts.values())
    budget = workload.budget_bytes
    proof = check(made.workload.program, facts, made.schedule, budget_bytes=budget)
    result = predict(made.workload, made.schedule)
    return Ran(result.makespan_s, proof.peak.total_bytes, result.loaded_bytes, spent)


def bound_of(workload: Workload, enough_s: float) -> Bound:
    """The largest; the window LP where the others are more than a thousandth below `enough_s`."""
    ours = Bound(*lower_bound(workload)), volume(workload), first_reads(workload)
    best = max(ours, key=lambda b: b.seconds)
    if best.seconds * 1.001 >= enough_s:
        return best
    return max(best, window(workload), key=lambda b: b.seconds)


def first_reads(workload: Workload) -> Bound:
    """Before a call ends its wait, all chunks up to it were read, one after the other; it and all
    calls behind it are still to be made."""
    facts, read_s, most_s = workload.facts, 0.0, 0.0
    calls = [[facts[s.chunk] for s in g.steps] for g in workload.program.segments]
    counts = [g.count for g in workload.program.segments]
    left_s = sum(n * sum(f.exec_s for f in own) for n, own in zip(counts, calls, strict=True))
    for count, own in zip(counts, calls, strict=True):
        for f in own:
            read_s += f.load_s + f.cold_s
            most_s = max(most_s, read_s + left_s)
            left_s -= f.exec_s
        left_s -= (count - 1) * sum(f.exec_s for f in own)
    return Bound(most_s, "first reads")


def table(rows: Sequence[Row]) -> str:
    """A line for each model and budget: seconds of ours and of the bound; the others over ours."""
    rivals = [name for name in RULES if name != "ours"]
    lines = [
        f"| model | budget | bound s | ours s | over bound | {' | '.join(rivals)} |",
        "| --- | --- | ---: | ---: | ---: |" + " ---: |" * len(rivals),
    ]
    for model, budget in dict.fromkeys((r.model, r.budget) for r in rows):
        own = {r.rule: r for r in rows if (r.model, r.budget) == (model, budget)}
        best = own["ours"]
        size = best.budget_bytes / 2**30
        ratios = (f"{own[x].seconds / best.seconds:.3f}" if x in own else "—" for x in rivals)
        lines.append(
            f"| {model} | {budget}, {size:.1f} GiB | {best.bound_s:.1f} | {best.seconds:.1f} | "
            f"{best.seconds / best.bound_s:.3f} | {' | '.join(ratios)} |"
        )
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """A line for each rule: how often it fits, its time over ours, what it reads."""
    ours = {(r.model, r.budget): r for r in rows if r.rule == "ours"}
    lines = [
        "| rule | fits | over ours: median | worst | least | ties (0.1 %) | faster than ours | "
        "bytes read over ours: median |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rule in RULES:
        own = [(r, ours[r.model, r.budget]) for r in rows if r.rule == rule]
        if not own:
            lines.append(f"| {rule} | 0 of {len(ours)} |" + " — |" * 6)
            continue
        over = [r.seconds / best.seconds for r, best in own]
        read = statistics.median(r.read_bytes / best.read_bytes for r, best in own)
        lines.append(
            f"| {rule} | {len(own)} of {len(ours)} | {statistics.median(over):.3f} | "
            f"{max(over):.3f} | {min(over):.3f} | {sum(abs(x - 1) <= 0.001 for x in over)} | "
            f"{sum(x < 0.999 for x in over)} | {read:.2f} |"
        )
    return "\n".join(lines)


def grid_table(made: Sequence[tuple[str, str, float, float]]) -> str:
    """A line for each rule, over the best bound."""
    lines = [
        "| rule | fits | mean | median | worst | within 5 % | equal, mean | unequal | reads |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rule in dict.fromkeys(name for _, name, *_ in made):
        own = [(kind, over, read) for kind, name, over, read in made if name == rule]
        over = [x for _, x, _ in own]
        by_kind = [statistics.mean(x for k, x, _ in own if k == w) for w in ("equal", "unequal")]
        lines.append(
            f"| {rule} | {len(own)} | {statistics.mean(over):.3f} | {statistics.median(over):.3f} "
            f"| {max(over):.3f} | {100 * sum(x <= 1.05 for x in over) / len(own):.0f} % | "
            f"{by_kind[0]:.3f} | {by_kind[1]:.3f} | {statistics.mean(x for *_, x in own):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="every row, into this file")
    parser.add_argument("--picture", type=Path, help="a picture of them, into this SVG file")
    parser.add_argument("--windows", action="store_true", help="the window LP too")
    parser.add_argument("--grid", action="store_true", help="instances of tools/bench_plan.py")
    given = parser.parse_args()
    if given.grid:
        print(grid_table([*on_grid()]))
        return
    rows = [row for model in models() for row in rows_of(model, given.windows)]
    if given.json:
        given.json.write_text(json.dumps([asdict(r) for r in rows], indent=1))
    if given.picture:
        given.picture.write_text(picture(rows))
    print(f"{table(rows)}\n\n{summary(rows)}\n")
    slowest = max(r.planning_s for r in rows if r.rule == "ours")
    print(f"planning, ours, at most: {slowest:.2f} s of processor time")
    print(f"all of this: {time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
