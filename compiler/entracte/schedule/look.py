"""Times of schedules for comparing them: whole runs, and a short look in which long loops are run
for a few iterations and then go on."""

from dataclasses import replace

from entracte.clock.clock import Gamma
from entracte.clock.predict import simulated
from entracte.clock.quick import Nominal, end_and_bytes
from entracte.clock.quick_rule import Course, QuickRule
from entracte.clock.table import make_table
from entracte.ir import Schedule
from entracte.program.steps import bases, functions_of, pace_of, shortened
from entracte.program.workload import Workload
from entracte.schedule.given import Given
from entracte.schedule.pace import Cost


def paced_s(workload: Workload, schedule: Schedule, given: Given | None = None) -> float:
    """The makespan, nearly: loops that were cut short go on at their last pace.

    For comparing many programs by gates: whole runs of them cost several times more. `given` of
    this workload remembers it: several policies may load alike.
    """
    if given is None:
        return _paced_s(_shortened(workload), workload, schedule)
    key = (id(workload), schedule.loads)
    if key not in given.looks:
        if id(workload) not in given.shorts:
            given.shorts[id(workload)] = _shortened(workload)
        given.looks[key] = workload, _paced_s(given.shorts[id(workload)], workload, schedule)
    return given.looks[key][1]


def _shortened(workload: Workload) -> Nominal:
    return Nominal(replace(workload, program=shortened(workload.program)))


def _paced_s(nominal: Nominal, workload: Workload, schedule: Schedule) -> float:
    short, ends = nominal.workload.program, nominal.step_ends(schedule)
    ns = float(ends[-1]) if ends else 0.0
    for base, whole, run in zip(
        bases(short), workload.program.segments, short.segments, strict=True
    ):
        if run.count < whole.count:
            length = len(run.steps)
            last = base + run.count * length - 1
            over = pace_of(whole)
            pace = (ends[last] - ends[last - over * length]) / over
            ns += (whole.count - run.count) * pace
    return ns / 1e9


def cost_of(workload: Workload, schedule: Schedule, given: Given | None = None) -> Cost:
    """Seconds of the whole run on the clock, and the bytes it loads. `given` of this workload
    remembers them: several policies may load alike."""
    if given is None:
        return _cost(workload, schedule)
    is_gates = schedule.driver == "gates"
    key = (id(workload), schedule.driver, schedule.loads if is_gates else schedule.kept)
    if key not in given.costs:
        given.costs[key] = workload, _cost(workload, schedule)
    return given.costs[key][1]


def _cost(workload: Workload, schedule: Schedule) -> Cost:
    if schedule.driver == "gates":
        ns, loaded = end_and_bytes(workload, schedule)
        return ns / 1e9, loaded
    if workload.page_bytes:
        made = simulated(workload, schedule)
        return made.makespan_ns / 1e9, made.loaded_bytes
    table = make_table(workload, kept=schedule.kept)
    functions = functions_of(workload.program) if workload.reload_on_switch else None
    run = QuickRule(Course(table, functions), table, Gamma.of(workload.contention))
    ends = (*run.ends[-1:], *(at for at, _ in run.loads[-1:]))
    return max(ends, default=0) / 1e9, run.loaded_bytes
