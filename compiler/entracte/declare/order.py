"""The order of a pipeline's stages: producers first, otherwise as written."""

from collections.abc import Iterable

from entracte.errors import ConfigError
from entracte.ir import Loop, Stage


def ordered(stages: tuple[Stage, ...], loops: tuple[Loop, ...]) -> tuple[Stage, ...]:
    """Stages in an order that can be executed; a loop's stages stand together.

    Stable: among stages that are ready, the one written first comes first. Raises
    `ConfigError` naming the stages of a cycle.
    """
    by_name = {s.name: s for s in stages}
    unit = {n: loop.name for loop in loops for n in loop.stages}
    members: dict[str, list[str]] = {}
    for stage in stages:
        members.setdefault(unit.get(stage.name, stage.name), []).append(stage.name)
    for loop in loops:
        members[loop.name] = list(loop.stages)
    needs = {u: _needs(u, names, by_name, loops, unit) for u, names in members.items()}
    done: list[str] = []
    while len(done) < len(members):
        ready = next((u for u in members if u not in done and needs[u] <= set(done)), None)
        if ready is None:
            stuck = sorted(set(members) - set(done))
            raise ConfigError(f"pipeline.stages: {', '.join(stuck)} need each other's values")
        done.append(ready)
    return tuple(by_name[n] for u in done for n in members[u])


def _needs(
    name: str,
    names: Iterable[str],
    stages: dict[str, Stage],
    loops: tuple[Loop, ...],
    unit: dict[str, str],
) -> set[str]:
    values = [v for n in names for _, v in stages[n].inputs]
    values += [first for n in names if (m := stages[n].map) for _, first, _ in m.carry]
    for loop in loops:
        if loop.name == name:
            values += [init for _, init, _ in loop.state] + [scan.value for scan in loop.scan]
    owners = {v.partition(".")[0] for v in values if "." in v}
    return {unit.get(o, o) for o in owners} - {name}
