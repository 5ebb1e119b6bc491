"""A folder of a published tokenizer: which of its files say what.

`tokenizer.json` says nearly all where it is there; else the files of SentencePiece or of byte pair
encoding with the class named beside them (`families.py`). What goes around a text, which id pads
and on which side stands, as far as it stands anywhere, in `tokenizer_config.json` and
`special_tokens_map.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from entracte.declare.host_ops.encoder import encoder_from, telling
from entracte.emit.tokenizer.families import FAMILIES, VOCAB, WORDS, Family, Vocabulary
from entracte.emit.tokenizer.marks import complete, pad_id_of, side_of
from entracte.emit.tokenizer.said import CONFIG, Reader, Said, bytes_of, json_of, said_of, text_of
from entracte.emit.tokenizer.sentencepiece import BPE, UNIGRAM, SentencePiece, read_sentencepiece
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


def read_tokenizer(name: str, find: Reader) -> Tokenizer:
    """The tokenizer that the file `name` and those beside it make. Raises `ConfigError`."""
    path = find(name)
    assert path is not None
    said = said_of(find)
    if said.family_name is None:
        said = replace(said, family_name=PIECES.get(name))
    whole = path.suffix == ".json" and name != VOCAB
    try:
        return _of_json(path, said) if whole else _of_vocabulary(path, find, said)
    except RunError as error:
        raise ConfigError(str(error)) from None


def _of_json(path: Path, said: Said) -> Tokenizer:
    """Its bytes stay as they are where they say all."""
    data = bytes_of(path)
    body, encoder = json_of(data, path), encoder_from(data, path)
    with telling(path):
        if complete(encoder, body, said, path):
            data = encoder.to_str(pretty=True).encode()
        return _ruled(data, encoder, body, said, path)


def _of_vocabulary(path: Path, find: Reader, said: Said) -> Tokenizer:
    encoder = _built(path, find, said)
    with telling(path):
        complete(encoder, {}, said, path)
        return _ruled(encoder.to_str(pretty=True).encode(), encoder, {}, said, path)


def _ruled(data: bytes, encoder: Any, body: Mapping[str, Any], said: Said, path: Path) -> Tokenizer:
    sides = [
        side_of(said.config.get(f"{what}_side"), body.get(what))
        for what in ("padding", "truncation")
    ]
    own = said.family.pad_side if said.family is not None else "right"
    return Tokenizer(
        data=data,
        pad_id=pad_id_of(encoder, body, said, path),
        pad_side=sides[0] or own,
        truncation_side=sides[1] or "right",
        encoder=encoder,
    )


# ---------------------------------------------------------------- vocabularies


def _built(path: Path, find: Reader, said: Said) -> Any:
    """Without marks, from a vocabulary."""
    name, family = _family(path, said)
    with telling(path):
        try:
            return family.make(_vocabulary(path, find, said, family))
        except (KeyError, TypeError, IndexError) as error:
            raise ConfigError(f"{path}: no vocabulary of a {name} ({error!r})") from None


def _family(path: Path, said: Said) -> tuple[str, Family]:
    name, others = said.family_name or "not named", (VOCAB, WORDS)
    wanted = (path.name,) if path.name in others else (UNIGRAM, BPE)
    fits = [known for known, family in FAMILIES.items() if family.of in wanted]
    if name in fits:
        return name, FAMILIES[name]
    raise ConfigError(
        f"{path}: the class that it is of (tokenizer_class in a {CONFIG} beside it) is {name}; "
        f"with such a file it can be one of {', '.join(fits)}; or give a {JSON}, as "
        "`AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes it"
    )


def _vocabulary(path: Path, find: Reader, said: Said, family: Family) -> Vocabulary:
    tokens = {role: said.token(role) or token for role, token in family.tokens.items()}
    empty = Vocabulary(config=said.config, tokens=tokens)
    if path.name == VOCAB:
        return replace(empty, ids=_ids(path), merges=_merges(path, find))
    if path.name == WORDS:
        words = text_of(path).removesuffix("\n").split("\n")
        return replace(empty, ids={word.rstrip("\r"): i for i, word in enumerate(words)})
    return replace(empty, pieces=_pieces(path, family))


def _ids(path: Path) -> dict[str, int]:
    ids = json_of(bytes_of(path), path)
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids.values()):
        raise ConfigError(f"{path}: a vocabulary is {{token: id}}, ids whole numbers from 0")
    return dict(ids)


def _merges(path: Path, find: Reader) -> tuple[tuple[str, str], ...]:
    file = find(path.with_name(MERGES).name)
    if file is None:
        raise ConfigError(f"{path}: there is no {MERGES} beside it, which says what is joined")
    lines = text_of(file).split("\n")
    if lines[0].startswith("#version"):
        del lines[0]
    pairs = [tuple(line.rstrip("\r").split(" ")) for line in lines if line.strip()]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise ConfigError(f"{file}: {' '.join(wrong[0])[:60]!r} is not two tokens")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _pieces(path: Path, family: Family) -> SentencePiece:
    try:
        pieces = read_sentencepiece(bytes_of(path))
    except ValueError as error:
        raise ConfigError(f"{path}: no SentencePiece model ({error})") from None
    if pieces.kind != family.of or pieces.whitespace_as_suffix:
        suffix = ", spaces at the end of words" if pieces.whitespace_as_suffix else ""
        raise ConfigError(
            f"{path}: a SentencePiece model of {pieces.kind}{suffix}; its class has one of "
            f"{family.of}: give a {JSON}"
        )
    return pieces
