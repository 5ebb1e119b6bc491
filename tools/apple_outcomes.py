"""What became of the cases of Apple's suites: a log of JSON lines, and its tables.

One line per run of a case; of a case run twice the last line counts. A line that was cut off when
a run was stopped is ignored.
"""

from __future__ import annotations

import collections
import json
import math
import re
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

KNOWN_FILE = Path(__file__).with_name("apple_known.toml")
TARGETS = {"5": "iOS14", "6": "iOS15", "7": "iOS16", "8": "iOS17", "9": "iOS18", "10": "iOS26"}


def plain_name(name: str) -> str:
    """pytest's name of a case without the addresses that some parameters print."""
    return re.sub(r" at 0x[0-9a-f]+", "", name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of one case.

    Attributes:
        case: pytest's name, relative to the folder of coremltools.
        outcome: passed, failed, skipped, xfailed or xpassed.
        message: why, when it did not pass.
        ran: (operation, deployment) pairs of the programs that the device loaded.
        calls: predictions and states that the test asked for; 0: it only converts, or could not.
        error: largest difference compared, as a fraction of the largest expected magnitude.
        took_s: seconds, conversion included.
        policy: numeric policy of the device.
    """

    case: str
    outcome: str
    message: str
    ran: tuple[tuple[str, int], ...]
    calls: int
    error: float | None
    took_s: float
    policy: str = "round"

    @property
    def function(self) -> str:
        return self.case.split("[")[0]

    @property
    def opset(self) -> str:
        """The deployment target of the case, `none` when it never reached one."""
        named = re.search(r"AvailableTarget\.(iOS\d+)", self.case)
        numbered = re.search(r"minimum_deployment_target=(\d+)\b", self.case)
        if named:
            return named[1]
        if numbered:
            return TARGETS[numbered[1]]
        deployments = {deployment for _, deployment in self.ran}
        # CoreML9, the operation set after iOS18's, came with iOS26.
        names = {19: "iOS26"}
        newest = max(deployments, default=0)
        return names.get(newest, f"iOS{newest}") if newest else "none"

    @property
    def precision(self) -> str:
        """The configuration: fp16, fp32, fp32 on fp16 data (inputs, weights or parameters)."""
        found = re.search(r"precision='(fp\d+)'|'mlprogram', '(fp\d+)'", self.case)
        if not found:
            return "default"
        chosen = found[1] or found[2]
        halves = re.search(r"numpy\.float16|dtype=fp16", self.case)
        return "fp32, fp16 data" if chosen == "fp32" and halves else chosen

    @property
    def frontend(self) -> str:
        if "TorchFrontend.TORCHEXPORT" in self.case or "torch_export" in self.case:
            return "torch.export"
        return "torch.jit" if "/frontend/torch/" in self.case else "MIL"


@dataclass(frozen=True, slots=True)
class Known:
    """A failure that is understood: where, what it says, and why."""

    cases: re.Pattern[str]
    message: re.Pattern[str]
    kind: str
    because: str
    error: float
    reached: bool

    def explains(self, outcome: Outcome) -> bool:
        named = self.cases.search(outcome.case) and self.message.search(outcome.message)
        near = (outcome.error or 0.0) <= self.error
        return bool(named) and near and self.reached == (outcome.calls > 0)


def read_known(path: Path = KNOWN_FILE) -> list[Known]:
    """The one list of known failures; the CI test and the page both use it."""
    entries = tomllib.loads(path.read_text())["known"]
    return [
        Known(re.compile(e["cases"]), re.compile(e.get("message", "")), e["kind"], e["because"],
              e.get("error", math.inf), e.get("reached", True))
        for e in entries
    ]  # fmt: skip


def explanation(outcome: Outcome, known: Iterable[Known]) -> Known | None:
    """The first entry that explains a failure."""
    return next((k for k in known if k.explains(outcome)), None)


def write_line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome))


def read_log(*paths: str | Path) -> dict[str, Outcome]:
    """Last outcome by case."""
    found: dict[str, Outcome] = {}
    for path in paths:
        for line in Path(path).read_text().splitlines():
            try:
                raw = json.loads(line)
            except json.JSONDecodeError:
                continue
            raw["ran"] = tuple((name, deployment) for name, deployment in raw["ran"])
            raw["case"] = plain_name(raw["case"])
            found[raw["case"]] = Outcome(**raw)
    return found


COLUMNS = ("passed", "failed", "skipped", "xfailed", "xpassed")


def table(head: str, rows: dict[str, list[Outcome]]) -> str:
    """Markdown: outcomes by row, then of all; `on device` counts passed cases that predicted."""
    lines = [f"| {head} | cases | " + " | ".join(COLUMNS) + " | on device, passed |",
             "|---|" + "---:|" * (len(COLUMNS) + 2)]  # fmt: skip
    lines += [_row(name, rows[name]) for name in sorted(rows)]
    lines.append(_row("**all**", [o for group in rows.values() for o in group]))
    return "\n".join(lines)


def _row(name: str, outcomes: list[Outcome]) -> str:
    count = collections.Counter(o.outcome for o in outcomes)
    reached = [o for o in outcomes if o.calls and o.outcome in ("passed", "failed")]
    good = sum(o.outcome == "passed" for o in reached)
    share = f"{good} of {len(reached)} ({100 * good / len(reached):.2f} %)" if reached else "-"
    cells = [str(len(outcomes)), *(str(count[c]) for c in COLUMNS), share]
    return f"| {name} | " + " | ".join(cells) + " |"


def grouped(outcomes: Iterable[Outcome], *by: str) -> dict[str, list[Outcome]]:
    """Outcomes by some of their properties: opset, precision, frontend, file."""
    groups: dict[str, list[Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        groups[" ".join(str(getattr(outcome, b)) for b in by)].append(outcome)
    return groups


def by_file(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = collections.defaultdict(list)
    for outcome in outcomes:
        groups["/".join(outcome.case.split("::")[0].split("/")[-2:])].append(outcome)
    return groups
