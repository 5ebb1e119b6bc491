"""Texts and tokenizers that `tools/make_tokenizer_vectors.py` asks the library about."""

import json
import random
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

SEED = 16
_RANDOM_TEXTS = 80

_FIXED = [
    "",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "a",
    "A",
    " a",
    "a ",
    "  a  b  ",
    "a\n\nb\r\nc\td",
    " \n \n x",
    "a red circle moves right",
    "A Red Circle, Moving RIGHT!",
    "the cat sat on the mat.",
    "two birds sing in the green grass near the houses and the blue trees",
    "It's we're I'll you've I'm he'd don't can't",
    "IT'S WE'RE I'LL YOU'VE I'M HE'D DON'T CAN'T",
    "it\u2019s '\u017f '\u212a 's't're've'm'll'd '",
    "x's  y't '' '",
    "1234567890",
    "3.14159, 1,000,000 and 007",
    "a1b22c333d4444e55555",
    "\u0663\u0664\u0665 \u00bd \u2167 \u00b2\u00b3 \u2460",
    "Hello, world! (yes) [no] {maybe} <tag> #1 @me $5 50% a&b a*b a+b a=b "
    "a/b a\\b a|b a~b `c` ^d _e",
    "wait... what?! -- no; \u2014 \u2013 \u2026 \u00ab\u00bb \u201c\u201d \u2018\u2019",
    "a.b.c www.example.com/x?y=1&z=2",
    "na\u00efve caf\u00e9 fianc\u00e9e \u00c5ngstr\u00f6m \u00df \u1e9e "
    "\u0130 \u0131 \u01c5 \u0149",
    "nai\u0308ve cafe\u0301 A\u030a e\u0323\u0302 \u1ec7 o\u0302\u0323 q\u0307\u0323 q\u0323\u0307",
    "\u0344 \u0344\u0334 \u0f73\u0f71 a\u0301\u0327\u0301 \u0301a",
    "\u1100\u1161\u11a8 \uac00\uac01 \u1100\u1161 \u3131 \uffa1",
    "\u039f\u0394\u039f\u03a3 \u03c3\u03c2 \u0390 \u1fd3 \u1f71 \u2126 \u212b K\u212a",
    "\ufb01\ufb02\ufb03\ufb06 \u0133 \u01c4 \u2075 \u33a1 \u3231 "
    "\u3314 \ufdfa \uff21\uff22\uff11\uff12 \uff71\uff76\uff9e",
    "\u4e00\u53ea\u732b\u5728\u8349\u5730\u4e0a",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002\u30ab\u30bf\u30ab\u30ca \u3042\u3044\u3046",
    "\u4e2d\u6587abc\u4e2d\u6587 \U00020000\U0002a6d6 \uf900 \u3400",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 \u0401\u0436\u0438\u043a \u0439",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 "
    "\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f \u0640\u0640",
    "\u05e2\u05d1\u05e8\u05d9\u05ea \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u094d\u0937\u0947\u0924\u094d\u0930 \u0958 \u0929",
    "\u0e44\u0e17\u0e22 \u0e20\u0e32\u0e29\u0e32 \u0e33",
    "\u0b95\u0bcd\u0bb7 \u0bca \u0bc6\u0bbe",
    "\u0f40\u0f72 \u0f69 \u0f77",
    "\u1019\u103c\u1014\u103a\u1019\u102c",
    "\U0001f600",
    "\U0001f469\u200d\U0001f680 "
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd",
    "\u2764\ufe0f \u2600\ufe0e \u0031\ufe0f\u20e3 \U0001f1e9\U0001f1ea\U0001f1eb",
    "\U0001d400\U0001d41b\U0001d7d8 \U0001f100 \U0001f130",
    "a\U0001f3fdb c\U000e0100d",
    "\u200b\u200c\u200d\u200e\u2060\ufeff\u00ad x",
    "a\u200db \u200c",
    "\u00a0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000|\u0085|\u000b|\u000c|\u001c|\u001f",
    "\x00a\x00 \x01\x07\x1b[31m\x7f\x80\x9f",
    "\ufffd \ufffe\uffff \ufdd0",
    "\ue000\uf8ff \U00100000",
    "\u2581 \u2581a b\u2581c \u2581\u2581",
    "\u0120a \u010a \u0122",
    "<0x41> <0x0A> <unk>",
    "\u00a1\u00bf \u00a7\u00b6 \u2020 \u20ac\u00a3\u00a5 \u2190\u2192 \u2200\u2203 \u2460 \u266b",
    "</s>",
    "a</s>b",
    "a </s> b",
    "<pad></s><unk>",
    "<s>x</s>",
    "[CLS] a [SEP]",
    "[MASK]",
    "a [MASK] b[MASK]c",
    "[mask]",
    "<|endoftext|>",
    "x<|endoftext|>y",
    "<|startoftext|> a <|endoftext|>",
    "<|im_start|>user\nhi<|im_end|>",
    "<|ENDOFTEXT|>",
    "<extra_id_0> a <extra_id_1>",
    "<extra_id_10><extra_id_1>",
    "</S>",
    "< /s>",
    "<|begin_of_text|>a<|eot_id|>",
    "tok tok_ tokx xtok tok\u00e9 (tok) TOK",
    "left right  left  right leftright",
    "lstrip   \n <L> x <R>   y <LR> z",
    "<L><R><LR>",
    "day Day yesterday DAY",
    "<a> <a>b| <a>b",
    "supercalifragilisticexpialidocious" * 4,
    "x" * 300,
    "ab" * 130,
    "\u4e2d" * 120,
    "a " * 60,
    " " * 40,
    " " * 40 + "x",
    "\n" * 20 + "y",
    "!" * 50,
    "e\u0301" * 30,
    "  leading and   inner    spaces   ",
    "line one\nline two\r\nline three\rline four\n",
    "\n a\n  b\n",
    "tab\tseparated\t\tvalues",
    "MixedCASE wordsLIKEthis camelCase snake_case kebab-case",
    "don\u2019t \u2018quote\u2019 \u201cdouble\u201d",
    "1st 2nd 3rd 4x4 10%",
    "C++ C# .NET e.g. i.e. U.S.A.",
    "aesthetic score: 6.5. motion score: 4.0.",
    "A close-up, 35mm film still of a woman (30 years old), golden hour -- 8k, bokeh.",
    "Un gato negro corre r\u00e1pido por la calle; \u00bfqu\u00e9 pasar\u00e1? \u00a1Nada!",
    "Der gro\u00dfe B\u00e4r \u00fcberquert die Stra\u00dfe.",
    "\u0e9a\u0eaa \u10d0\u10d1 \u0531\u0561 \u13a0\uab70 \u1e921 \U00010400\U00010428",
    "\u1df5\u1ab0 \u08d3 \u07fd \u0898 \u1ace \U0001e94a",
    "\u2e43\u2e52 \u166d \u061d \u1b7d \u2e5d",
    "\u32ff \ua7f2 \uab69 \U00010781 \U00011938 \U0001fbf0 \U0001f16c",
    "\u0890 \u08e2 \U000110cd \U00013430",
    "a\u030d\u0301 e\u0323\u030d\u0301 o\u0315\u0301",
    "<R>  <L> <LR>   <LR>\n <L>\t<R> <L>",
]

_DRAWN = [
    (0x20, 0x7E, 8),
    (0x20, 0x20, 6),
    (0x61, 0x7A, 8),
    (0xA0, 0x24F, 3),
    (0x300, 0x36F, 3),
    (0x370, 0x52F, 1),
    (0x591, 0x6FF, 1),
    (0x900, 0xDFF, 1),
    (0x1100, 0x11FF, 1),
    (0x1E00, 0x1FFF, 1),
    (0x2000, 0x206F, 2),
    (0x2070, 0x2BFF, 1),
    (0x3000, 0x30FF, 1),
    (0x3130, 0x33FF, 1),
    (0x4E00, 0x9FFF, 1),
    (0xAC00, 0xD7A3, 1),
    (0xF900, 0xFFEF, 1),
    (0x10000, 0x1FFFF, 2),
    (0x9, 0xD, 1),
    (0x1F300, 0x1F6FF, 1),
    (0xFE00, 0xFE0F, 1),
    (0x200B, 0x200F, 1),
    (0x1AB0, 0x1DFF, 1),
    (0x0, 0x9F, 1),
]


def assigned(text: str) -> bool:
    """Whether Unicode 14.0 has all of its characters (and those that are none for ever)."""
    return all(unicodedata.category(c) != "Cn" or _no_character(ord(c)) for c in text)


def _no_character(c: int) -> bool:
    return c & 0xFFFE == 0xFFFE or 0xFDD0 <= c <= 0xFDEF


def texts() -> list[str]:
    """The same each time. No lone half of a surrogate pair, nothing that Unicode 14.0 lacks."""
    if unicodedata.unidata_version != "14.0.0":
        raise AssertionError(f"Unicode {unicodedata.unidata_version}: take Python 3.11")
    rng, made = random.Random(SEED), list(_FIXED)
    while len(made) < len(_FIXED) + _RANDOM_TEXTS:
        made.append(_drawn(rng, rng.randrange(1, 24)))
    if wrong := [text for text in made if not assigned(text)]:
        raise AssertionError(f"not in Unicode 14.0: {wrong[0]!a}")
    return made


def _drawn(rng: random.Random, size: int) -> str:
    ranges = rng.choices(_DRAWN, weights=[weight for _, _, weight in _DRAWN], k=size)
    drawn = [chr(rng.randint(low, high)) for low, high, _ in ranges]
    return "".join(c for c in drawn if not "\ud800" <= c <= "\udfff" and assigned(c))


CORPUS = [
    *(text for text in _FIXED if text.isascii() and len(text) < 100),
    "na\u00efve caf\u00e9 \u4e2d\u6587 \U0001f600",
    "it's a red house, isn't it?",
    "the green grass and the blue trees near the houses",
] * 4


# ---------------------------------------------------------------- tokenizers

_GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CLIP = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA = _QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)


def _byte_level(pieces: int, suffix: str = "", **rules: Any) -> dict[str, Any]:
    """A model of byte pairs, trained here."""
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    from tokenizers.models import BPE

    made = Tokenizer(BPE(end_of_word_suffix=suffix) if suffix else BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    more: dict[str, Any] = {"end_of_word_suffix": suffix} if suffix else {}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=pieces, initial_alphabet=alphabet, show_progress=False, **more
        ),
    )
    model: dict[str, Any] = json.loads(made.to_str())["model"]
    for letter in alphabet if suffix else ():
        model["vocab"].setdefault(letter + suffix, len(model["vocab"]))
    return model | rules


def _file(model: dict[str, Any], tokens: Sequence[Any] = (), **parts: Any) -> dict[str, Any]:
    made = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": model,
    } | parts
    size = len(model["vocab"])
    texts = [t[0] if model["type"] == "Unigram" else t for t in model["vocab"]]
    for token in tokens:
        given = {"content": token} if isinstance(token, str) else token
        content = given["content"]
        number = texts.index(content) if content in texts else size
        size += number == size
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        made["added_tokens"].append({"id": number, **flags, "special": True} | given)
    return made


def _type(name: str, **more: Any) -> dict[str, Any]:
    return {"type": name, **more}


def _all(kind: str, *parts: Any) -> dict[str, Any]:
    return _type("Sequence", **{kind: list(parts)})


def _level(space: bool = False, words: bool = True, trim: bool = True) -> dict[str, Any]:
    return _type("ByteLevel", add_prefix_space=space, trim_offsets=trim, use_regex=words)


def _split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return _type("Split", pattern={"Regex": regex}, behavior=behavior, invert=invert)


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return _type("Replace", pattern=pattern, content=content)


def _template(made: dict[str, Any], *single: str) -> dict[str, Any]:
    """`$A` is the text."""
    ids = {t["content"]: t["id"] for t in made["added_tokens"]}
    parts = [
        {"Sequence": {"id": "A", "type_id": 0}}
        if s == "$A"
        else {"SpecialToken": {"id": s, "type_id": 0}}
        for s in single
    ]
    tokens = {s: {"id": s, "ids": [ids[s]], "tokens": [s]} for s in single if s != "$A"}
    pair = [*parts, {"Sequence": {"id": "B", "type_id": 1}}]
    return _type("TemplateProcessing", single=parts, pair=pair, special_tokens=tokens)


_END = "<|endoftext|>"


def _clip() -> dict[str, Any]:
    model = _byte_level(600, "</w>", unk_token=_END, continuing_subword_prefix="")
    for token in ("<|startoftext|>", _END):
        model["vocab"][token] = len(model["vocab"])
    made = _file(model, [{"content": "<|startoftext|>", "normalized": True}, _END])
    made["normalizer"] = _all(
        "normalizers", _type("NFC"), _replace({"Regex": r"\s+"}, " "), _type("Lowercase")
    )
    made["pre_tokenizer"] = _all("pretokenizers", _split(_CLIP, "Removed", True), _level())
    ids = {t["content"]: t["id"] for t in made["added_tokens"]}
    made["post_processor"] = _type(
        "RobertaProcessing",
        sep=[_END, ids[_END]],
        cls=["<|startoftext|>", ids["<|startoftext|>"]],
        trim_offsets=False,
        add_prefix_space=False,
    )
    made["decoder"] = _level(True)
    return made


def _gpt2() -> dict[str, Any]:
    return _file(
        _byte_level(500), [_END], pre_tokenizer=_level(), post_processor=_level(), decoder=_level()
    )


def _roberta() -> dict[str, Any]:
    made = _file(
        _byte_level(400),
        ["<s>", "<pad>", "</s>", "<unk>", {"content": "[MASK]", "lstrip": True}],
        pre_tokenizer=_level(True),
        decoder=_level(),
    )
    ids = {t["content"]: t["id"] for t in made["added_tokens"]}
    made["post_processor"] = _type(
        "RobertaProcessing",
        sep=["</s>", ids["</s>"]],
        cls=["<s>", ids["<s>"]],
        trim_offsets=True,
        add_prefix_space=True,
    )
    return made


def _qwen() -> dict[str, Any]:
    tokens = [_END, "<|im_start|>", "<|im_end|>", {"content": "<tool>", "special": False}]
    return _file(
        _byte_level(500),
        tokens,
        normalizer=_type("NFC"),
        pre_tokenizer=_all("pretokenizers", _split(_QWEN), _level(words=False, trim=False)),
        post_processor=_level(words=False, trim=False),
        decoder=_level(words=False, trim=False),
    )


def _llama3() -> dict[str, Any]:
    model = _byte_level(500, ignore_merges=True)
    model["vocab"]["\u0120circle"] = 500  # a word that nothing is merged into
    made = _file(
        model,
        ["<|begin_of_text|>", "<|eot_id|>"],
        pre_tokenizer=_all("pretokenizers", _split(_LLAMA), _level(words=False)),
        decoder=_level(),
    )
    template = _template(made, "<|begin_of_text|>", "$A")
    made["post_processor"] = _all("processors", _level(trim=True), template)
    return made


def _bert(lowercase: bool) -> dict[str, Any]:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
    from tokenizers.models import WordPiece

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained = Tokenizer(WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained.train_from_iterator(
        [*CORPUS, *texts()],
        trainers.WordPieceTrainer(vocab_size=700, special_tokens=marks, show_progress=False),
    )
    made = _file(
        json.loads(trained.to_str())["model"],
        marks,
        normalizer=_type(
            "BertNormalizer",
            clean_text=True,
            handle_chinese_chars=True,
            strip_accents=None,
            lowercase=lowercase,
        ),
        pre_tokenizer=_type("BertPreTokenizer"),
        decoder=_type("WordPiece", prefix="##", cleanup=True),
    )
    made["post_processor"] = _template(made, "[CLS]", "$A", "[SEP]")
    if not lowercase:
        made["post_processor"] = _type("BertProcessing", sep=["[SEP]", 3], cls=["[CLS]", 2])
        made["decoder"]["cleanup"] = False
    return made


def _words() -> dict[str, Any]:
    vocab = {
        w: i for i, w in enumerate(("?", "a", "red", "circle", "!", "\u4e2d", "cafe", "tok", "12"))
    }
    return _file(
        _type("WordLevel", vocab=vocab, unk_token="?"),
        normalizer=_all("normalizers", _type("NFD"), _type("StripAccents")),
        pre_tokenizer=_all(
            "pretokenizers", _type("Whitespace"), _type("Digits", individual_digits=False)
        ),
    )


def _unigram() -> dict[str, Any]:
    """Scores of all lengths, ties among them; as a T5Tokenizer of transformers is saved."""
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    from tokenizers.models import Unigram

    trained = Tokenizer(Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=300,
            special_tokens=["<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    model = json.loads(trained.to_str())["model"]
    gaps = [[f"<extra_id_{i}>", 0.0] for i in range(12, -1, -1)]
    learned = [p for p in model["vocab"][3:] if not p[0].startswith("<")]
    model["vocab"] = model["vocab"][:3] + learned + gaps
    model["vocab"] += [["re", -5.5], ["d", -2.25], ["red", -7.75], ["xx", -3.0], ["x", -1.5]]
    tokens = ["<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in range(13))]
    space = _type("Metaspace", replacement="\u2581", prepend_scheme="always", split=True)
    made = _file(
        model,
        tokens,
        decoder=space,
        pre_tokenizer=_all("pretokenizers", _type("WhitespaceSplit"), space),
    )
    made["post_processor"] = _template(made, "$A", "</s>")
    return made


def _metaspace(scheme: str, split: bool) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        space = _type("Metaspace", replacement="\u2581", prepend_scheme=scheme, split=split)
        return _file(
            _byte_level(300),
            ["</s>"],
            pre_tokenizer=_all("pretokenizers", space, _level(words=False)),
            decoder=_all("decoders", _level(), space),
        )

    return make


def _normal(*parts: Any) -> Callable[[], dict[str, Any]]:
    """Bytes of what a normalizer makes of a text."""
    return lambda: _file(
        _byte_level(300),
        normalizer=_all("normalizers", *parts),
        pre_tokenizer=_level(words=False, trim=False),
        post_processor=_level(),
        decoder=_level(),
    )


def _cut(*parts: Any) -> Callable[[], dict[str, Any]]:
    """Bytes of the words that a pre-tokenizer makes of a text: the ids say where each one ends."""

    def make() -> dict[str, Any]:
        vocab, merges = _level_pairs()
        model = _type(
            "BPE",
            dropout=None,
            unk_token=None,
            continuing_subword_prefix=None,
            end_of_word_suffix="</w>",
            fuse_unk=False,
            byte_fallback=False,
            ignore_merges=False,
            vocab=vocab,
            merges=merges,
        )
        return _file(
            model,
            pre_tokenizer=_all("pretokenizers", *parts, _level(words=False)),
            decoder=_type("BPEDecoder", suffix="</w>"),
        )

    return make


def _level_pairs() -> tuple[dict[str, int], list[list[str]]]:
    """The alphabet, inside and at the end of words: the ids say where each word ends."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate([*letters, *(c + "</w>" for c in letters), "ab", "abab"])}
    return vocab, [["a", "b"], ["ab", "ab"]]


_FLAGGED = [
    {"content": "tok", "single_word": True, "special": False},
    {"content": "<L>", "lstrip": True},
    {"content": "<R>", "rstrip": True},
    {"content": "<LR>", "lstrip": True, "rstrip": True, "special": False},
    {"content": "Day", "normalized": True, "special": False},
    {"content": "</s>", "normalized": True},
    {"content": "<a>"},
    {"content": "<a>b|"},
    {"content": " x", "lstrip": True, "normalized": True, "special": False},
]


def _flagged(*normalizers: Any) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        made = _file(
            _byte_level(300),
            _FLAGGED,
            pre_tokenizer=_level(),
            post_processor=_level(),
            decoder=_level(),
        )
        made["normalizer"] = _all("normalizers", *normalizers) if normalizers else None
        if len(normalizers) > 1:  # Then nothing takes the white space off the tokens' places.
            made["post_processor"] = None
        return made

    return make


def _pairs(**rules: Any) -> Callable[[], dict[str, Any]]:
    """Characters that are there, and those that are not."""

    def make() -> dict[str, Any]:
        prefix = rules.get("continuing_subword_prefix") or ""
        letters = "abcdehilnorstx .,é中"
        pairs = [("t", "h"), ("th", "e"), ("r", "e"), ("re", "d"), ("a", "b"), ("ab", "ab")]
        texts = ["<unk>", *letters, *(prefix + c for c in letters if prefix)]
        texts += [a + b for a, b in pairs] + [prefix + a + b for a, b in pairs if prefix]
        vocab = {text: n for n, text in enumerate(dict.fromkeys(texts))}
        merges = [[a, prefix + b] for a, b in pairs]
        merges += [[prefix + a, prefix + b] for a, b in pairs if prefix]
        model = _type(
            "BPE",
            dropout=None,
            unk_token=rules.get("unk_token"),
            continuing_subword_prefix=prefix or None,
            end_of_word_suffix=None,
            fuse_unk=rules.get("fuse_unk", False),
            byte_fallback=False,
            ignore_merges=False,
            vocab=vocab,
            merges=[" ".join(m) for m in merges] if rules.get("legacy") else merges,
        )
        decoders = [
            _type("Strip", content=".", start=0, stop=1),
            _replace({"Regex": "[ae]b?"}, "_"),
            _type("Strip", content=" ", start=1, stop=0),
            _type("Fuse"),
            _replace({"String": "the"}, "THE"),
        ]
        made = _file(model, ["</s>"], decoder=_all("decoders", *decoders))
        made["post_processor"] = _template(made, "$A", "</s>", "$A")
        return made

    return make


def _strict() -> dict[str, Any]:
    """No token for what is unknown; some parts are as likely as others."""
    scored = [["a", -1.0], ["b", -1.0], ["ab", -2.0], ["ba", -2.0], [" ", -1.5], ["aba", -3.0]]
    return _file(_type("Unigram", unk_id=None, vocab=scored, byte_fallback=False))


def _bert_normalizer(**on: Any) -> dict[str, Any]:
    plain = {
        "clean_text": False,
        "handle_chinese_chars": False,
        "strip_accents": False,
        "lowercase": False,
    }
    return _type("BertNormalizer", **(plain | on))


SAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    "clip": _clip,
    "gpt2": _gpt2,
    "roberta": _roberta,
    "qwen2": _qwen,
    "llama3": _llama3,
    "bert_uncased": lambda: _bert(True),
    "bert_cased": lambda: _bert(False),
    "words": _words,
    "t5_saved": _unigram,
    "unigram_strict": _strict,
    "pairs_unknown": _pairs(unk_token="<unk>"),
    "pairs_fused": _pairs(unk_token="<unk>", fuse_unk=True, continuing_subword_prefix="##"),
    "pairs_dropped": _pairs(legacy=True),
    "pairs_lacking": _pairs(unk_token="[unk]"),
    "normal_nfc": _normal(_type("NFC")),
    "normal_nfd": _normal(_type("NFD")),
    "normal_nfkc": _normal(_type("NFKC")),
    "normal_nfkd": _normal(_type("NFKD")),
    "normal_accents": _normal(_type("NFKD"), _type("StripAccents"), _type("Lowercase")),
    "normal_marks": _normal(_type("StripAccents"), _type("NFC")),
    "normal_bert": _normal(_bert_normalizer(clean_text=True, handle_chinese_chars=True)),
    "normal_bert_accents": _normal(_bert_normalizer(strip_accents=True, handle_chinese_chars=True)),
    "normal_nmt": _normal(
        _type("Nmt"),
        _type("Strip", strip_left=True, strip_right=False),
        _type("Prepend", prepend="\u2581 "),
    ),
    "normal_replace": _normal(
        _replace({"Regex": r"\A +| +\z"}, ""),
        _replace({"Regex": r"( {2,}|[^\S ]|^[#@!]|[a-c]+$)"}, "<>"),
        _replace({"String": "."}, "\u00b7"),
        _type("Strip", strip_left=False, strip_right=True),
    ),
    "cut_whitespace": _cut(_type("Whitespace")),
    "cut_bert": _cut(_type("BertPreTokenizer")),
    "cut_digits": _cut(_type("WhitespaceSplit"), _type("Digits", individual_digits=True)),
    "cut_punctuation": _cut(
        _type("Digits", individual_digits=False), _type("Punctuation", behavior="Contiguous")
    ),
    "cut_merged": _cut(
        _type("Punctuation", behavior="MergedWithPrevious"), _split(r"\s", "MergedWithNext")
    ),
    "cut_delimiter": _cut(
        _type("CharDelimiterSplit", delimiter=" "),
        _type("Split", pattern={"String": "ab"}, behavior="Isolated", invert=False),
        _split(r"\w+?[.,]|\d{2}", "MergedWithNext", True),
    ),
    "cut_gpt2": _cut(_split(_GPT2_WORDS)),
    "cut_gpt4o": _cut(_split(_GPT4O)),
    "cut_deepseek": _cut(
        _split(r"\p{N}{1,3}"),
        _split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
        _split(_DEEPSEEK),
    ),
    "cut_qwen": _cut(_split(_QWEN, "Removed", True)),
    "metaspace_first": _metaspace("first", True),
    "metaspace_never": _metaspace("never", True),
    "metaspace_whole": _metaspace("always", False),
    "flags": _flagged(),
    "flags_lower": _flagged(_type("Lowercase")),
    "flags_prepend": _flagged(_type("Prepend", prepend="\u2581"), _type("NFKC")),
}
"""Name -> the file, as it is trained here; the ones in tests/vectors/tokenizers are kept."""
