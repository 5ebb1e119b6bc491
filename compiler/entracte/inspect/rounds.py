"""How often things happen, in words: iterations, slices, and calls that rest in some."""

from entracte.ir import Call, Segment

_LISTED = 6


def rounds(segment: Segment) -> str:
    """Of a loop; of a map whose slices follow one another."""
    if segment.sliced:
        return f"{segment.count} slices"
    most = "up to " if segment.until is not None else ""
    return f"{most}{segment.count} iterations"


def rests(call: Call, count: int) -> str:
    """In which of `count` iterations it happens; empty: in all."""
    if call.rests_by:
        those = f"those of {_listed(call, count)}" if call.at else "those"
        return f"the first iteration and {those} in which {call.rests_by} is 0"
    return _listed(call, count) if call.at else ""


def _listed(call: Call, count: int) -> str:
    every = call.at[1] if len(call.at) > 1 else count
    if call.at == tuple(range(0, count, every)) and every < count:
        return f"every {_ordinal(every)} iteration"
    if len(call.at) == 1:
        return "the first iteration only"
    if len(call.at) <= _LISTED:
        return f"iterations {', '.join(map(str, call.at[:-1]))} and {call.at[-1]}"
    return f"{len(call.at)} of {count} iterations"


def _ordinal(n: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") if n % 100 not in (11, 12, 13) else "th"
    return f"{n}{ending}"
