"""The checker's half about names: whatever is looked up by a name is there once."""

from collections.abc import Iterable

from entracte.errors import PlanError
from entracte.ir import Plan, Program


def check_names(plan: Plan) -> None:
    """One chunk, fact, package, path, file and segment for each name."""
    check_program_names(plan.program)
    once("plan.chunks: two chunks are called", (c.id for c in plan.chunks))
    once("plan.facts: the facts of two chunks are called", (f.id for f in plan.facts))
    once("plan.packages: two packages are for chunk", (p.chunk for p in plan.packages))
    once("plan.packages: two packages are at", package_paths(plan))
    once("plan.files: two files are called", (path for path, _ in plan.files))
    both = set(package_paths(plan)) & {path for path, _ in plan.files}
    if both:
        raise PlanError(f"plan.files: {sorted(both)[0]!r} is a package as well")
    for i, chunk in enumerate(plan.chunks):
        where = f"plan.chunks[{i}] ({chunk.id})"
        once(f"{where}: two inputs are called", (p.name for p in chunk.inputs))
        once(f"{where}: two outputs are called", (p.name for p in chunk.outputs))
        once(f"{where}: two functions are called", ("main", *(v.name for v in chunk.variants)))
        for v in chunk.variants:
            once(f"{where}.{v.name}: two inputs are called", (p.name for p in v.inputs))
            once(f"{where}.{v.name}: two outputs are called", (p.name for p in v.outputs))
        once(f"{where}: work is told twice of", (w.kind for w in chunk.work))
    for fact in plan.facts:
        once(f"plan.facts: {fact.id} has two times of", (name for name, _ in fact.exec_by))
    once("plan.target.efficiency: two shares are of", (name for name, _ in plan.target.efficiency))
    once("plan.forecast.stage_s: two times are of", (name for name, _ in plan.forecast.stage_s))
    once("plan.forecast.stalls: two times are of", (name for name, _ in plan.forecast.stalls))


def package_paths(plan: Plan) -> tuple[str, ...]:
    """Where packages and arrays are: a graph that several chunks share is there once."""
    graphs = dict.fromkeys(p.path for p in plan.packages if p.arrays is not None)
    own = (p.path for p in plan.packages if p.arrays is None)
    return (*graphs, *own, *(p.arrays.path for p in plan.packages if p.arrays is not None))


def check_program_names(program: Program) -> None:
    """One tensor, input, constant, segment and state for each name."""
    once("plan: two tensors are called", (t.name for t in program.tensors))
    once("plan: two segments are called", (s.name for s in program.segments))
    given = (*(i.name for i in program.inputs), *(c.name for c in program.constants))
    once("plan: two inputs or constants are called", given)
    for s in program.segments:
        once(f"plan: loop {s.name}: two states are called", (name for name, _, _ in s.state))


def once(what: str, names: Iterable[str]) -> None:
    """Refuse the first name that comes again."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PlanError(f"{what} {name!r}; every name is used once")
        seen.add(name)
