"""`plan verify`: run the comparison, print the table, remember the scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from entracte.cli.console import Bars, console
from entracte.ir import Plan
from entracte.plan.file import check_files, check_plan, read_plan, write_plan
from entracte.run.execute import make_device
from entracte.verify.verify import ChunkScore, verify_distinct, verify_plan, with_scores


def verify_build(
    build: Path,
    inputs: Mapping[str, object],
    bars: Bars,
    *,
    save: bool = True,
    distinct: bool = False,
) -> bool:
    """True when something failed. The plan's own claims are checked when it is read.

    With `distinct`, one package of each kind is tried alone and nothing is run end to end.
    """
    plan = read_plan(build)
    proof = check_plan(plan)
    check_files(plan, build)
    console.print(f"plan: sound; {proof.steps_checked} steps checked, peak proven for any timing")
    if distinct:
        return _verify_distinct(plan, build, bars, save)
    bars.phase("verify", plan.program.step_count)
    result = verify_plan(
        plan, build, make_device("reference", plan), inputs, lambda s, n, _: bars.at(s, n)
    )
    if save:
        write_plan(with_scores(plan, result.chunks), build)
    console.print(verification_table(result.chunks))
    verdict = "passed" if result.passed else "[red]failed[/red]"
    console.print(
        f"video: {_db(result.video_psnr_db)} against the torch source (floor "
        f"{result.video_floor_db:.0f} dB), largest error {result.video_max_error:.2g}; {verdict}"
    )
    return not result.passed


def _verify_distinct(plan: Plan, build: Path, bars: Bars, save: bool) -> bool:
    bars.phase("verify", len(plan.packages))
    scores = verify_distinct(plan, build, lambda s, n, _: bars.at(s, n))
    if save:
        write_plan(with_scores(plan, scores), build)
    console.print(verification_table(scores))
    failed = [c.chunk for c in scores if not c.passed]
    console.print(
        f"{len(scores)} kinds of {len(plan.packages)} packages, on sampled inputs; "
        + (f"[red]failed: {escape(', '.join(failed))}[/red]" if failed else "passed")
    )
    return bool(failed)


def verification_table(scores: Sequence[ChunkScore]) -> Table:
    """One row per chunk: PSNR, floor, largest error."""
    table = Table(
        title="Packages against their torch source",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("chunk", no_wrap=True)
    for name in ("calls", "PSNR", "floor", "largest error"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in scores:
        table.add_row(
            Text(c.chunk),
            str(c.calls),
            _db(c.psnr_db),
            f"{c.floor_db:.0f} dB",
            f"{c.max_error:.2g}",
            "" if c.passed else "[red]failed[/red]",
        )
    return table


def _db(value: float) -> str:
    return "equal" if value == float("inf") else f"{value:.1f} dB"
