"""What of a chunk computes in fp32 because fp16 was measured not to reach the floor."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entracte.ir import Chunk, Op
from entracte.trace.names import span_of

if TYPE_CHECKING:
    from entracte.trace.traced import Traced


@dataclass(frozen=True, slots=True)
class Repair:
    """By the codes of operations, so that it serves all chunks that are the same program."""

    whole: bool = False
    codes: tuple[str, ...] = ()
    words: str = ""
    """For people."""

    def __bool__(self) -> bool:
        return self.whole or bool(self.codes)

    @property
    def parts(self) -> list[object]:
        """What decides the package: for keys."""
        return [self.whole, list(self.codes)]

    def nodes(self, traced: "Traced", chunk: Chunk, function: str) -> set[str]:
        """The nodes of a function's program that it speaks of."""
        if not self:
            return set()
        node_of = dict(traced.functions[function].node_of)
        return {node_of[o.name] for o in ops_of(traced, chunk, function) if self._takes(o)}

    def _takes(self, op: Op) -> bool:
        return self.whole or op.code in self.codes


def ops_of(traced: "Traced", chunk: Chunk, function: str) -> tuple[Op, ...]:
    """The operations of a chunk's function."""
    graph, start, stop = span_of(chunk, function)
    return traced.part(graph).ops[start:stop]


def islands(ops: Collection[Op], codes: Collection[str]) -> Repair:
    """A repair of the operations with these codes, worded by those that have them."""
    kinds = Counter(o.kind for o in ops if o.code in codes)
    listed = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return Repair(codes=tuple(sorted(codes)), words=f"in fp32: {listed}")


WHOLE = Repair(whole=True, words="all in fp32")
