"""One steady iteration of a loop as two lanes of text: what loads while what computes."""

from string import ascii_lowercase, ascii_uppercase, digits

from rich.console import Console
from rich.text import Text

from entracte.cli.tables import listed, say
from entracte.inspect.rounds import rests
from entracte.inspect.steady import SteadyIteration
from entracte.ir import Bar, Call, Segment
from entracte.units import format_seconds

_LETTERS = ascii_uppercase + ascii_lowercase + digits
_MARGIN = len("  compute |") + len("|")


def show_window(console: Console, segment: Segment, window: SteadyIteration) -> None:
    """The lanes, as wide as the console, with a legend and what was waited for."""
    one = "slice" if segment.sliced else "iteration"
    title = Text(f"One steady {one} of ")
    title.append(window.name, style="bold")
    span = window.end_s - window.start_s
    title.append(f" ({one} {window.iteration + 1} of {window.count}): {format_seconds(span)}")
    console.print(title)
    for line in loop_lines(segment):
        console.print(line)
    computing = [e for e in window.bars if e.queue == "compute"]
    loading = [e for e in window.bars if e.queue == "load"]
    labels = dict.fromkeys(e.label for e in (*computing, *loading))
    names = {label: _LETTERS[i % len(_LETTERS)] for i, label in enumerate(labels)}
    room = max(20, console.width - _MARGIN)
    say(console, f"  load    |{_lane(loading, names, window, room)}|")
    say(console, f"  compute |{_lane(computing, names, window, room)}|")
    if not loading:
        say(console, "  nothing is loaded: every chunk of the loop is kept")
    say(console, *_waits(window, console.width - 2))
    say(console, *_legend(names, console.width), "", style="dim")


def loop_lines(segment: Segment) -> list[Text]:
    """What is special about a loop: an early end, calls that rest, functions that change by
    iteration."""
    lines = []
    resting = [(s.stage, r) for s in segment.steps
               if isinstance(s, Call) and (r := rests(s, segment.count))]  # fmt: skip
    for stage, rest in dict.fromkeys(resting):
        lines.append(Text(f"  {stage} runs in {rest}; in the others what it made stands"))
    if segment.until is not None:
        line = Text("  ends early after an iteration whose ")
        lines.append(line.append(segment.until, style="bold").append(" is not zero"))
    calls = [s for s in segment.steps if isinstance(s, Call) and s.switch]
    for stage, switch in dict.fromkeys((s.stage, s.switch) for s in calls):
        (first, n), *others = switch
        named = [f"{first} in the first {n} iterations"]
        named += [f"{name} up to the {end}th" for name, end in others]
        lines.append(Text(f"  {stage} calls {', then '.join(named)}, then main"))
    return lines


def _legend(names: dict[str, str], width: int) -> list[str]:
    """Letters and what they stand for; a name is never parted from its letter."""
    lines = [""]
    for label, letter in names.items():
        entry = f"  {letter} {label}"
        if lines[-1] and len(lines[-1]) + len(entry) > width:
            lines.append("")
        lines[-1] += entry
    return lines


def _waits(window: SteadyIteration, room: int) -> list[str]:
    seconds: dict[str, float] = {}
    for wait in window.waits:
        length = min(wait.end_s, window.end_s) - max(wait.start_s, window.start_s)
        seconds[wait.chunk] = seconds.get(wait.chunk, 0.0) + length
    if not seconds:
        return ["  no call waits for a load"]
    worst = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{format_seconds(s)} for {chunk}" for chunk, s in worst]
    total = format_seconds(sum(seconds.values()))
    prefix = f"  waiting {total}: "
    return [prefix + listed(parts, room - len(prefix))]


def _lane(events: list[Bar], names: dict[str, str], window: SteadyIteration, room: int) -> str:
    lane = ["."] * room
    begin, span = window.start_s, max(window.end_s - window.start_s, 1e-12)
    for e in events:
        first = min(room - 1, max(0, int((e.start_s - begin) / span * room)))
        last = min(room, max(first + 1, round((e.end_s - begin) / span * room)))
        lane[first:last] = names[e.label] * (last - first)
    return "".join(lane)
