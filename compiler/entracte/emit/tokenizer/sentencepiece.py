"""SentencePiece models (`spiece.model`, `tokenizer.model`): the parts that make a tokenizer.

The file is a protobuf message (`sentencepiece_model.proto` of github.com/google/sentencepiece);
what is read of it needs no library.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

UNIGRAM, BPE = "unigram", "bpe"
_KINDS = {1: UNIGRAM, 2: BPE, 3: "words", 4: "characters"}


class PieceKind(IntEnum):
    """What a piece stands for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry of the vocabulary; its id is its place."""

    text: str
    score: float = 0.0
    kind: PieceKind = PieceKind.NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePiece:
    """A model; defaults are those of the format."""

    pieces: tuple[Piece, ...] = ()
    kind: str = UNIGRAM
    byte_fallback: bool = False
    split_by_whitespace: bool = True
    whitespace_as_suffix: bool = False
    unk_id: int = 0
    charsmap: bytes = b""
    """Compiled rules by which characters are replaced first."""
    dummy_prefix: bool = True
    """A space is put before the text."""
    remove_extra_whitespaces: bool = True


def read_sentencepiece(data: bytes) -> SentencePiece:
    """Raises `ValueError` for what is no such model."""
    pieces, trainer, normalizer = [], b"", b""
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(_bytes(value)))
        elif number == 2:
            trainer = _bytes(value)
        elif number == 3:
            normalizer = _bytes(value)
    if not pieces:
        raise ValueError("it has no pieces")
    training, normalizing = dict(_fields(trainer)), dict(_fields(normalizer))
    return SentencePiece(
        pieces=tuple(pieces),
        kind=_KINDS.get(_number(training.get(3, 1)), "unknown"),
        byte_fallback=bool(_number(training.get(35, 0))),
        split_by_whitespace=bool(_number(training.get(22, 1))),
        whitespace_as_suffix=bool(_number(training.get(24, 0))),
        unk_id=_number(training.get(40, 0)),
        charsmap=_bytes(normalizing.get(2, b"")),
        dummy_prefix=bool(_number(normalizing.get(3, 1))),
        remove_extra_whitespaces=bool(_number(normalizing.get(4, 1))),
    )


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    (score,) = struct.unpack("<f", _bytes(fields.get(2, bytes(4))))
    kind = PieceKind(_number(fields.get(3, PieceKind.NORMAL)))
    return Piece(_bytes(fields.get(1, b"")).decode(), score, kind)


# ---------------------------------------------------------------- protobuf

_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
"""Wire types; groups, the others, are of a time before this format."""


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field, value) of a message: whole numbers as such, all else as bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == _LENGTH:
            size, at = _varint(data, at)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if size > len(data) - at:
            raise ValueError(f"it ends in the middle of field {tag >> 3}")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than 64 bits at byte {at}")


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where a number belongs")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where bytes belong")
    return value
