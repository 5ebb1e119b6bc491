"""What Open-Sora 1.2 adds to a prompt, and how it says what each part of a long video shows.

Source: what Open-Sora v1.2.0's inference_utils.py makes of the pairs in
tests/vectors/text_cleaning.json.
"""

import re
from collections.abc import Sequence

from entracte.errors import RunError

MOST_SEGMENT = 10**6
_NUMBER = re.compile(r"[0-9]{1,6}")
_FIRST = "|0|"


def scored(text: str, scores: Sequence[str]) -> str:
    """The text and, behind it, each score whose label it does not have.

    Args:
        scores: each `LABEL: VALUE`; the label, its colon included, is looked for as it is spelled.
    """
    for score in scores:
        label = score[: score.index(":") + 1]
        text = text if label in text else f"{text} {score}."
    return text


def segment_of(text: str, number: int) -> str:
    """Of `|0|one|2|another` the segment that holds in that loop: the last that has begun.

    Any text that does not begin with `|0|` is one segment. Raises `RunError`.
    """
    if not text.startswith(_FIRST):
        return text
    parts = text.split("|")[1:]
    begins = [int(part) if _NUMBER.fullmatch(part.strip()) else -1 for part in parts[::2]]
    if len(parts) % 2 or begins != sorted(set(begins)):
        raise RunError(
            f"tokenize: {text[:80]!r} begins with {_FIRST} and is no list of segments; give "
            "|0|TEXT|N|TEXT with rising numbers and no other | in the texts, or leave the |0| away"
        )
    return parts[1::2][max(k for k, begin in enumerate(begins) if begin <= number)].strip()
