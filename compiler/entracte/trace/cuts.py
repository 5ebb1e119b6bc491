"""Where a stage graph may be cut."""

from collections.abc import Mapping, Sequence

from entracte.ir import Cut, Op, Port

__all__ = ["cuts_of"]


def cuts_of(ops: Sequence[Op], ports: Mapping[str, Port]) -> tuple[Cut, ...]:
    """Every position whose whole frontier may cross.

    Args:
        ops: in order.
        ports: of the values that may cross.
    """
    last = {name: i for i, op in enumerate(ops) for name in op.inputs}
    cuts = []
    alive: list[str] = []  # made before the position and read after it, in the order of making
    for position in range(1, len(ops)):
        alive.append(ops[position - 1].name)
        alive = [name for name in alive if last.get(name, -1) >= position]
        if alive and all(name in ports for name in alive):
            size = sum(ports[name].size_bytes for name in alive)
            cuts.append(Cut(position, tuple(alive), size))
    return tuple(cuts)
