"""The Swift runner uses what is younger than its floor only where it has asked the system.

    python -m tools.lint_swift_availability [FILE...]

The floor is iOS 17 and macOS 14 (`Package.swift`). Swift on Linux does not check availability, so
this does, by names: each name of `SINCE` may be used only inside a declaration with `@available`,
the body of an `if #available`, or behind a `guard #available`, of at least its versions. Without
FILE: all sources of the runner that import Apple's frameworks. Exit status: 0 if all is well, 1 if
not.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.swift_toolchain import PACKAGE

Versions = tuple[tuple[int, ...], tuple[int, ...]]
"""Of iOS, of macOS."""

FLOOR: Versions = ((17,), (14,))

SINCE: dict[str, Versions] = {
    # Below developer.apple.com/documentation/coreml.
    "optimizationHints": ((17, 4), (14, 4)),
    "MLOptimizationHints": ((17, 4), (14, 4)),
    "reshapeFrequency": ((17, 4), (14, 4)),
    "MLComputePlan": ((17, 4), (14, 4)),
    "specializationStrategy": ((18,), (15,)),
    "SpecializationStrategy": ((18,), (15,)),
    "functionName": ((18,), (15,)),
    "functionNames": ((18,), (15,)),
    "stateDescriptionsByName": ((18,), (15,)),
    "MLState": ((18,), (15,)),
    "makeState": ((18,), (15,)),
    "MLTensor": ((18,), (15,)),
    "MLModelAsset": ((18,), (15,)),
    "int8": ((26,), (26,)),
    # avfoundation
    "inputPixelBufferReceiver": ((26,), (26,)),
    # backgroundtasks
    "BGContinuedProcessingTask": ((26,), (26,)),
}
"""Name -> first versions, as its page says."""

_COMMENT_OR_TEXT = re.compile(
    r'/\*.*?\*/|//[^\n]*|"""(?:\\.|(?!""").)*"""|"(?:\\.|[^"\\\n])*"', re.DOTALL
)
_ASKED = re.compile(r"(?:@|#)available\s*\(([^)]*)\)")
_USE = re.compile(rf"\b(?:{'|'.join(SINCE)})\b")
_ELSE = re.compile(r"\belse\s*\{")
_ATTRIBUTES = re.compile(r"(?:\s*@\w+(?:\([^)]*\))?)*")
_GOES_ON = re.compile(r"\s*(?:\{|->|where\b|async\b|throws\b|@|:)")
"""What begins a line that still belongs to the head of a declaration."""
_PLATFORM = re.compile(r"\b(iOS|macOS)\s+(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Finding:
    line: int
    name: str

    def told(self, place: Path) -> str:
        (ios, macos) = SINCE[self.name]
        return (
            f"{place}:{self.line}: {self.name} is of iOS {dotted(ios)} and macOS {dotted(macos)}, "
            "above the floor; put it inside `if #available` or `@available`"
        )


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def blanked(text: str) -> str:
    """Without comments and texts, each letter at its place."""
    return _COMMENT_OR_TEXT.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def versions_of(asked: str) -> Versions | None:
    """What `@available(...)` or `#available(...)` asks for; None where it names no two versions."""
    found = {name: tuple(map(int, v.split("."))) for name, v in _PLATFORM.findall(asked)}
    return (found["iOS"], found["macOS"]) if found.keys() == {"iOS", "macOS"} else None


def guarded(code: str) -> Iterator[tuple[int, int, Versions]]:
    """Where what is asked for is known to be there: begin, end, versions. `code` is blanked."""
    for asked in _ASKED.finditer(code):
        versions = versions_of(asked[1])
        if versions is None:
            continue
        before = code[: asked.start()]
        kind = re.findall(r"\b(if|guard|while)\b[^{}]*$", before)
        if asked[0].startswith("@"):
            yield (asked.end(), _end_of_declaration(code, asked.end()), versions)
        elif kind and kind[-1] == "guard":
            no = _ELSE.search(code, asked.end())
            if no is None:
                continue
            # The rest of the condition, and what follows the block of the `else`.
            yield (asked.end(), no.start(), versions)
            behind = _end_of_block(code, no.end() - 1)
            yield (behind, _end_of_block(code, _opening(before)), versions)
        else:
            begin = code.index("{", asked.end())
            # What follows in the same condition is asked after it.
            yield (asked.end(), _end_of_block(code, begin), versions)


def _end_of_declaration(code: str, at: int) -> int:
    """Of the declaration that an attribute stands before: its block's end, or its last line's."""
    depth, begun = 0, False
    others = _ATTRIBUTES.match(code, at)
    for place in range(others.end() if others else at, len(code)):
        letter = code[place]
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "{" and depth == 0:
            return _end_of_block(code, place)
        if letter == "\n" and begun and depth == 0 and not _GOES_ON.match(code, place):
            return place
        begun = begun or not letter.isspace()
    return len(code)


def _end_of_block(code: str, opening: int) -> int:
    """Behind the brace that closes the one at `opening`; -1 stands for one before the text."""
    depth = 0
    for at in range(max(opening, 0), len(code)):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        if depth == 0 and code[at] == "}":
            return at + 1
    return len(code)


def _opening(before: str) -> int:
    """The brace that is open at the end of a text; -1 where none is."""
    depth = 0
    for at in range(len(before) - 1, -1, -1):
        if before[at] == "}":
            depth += 1
        elif before[at] == "{":
            if depth == 0:
                return at
            depth -= 1
    return -1


def findings(text: str) -> list[Finding]:
    """Uses of names above the floor where nothing has asked for them."""
    code = blanked(text)
    known = list(guarded(code))
    found = []
    for use in _USE.finditer(code):
        since = SINCE[use[0]]
        is_known = any(
            begin <= use.start() < end and asked[0] >= since[0] and asked[1] >= since[1]
            for begin, end, asked in known
        )
        if not is_known:
            found.append(Finding(code.count("\n", 0, use.start()) + 1, use[0]))
    return found


def apple_sources() -> list[Path]:
    """Sources of the runner that stand inside `#if canImport(...)` of Apple's, and the app."""
    found = [*(PACKAGE / "Sources" / "EntracteCoreML").rglob("*.swift")]
    return sorted([*found, *(PACKAGE / "App").rglob("*.swift")])


def main(arguments: list[str]) -> int:
    wrong = 0
    for place in [Path(a) for a in arguments] or apple_sources():
        for found in findings(place.read_text()):
            print(found.told(place))
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
