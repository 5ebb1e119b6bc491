"""A plan as rows: stages, chunks, steady iterations, memory. What `plan show` prints and compares.

Pure functions of the plan; what happens over time is its predicted run (`entracte.clock.timeline`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from entracte.clock.drivers import kind_of
from entracte.clock.timeline import Timeline, predicted
from entracte.inspect.bottleneck import Bottleneck, FirstLoads, bottleneck_of, first_loads
from entracte.inspect.peak import Peak, peak_of
from entracte.inspect.residency import Fullest, Stay, fullest, stays_of, usage
from entracte.inspect.steady import SteadyIteration, steady_iterations
from entracte.ir import Bar, Call, Chunk, Plan, Program, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """One stage graph: a stage, or the part of it that runs `once` or on the `schedule`."""

    name: str
    chunks: int
    weight_bytes: int
    activation_bytes: int
    """Largest of its chunks."""
    file_bytes: int
    """Packages on disk; 0 before they are built."""
    flops: int
    """Of all calls."""
    calls: int
    loads: int
    loaded_bytes: int
    compute_s: float
    load_s: float
    wait_s: float
    """Waiting for its chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRow:
    """One chunk in the plan and in its predicted run."""

    id: str
    stage: str
    weight_bytes: int
    activation_bytes: int
    input_bytes: int
    output_bytes: int
    flops: int
    """Of all calls."""
    calls: int
    load_s: float
    """One load, not cold, alone."""
    first_load_s: float
    """Its first load in a run, which is cold, alone."""
    exec_s: float
    """One call of `main`, alone."""
    loads: int
    """In the predicted run; of pages, each counts."""
    loaded_bytes: int
    wait_s: float
    """Waiting for it in the predicted run."""
    uses: int
    """Steps that run it in all iterations; the slices of a map are one."""
    kept: bool
    """Stays loaded over a whole loop: after the first iteration nothing of it is loaded, but for
    switches of function."""
    stays: tuple[Stay, ...]
    compute_unit: str
    precision: str
    """Empty before the package is built; so is `compression`."""
    compression: str
    psnr_db: float | None
    """Once `plan verify` measured it."""
    functions: tuple[str, ...]
    stages: tuple[str, ...]
    """Of which it has functions as well."""
    path: str
    file_bytes: int
    modules: tuple[str, ...]

    @property
    def is_cold(self) -> bool:
        """Whether its first load takes longer than others."""
        return self.first_load_s > self.load_s

    @property
    def form(self) -> str:
        """Precision, or how the weights are compressed; empty before it is built."""
        return self.precision if self.compression == "none" else self.compression


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRow:
    """What the online rule keeps over loops while loads, compared with calls, are seen to take
    `slower` times as long as planned or longer, up to `below` times (None: however long)."""

    slower: float
    below: float | None
    chunks: tuple[str, ...]

    @property
    def planned(self) -> bool:
        """It is what is kept at the planned times."""
        return self.slower <= 1.0 and (self.below is None or self.below > 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """`stalls`: see `Forecast.stalls`; `most` is the predicted run's fullest moment."""

    pipeline: str
    title: str
    target: str
    policy: str
    driver: str
    page_bytes: int
    """What a load of the run brings in at most, so that `loads` count pages; 0: whole packages."""
    built: bool
    budget_bytes: int
    peak_bytes: int
    peak_step: str
    peak: Peak
    most: Fullest | None
    makespan_s: float
    compute_s: float
    stall_s: float
    loading_s: float
    loads: int
    loaded_bytes: int
    lower_bound_s: float
    lower_bound: str
    stalls: tuple[tuple[str, float], ...]
    bottleneck: Bottleneck
    first_loads: FirstLoads
    loop_fits: bool
    """See `loop_fits`."""
    stages: tuple[StageRow, ...]
    chunks: tuple[ChunkRow, ...]
    kept: tuple[KeptRow, ...]
    steady: tuple[SteadyIteration, ...]


def overview(plan: Plan) -> Overview:
    """Everything that `plan show` shows, of one plan."""
    run, f = predicted(plan), plan.forecast
    chunks = chunk_rows(plan, run)
    return Overview(
        pipeline=plan.pipeline,
        title=plan.title,
        target=plan.target.name,
        policy=plan.schedule.policy.name,
        driver=plan.schedule.driver,
        page_bytes=page_bytes(plan),
        built=plan.built,
        budget_bytes=plan.target.budget_bytes,
        peak_bytes=f.peak_bytes,
        peak_step=f.peak_step,
        peak=peak_of(plan),
        most=fullest(run.bars, usage(plan, run.bars)),
        makespan_s=f.makespan_s,
        compute_s=f.compute_s,
        stall_s=f.stall_s,
        loading_s=f.loading_s,
        loads=f.loads,
        loaded_bytes=f.loaded_bytes,
        lower_bound_s=f.lower_bound_s,
        lower_bound=f.lower_bound,
        stalls=f.stalls,
        bottleneck=bottleneck(plan, run),
        first_loads=first_loads(run, plan.facts),
        loop_fits=loop_fits(plan.program, chunks),
        stages=stage_rows(plan, chunks, run),
        chunks=chunks,
        kept=kept_rows(plan),
        steady=steady_iterations(plan, run),
    )


def bottleneck(plan: Plan, run: Timeline) -> Bottleneck:
    """What holds its predicted run up."""
    return bottleneck_of(plan.forecast, run, plan.facts, plan.target.budget_bytes)


def loop_fits(program: Program, chunks: Sequence[ChunkRow]) -> bool:
    """Whether there are loops, and all that they call stays loaded: then policies differ by
    nothing that a loop does."""
    looped = _looped(program)
    return bool(looped) and all(c.kept for c in chunks if c.id in looped)


def page_bytes(plan: Plan) -> int:
    """The target's, where the runner loads by pages: the online rule does, gates do not."""
    return plan.target.page_bytes if kind_of(plan.schedule).by_pages else 0


# ---------------------------------------------------------------- stages and chunks


def stage_rows(plan: Plan, chunks: Sequence[ChunkRow], run: Timeline) -> tuple[StageRow, ...]:
    """In the order of the program; then stages that are functions of others' packages, which bring
    no weights and no loads. Host steps take no time and have no row."""
    seconds = dict(plan.forecast.stage_s)
    flops, calls = _flops(plan), _calls(plan.program)
    stage_of = {c.id: c.stage for c in chunks}
    loading = _sums((stage_of[e.label], e.end_s - e.start_s) for e in run.bars if _is_load(e))
    rows = []
    for stage in dict.fromkeys(c.stage for c in chunks):
        own = [c for c in chunks if c.stage == stage]
        rows.append(
            StageRow(
                name=stage,
                chunks=len(own),
                weight_bytes=sum(c.weight_bytes for c in own),
                activation_bytes=max(c.activation_bytes for c in own),
                file_bytes=sum(c.file_bytes for c in own),
                flops=sum(flops.get((stage, c.id), 0) for c in own),
                calls=calls.get((stage, own[0].id), 0),
                loads=sum(c.loads for c in own),
                loaded_bytes=sum(c.loaded_bytes for c in own),
                compute_s=seconds.get(stage, 0.0),
                load_s=loading.get(stage, 0.0),
                wait_s=sum(c.wait_s for c in own),
            )
        )
    return (*rows, *_other_rows(plan, seconds))


def _other_rows(plan: Plan, seconds: Mapping[str, float]) -> Iterator[StageRow]:
    flops, calls = _flops(plan), _calls(plan.program)
    parts: dict[str, list[tuple[str, Variant]]] = {}
    for chunk in plan.chunks:
        for variant in chunk.others:
            parts.setdefault(variant.graph, []).append((chunk.id, variant))
    for stage, found in parts.items():
        yield StageRow(
            name=stage,
            chunks=len(found),
            weight_bytes=0,
            activation_bytes=max(v.activation_bytes for _, v in found),
            file_bytes=0,
            flops=sum(flops.get((stage, chunk), 0) for chunk, _ in found),
            calls=calls.get((stage, found[0][0]), 0),
            loads=0,
            loaded_bytes=0,
            compute_s=seconds.get(stage, 0.0),
            load_s=0.0,
            wait_s=0.0,
        )


def chunk_rows(plan: Plan, run: Timeline) -> tuple[ChunkRow, ...]:
    """One row per chunk, in the order of the plan."""
    facts = {f.id: f for f in plan.facts}
    packages = {p.chunk: p for p in plan.packages}
    flops = Counter[str]()
    for (_, chunk), n in _flops(plan).items():
        flops[chunk] += n
    calls = plan.program.call_counts
    looped = _looped(plan.program)
    uses = Counter(e.label for e in run.bars if e.queue == "compute")
    waiting = _sums((w.chunk, w.end_s - w.start_s) for w in run.waits)
    stays, loaded = _by_chunk(stays_of(run.bars)), _loads(run.bars)
    switches = {(w.chunk, w.end_s) for w in run.waits if w.cause == "switch"}
    rows = []
    for c in plan.chunks:
        f, package = facts[c.id], packages.get(c.id)
        loads = loaded.get(c.id, [])
        rows.append(
            ChunkRow(
                id=c.id,
                stage=c.graph,
                weight_bytes=f.weight_bytes,
                activation_bytes=f.activation_bytes,
                input_bytes=sum(p.size_bytes for p in c.inputs),
                output_bytes=sum(p.size_bytes for p in c.outputs),
                flops=flops[c.id],
                calls=calls.get(c.id, 0),
                load_s=f.load_s,
                first_load_s=f.load_s + f.cold_s,
                exec_s=f.exec_s,
                loads=len(loads),
                loaded_bytes=sum(e.size_bytes for e in loads),
                wait_s=waiting.get(c.id, 0.0),
                uses=uses[c.id],
                kept=c.id in looped
                and not any(e.iteration and (c.id, e.end_s) not in switches for e in loads),
                stays=tuple(stays.get(c.id, ())),
                compute_unit=c.compute_unit or plan.target.compute_unit,
                precision=package.precision if package else "",
                compression=package.compression if package else "",
                psnr_db=package.psnr_db if package else None,
                functions=_functions(c),
                stages=tuple(dict.fromkeys(x for v in c.others for x in (v.graph, v.name))),
                path=package.path if package else "",
                file_bytes=package.file_bytes if package else 0,
                modules=c.modules,
            )
        )
    return tuple(rows)


def _looped(program: Program) -> set[str]:
    """Chunks that a loop calls."""
    loops = [s for s in program.segments if s.is_loop]
    return {x.chunk for s in loops for x in s.steps if isinstance(x, Call)}


def _by_chunk(stays: Iterable[Stay]) -> Mapping[str, list[Stay]]:
    found: dict[str, list[Stay]] = {}
    for stay in stays:
        found.setdefault(stay.chunk, []).append(stay)
    return found


def _loads(events: Iterable[Bar]) -> Mapping[str, list[Bar]]:
    found: dict[str, list[Bar]] = {}
    for e in filter(_is_load, events):
        found.setdefault(e.label, []).append(e)
    return found


def _is_load(event: Bar) -> bool:
    return event.queue == "load"


def _functions(chunk: Chunk) -> tuple[str, ...]:
    return ("main", *(v.name for v in chunk.variants))


def _sums(pairs: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    total: dict[str, float] = {}
    for name, amount in pairs:
        total[name] = total.get(name, 0.0) + amount
    return total


def _flops(plan: Plan) -> dict[tuple[str, str], int]:
    """(stage, chunk) -> operations of all calls, by the functions they use."""
    chunks = {c.id: c for c in plan.chunks}
    total: dict[tuple[str, str], int] = {}
    for segment in plan.program.segments:
        for step in segment.steps:
            if not isinstance(step, Call):
                continue
            called = (i for i in range(segment.count) if step.is_called(i))
            once = (chunks[step.chunk].part_of(step.function_at(i)).flops for i in called)
            key = step.stage, step.chunk
            total[key] = total.get(key, 0) + step.repeat * sum(once)
    return total


def _calls(program: Program) -> dict[tuple[str, str], int]:
    """(stage, chunk) -> how often it is called if no loop ends early."""
    count: dict[tuple[str, str], int] = {}
    for segment in program.segments:
        for step in segment.steps:
            if isinstance(step, Call):
                times = len(step.at) or segment.count
                key = step.stage, step.chunk
                count[key] = count.get(key, 0) + times * step.repeat
    return count


def kept_rows(plan: Plan) -> tuple[KeptRow, ...]:
    """By rising slowness, from none at all; nothing where gates rule or nothing is ever kept."""
    levels = [(k.slower, k.chunks) for k in plan.schedule.kept]
    if plan.schedule.driver != "online" or not levels:
        return ()
    if levels[0][0] > 0:
        levels.insert(0, (0.0, ()))
    ends = [*(slower for slower, _ in levels[1:]), None]
    rows = zip(levels, ends, strict=True)
    return tuple(KeptRow(slower=s, below=end, chunks=chunks) for (s, chunks), end in rows)
