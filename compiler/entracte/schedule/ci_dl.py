"""CI-DL, the published loading rule of On-device Sora, as gates and a set of kept chunks.

Source: arXiv:2502.04363v2, appendices A.1 and B.2, and the app's code at commit 47a90a5
(shared reference on-device-sora.md, section 3). A loop's stage of at least three chunks is what
the paper has: a first part, blocks, a last part. The rule:

* while block i computes, block i + 1 loads, and nothing further ahead;
* not in a loop's first iteration, where the app measures its memory;
* not across iterations, nor from one stage to the next;
* the first and the last part are loaded at their use in every iteration, and freed after it;
* the first blocks stay loaded over the loop, as many as leave what one block needs and `margin`
  blocks' weights free; each is freed after its call in the last iteration;
* outside loops (the text encoder) the next chunk of a stage loads while one computes, and
  nothing is kept; mapped stages (the decoders), also those that are loops over slices, load each
  chunk at its use. (The only chunk of a loop is kept by every policy: `schedule/by_gates.py`.)
"""

from collections.abc import Sequence, Set

from entracte.ir import Call, Policy, Program, Segment
from entracte.program.steps import Occurrence
from entracte.program.workload import Workload


def blocks(segment: Segment) -> list[int]:
    """The steps of a loop that the rule streams or keeps: chunks inside a stage, not its ends."""
    if segment.sliced:
        return []
    steps: dict[str, list[int]] = {}
    for k, step in enumerate(segment.steps):
        if isinstance(step, Call):
            steps.setdefault(step.stage, []).append(k)
    return sorted(k for own in steps.values() for k in own[1:-1])


def kept_blocks(
    workload: Workload, policy: Policy, unrolled: Sequence[Occurrence]
) -> dict[int, list[str]]:
    """For each loop (by its segment's number) the chunks that the rule keeps, in order of use.
    `unrolled`: the program's steps, of each loop at least one iteration.

    `available` is what is free before the loop's first block is loaded, `needed` what it took
    to run that block: the published first-iteration measurement, by accounting.
    """
    facts, kept = workload.facts, dict[int, list[str]]()
    for s, segment in enumerate(workload.program.segments):
        inner = blocks(segment) if segment.is_loop else []
        if not inner:
            continue
        chunks = [step.chunk for k in inner if isinstance(step := segment.steps[k], Call)]
        need = next(x.need_bytes for x in unrolled if (x.segment, x.step) == (s, inner[0]))
        first = facts[chunks[0]]
        available = workload.budget_bytes - (need - first.activation_bytes)
        needed = first.activation_bytes + first.weight_bytes
        kept[s] = []
        for chunk in chunks:
            weight = facts[chunk].weight_bytes
            if available - weight <= needed + policy.margin * weight:
                break
            available -= weight
            kept[s].append(chunk)
    return kept


def earliest_gate(
    program: Program, unrolled: Sequence[Occurrence], use: int, inner: Set[int]
) -> int:
    """The step after which the rule starts the load for step `use`, of a segment with the `blocks`
    `inner`.

    `use - 2`: beside the chunk before it. `use - 1`: at its use.
    """
    at = unrolled[use]
    segment = program.segments[at.segment]
    step = segment.steps[at.step]
    before = segment.steps[at.step - 1] if at.step > 0 else None
    if not isinstance(step, Call) or not isinstance(before, Call):
        return use - 1
    if step.stage != before.stage or step.repeat > 1 or segment.sliced:
        return use - 1
    if segment.is_loop:
        beside = {at.step - 1, at.step} <= inner
        if at.iteration == 0 or not beside:
            return use - 1
    return use - 2
