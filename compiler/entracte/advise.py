"""Which settings to choose: precision, compression, policy, chunking and size under the budget.

Every option is decided as `compile dry_run=true` would decide it, with the same cost model, and
nothing is converted. Compressed weights are counted by the rule of tracing, so a size is traced
once for each precision. The number of options is fixed, which bounds the time; all are looked at in
one order, so the answer is the same every time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from entracte.clock.predict import predict
from entracte.decide.decide import Decision, decide
from entracte.declare.read import Job
from entracte.declare.scheme import SCHEMES, UNCOMPRESSED, fidelity, weight_bytes
from entracte.errors import ConfigError, DoesNotFit
from entracte.inspect.bottleneck import ACTIVATIONS, COMPUTING, LOADING, bottleneck_of
from entracte.ir import Pipeline, Policy, StageGraph
from entracte.units import compact_bytes

if TYPE_CHECKING:
    from entracte.trace.wire import TracedPipeline

_NEAR = 1.1
"""Times up to this many times the shortest count as nearly as fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice and what it would cost; no time where it does not fit."""

    size: str
    precision: str
    compression: str
    policy: str
    chunks: int = 0
    makespan_s: float | None = None
    loaded_bytes: int = 0
    bottleneck: str = "no fit"
    """Its kind: see `entracte.inspect.bottleneck`."""
    sentence: str = ""
    """The same with its figures."""
    relief: str = ""
    variation: bool = False
    """Another policy or chunking than the configuration's."""

    @property
    def fidelity(self) -> int:
        """Rank of what is kept of the weights; 0 is best."""
        return fidelity(self.precision, self.compression)


@dataclass(frozen=True, slots=True)
class Choice:
    """A size of the video, as overrides of the configuration."""

    size: str
    overrides: tuple[tuple[str, object], ...]


Declare = Callable[[Choice, str, str], Job]
"""(choice, precision, compression) -> the job with these settings."""
Report = Callable[[str], None]


def advise(
    declare: Declare,
    trace: "Callable[[Pipeline], TracedPipeline]",
    sizes: tuple[Choice, ...],
    policies: tuple[Policy, ...],
    report: Report = lambda _: None,
) -> tuple[Option, ...]:
    """All options, those that fit first: by time, bytes read, fidelity.

    The policies and finer chunks are tried for the fastest option of the first size only.
    Raises `ConfigError` where the configuration itself cannot be traced.
    """
    found: list[tuple[Option, _Case]] = []
    for choice in sizes:
        for precision in ("fp32", "fp16"):
            found += _of_precision(declare, trace, choice, precision, choice == sizes[0], report)
    fitting = [x for x in found if x[0].makespan_s is not None and x[0].size == sizes[0].size]
    if fitting:
        best = min(fitting, key=lambda x: _rank(x[0]))[1]
        for policy in policies:
            report(policy.name)
            found.append((_evaluate(replace(best, policy=policy)), best))
        report("finer chunks")
        found.append((_evaluate(_finer(best)), best))
    return tuple(sorted(dict.fromkeys(o for o, _ in found), key=_rank))


def count(sizes: int, policies: int) -> int:
    """How often `advise` reports."""
    return sizes * 2 * len(_tried()) + policies + 1


def _tried() -> tuple[str, ...]:
    """The compressions that are options."""
    return (UNCOMPRESSED, *(s.name for s in SCHEMES.values() if s.is_advised))


@dataclass(frozen=True)
class _Case:
    """One option to be decided."""

    size: str
    precision: str
    compression: str
    job: Job
    traced: "TracedPipeline"
    policy: Policy
    chunk_bytes: int | None


def _of_precision(
    declare: Declare,
    trace: "Callable[[Pipeline], TracedPipeline]",
    choice: Choice,
    precision: str,
    required: bool,
    report: Report,
) -> list[tuple[Option, _Case]]:
    """A size that a graph refuses is no option, unless it is the configured one."""
    try:
        traced = trace(declare(choice, precision, UNCOMPRESSED).pipeline)
    except ConfigError:
        if required:
            raise
        for name in _tried():
            report(name)
        return []
    options = []
    for compression in _tried():
        report(f"{choice.size} {precision} {compression}")
        job = declare(choice, precision, compression)
        case = _Case(choice.size, precision, compression, job, traced, job.policy, job.chunk_bytes)
        options.append((_evaluate(case), case))
    return options


def _evaluate(case: _Case) -> Option:
    try:
        decision = _decide(case)
    except DoesNotFit as error:
        return replace(_blank(case), relief=str(error).rpartition("; ")[2])
    target = case.job.target
    result = predict(decision.workload, decision.schedule)
    again = result.loads > len(decision.facts)
    found = bottleneck_of(result, result, decision.facts, target.budget_bytes)
    return replace(
        _blank(case),
        chunks=len(decision.facts),
        makespan_s=result.makespan_s,
        loaded_bytes=result.loaded_bytes,
        bottleneck=found.kind,
        sentence=found.sentence,
        relief=_RELIEF[found.kind] if again or found.kind == COMPUTING else _ONCE,
    )


_RELIEF = {
    COMPUTING: "fewer evaluations (sampler=lpl_static) or a smaller size",
    LOADING: "smaller weights (precision, compression) or more `target.memory`",
    ACTIVATIONS: "a smaller size or `map.size`, so that more chunks stay loaded",
}
_ONCE = "smaller weights: each package is loaded only once already"


def _blank(case: _Case) -> Option:
    policy = case.policy.name
    if case.chunk_bytes is not None:
        policy += f" {compact_bytes(case.chunk_bytes)}"
    return Option(
        size=case.size,
        precision=case.precision,
        compression=case.compression,
        policy=policy,
        variation=(case.policy, case.chunk_bytes) != (case.job.policy, case.job.chunk_bytes),
    )


def _decide(case: _Case) -> Decision:
    stages = {s.name: s for s in case.job.pipeline.stages}
    graphs = {
        name: tuple(compressed(g, stages[name].precision, stages[name].compression) for g in parts)
        for name, parts in case.traced.measured.graphs.items()
    }
    return decide(
        replace(case.traced.measured, graphs=graphs),
        case.job.target,
        case.policy,
        case.chunk_bytes,
    )


def compressed(graph: StageGraph, precision: str, compression: str) -> StageGraph:
    """The graph with the bytes per weight that tracing would count.

    What is hoisted stays as it is; a trace may hoist a little more or less.
    """
    return replace(
        graph,
        weights=tuple(
            replace(w, size_bytes=weight_bytes(w.shape, precision, compression))
            for w in graph.weights
        ),
        variants=tuple(compressed(v, precision, compression) for v in graph.variants),
    )


def _finer(case: _Case) -> _Case:
    """Chunks of half the size of the largest one that the search chose."""
    decision = _decide(case)
    largest = max(f.weight_bytes for f in decision.facts)
    return replace(case, chunk_bytes=max(1, largest // 2))


def _rank(option: Option) -> tuple[bool, float, int, int, bool, str, str]:
    time = option.makespan_s
    return (
        time is None,
        round(time or 0.0, 3),
        option.loaded_bytes,
        option.fidelity,
        option.variation,
        option.size,
        option.policy,
    )


def verdict(options: tuple[Option, ...], size: str) -> str:
    """The final sentence: what to choose at the configured size, and what holds it up."""
    here = [o for o in options if o.size == size]
    fitting = [o for o in here if o.makespan_s is not None]
    if not fitting:
        relief = next((o.relief for o in here if o.relief), "more `target.memory`")
        return f"Nothing fits at {size}; {relief}."
    best = fitting[0]
    near = [o for o in fitting if (o.makespan_s or 0.0) <= _NEAR * (best.makespan_s or 0.0)]
    true = min(near, key=lambda o: (o.fidelity, _rank(o)))
    text = f"Fastest at {size}: {_named(best)}. {best.sentence}"
    text += f" What would help: {best.relief}." if best.relief else ""
    if true.fidelity < best.fidelity:
        text += f" Nearly as fast and truer to the weights: {_named(true)}."
    return text


def _named(option: Option) -> str:
    weights = f"{option.precision} weights"
    if option.compression != UNCOMPRESSED:
        weights = f"{option.compression} weights in {option.precision}"
    return f"{weights}, policy {option.policy}"
