"""The classes of published tokenizers: which marks they add, and how a vocabulary becomes one.

One row each. What a class does to a text is said nowhere but in its code (`transformers`), so a
class that has no row is refused, not guessed.
"""

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from entracte.emit.tokenizer.sentencepiece import BPE, UNIGRAM, PieceKind, SentencePiece
from entracte.errors import ConfigError

TEXT = "$A"
VOCAB, WORDS = "vocab.json", "vocab.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One class of tokenizers."""

    make: Callable[["Vocabulary"], Any]
    """A vocabulary -> a `tokenizers.Tokenizer` without marks."""
    of: str
    """What a vocabulary is made of: `VOCAB`, `WORDS`, or a kind of SentencePiece model."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    """Role -> token, where the folder does not say another."""
    single: tuple[str, ...] = (TEXT,)
    """Roles and tokens that are put around the text."""
    pad_side: str = "right"
    add_bos: bool = False
    """Whether it adds one where the folder does not say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the files of a folder hold, as far as they do."""

    config: Mapping[str, Any]
    tokens: Mapping[str, str]
    """Role -> token."""
    ids: Mapping[str, int] = field(default_factory=dict)
    merges: tuple[tuple[str, str], ...] = ()
    pieces: SentencePiece = SentencePiece()


# ---------------------------------------------------------------- vocab.json and merges.txt

_CLIP = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How words are told apart, as in the models' own code."""


def _clip(v: Vocabulary) -> Any:
    """Lower-cased words, whose last piece ends in `</w>`."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    made = Tokenizer(
        BPE(
            vocab=dict(v.ids),
            merges=list(v.merges),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=v.tokens["unk_token"],
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    return made


def _byte_level(v: Vocabulary) -> Any:
    """Bytes, in words as GPT-2 tells them apart."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    made = Tokenizer(BPE(vocab=dict(v.ids), merges=list(v.merges)))
    space = bool(v.config.get("add_prefix_space", False))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    made.decoder = decoders.ByteLevel()
    return made


def _qwen(v: Vocabulary) -> Any:
    """Bytes, in words of its own kind, digits one by one."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    made = Tokenizer(BPE(vocab=dict(v.ids), merges=list(v.merges)))
    made.normalizer = normalizers.NFC()
    space = bool(v.config.get("add_prefix_space", False))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    return made


# ---------------------------------------------------------------- vocab.txt


def _word_piece(v: Vocabulary) -> Any:
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import WordPiece

    made = Tokenizer(WordPiece(dict(v.ids), unk_token=v.tokens["unk_token"]))
    made.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(v.config.get("tokenize_chinese_chars", True)),
        strip_accents=v.config.get("strip_accents"),
        lowercase=bool(v.config.get("do_lower_case", True)),
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    return made


# ---------------------------------------------------------------- SentencePiece

_MOST_GAPS = 10_000
_SPACE = "\u2581"
"""Stands for a space in pieces."""


def _unigram(v: Vocabulary, scored: list[tuple[str, float]], unk_id: int) -> Any:
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import Unigram

    made = Tokenizer(Unigram(scored, unk_id, v.pieces.byte_fallback))
    _pieces_of_text(made, v.pieces)
    space: Any = decoders.Metaspace(prepend_scheme="always" if v.pieces.dummy_prefix else "never")
    if v.pieces.byte_fallback:
        space = decoders.Sequence([decoders.ByteFallback(), space])
    made.decoder = space
    return made


def _t5(v: Vocabulary) -> Any:
    """The pieces, and behind them the marks of gaps, counted down."""
    count = v.config.get("extra_ids", 100)
    if not isinstance(count, int) or not 0 <= count <= _MOST_GAPS:
        raise ConfigError(f"extra_ids: {count!r} is not a whole number from 0 to {_MOST_GAPS}")
    scored = [(p.text, p.score) for p in v.pieces.pieces]
    known = {text for text, _ in scored}
    gaps = [f"<extra_id_{i}>" for i in range(count - 1, -1, -1)]
    return _unigram(v, scored + [(g, 0.0) for g in gaps if g not in known], v.pieces.unk_id)


def _siglip(v: Vocabulary) -> Any:
    """Small letters without punctuation, one space between words, and one before all of them."""
    from tokenizers import Regex, normalizers

    pieces = replace(v.pieces, dummy_prefix=True)
    made = _unigram(replace(v, pieces=pieces), [(p.text, p.score) for p in pieces.pieces],
                    pieces.unk_id)  # fmt: skip
    steps: list[Any] = [normalizers.Lowercase()] if v.config.get("do_lower_case", True) else []
    steps.append(normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""))
    steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    made.normalizer = normalizers.Sequence([*steps, made.normalizer])
    return made


def _xlm_roberta(v: Vocabulary) -> Any:
    """Four marks of its own stand where the model has three, and one behind all."""
    marks = [v.tokens[role] for role in ("bos_token", "pad_token", "eos_token", "unk_token")]
    scored = [(p.text, p.score) for p in v.pieces.pieces[3:]]
    made = [(m, 0.0) for m in marks] + scored + [(v.tokens["mask_token"], 0.0)]
    return _unigram(v, made, marks.index(v.tokens["unk_token"]))


def _spm_bpe(v: Vocabulary) -> Any:
    """Merges follow from the pieces: whatever two make a third, best third first."""
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE

    ids = {p.text: i for i, p in enumerate(v.pieces.pieces)}
    made = Tokenizer(
        BPE(
            vocab=ids,
            merges=_merges(v.pieces),
            unk_token=v.pieces.pieces[v.pieces.unk_id].text,
            fuse_unk=True,
            byte_fallback=v.pieces.byte_fallback,
            # User-defined pieces are words that nothing was merged into.
            ignore_merges=any(p.kind is PieceKind.USER for p in v.pieces.pieces),
        )
    )
    _pieces_of_text(made, v.pieces)
    parts = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [decoders.Strip(content=" ", left=1)] if v.pieces.dummy_prefix else []
    made.decoder = decoders.Sequence(parts + strip)
    return made


def _merges(pieces: SentencePiece) -> list[tuple[str, str]]:
    ids = {p.text: i for i, p in enumerate(pieces.pieces) if p.kind is PieceKind.NORMAL}
    found = []
    for text, rank in ids.items():
        halves = ((text[:i], text[i:]) for i in range(1, len(text)))
        own = [(a, b) for a, b in halves if a in ids and b in ids]
        score = pieces.pieces[rank].score
        found += [(-score, rank, ids[a], ids[b], a, b) for a, b in own]
    return [(a, b) for *_, a, b in sorted(found)]


def _pieces_of_text(made: Any, pieces: SentencePiece) -> None:
    """What SentencePiece does before it looks for pieces: replace characters, spaces into one, a
    mark for each. User-defined pieces are found whole after that, control pieces before it."""
    from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers

    steps: list[Any] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if pieces.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    # Here and not by the pre-tokenizer, which puts none before a text that begins with one.
    steps += [normalizers.Prepend(_SPACE)] if pieces.dummy_prefix else []
    steps.append(normalizers.Replace(" ", _SPACE))
    made.normalizer = normalizers.Sequence(steps)
    words: list[Any] = []
    if own := [p.text for p in pieces.pieces if p.kind is PieceKind.USER]:
        words.append(pre_tokenizers.Split(Regex(_any_of(own, made.normalizer)), "isolated"))
    if pieces.kind == UNIGRAM and pieces.split_by_whitespace:
        words.append(pre_tokenizers.Metaspace(prepend_scheme="never", split=True))
    if words:
        made.pre_tokenizer = pre_tokenizers.Sequence(words)
    control = [p.text for p in pieces.pieces if p.kind is PieceKind.CONTROL]
    made.add_tokens([AddedToken(text, special=True, normalized=False) for text in control])


def _any_of(symbols: list[str], normalizer: Any) -> str:
    """Matches user-defined symbols, long ones first, where characters are replaced already."""
    for symbol in symbols:
        if normalizer.normalize_str(symbol) not in (symbol, _SPACE + symbol):
            raise ConfigError(
                f"the user-defined symbol {symbol!r} holds characters that the model's own rules "
                "replace, and finds them all the same; that is not carried out: give a "
                "tokenizer.json"
            )
    ordered = sorted(symbols, key=len, reverse=True)
    return "|".join(re.sub(r"(\W)", r"\\\1", symbol) for symbol in ordered)


# ---------------------------------------------------------------- the table

_END = "<|endoftext|>"
_MARKS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}

_T5 = Family(
    make=_t5,
    of=UNIGRAM,
    tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
    single=(TEXT, "eos_token"),
)
_SIGLIP = Family(
    make=_siglip,
    of=UNIGRAM,
    tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"},
    single=(TEXT, "eos_token"),
)
_GPT2 = Family(
    make=_byte_level, of=VOCAB, tokens=dict.fromkeys(("unk_token", "bos_token", "eos_token"), _END)
)
_BERT = Family(
    make=_word_piece,
    of=WORDS,
    tokens={
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    single=("cls_token", TEXT, "sep_token"),
)
_LLAMA = Family(
    make=_spm_bpe,
    of=BPE,
    tokens={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    pad_side="left",
    add_bos=True,
)

FAMILIES: Mapping[str, Family] = {
    "CLIPTokenizer": Family(
        make=_clip,
        of=VOCAB,
        tokens={
            "bos_token": "<|startoftext|>",
            "eos_token": _END,
            "unk_token": _END,
            "pad_token": _END,
        },
        single=("bos_token", TEXT, "eos_token"),
    ),
    "GPT2Tokenizer": _GPT2,
    "Qwen2Tokenizer": Family(
        make=_qwen, of=VOCAB, tokens=dict.fromkeys(("unk_token", "eos_token", "pad_token"), _END)
    ),
    "WhisperTokenizer": Family(
        make=_byte_level,
        of=VOCAB,
        tokens=_GPT2.tokens,
        single=("<|startoftranscript|>", "<|notimestamps|>", TEXT, "eos_token"),
    ),
    "RobertaTokenizer": Family(
        make=_byte_level, of=VOCAB, tokens=_MARKS, single=("bos_token", TEXT, "eos_token")
    ),
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "T5Tokenizer": _T5,
    "SiglipTokenizer": _SIGLIP,
    "MT5Tokenizer": _T5,
    "UMT5Tokenizer": _T5,
    "XLMRobertaTokenizer": Family(
        make=_xlm_roberta, of=UNIGRAM, tokens=_MARKS, single=("bos_token", TEXT, "eos_token")
    ),
    "LlamaTokenizer": _LLAMA,
    "GemmaTokenizer": Family(
        make=_spm_bpe,
        of=BPE,
        tokens={
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
        },
        pad_side="left",
        add_bos=True,
    ),
}

MODEL_TYPES: Mapping[str, str] = {
    "clip": "CLIPTokenizer",
    "clip_text_model": "CLIPTokenizer",
    "gpt2": "GPT2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "whisper": "WhisperTokenizer",
    "roberta": "RobertaTokenizer",
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer",
    "umt5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "siglip": "SiglipTokenizer",
    "llama": "LlamaTokenizer",
    "gemma": "GemmaTokenizer",
}
"""`model_type` of a config.json -> the class that its tokenizer has if nothing else says it."""
