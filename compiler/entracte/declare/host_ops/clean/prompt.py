"""`clean: prompt`: what Wan's pipeline does, and those that follow it (`prompt_clean`)."""

import re

from entracte.declare.host_ops.clean.mend import mend
from entracte.declare.host_ops.clean.references import references_read

_SPACE = re.compile(r"\s+")


def clean_prompt(text: str) -> str:
    """Mended, references read twice, every run of white space one space, none around it."""
    plain = references_read(references_read(mend(text))).strip()
    return _SPACE.sub(" ", plain).strip()
