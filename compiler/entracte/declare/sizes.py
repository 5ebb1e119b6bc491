"""Keys that a pipeline's author chooses: read by somebody, or refused.

`pipeline.video` and `sampler.leap` have no keys of their own: stages read them by interpolation. A
key that nothing reads would change nothing, and nobody would be told.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from entracte.errors import ConfigError
from entracte.graphs.checks import similar

_GROUPS = (("pipeline", "video"), ("sampler", "leap"))


def check_keys_are_read(raw: Mapping[Any, Any]) -> None:
    """Of a composed configuration as it is written. Raises `ConfigError` for a key of these groups
    to which no interpolation leads."""
    texts = [text for text in _texts(raw) if "${" in text]
    for owner, name in _GROUPS:
        group = raw[owner].get(name) if isinstance(raw.get(owner), dict) else None
        if isinstance(group, dict):
            _check_group(f"{owner}.{name}", name, group, texts)


def _check_group(where: str, name: str, group: Mapping[Any, Any], texts: list[str]) -> None:
    whole = re.compile(rf"\b{name}\s*[}},]")
    if any(whole.search(text) for text in texts):
        return
    keys = [str(key) for key in group]
    inside = [text for text in _texts(group) if "${" in text]
    read = {k for k in keys if any(_names(name, k, t) for t in texts)}
    read |= {k for k in keys if any(re.search(rf"\$\{{\.{re.escape(k)}\b", t) for t in inside)}
    for key in keys:
        if key in read:
            continue
        known = sorted(read)
        raise ConfigError(
            f"{where}.{key}: nothing in the pipeline reads it{similar(key, known)}; read are "
            f"{', '.join(known) or 'none'}: leave it out, or refer to it, `${{{where}.{key}}}`"
        )


def _names(group: str, key: str, text: str) -> bool:
    return re.search(rf"\b{group}(?:\.|\[['\"]?){re.escape(key)}\b", text) is not None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
