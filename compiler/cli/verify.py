"""`plan verify`: run the comparison, print the table, remember the scores."""

from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.table import Table

from compiler.cli.console import Bars, console
from compiler.execute import make_device
from compiler.plan import check_files, check_plan, read_plan, write_plan
from compiler.verify import Verification, verify_plan, with_scores


def verify_build(
    build: Path, inputs: Mapping[str, object], bars: Bars, *, save: bool = True
) -> bool:
    """True when something failed. The plan's own claims are checked when it is read."""
    plan = read_plan(build)
    proof = check_plan(plan)
    check_files(plan, build)
    bars.phase("verify", plan.program.step_count)
    result = verify_plan(
        plan, build, make_device("reference", plan), inputs, lambda s, n, _: bars.at(s, n)
    )
    if save:
        write_plan(with_scores(plan, result), build)
    console.print(f"plan: sound; {proof.steps_checked} steps checked, peak proven for any timing")
    console.print(verification_table(result))
    verdict = "passed" if result.passed else "[red]failed[/red]"
    console.print(
        f"video: {_db(result.video_psnr_db)} against the torch source (gate "
        f"{result.video_gate_db:.0f} dB), largest error {result.video_max_error:.2g}; {verdict}"
    )
    return not result.passed


def verification_table(result: Verification) -> Table:
    """One row per chunk: PSNR, gate, largest error."""
    table = Table(
        title="Packages against their torch source",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("chunk", no_wrap=True)
    for name in ("calls", "PSNR", "gate", "largest error"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in result.chunks:
        table.add_row(
            c.chunk,
            str(c.calls),
            _db(c.psnr_db),
            f"{c.gate_db:.0f} dB",
            f"{c.max_error:.2g}",
            "" if c.passed else "[red]failed[/red]",
        )
    return table


def _db(value: float) -> str:
    return "equal" if value == float("inf") else f"{value:.1f} dB"
