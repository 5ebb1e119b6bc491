"""Tokenizers that the runner refuses: what it does not carry out, and what contradicts itself."""

from collections.abc import Iterator
from typing import Any

_REGEX = {
    "(a)\\1": "an escape that is not known",
    "(?<=a)b": "a kind of group that is not known",
    "(?<name>a)": "a kind of group that is not known",
    "(?i)a": "a kind of group that is not known",
    "(?m:a)": "a kind of group that is not known",
    "[a[b]]": "a class within a class",
    "[[:alpha:]]": "a class within a class",
    "[a&&b]": "a class within a class",
    "\\p{Han}": "the property `Han`",
    "\\p{Greek}+": "the property `Greek`",
    "\\R": "an escape that is not known",
    "\\X": "an escape that is not known",
    "\\bfoo": "an escape that is not known",
    "\\h": "an escape that is not known",
    "a*": "it matches where there is nothing",
    "^": "it matches where there is nothing",
    "(?=a)": "it matches where there is nothing",
    "a|": "it matches where there is nothing",
    "(?:a|b)++": "a possessive repetition",
    "a{2}+": "a repetition of a repetition",
    "a**": "a repetition of a repetition",
    "(?:a*)+b": "a repetition of what may be nothing",
    "(?i:\u00e9)": "beyond ASCII where case is ignored",
    "(?i:still)": "`st` where case is ignored",
    "(?i:\\p{Lu})": "a class where case is ignored",
    "a)": "`)` without its `(`",
    "(a": "`(` without its `)`",
    "[a": "`[` without its `]`",
    "a{3,1}": "a count that is none",
    "a{5000}": "a count that is none",
    "\\xff": "a byte above 7F",
    "\\": "a backslash at the end",
}


def refused() -> Iterator[tuple[str, Any, str, str]]:
    """(section, its value, where the fault is, a part of what is said); the rest is plain."""
    for regex, says in _REGEX.items():
        split = {
            "type": "Split",
            "pattern": {"Regex": regex},
            "behavior": "Removed",
            "invert": False,
        }
        yield "pre_tokenizer", split, ".pre_tokenizer.pattern.Regex", says
    yield from _normalizers()
    yield from _pre_tokenizers()
    yield from _others()
    yield from _models()


def _normalizers() -> Iterator[tuple[str, Any, str, str]]:
    place, unknown = "normalizer", "`{}` is not implemented"
    for name in ("Bert", "NFX", "Cyrillic"):
        yield place, {"type": name}, ".normalizer.type", unknown.format(name)
    yield (
        place,
        {"type": "Sequence", "normalizers": [{"type": "X"}]},
        ".normalizer.normalizers[0].type",
        "`X`",
    )
    yield place, {"type": "NFC", "more": 1}, ".normalizer", "`more` is not known"
    yield place, {"type": "Strip", "strip_left": True}, ".normalizer", "there is no `strip_right`"
    yield (
        place,
        {"type": "Strip", "strip_left": 1, "strip_right": True},
        ".normalizer.strip_left",
        "1",
    )
    yield (
        place,
        {"type": "Replace", "pattern": {"String": ""}, "content": "x"},
        ".pattern.String",
        "an empty text",
    )
    yield (
        place,
        {"type": "Replace", "pattern": {}, "content": "x"},
        ".normalizer.pattern",
        "not one pattern",
    )
    for spelled in ("", "!!!!", "AAAA", "AAAAAA==", "/////w=="):
        body = {"type": "Precompiled", "precompiled_charsmap": spelled}
        yield place, body, ".precompiled_charsmap", "no map of characters"
    yield place, [], ".normalizer", "[]"
    yield place, "NFC", ".normalizer", "NFC"


def _pre_tokenizers() -> Iterator[tuple[str, Any, str, str]]:
    place = "pre_tokenizer"
    for name in ("UnicodeScripts", "FixedLength", "Jieba"):
        yield place, {"type": name}, ".pre_tokenizer.type", f"`{name}` is not implemented"
    yield (
        place,
        {"type": "Punctuation", "behavior": "removed"},
        ".behavior",
        "`removed` is not known",
    )
    space = {"type": "Metaspace", "replacement": "\u2581"}
    yield (
        place,
        space | {"prepend_scheme": "sometimes"},
        ".prepend_scheme",
        "`sometimes` is not known",
    )
    yield place, space | {"replacement": "__"}, ".replacement", "__"
    yield (
        place,
        space | {"add_prefix_space": False},
        ".add_prefix_space",
        "not what prepend_scheme says",
    )
    yield (
        place,
        {"type": "ByteLevel", "trim_offsets": True},
        ".pre_tokenizer",
        "there is no `add_prefix_space`",
    )


def _others() -> Iterator[tuple[str, Any, str, str]]:
    for name in ("CTC", "Cyrillic"):
        yield "decoder", {"type": name}, ".decoder.type", f"`{name}` is not implemented"
    yield "post_processor", {"type": "Pairs"}, ".post_processor.type", "`Pairs` is not implemented"
    around = {"type": "BertProcessing", "sep": ["a", 0], "cls": ["a", 0]}
    both = {"type": "Sequence", "processors": [around, around]}
    yield "post_processor", both, ".post_processor", "several parts that add tokens"
    template = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
    second = [{"Sequence": {"id": "B", "type_id": 0}}]
    yield "post_processor", template | {"single": second}, ".single[0].Sequence", "a second text"
    lost = [{"SpecialToken": {"id": "x", "type_id": 0}}]
    yield (
        "post_processor",
        template | {"single": lost},
        ".single[0]",
        "`x` is none of special_tokens",
    )
    yield "version", "2.0", ".version", "version 2.0"
    yield "vocabulary", {}, "", "`vocabulary` is not known"
    token = {"id": 7, "content": "<x>", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}  # fmt: skip
    yield (
        "added_tokens",
        [token],
        ".added_tokens[0]",
        "the library gives this token the id 2, not 7",
    )
    yield "added_tokens", [token | {"id": -1}], ".added_tokens[0].id", "-1"


def _models() -> Iterator[tuple[str, Any, str, str]]:
    yield "model", {"type": "Tiktoken"}, ".model.type", "`Tiktoken` is not implemented"
    yield "model", {"vocab": {}}, ".model", "there is no `type`"
    pairs = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    yield "model", pairs | {"dropout": 0.1}, ".model.dropout", "left out by chance"
    yield "model", pairs | {"merges": [["a", "c"]]}, ".model.merges[0]", "not in the vocabulary"
    yield "model", pairs | {"merges": ["a b c"]}, ".model.merges[0]", "not two texts"
    yield "model", pairs | {"merges": [["b", "a"]]}, ".model.merges[0]", "not in the vocabulary"
    yield "model", pairs | {"vocab": {"a": 0, "b": 0}}, ".model.vocab", "two texts have the same id"
    yield "model", pairs | {"vocab": {"a": -1}}, ".model.vocab.a", "no id"
    yield "model", pairs | {"vocab": {"a": 1 << 31}}, ".model.vocab.a", "no id"
    yield (
        "model",
        pairs | {"byte_fallback": True, "end_of_word_suffix": "</w>"},
        ".model",
        "byte_fallback",
    )
    yield "model", pairs | {"speed": 3}, ".model", "`speed` is not known"
    scored = {"type": "Unigram", "vocab": [["a", -1.0]]}
    yield "model", scored | {"unk_id": 1}, ".model.unk_id", "1"
    yield "model", scored | {"vocab": [["a"]]}, ".model.vocab[0]", "no entry"
    yield "model", scored | {"vocab": [["a", "b"]]}, ".model.vocab[0]", "b"
    yield "model", scored | {"vocab": [["a", -1.0]], "alpha": 0.1}, ".model", "`alpha` is not known"
