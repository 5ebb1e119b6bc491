"""A folder of a published tokenizer: which of its files say what.

`tokenizer.json` says nearly all where it is there; else the files of SentencePiece or of byte pair
encoding with the class named beside them (`families.py`). What goes around a text, which id pads
and on which side stands, as far as it stands anywhere, in `tokenizer_config.json` and
`special_tokens_map.json`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from entracte.codec import parse_json
from entracte.declare.host_ops.encoder import MAX_TOKENIZER_BYTES, encoder_from, telling
from entracte.emit.tokenizer.families import (
    FAMILIES,
    MODEL_TYPES,
    TEXT,
    VOCAB,
    WORDS,
    Family,
    Vocabulary,
)
from entracte.emit.tokenizer.sentencepiece import SentencePiece, read_sentencepiece
from entracte.errors import ConfigError, RunError

JSON = "tokenizer.json"
PIECES = {
    "spiece.model": "T5Tokenizer",
    "sentencepiece.bpe.model": "XLMRobertaTokenizer",
    "tokenizer.model": "LlamaTokenizer",
}
"""SentencePiece's files, and the class whose file is called so, where nothing names one."""
MERGES = "merges.txt"
ALL = (JSON, *PIECES, VOCAB, WORDS)
"""The files that a tokenizer can be made of, the first that is there."""
_CONFIG, _SPECIAL, _ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
_MODEL = "config.json"

Reader = Callable[[str], Path | None]
"""The name of a file -> the file, where the folder has it; raises for one that must not be read."""


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What a folder says: the bytes of one tokenizer.json, and how texts become equally long."""

    data: bytes
    pad_id: int | None
    """None: nothing says it."""
    pad_side: str
    truncation_side: str
    encoder: Any
    """As the bytes say it."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What stands beside the vocabulary."""

    config: Mapping[str, Any]
    special: Mapping[str, Any]
    added: Mapping[str, int]
    family_name: str | None

    @property
    def family(self) -> Family | None:
        return FAMILIES.get(self.family_name or "")

    def token(self, role: str) -> str | None:
        """Which token has a role: as the folder says it, else as its class does."""
        for said in (self.config, self.special):
            if role in said:
                return _content(said[role])
        return self.family.tokens.get(role) if self.family is not None else None


def read_tokenizer(name: str, find: Reader) -> Tokenizer:
    """The tokenizer that the file `name` and those beside it make. Raises `ConfigError`."""
    path = find(name)
    assert path is not None
    said = _said(find)
    if said.family_name is None:
        said = replace(said, family_name=PIECES.get(name))
    try:
        data, body = _made(path, name, find, said)
        encoder = encoder_from(data, path)
        return Tokenizer(
            data=data,
            pad_id=_pad_id(encoder, body, said, path),
            pad_side=_side(said.config.get("padding_side"), body.get("padding"))
            or (said.family.pad_side if said.family is not None else "right"),
            truncation_side=_side(said.config.get("truncation_side"), body.get("truncation"))
            or "right",
            encoder=encoder,
        )
    except RunError as error:
        raise ConfigError(str(error)) from None


def _made(path: Path, name: str, find: Reader, said: _Said) -> tuple[bytes, Mapping[str, Any]]:
    """The bytes of a tokenizer.json, and what they say."""
    if path.suffix == ".json" and name != VOCAB:
        data = _read(path)
        body = _object(data, path)
        made = encoder_from(data, path)
        with telling(path):
            changed = _complete(made, body, said, path)
            # The bytes of the folder stay where they say all.
            return (made.to_str(pretty=True).encode() if changed else data), body
    encoder = _built(path, find, said)
    with telling(path):
        _complete(encoder, {}, said, path)
        text: str = encoder.to_str(pretty=True)
    return text.encode(), {}


# ---------------------------------------------------------------- vocabularies


def _built(path: Path, find: Reader, said: _Said) -> Any:
    """Without marks, from a vocabulary."""
    name, family = _family(path, said)
    with telling(path):
        try:
            return family.make(_vocabulary(path, find, said, family))
        except (KeyError, TypeError, IndexError) as error:
            raise ConfigError(f"{path}: no vocabulary of a {name} ({error!r})") from None


def _family(path: Path, said: _Said) -> tuple[str, Family]:
    name = said.family_name or "not named"
    kind = path.name if path.name in (VOCAB, WORDS) else None
    known = [n for n, f in FAMILIES.items() if kind in (f.of, None) or f.of not in (VOCAB, WORDS)]
    fits = [n for n in known if (FAMILIES[n].of in (VOCAB, WORDS)) == (kind is not None)]
    if name in fits:
        return name, FAMILIES[name]
    raise ConfigError(
        f"{path}: the class that it is of (tokenizer_class in a {_CONFIG} beside it) is {name}; "
        f"with such a file it can be one of {', '.join(fits)}; or give a {JSON}, as "
        "`AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes it"
    )


def _vocabulary(path: Path, find: Reader, said: _Said, family: Family) -> Vocabulary:
    tokens = {role: said.token(role) or token for role, token in family.tokens.items()}
    empty = Vocabulary(config=said.config, tokens=tokens)
    if path.name == VOCAB:
        return replace(empty, ids=_ids(path), merges=_merges(path, find))
    if path.name == WORDS:
        words = _text(path).removesuffix("\n").split("\n")
        return replace(empty, ids={word.rstrip("\r"): i for i, word in enumerate(words)})
    return replace(empty, pieces=_pieces(path, family))


def _ids(path: Path) -> dict[str, int]:
    ids = _object(_read(path), path)
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids.values()):
        raise ConfigError(f"{path}: a vocabulary is {{token: id}}, ids whole numbers from 0")
    return dict(ids)


def _merges(path: Path, find: Reader) -> tuple[tuple[str, str], ...]:
    file = find(path.with_name(MERGES).name)
    if file is None:
        raise ConfigError(f"{path}: there is no {MERGES} beside it, which says what is joined")
    lines = _text(file).split("\n")
    if lines[0].startswith("#version"):
        del lines[0]
    pairs = [tuple(line.rstrip("\r").split(" ")) for line in lines if line.strip()]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise ConfigError(f"{file}: {' '.join(wrong[0])[:60]!r} is not two tokens")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _pieces(path: Path, family: Family) -> SentencePiece:
    try:
        pieces = read_sentencepiece(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: no SentencePiece model ({error})") from None
    if pieces.kind != family.of or pieces.whitespace_as_suffix:
        suffix = ", spaces at the end of words" if pieces.whitespace_as_suffix else ""
        raise ConfigError(
            f"{path}: a SentencePiece model of {pieces.kind}{suffix}; its class has one of "
            f"{family.of}: give a {JSON}"
        )
    return pieces


# ---------------------------------------------------------------- marks


def _complete(encoder: Any, body: Mapping[str, Any], said: _Said, path: Path) -> bool:
    """Add what stands only beside the vocabulary; whether there was any."""
    return _add_tokens(encoder, body, said, path) | _add_marks(encoder, body, said, path)


def _add_tokens(encoder: Any, body: Mapping[str, Any], said: _Said, path: Path) -> bool:
    """Tokens that are found whole in a text, whatever is around them."""
    known = {t["content"] for t in body.get("added_tokens") or () if isinstance(t, Mapping)}
    wanted = [t for t in _added(encoder, said, bool(body)) if t[1].content not in known]
    for number, token in sorted(wanted, key=lambda t: t[0]):
        encoder.add_tokens([token])
        if (found := encoder.token_to_id(token.content)) != number:
            raise ConfigError(
                f"{path}: {token.content!r} has the id {found} in it, {number} by what stands "
                f"beside it; give the {JSON} that the model was trained with"
            )
    return bool(wanted)


def _added(encoder: Any, said: _Said, whole: bool) -> list[tuple[int, Any]]:
    """(id, token). A tokenizer.json (`whole`) names its marks itself."""
    from tokenizers import AddedToken

    found: dict[str, tuple[int, Any]] = {}
    roles = {token for role in _ROLES if (token := said.token(role))} | _more(said)
    for number, given in dict(said.config.get("added_tokens_decoder") or {}).items():
        content = _content(given)
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


def _more(said: _Said) -> set[str]:
    keys = ("additional_special_tokens", "extra_special_tokens")
    lists = [d.get(key) for d in (said.config, said.special) for key in keys]
    return {c for found in lists if isinstance(found, list) for t in found if (c := _content(t))}


def _marked(encoder: Any, said: _Said, roles: set[str]) -> list[tuple[str, int]]:
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


def _add_marks(encoder: Any, body: Mapping[str, Any], said: _Said, path: Path) -> bool:
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
                f"which is not in the vocabulary; give a {JSON}"
            )
        marks[role] = (token, number)
    parts = [part if part == TEXT else marks[part][0] for part in single]
    encoder.post_processor = processors.TemplateProcessing(
        single=parts, special_tokens=sorted(set(marks.values()))
    )
    return True


def _single(body: Mapping[str, Any], said: _Said) -> tuple[str, ...] | None:
    """Roles around a text; None where the file itself says them, or nobody does."""
    family = said.family
    if family is None or body.get("post_processor") is not None:
        return None
    # `add_bos_token` and its like are of vocabularies only: a tokenizer.json says it itself.
    by_flags = not body and family.single == (TEXT,)
    single = _flagged(said, family) if by_flags else family.single
    return single if single != (TEXT,) else None


def _flagged(said: _Said, family: Family) -> tuple[str, ...]:
    begins = bool(said.config.get("add_bos_token", family.add_bos))
    ends = bool(said.config.get("add_eos_token", False))
    return (*(("bos_token",) if begins else ()), TEXT, *(("eos_token",) if ends else ()))


# ---------------------------------------------------------------- padding


def _pad_id(encoder: Any, body: Mapping[str, Any], said: _Said, path: Path) -> int | None:
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


def _side(said: object, section: object) -> str | None:
    direction = section.get("direction") if isinstance(section, Mapping) else None
    for word in (said, direction):
        if isinstance(word, str) and word.lower() in ("left", "right"):
            return word.lower()
    return None


# ---------------------------------------------------------------- files


def _said(find: Reader) -> _Said:
    config, special, added, model = (
        _optional(find, n) for n in (_CONFIG, _SPECIAL, _ADDED, _MODEL)
    )
    given = config.get("tokenizer_class") or model.get("tokenizer_class")
    name = given if isinstance(given, str) else MODEL_TYPES.get(str(model.get("model_type")))
    ids = {t: i for t, i in added.items() if isinstance(i, int)}
    return _Said(config, special, ids, None if name is None else name.removesuffix("Fast"))


def _optional(find: Reader, name: str) -> dict[str, Any]:
    path = find(name)
    return {} if path is None else _object(_read(path), path)


def _object(data: bytes, path: Path) -> dict[str, Any]:
    try:
        body = parse_json(data)
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON ({error})") from None
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: no JSON object")
    return body


def _content(token: object) -> str | None:
    found = token.get("content") if isinstance(token, Mapping) else token
    return found if isinstance(found, str) else None


def _text(path: Path) -> str:
    try:
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no text in UTF-8 ({error.reason})") from None


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_TOKENIZER_BYTES} bytes, which no tokenizer is")
    return path.read_bytes()
