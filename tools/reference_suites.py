"""Write the tables of docs/reference-suites.md from the logs of run_coremltools_tests.py.

    python tools/reference_suites.py mil.jsonl torch.jsonl ...

What stands between the page's two markers is replaced; the rest is written by hand.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
from pathlib import Path

from apple_outcomes import Outcome, explanation, grouped, read_known, read_log, table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference-suites.md"
BEGIN, END = "<!-- tables: tools/reference_suites.py -->", "<!-- end of tables -->"
SUITES = {
    "MIL operations": r"^converters/mil/mil/ops/tests/",
    "Torch operations": r"/torch/test/test_torch_ops\.py",
    "Torch, the rest": r"/torch/test/(?!test_torch_ops)",
    "Programs, passes, compression": r"^(test/|converters/mil/(mil/(passes|tests)|backend|test_))",
}
ROWS = ("frontend", "opset", "precision")
FINE = 1e-2
"""Share of the largest expected magnitude: a hundredth, against Apple's 0.5 for fp16."""


def suite_tables(outcomes: list[Outcome]) -> list[str]:
    """Per suite: by opset, precision and frontend."""
    lines = []
    for title, pattern in SUITES.items():
        here = [o for o in outcomes if re.search(pattern, o.case)]
        if here:
            lines += ["", f"### {title}", "", table(", ".join(ROWS), grouped(here, *ROWS)),
                      "", _without_halves(here)]  # fmt: skip
    return lines


def _without_halves(outcomes: list[Outcome]) -> str:
    """One sentence: the share that passed where a verdict at 1e-4 can be met."""
    reached = [o for o in outcomes if o.calls and o.outcome in ("passed", "failed")
               and "fp16 data" not in o.precision]  # fmt: skip
    good = sum(o.outcome == "passed" for o in reached)
    share = 100 * good / max(len(reached), 1)
    return (f"Without the rows of fp32 on fp16 data (see the failures): {good} of {len(reached)} "
            f"on the device passed, {share:.2f} %.")  # fmt: skip


def failures(outcomes: list[Outcome]) -> list[str]:
    """Every failure: the explained ones by explanation, the others by name."""
    known = read_known()
    failed = [o for o in outcomes if o.outcome == "failed"]
    groups: dict[str, list[Outcome]] = collections.defaultdict(list)
    for outcome in failed:
        found = explanation(outcome, known)
        groups[f"*{found.kind}*: {found.because}" if found else "**not explained**"].append(outcome)
    lines = ["", f"### The {len(failed)} failures", ""]
    for because, group in sorted(groups.items(), key=lambda g: -len(g[1])):
        lines.append(f"* {len(group)}, {because} {_where(group)}")
    return lines


def _where(group: list[Outcome]) -> str:
    count = collections.Counter("::".join(o.function.split("::")[1:]) for o in group)
    return "(" + ", ".join(f"`{name}` {n}" for name, n in sorted(count.items())) + ")"


def skips(outcomes: list[Outcome]) -> list[str]:
    """Reasons of skips and expected failures, counted."""
    lines = []
    for kind, title in (("skipped", "skips"), ("xfailed", "expected failures")):
        here = [o for o in outcomes if o.outcome == kind]
        count = collections.Counter(_plain(o.message) for o in here)
        lines += ["", f"### The {len(here)} {title}, as the suites say", "",
                  "| reason | cases |", "|---|---:|"]  # fmt: skip
        lines += [f"| {reason} | {n} |" for reason, n in count.most_common()]
    return lines


def _plain(message: str) -> str:
    text = re.sub(r"\s+", " ", message).removeprefix("Skipped: ").replace("|", "\\|")
    text = re.sub(r"at 0x[0-9a-f]+", "", text)
    return text[:140] or "(no reason given)"


def accuracy(outcomes: list[Outcome]) -> list[str]:
    """How near passed results are, whatever tolerance the suite used."""
    limits = (1e-6, 1e-5, 1e-4, 1e-3, FINE)
    head = " | ".join(f"≤ {limit:g}" for limit in limits)
    lines = ["", "### How near the passed results are", "",
             "Largest difference of a case, as a fraction of the largest expected magnitude.", "",
             f"| precision | cases | {head} | above |", "|---|" + "---:|" * 7]  # fmt: skip
    passed = [o for o in outcomes if o.outcome == "passed" and o.error is not None]
    for name, group in sorted(grouped(passed, "precision").items()):
        within = [sum((o.error or 0.0) <= limit for o in group) for limit in limits]
        cells = [len(group), *within, len(group) - within[-1]]
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    far = [o for o in passed if (o.error or 0.0) > FINE]
    return [*lines, "", f"Above {FINE:g}: {_where(far)}." if far else ""]


def unrounded(first: list[Outcome], second: list[Outcome]) -> list[str]:
    """What became of failures that were run again under the policy that never rounds."""
    if not second:
        return []
    again = {o.case for o in second}
    left = [o for o in first if o.outcome == "failed" and o.precision == "fp32, fp16 data"]
    left = [o for o in left if o.case not in again]
    return ["", "### Failures on fp16 data again, with `--policy fp32`", "",
            f"{len(left)} of them were not run again.", "",
            table(", ".join(ROWS), grouped(second, *ROWS))]  # fmt: skip


def unused(outcomes: list[Outcome]) -> list[str]:
    """Entries of the list of known failures that no failure needs."""
    known = read_known()
    needed = {explanation(o, known) for o in outcomes if o.outcome == "failed"}
    return [k.cases.pattern for k in known if k not in needed]


def page(logs: list[str]) -> str:
    """Everything between the markers."""
    runs = [read_log(log) for log in logs]
    everything = [o for run in runs for o in run.values()]
    first = list({o.case: o for o in everything if o.policy == "round"}.values())
    second = list({o.case: o for o in everything if o.policy == "fp32"}.values())
    for pattern in unused(first):
        print(f"known, but no failure needs it: {pattern}", file=sys.stderr)
    parts = [*suite_tables(first), *unrounded(first, second), *accuracy(first),
             *failures(first), *skips(first)]  # fmt: skip
    return "\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="+", help="from run_coremltools_tests.py --resume or --json")
    parser.add_argument("--print", action="store_true", help="print instead of writing the page")
    options = parser.parse_args()
    made = page(options.logs)
    if options.print:
        print(made)
        return 0
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
