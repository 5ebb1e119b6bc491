"""What makes a loop cheaper and changes what it computes: combinations, with what they do to the
demo, and their predicted times.

A leap, guidance in an interval of steps and resting blocks compose, and blocks rest in fixed steps
or by a first-block test. Fidelity is the demo's, measured (`tools/bench_techniques.py`,
`tools/reuse_parts.py`; docs/techniques.md): of another model it says the order at most. Times are
decided as `compile dry_run=true` would decide them; what a test will decide no plan knows, so its
time is that of a share of the steps, the demo's if none is declared, between those of both ends.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from entracte.clock.predict import predict
from entracte.decide.decide import decide_job
from entracte.declare.read import Job
from entracte.errors import ConfigError, DoesNotFit
from entracte.inspect.expected import declared_share

if TYPE_CHECKING:
    from entracte.trace.wire import TracedPipeline

LEAP, APART, INTERVAL, REUSE, TEST = "leap", "apart", "interval", "reuse", "test"


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Of the demo: shares of clips in which all is right, and PSNR against plain clips in dB."""

    seen: float
    held_out: float
    psnr_db: float | None
    share: float | None = None
    """Of the steps, those in which the blocks ran that a first-block test lets rest; of halves that
    decide apart, of the steps of both."""


Technique = frozenset[str]
"""Which are on. `apart` changes nothing that is computed, and `interval` is apart already."""

_MEASURED: dict[Technique, Fidelity] = {
    frozenset(): Fidelity(0.982, 1.0, None),
    frozenset({LEAP}): Fidelity(0.982, 1.0, 33.9),
    frozenset({INTERVAL}): Fidelity(0.982, 1.0, 34.7),
    frozenset({REUSE}): Fidelity(1.0, 1.0, 38.9),
    frozenset({LEAP, INTERVAL}): Fidelity(0.982, 1.0, 30.9),
    frozenset({LEAP, REUSE}): Fidelity(0.982, 1.0, 31.7),
    frozenset({INTERVAL, REUSE}): Fidelity(0.982, 1.0, 32.2),
    frozenset({LEAP, INTERVAL, REUSE}): Fidelity(0.982, 1.0, 29.4),
    frozenset({TEST}): Fidelity(0.982, 1.0, 43.5, 0.41),
    frozenset({LEAP, TEST}): Fidelity(1.0, 0.933, 31.8, 0.47),
    frozenset({INTERVAL, TEST}): Fidelity(0.982, 1.0, 32.8, 0.43),
    frozenset({LEAP, INTERVAL, TEST}): Fidelity(0.982, 1.0, 29.7, 0.51),
}
"""Of 72 clips, at 30 steps, of which the leap takes 16; half of the steps guided; every other step
without the blocks between the first and the last, or all but the first by a test at `CHANGE`."""
CHANGE = 0.1
"""Of the tests that were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """A combination and what it costs; no time where it does not fit, `refused` where it is not
    possible."""

    on: Technique
    words: tuple[str, ...]
    """What to type for it."""
    makespan_s: float | None = None
    loaded_bytes: int = 0
    refused: str = ""
    share: float | None = None
    """With a first-block test: of the steps in which blocks run that may rest, which the time is
    of."""
    ends_s: tuple[float, float] | None = None
    """The time where they run in the first step alone, and where they run in all."""
    as_measured: bool = True
    """Whether a test is the one that was measured."""

    @property
    def name(self) -> str:
        """`plain`, or what is on."""
        return (
            " + ".join(x for x in (LEAP, APART, INTERVAL, REUSE, TEST) if x in self.on) or "plain"
        )

    @property
    def fidelity(self) -> Fidelity | None:
        """Of the demo, where it was measured."""
        return measured(self.on) if self.as_measured else None


def measured(on: Technique) -> Fidelity | None:
    """What a combination does to the demo; None where it was not measured."""
    return _MEASURED.get(on - {APART})


def combinations() -> Iterator[Technique]:
    """All of them, the plain one first."""
    yield from (frozenset[str](), frozenset({APART}))
    for chosen in list(product(("", LEAP), ("", INTERVAL), ("", REUSE, TEST)))[1:]:
        yield frozenset(chosen) - {""}


Declare = Callable[[Technique], tuple[Job, tuple[str, ...]]]
"""The job with these, and the words for it. Raises `ConfigError` where they are not possible."""


def ranked(
    declare: Declare,
    trace: "Callable[[Job], TracedPipeline]",
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Combination, ...]:
    """All combinations by predicted time, those that are not possible last. Raises `ConfigError`
    where the plain one is not."""
    found = []
    for on in combinations():
        report(" + ".join(sorted(on)) or "plain")
        try:
            found.append(_timed(on, declare, trace))
        except ConfigError as error:
            if not on:
                raise
            found.append(Combination(on=on, words=(), refused=str(error)))
    return tuple(sorted(found, key=_rank))


def _rank(one: Combination) -> tuple[bool, bool, float, int]:
    return bool(one.refused), one.makespan_s is None, one.makespan_s or 0.0, len(one.on)


def _timed(
    on: Technique, declare: Declare, trace: "Callable[[Job], TracedPipeline]"
) -> Combination:
    job, words = declare(on)
    traced = trace(job)
    try:
        decision = decide_job(job, traced.measured)
    except DoesNotFit:
        return Combination(on=on, words=words)
    share = declared_share(job.settings) if TEST in on else None
    shares = (share or 1.0, 0.0, 1.0) if TEST in on else (1.0,)
    result, *ends = (predict(decision.workload, decision.schedule, share=of) for of in shares)
    return Combination(
        on=on,
        words=words,
        makespan_s=result.makespan_s,
        loaded_bytes=result.loaded_bytes,
        share=share,
        ends_s=(ends[0].makespan_s, ends[1].makespan_s) if ends else None,
    )
