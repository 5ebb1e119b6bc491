"""`tokenize`: a text, cleaned, as ids, padded and cut by the tokenizer's own rule; ids as a text;
and `retokenize`: one after the other."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops.clean import CLEAN, MOST_SEGMENT, scored, segment_of
from entracte.declare.host_ops.encoder import encoder_of, telling, tokenizer_file
from entracte.declare.host_ops.kinds import (
    FILE,
    FLAG,
    IDS,
    MOST_ID,
    PATH,
    SCORES,
    SIZE,
    TEXT,
    one_of,
    whole,
)
from entracte.declare.host_ops.row import (
    TENSOR,
    FileKind,
    Given,
    HostOp,
    Param,
    Place,
    Reads,
    Source,
    unheard,
)
from entracte.disk.places import is_random
from entracte.errors import RunError
from entracte.ir import DType, Port

if TYPE_CHECKING:
    import numpy as np

LEFT, RIGHT = "left", "right"
_SHOWN = 1000
"""Characters of what was dropped that a note shows: a record's notes are lines of 2000 at most."""
_MOST_CLEANED = 10_000
"""Characters: some rules look ahead from each to the end."""
_LONGEST_WORD = 100
"""That is named: texts of some languages have no spaces."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How ids are made as many as a graph reads."""

    pad_id: int = 0
    pad_side: str = RIGHT
    truncation_side: str = RIGHT
    add_special_tokens: bool = True


_PLAIN = Rule()


def tokenize(
    text: str,
    tokenizer: Path,
    length: int,
    rule: Rule = _PLAIN,
    note: Callable[[str], None] = unheard,
) -> "dict[str, np.ndarray]":
    """Ids padded and cut to `length` (marks that the tokenizer adds are kept); mask 1 where a token
    is. What is cut off is noted.

    Returns `input_ids` int32 (1, length) and `mask` fp32 (1, length).
    """
    import numpy as np

    ids = _ids(text, tokenizer, length, rule, note)
    input_ids = np.full((1, length), rule.pad_id, np.int32)
    mask = np.zeros((1, length), np.float32)
    begin = length - len(ids) if rule.pad_side == LEFT else 0
    input_ids[0, begin : begin + len(ids)] = ids
    mask[0, begin : begin + len(ids)] = 1
    return {"input_ids": input_ids, "mask": mask}


def _ids(
    text: str, tokenizer: Path, length: int, rule: Rule, note: Callable[[str], None]
) -> list[int]:
    encoder = encoder_of(tokenizer)
    _check_length(encoder, length, rule.add_special_tokens)
    with telling(tokenizer):
        encoder.no_padding()
        encoder.no_truncation()
        made = whole_text = encoder.encode(text, add_special_tokens=rule.add_special_tokens)
        if len(whole_text.ids) > length:
            encoder.enable_truncation(length, direction=rule.truncation_side)
            made = encoder.encode(text, add_special_tokens=rule.add_special_tokens)
            note(f"the text is cut to {length} tokens; {_dropped(text, whole_text, made, rule)}")
    ids: list[int] = made.ids
    if len(ids) > length or max(ids, default=0) > MOST_ID:
        raise RunError(f"tokenize: {tokenizer} gives ids that no int32 holds, or too many of them")
    return ids


def length_fault(encoder: Any, length: int, add_special_tokens: bool = True) -> str | None:
    """What is wrong with a length in which the marks that the tokenizer adds have no room."""
    marks = encoder.num_special_tokens_to_add(False) if add_special_tokens else 0
    if marks <= length:
        return None
    return f"length {length} has no room for the {marks} marks that the tokenizer adds; give more"


def _check_length(encoder: Any, length: int, add_special_tokens: bool) -> None:
    if fault := length_fault(encoder, length, add_special_tokens):
        raise RunError(f"tokenize: {fault}")


def _dropped(text: str, whole_text: Any, made: Any, rule: Rule) -> str:
    """In words: what of the text its ids leave out, and the word that the cut goes through."""
    own = [i for i, mark in enumerate(whole_text.special_tokens_mask) if not mark]
    kept = sum(not mark for mark in made.special_tokens_mask)
    if rule.truncation_side == LEFT:
        cut = whole_text.offsets[own[len(own) - kept - 1]][1]
        lost, where = text[:cut], "beginning"
    else:
        cut = whole_text.offsets[own[kept]][0]
        lost, where = text[cut:], "end"
    words = lost.strip()
    shown = _shown(words)
    more = f" and {len(words) - len(shown)} characters more" if len(words) > len(shown) else ""
    word = _word_at(text, cut)
    named = repr(word) if len(repr(word)) <= _LONGEST_WORD else "a word"
    inside = f", in the middle of {named}" if word else ""
    return f"dropped from its {where}: {shown!r}{more}{inside}"


def _shown(words: str) -> str:
    """As much as has room on a note's line, where some characters are spelled by several."""
    words = words[:_SHOWN]
    while len(repr(words)) > _SHOWN + 2:
        words = words[: len(words) * _SHOWN // len(repr(words))]
    return words


def _word_at(text: str, cut: int) -> str:
    """The word that a cut goes through; empty where it goes between two."""
    before, after = text[:cut], text[cut:]
    if not before or not after or before[-1].isspace() or after[0].isspace():
        return ""
    return before.split()[-1] + after.split()[0]


def detokenize(ids: Sequence[int], tokenizer: Path, end_ids: Collection[int] = ()) -> str:
    """The text of ids up to the first that ends it, without marks. Raises `RunError`."""
    kept = list(takewhile(lambda i: i not in end_ids, map(int, ids)))
    if stray := [i for i in kept if not 0 <= i <= MOST_ID]:
        raise RunError(f"detokenize: {stray[0]} is the id of no token")
    encoder = encoder_of(tokenizer)
    with telling(tokenizer):
        text: str = encoder.decode(kept, skip_special_tokens=True)
        # The library's byte-level decoder leaves such an ending in the text.
        ending = getattr(encoder.model, "end_of_word_suffix", None)
    return text.replace(ending, " ").strip() if ending else text


def written(text: str, params: Given) -> str:
    """What becomes ids of a text, by the params that change it. Raises `RunError`."""
    if "segment" in params:
        text = segment_of(text, params["segment"])
    text = scored(text, params.get("scores", ()))
    if "clean" in params:
        text = _cleaned(text, params["clean"])
    return str(params.get("prefix", "") + text + params.get("suffix", ""))


def _cleaned(text: str, rule: str) -> str:
    if len(text) > _MOST_CLEANED:
        raise RunError(
            f"tokenize: a text of {len(text)} characters is to be cleaned ({rule}); give at most "
            f"{_MOST_CLEANED}"
        )
    return CLEAN[rule](text)


def _run(params: Given, inputs: Mapping[str, Any], place: Place) -> "dict[str, np.ndarray]":
    return _encoded(str(inputs["text"]), params, place)


def _encoded(text: str, params: Given, place: Place) -> "dict[str, np.ndarray]":
    text = written(text, params)
    file = tokenizer_file(place.folder, params["tokenizer"])
    given = {name: params[name] for name in Rule.__dataclass_fields__ if name in params}
    return tokenize(text, file, params["length"], Rule(**given), place.note)


def _run_again(params: Given, inputs: Mapping[str, Any], place: Place) -> "dict[str, np.ndarray]":
    ids = [int(i) for i in inputs["ids"].reshape(-1)]
    file = tokenizer_file(place.folder, params["decoder"])
    text = detokenize(ids, file, params.get("end", ())).strip()
    place.note(f"the text is {_shown(text)!r}")
    return _encoded(text, params, place)


def _sources(params: Given, weights: str) -> tuple[Source, ...]:
    """Beside the weights; random ones, or those that a module holds, have none: `stand_in` names a
    place for it."""
    random = not weights or is_random(weights)
    place = params.get("stand_in", weights) if random else weights
    found = [Source("tokenizer", FileKind.TOKENIZER, place, params["tokenizer"])]
    if "decoder" in params:
        found.append(Source("decoder", FileKind.DECODER, place, params["decoder"]))
    return tuple(found)


_SIDE = one_of(LEFT, RIGHT)
_FREE = (
    Param("pad_id", whole(0, MOST_ID), needed=False),
    Param("pad_side", _SIDE, needed=False),
    Param("truncation_side", _SIDE, needed=False),
    Param("add_special_tokens", FLAG, needed=False),
    Param("segment", whole(0, MOST_SEGMENT), needed=False),
    Param("scores", SCORES, needed=False),
    Param("clean", one_of(*CLEAN), needed=False),
    Param("prefix", TEXT, needed=False),
    Param("suffix", TEXT, needed=False),
)

_END = Param("end", IDS, needed=False)
_STAND_IN = Param("stand_in", TEXT, needed=False)


def _ports(params: Given, _: Mapping[str, Port]) -> tuple[Port, ...]:
    shape = (1, params["length"])
    return Port("input_ids", shape, DType.INT32), Port("mask", shape, DType.FP32)


TOKENIZE = HostOp(
    name="tokenize",
    inputs=(Reads("text", "text"),),
    declared=(Param("tokenizer", PATH), Param("length", SIZE), *_FREE, _STAND_IN),
    params=(Param("tokenizer", FILE), Param("length", SIZE), *_FREE),
    ports=_ports,
    files=("tokenizer",),
    sources=_sources,
    run=_run,
)

RETOKENIZE = HostOp(
    name="retokenize",
    inputs=(Reads("ids", TENSOR, DType.INT32, (1, None)),),
    declared=(
        Param("decoder", PATH),
        Param("tokenizer", PATH),
        Param("length", SIZE),
        _END,
        *_FREE,
        _STAND_IN,
    ),
    params=(Param("decoder", FILE), Param("tokenizer", FILE), Param("length", SIZE), _END, *_FREE),
    ports=_ports,
    files=("decoder", "tokenizer"),
    sources=_sources,
    run=_run_again,
)
"""What one model wrote, as another reads it."""
