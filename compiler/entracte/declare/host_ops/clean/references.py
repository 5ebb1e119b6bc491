"""HTML's character references, in a text as a whole."""

import html
import re

_NUMBER = re.compile("&#0*([0-9]{1,8})[0-9]*")


def references_read(text: str) -> str:
    """Each reference of the text, read once.

    Python makes no number of thousands of digits: eight are enough to be none of a character.
    """
    return html.unescape(_NUMBER.sub(r"&#\1", text))
