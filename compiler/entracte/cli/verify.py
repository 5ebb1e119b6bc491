"""`plan verify`: run the comparison, print the table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from entracte.check.proof import Proof
from entracte.cli.console import Bars, console
from entracte.cli.observed import show_alarm
from entracte.cli.tables import Column, fitted
from entracte.inspect.compared import decibels
from entracte.inspect.pace import pace_of
from entracte.ir import Plan
from entracte.verify.folder import Verified, verify_build
from entracte.verify.source import NOWHERE_ELSE, Origin
from entracte.verify.verify import ChunkScore, OutputScore, Verification

_TRACED = "tracing the torch source"


def show_verification(
    build: Path,
    inputs: Mapping[str, object],
    bars: Bars,
    *,
    save: bool = True,
    distinct: bool = False,
    origin: Origin = NOWHERE_ELSE,
) -> bool:
    """True when something failed, or the run was an alarm.

    With `distinct`, one package of each kind is tried alone and nothing is run end to end.
    """

    def sound(plan: Plan, proof: Proof) -> None:
        console.print(
            f"plan: sound; {proof.steps_checked} steps checked, peak proven for any timing"
        )
        if distinct or not plan.packages:
            bars.phase("verify", len(plan.packages))
            bars.start(_TRACED)
        else:
            bars.steps("verify", pace_of(plan, build, "").twice(_TRACED))

    found = verify_build(
        build, inputs, distinct=distinct, save=save, origin=origin, sound=sound,
        progress=bars.at,
    )  # fmt: skip
    console.print(verification_table(found.chunks, console.width))
    console.print(_distinct(found) if found.whole is None else _whole(found.whole))
    if found.whole is not None:
        show_alarm(console, found.whole.alarm)
    return not found.passed


def _whole(result: Verification) -> str:
    alike = replace(result, alarm=None)
    verdict = "passed" if alike.passed else "[red]failed[/red]"
    return "\n".join(_output(o, result.floor_db) for o in result.outputs) + f"; {verdict}"


def _output(o: OutputScore, floor_db: float) -> str:
    name = escape(o.name)
    if not o.judged:
        return f"{name}: {100 * o.equal:.0f}% as of the torch source (not judged: whole numbers)"
    return (
        f"{name}: {decibels(o.psnr_db)} against the torch source (floor {floor_db:.0f} dB), "
        f"largest error {o.max_error:.2g}"
    )


def _distinct(found: Verified) -> str:
    failed = [c.chunk for c in found.chunks if not c.passed]
    verdict = f"[red]failed: {escape(', '.join(failed))}[/red]" if failed else "passed"
    return (
        f"{len(found.chunks)} kinds of {len(found.plan.packages)} packages, on sampled inputs; "
        f"{verdict}"
    )


def verification_table(scores: Sequence[ChunkScore], width: int = 80) -> Table:
    """One row per chunk: PSNR, floor, largest error."""
    return fitted(
        "Packages against their torch source",
        (
            Column("chunk", [c.chunk for c in scores], left=True),
            Column("calls", [str(c.calls) for c in scores], 1),
            Column("PSNR", [decibels(c.psnr_db) for c in scores]),
            Column("floor", [f"{c.floor_db:.0f} dB" for c in scores]),
            Column("largest error", [f"{c.max_error:.2g}" for c in scores], 2),
            Column("", ["" if c.passed else "failed" for c in scores]),
        ),
        width,
    )
