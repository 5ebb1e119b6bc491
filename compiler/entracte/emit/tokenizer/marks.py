"""Marks of a tokenizer: what is found whole in a text, what goes around it, which id pads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entracte.emit.tokenizer.families import TEXT, Family
from entracte.emit.tokenizer.said import Said, content_of
from entracte.errors import ConfigError


def complete(encoder: Any, body: Mapping[str, Any], said: Said, path: Path) -> bool:
    """Add what stands only beside the vocabulary; whether there was any."""
    return _add_tokens(encoder, body, said, path) | _add_marks(encoder, body, said, path)


def _add_tokens(encoder: Any, body: Mapping[str, Any], said: Said, path: Path) -> bool:
    """Tokens that are found whole in a text, whatever is around them."""
    known = {t["content"] for t in body.get("added_tokens") or () if isinstance(t, Mapping)}
    wanted = [t for t in _added(encoder, said, bool(body)) if t[1].content not in known]
    for number, token in sorted(wanted, key=lambda t: t[0]):
        encoder.add_tokens([token])
        if (found := encoder.token_to_id(token.content)) != number:
            raise ConfigError(
                f"{path}: {token.content!r} has the id {found} in it, {number} by what stands "
                f"beside it; give the tokenizer.json that the model was trained with"
            )
    return bool(wanted)


def _added(encoder: Any, said: Said, whole: bool) -> list[tuple[int, Any]]:
    """(id, token). A tokenizer.json (`whole`) names its marks itself."""
    from tokenizers import AddedToken

    found: dict[str, tuple[int, Any]] = {}
    roles = {token for role in _ROLES if (token := said.token(role))} | _more(said)
    for number, given in dict(said.config.get("added_tokens_decoder") or {}).items():
        content = content_of(given)
        if content:
            found[content] = (int(number), _token(given, content, content in roles))
    for content, number in said.added.items():
        found.setdefault(content, (number, AddedToken(content, special=content in roles)))
    if whole:
        return list(found.values())
    for piece, number in _marked(encoder, said, roles):
        found.setdefault(piece, (number, AddedToken(piece, special=True, normalized=False)))
    return list(found.values())


_ROLES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


def _more(said: Said) -> set[str]:
    keys = ("additional_special_tokens", "extra_special_tokens")
    lists = [d.get(key) for d in (said.config, said.special) for key in keys]
    return {c for found in lists if isinstance(found, list) for t in found if (c := content_of(t))}


def _marked(encoder: Any, said: Said, roles: set[str]) -> list[tuple[str, int]]:
    """Of the vocabulary: its marks, and what a class puts around a text."""
    around = said.family.single if said.family is not None else ()
    names = sorted(roles | {t for t in around if t != TEXT and t not in _ROLES})
    gaps = [t for t in encoder.get_vocab() if t.startswith("<extra_id_")]
    ids = [(name, encoder.token_to_id(name)) for name in (*names, *gaps)]
    return [(name, number) for name, number in ids if number is not None]


def _token(given: Any, content: str, special: bool) -> Any:
    from tokenizers import AddedToken

    flags = ("lstrip", "rstrip", "single_word", "normalized")
    stated = {f: bool(given[f]) for f in flags if isinstance(given, Mapping) and f in given}
    marked = isinstance(given, Mapping) and bool(given.get("special"))
    return AddedToken(content, special=special or marked, **stated)


def _add_marks(encoder: Any, body: Mapping[str, Any], said: Said, path: Path) -> bool:
    """What goes around a text: some folders leave it to the class."""
    from tokenizers import processors

    single = _single(body, said)
    if single is None:
        return False
    marks = {}
    for role in (part for part in single if part != TEXT):
        token = said.token(role) if role in _ROLES else role
        number = None if token is None else encoder.token_to_id(token)
        if token is None or number is None:
            raise ConfigError(
                f"{path}: texts are to begin or end with the {role.replace('_', ' ')}, {token!r}, "
                f"which is not in the vocabulary; give a tokenizer.json"
            )
        marks[role] = (token, number)
    parts = [part if part == TEXT else marks[part][0] for part in single]
    encoder.post_processor = processors.TemplateProcessing(
        single=parts, special_tokens=sorted(set(marks.values()))
    )
    return True


def _single(body: Mapping[str, Any], said: Said) -> tuple[str, ...] | None:
    """Roles around a text; None where the file itself says them, or nobody does."""
    family = said.family
    if family is None or body.get("post_processor") is not None:
        return None
    # `add_bos_token` and its like are of vocabularies only: a tokenizer.json says it itself.
    by_flags = not body and family.single == (TEXT,)
    single = _flagged(said, family) if by_flags else family.single
    return single if single != (TEXT,) else None


def _flagged(said: Said, family: Family) -> tuple[str, ...]:
    begins = bool(said.config.get("add_bos_token", family.add_bos))
    ends = bool(said.config.get("add_eos_token", False))
    return (*(("bos_token",) if begins else ()), TEXT, *(("eos_token",) if ends else ()))


# ---------------------------------------------------------------- padding


def pad_id_of(encoder: Any, body: Mapping[str, Any], said: Said, path: Path) -> int | None:
    """As the tokenizer's own file says it, else by the token that the files beside it name."""
    padding = body.get("padding")
    if isinstance(padding, Mapping) and isinstance(padding.get("pad_id"), int):
        return int(padding["pad_id"])
    token = said.token("pad_token")
    if token is None:
        return None
    found: int | None = encoder.token_to_id(token)
    if found is None and ("pad_token" in said.config or "pad_token" in said.special):
        raise ConfigError(
            f"{path}: the padding is {token!r} by what stands beside it, which is not in the "
            "vocabulary; say which id pads, with `pad_id`"
        )
    return found


def side_of(said: object, section: object) -> str | None:
    """Left or right, by a word beside the file or by its section; None where neither says it."""
    direction = section.get("direction") if isinstance(section, Mapping) else None
    for word in (said, direction):
        if isinstance(word, str) and word.lower() in ("left", "right"):
            return word.lower()
    return None
