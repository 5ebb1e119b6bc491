"""How a prompt's text is cleaned before it becomes ids: docs/prompts.md has the rules in words.

Pipelines clean what they are given with ftfy and Beautiful Soup. A runner on a phone has neither,
so the rules stand here whole, and need nothing but Unicode's tables and HTML's names of characters.
"""

from collections.abc import Callable

from entracte.declare.host_ops.clean.caption import clean_caption
from entracte.declare.host_ops.clean.prompt import clean_prompt
from entracte.declare.host_ops.clean.scores import MOST_SEGMENT, scored, segment_of

__all__ = ["CLEAN", "MOST_SEGMENT", "clean_caption", "clean_prompt", "scored", "segment_of"]

CLEAN: dict[str, Callable[[str], str]] = {
    "lower": lambda text: text.lower().strip(),
    "caption": lambda text: clean_caption(clean_caption(text)),
    "prompt": clean_prompt,
}
"""By the value of the param `clean`. Captions are cleaned twice, as all pipelines do it that clean
them: the first time may uncover markup that had been escaped."""
