"""Instructions of a block before it is known what each may drop, and how that is found."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from entracte.reference import mil
from entracte.reference.code import Code, Instruction, Session
from entracte.reference.registry import Compute


class Draft(NamedTuple):
    """An instruction without the registers that it clears; a tuple, for a load makes many."""

    run: Compute
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    operation: mil.Operation
    inner: frozenset[int] = frozenset()
    """Registers that blocks inside the operation read."""


def finish(
    session: Session, drafts: Sequence[Draft], inputs: tuple[int, ...], outputs: tuple[int, ...],
    constants: Set[int],
) -> Code:  # fmt: skip
    """The block's code: every register of its own is cleared by the instruction that reads it last.

    Args:
        inputs, outputs: registers that the block receives and hands on.
        constants: registers that hold constants; they are never cleared.
    """
    own = {*inputs, *(register for draft in drafts for register in draft.outs)}
    later = set(outputs)
    instructions: list[Instruction] = []
    for draft in reversed(drafts):
        touched = {*draft.ins, *draft.outs, *draft.inner}
        frees = tuple(sorted((touched - later) & own))
        later |= touched
        out = draft.outs[0] if len(draft.outs) == 1 else draft.outs
        instructions.append((draft.run, draft.ins, out, frees, draft.operation))
    instructions.reverse()
    # What a caller takes is cleared after it took it, and so are inputs that nothing reads.
    clears = tuple(sorted(own & set(outputs) | own - later))
    return Code(session, inputs, outputs, instructions, later - own - constants, clears)
