"""Tokenizer folders of every kind against the libraries that made them: transformers for ids, masks
and padding, sentencepiece (its ids are kept in tests/vectors/sentencepiece/) for its own models."""

import json
import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from entracte.declare.host_ops import Place, detokenize, tokenize
from entracte.declare.host_ops.words import TOKENIZE
from entracte.devices.null import NullDevice
from entracte.emit.host_files import look
from entracte.emit.ids import Ids, check_ids
from entracte.errors import ConfigError, RunError
from entracte.ir import Input, Memory, Output, Pipeline, Stage, StageKind
from entracte.run.possible import fault_of
from entracte.run.runner import run_plan
from tests.planner.plans import make_plan

SPM = Path(__file__).parent / "vectors" / "sentencepiece"
TEXTS = (
    "a red circle moves right",
    "  Two   BIRDS sing!  ",
    "naïve café 中文 🎞 3.5",
    "",
    "it's 1234 x<|endoftext|>y",
    "the green grass and the blue trees near the houses " * 3,
)
CORPUS = [*TEXTS, "two birds sing in the green grass", "it's a red house, isn't it?"] * 4


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def pipeline_of(folder: Path, *stages: dict) -> Pipeline:
    made = [
        Stage(
            name=f"t{i}", kind=StageKind.HOST, op="tokenize", inputs=(("text", "prompt"),),
            params=tuple(sorted(params.items())),
        )
        for i, params in enumerate(stages)
    ]  # fmt: skip
    return Pipeline(
        name="p",
        title="",
        weights=str(folder),
        inputs=(Input("prompt", "text", ""),),
        stages=tuple(made),
        loops=(),
        outputs=(Output("ids", "tensor", ("t0.input_ids",), 0),),
    )


def compiled(folder: Path, build: Path, **params) -> dict:
    """The params of the plan's step; its file is in `build`."""
    build.mkdir(exist_ok=True)
    pipeline = pipeline_of(folder, {"tokenizer": ".", "length": 24, **params})
    host = look(pipeline)
    host.write(build)
    step = dict(host.into(pipeline).stages[0].params)
    assert TOKENIZE.fault(step, ["text"]) is None
    return step


def ids_of(step: dict, build: Path, text: str) -> tuple[list[int], list[int]]:
    made = TOKENIZE.run(step, {"text": text}, Place(build))
    assert made["input_ids"].dtype == np.int32 and made["mask"].dtype == np.float32
    return made["input_ids"][0].tolist(), made["mask"][0].astype(int).tolist()


def same_as_theirs(theirs, folder: Path, build: Path, **params) -> None:
    step = compiled(folder, build, **params)
    for text in TEXTS:
        wanted = theirs(text, padding="max_length", max_length=24, truncation=True)
        assert ids_of(step, build, text) == (wanted["input_ids"], wanted["attention_mask"]), text


# ---------------------------------------------------------------- vocabularies


def byte_pairs(folder: Path, marks: list[str], *, ending: str = "") -> None:
    """vocab.json and merges.txt, trained here."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
    from tokenizers.models import BPE

    made = Tokenizer(BPE(end_of_word_suffix=ending) if ending else BPE())
    made.normalizer = normalizers.Lowercase() if ending else None
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        if ending
        else [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    more = {"end_of_word_suffix": ending} if ending else {}
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False, **more,
        ),
    )  # fmt: skip
    vocab = {t: i for i, t in enumerate(sorted(made.get_vocab(), key=made.token_to_id))}
    alphabet = [a + ending for a in sorted(pre_tokenizers.ByteLevel.alphabet())]
    for token in (*alphabet, *marks):
        vocab.setdefault(token, len(vocab))
    merges = json.loads(made.to_str())["model"]["merges"]
    (folder / "vocab.json").write_text(json.dumps(vocab))
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")


def said(folder: Path, **config) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


CLASSES = {
    "CLIPTokenizer": (["<|startoftext|>", "<|endoftext|>"], {}),
    "CLIPTokenizer with !": (["<|startoftext|>", "<|endoftext|>"], {"pad_token": "!"}),
    "Qwen2Tokenizer": (["<|endoftext|>", "<|im_start|>"], {"padding_side": "left"}),
    "GPT2Tokenizer": (["<|endoftext|>"], {"pad_token": "<|endoftext|>"}),
    "WhisperTokenizer": (
        ["<|endoftext|>", "<|startoftranscript|>", "<|translate|>", "<|transcribe|>",
         "<|notimestamps|>"],
        {"pad_token": "<|endoftext|>"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("saved", [False, True], ids=["vocab", "tokenizer.json"])
@pytest.mark.parametrize("name", CLASSES)
def test_byte_pairs_are_as_in_transformers(tmp_path, name, saved):
    """CLIP pads with its end mark; mask says where the text ends. From the old files and from what
    transformers itself saves."""
    import transformers

    (marks, more), name = CLASSES[name], name.split()[0]
    folder = tmp_path / "w"
    folder.mkdir()
    byte_pairs(folder, marks, ending="</w>" if name.startswith("CLIP") else "")
    said(folder, tokenizer_class=name, **more)
    theirs = getattr(transformers, name).from_pretrained(folder)
    if saved:
        folder = tmp_path / "saved"
        theirs.save_pretrained(folder)
        assert (folder / "tokenizer.json").exists()
    same_as_theirs(theirs, folder, tmp_path / "build")
    step = dict(compiled(folder, tmp_path / "build"))
    assert step["pad_id"] == theirs.pad_token_id
    assert (step["pad_id"] == 0) == (more.get("pad_token") == "!")  # which is 0 in its vocabulary
    assert step["pad_side"] == theirs.padding_side


def test_clip_is_padded_with_its_end_mark(tmp_path):
    """By hand: start, one letter, end, and the end again to the length."""
    vocab = {"a</w>": 0, "a": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    said(tmp_path, tokenizer_class="CLIPTokenizer")
    step = compiled(tmp_path, tmp_path / "build", length=6)
    assert ids_of(step, tmp_path / "build", "A") == ([2, 0, 3, 3, 3, 3], [1, 1, 1, 0, 0, 0])


def test_word_pieces_are_as_in_transformers(tmp_path):
    from transformers import BertTokenizer

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "red",
        "cir",
        "##cle",
        "it",
        "'",
        "s",
    ]
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    said(folder, tokenizer_class="BertTokenizer")
    same_as_theirs(BertTokenizer.from_pretrained(folder), folder, tmp_path / "build")


def unigram(folder: Path) -> None:
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    from tokenizers.models import Unigram

    made = Tokenizer(Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(CORPUS, trainer)
    made.save(str(folder / "tokenizer.json"))


def test_the_end_mark_that_a_file_leaves_to_its_class_is_added(tmp_path):
    """A tokenizer.json without post-processor, of a class that ends every text."""
    from transformers import T5Tokenizer

    folder = tmp_path / "w"
    folder.mkdir()
    unigram(folder)
    body = json.loads((folder / "tokenizer.json").read_text())
    assert body["post_processor"] is None
    said(folder, tokenizer_class="T5TokenizerFast", extra_ids=0)
    theirs = T5Tokenizer.from_pretrained(folder, extra_ids=0)
    step = compiled(folder, tmp_path / "build")
    for text in (TEXTS[0], "two birds sing", TEXTS[-1].strip()):
        wanted = theirs(text, padding="max_length", max_length=24, truncation=True)
        made = ids_of(step, tmp_path / "build", text)
        assert made == (wanted["input_ids"], wanted["attention_mask"])
        assert 1 in made[0]


# ---------------------------------------------------------------- SentencePiece


@pytest.mark.parametrize("model", ["unigram", "bytes", "bpe", "xlmr", "symbols", "runs"])
def test_sentencepiece_models_give_the_ids_of_the_library(tmp_path, model):
    """Replaced characters, spaces, bytes of what is unknown: as the library that made the file."""
    kind = json.loads((SPM / "kinds.json").read_text())[model]
    shutil.copy(SPM / f"{model}.model", tmp_path / kind["file"])
    said(tmp_path, tokenizer_class=kind["class"], pad_token="<unk>" if model == "bpe" else "<pad>")
    step = compiled(tmp_path, tmp_path / "build", length=64, add_special_tokens=False)
    for text, wanted in json.loads((SPM / "ids.json").read_text())[model]:
        ids, mask = ids_of(step, tmp_path / "build", text)
        found = [i for i, there in zip(ids, mask, strict=True) if there]
        if model == "xlmr":  # its class puts four marks before the pieces, which have three
            wanted = [3 if i == 0 else i + 1 for i in wanted]
        assert found == wanted, text


def test_siglip_reads_small_letters_without_punctuation(tmp_path):
    """As `SiglipTokenizer.canonicalize_text` says, before the pieces that any class finds."""
    found = {}
    for kind, text in (("T5", "the cat sat"), ("Siglip", "  The\tcat, \n(sat)! ")):
        folder = tmp_path / kind
        folder.mkdir()
        shutil.copy(SPM / "unigram.model", folder / "spiece.model")
        said(folder, tokenizer_class=f"{kind}Tokenizer", pad_token="</s>", extra_ids=0)
        step = compiled(folder, tmp_path / f"{kind}_build", length=24)
        found[kind] = ids_of(step, tmp_path / f"{kind}_build", text)
    assert found["Siglip"] == found["T5"] and len({*found["T5"][0]}) > 3


def test_symbols_that_a_model_would_replace_are_refused(tmp_path):
    """SentencePiece finds them before it replaces characters, which is not carried out."""
    from tokenizers import normalizers

    from entracte.emit.tokenizer.families import _any_of

    lower = normalizers.Sequence([normalizers.Lowercase(), normalizers.Prepend("\u2581")])
    assert _any_of(["<a>", "<a>b|"], lower) == r"\<a\>b\||\<a\>"
    with pytest.raises(ConfigError, match="symbol '<A>' holds characters.*give a tokenizer.json"):
        _any_of(["<A>"], lower)


def test_no_vocabulary_is_made_of_a_pointer(tmp_path):
    (tmp_path / "vocab.txt").write_text("version https://git-lfs.github.com/spec/v1\noid a\n")
    said(tmp_path, tokenizer_class="BertTokenizer")
    with pytest.raises(ConfigError, match=r"vocab.txt: a Git LFS pointer.*git lfs pull"):
        compiled(tmp_path, tmp_path / "build")


def test_no_folder_asks_for_gigabytes(tmp_path):
    shutil.copy(SPM / "unigram.model", tmp_path / "spiece.model")
    said(tmp_path, tokenizer_class="T5Tokenizer", extra_ids=10**9)
    with pytest.raises(ConfigError, match="extra_ids: 1000000000 is not a whole number from 0 to"):
        compiled(tmp_path, tmp_path / "build")


def test_what_a_class_puts_around_pieces(tmp_path):
    """T5 ends a text, XLM-RoBERTa begins it too; without a class the file's name says which."""
    for name, file, first, last in (
        ("unigram", "spiece.model", None, 1),
        ("xlmr", "sentencepiece.bpe.model", 0, 2),
    ):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(SPM / f"{name}.model", folder / file)
        ids, _ = ids_of(compiled(folder, tmp_path / "build"), tmp_path / "build", "a red")
        pad = 1 if name == "xlmr" else 0
        kept = [i for i in ids if i != pad]
        assert kept[-1] == last and (first is None or ids[0] == first)
        assert ids[-1] == pad


def test_a_damaged_model_is_told(tmp_path):
    data = (SPM / "unigram.model").read_bytes()
    for broken, message in (
        (data[:100], "no SentencePiece model|has no pieces|ends in the middle"),
        (b"\xff" * 40, "no SentencePiece model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer.*run `git lfs pull`"),
    ):
        (tmp_path / "spiece.model").write_bytes(broken)
        with pytest.raises(ConfigError, match=message):
            compiled(tmp_path, tmp_path / "build")


# ---------------------------------------------------------------- padding


def plain(folder: Path, padding: dict | None = None, **body) -> None:
    """Words a, b, c are 5, 6, 7; no marks."""
    made = {
        "version": "1.0", "truncation": None, "padding": padding, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "unk_token": "?",
                  "vocab": {"?": 0, "<pad>": 3, "end": 4, "a": 5, "b": 6, "c": 7}},
    } | body  # fmt: skip
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(made))


SECTION = {
    "strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 6,
    "pad_type_id": 0, "pad_token": "b",
}  # fmt: skip


@pytest.mark.parametrize(
    ("section", "config", "special", "params", "pad", "side"),
    [
        (SECTION, {"pad_token": "c"}, {}, {}, 6, "left"),
        (None, {"pad_token": "c"}, {"pad_token": "a"}, {}, 7, "right"),
        (None, {"pad_token": {"content": "c"}, "padding_side": "left"}, {}, {}, 7, "left"),
        (None, {}, {"pad_token": {"content": "a"}}, {}, 5, "right"),
        (None, {}, {}, {"pad_id": 9}, 9, "right"),
        (None, {"pad_token": None}, {}, {"pad_id": 2, "pad_side": "left"}, 2, "left"),
        (None, {"tokenizer_class": "T5Tokenizer", "add_eos_token": False}, {}, {}, 3, "right"),
    ],
)  # fmt: skip
def test_which_id_pads(tmp_path, section, config, special, params, pad, side):
    """The tokenizer's own section, then the files beside it, then what is configured."""
    plain(tmp_path, section)
    if config.pop("tokenizer_class", None):
        said(tmp_path, tokenizer_class="CLIPTokenizer", pad_token="<pad>", bos_token="a",
             eos_token="b")  # fmt: skip
    else:
        said(tmp_path, **config)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    step = compiled(tmp_path, tmp_path / "build", length=4, **params, add_special_tokens=False)
    assert (step["pad_id"], step["pad_side"]) == (pad, side)
    ids, mask = ids_of(step, tmp_path / "build", "a c")
    assert ids == ([5, 7, pad, pad] if side == "right" else [pad, pad, 5, 7])
    assert mask == ([1, 1, 0, 0] if side == "right" else [0, 0, 1, 1])


def test_where_nothing_says_which_id_pads_it_is_asked_for(tmp_path):
    plain(tmp_path)
    with pytest.raises(ConfigError, match=r"stages\.t0\.params: nothing says which .* `pad_id`"):
        compiled(tmp_path, tmp_path / "build")
    said(tmp_path, pad_token="no such")
    with pytest.raises(ConfigError, match="the padding is 'no such' .* not in the vocabulary"):
        compiled(tmp_path, tmp_path / "build")


def test_what_is_cut_is_said_with_its_words(tmp_path):
    vocabulary = {word: k for k, word in enumerate(["?", "one", "two", "three", "four", "five"])}
    plain(tmp_path, model={"type": "WordLevel", "unk_token": "?", "vocab": vocabulary})
    step = compiled(tmp_path, tmp_path / "build", length=3, pad_id=0)
    notes = []
    place = Place(tmp_path / "build", note=notes.append)
    TOKENIZE.run(step, {"text": "one two three"}, place)
    assert notes == []
    TOKENIZE.run(step, {"text": "one two three four five"}, place)
    assert notes == ["the text is cut to 3 tokens; dropped from its end: 'four five'"]
    left = step | {"truncation_side": "left"}
    made = TOKENIZE.run(left, {"text": "one two three four five"}, place)
    assert made["input_ids"].tolist() == [[3, 4, 5]]
    assert notes[1] == "the text is cut to 3 tokens; dropped from its beginning: 'one two'"
    TOKENIZE.run(step | {"suffix": " end-mark"}, {"text": "one two"}, place)
    assert notes[2].endswith("dropped from its end: '-mark', in the middle of 'end-mark'")


def test_a_cut_keeps_the_marks_and_names_a_word_that_it_goes_through(tmp_path):
    byte_pairs(tmp_path, ["<|startoftext|>", "<|endoftext|>"], ending="</w>")
    said(tmp_path, tokenizer_class="CLIPTokenizer")
    step, notes = compiled(tmp_path, tmp_path / "build", length=4), []
    made = TOKENIZE.run(
        step, {"text": "zqzqzq\x1b[2J red"}, Place(tmp_path / "build", note=notes.append)
    )
    ids = made["input_ids"][0].tolist()
    assert ids[-1] == step["pad_id"] and made["mask"].sum() == 4
    (note,) = notes
    assert "red" in note and "in the middle of 'zqzqzq" in note and "\x1b" not in note


@pytest.mark.parametrize("text", ["中" * 3000, "\x01 " * 3000, "x" * 5000, "a \u3000" * 2000])
def test_whatever_is_cut_a_record_can_hold_the_note(tmp_path, text):
    """A record's notes are lines of 2000 characters at most (`run/possible.py`)."""
    byte_pairs(tmp_path, ["<|startoftext|>", "<|endoftext|>"], ending="</w>")
    said(tmp_path, tokenizer_class="CLIPTokenizer")
    step, notes = compiled(tmp_path, tmp_path / "build", length=4), []
    run = run_plan(make_plan(), tmp_path, NullDevice(), {}, constants={"x": np.zeros(4, "f2")}).run
    TOKENIZE.run(step, {"text": text}, Place(tmp_path / "build", note=notes.append))
    noted = replace(run, notes=tuple(f"stage text: {note}" for note in notes))
    assert len(notes) == 1 and "characters more" in notes[0]
    assert fault_of(make_plan(), noted) is None


def test_marks_need_room(tmp_path):
    byte_pairs(tmp_path, ["<|startoftext|>", "<|endoftext|>"], ending="</w>")
    said(tmp_path, tokenizer_class="CLIPTokenizer")
    with pytest.raises(ConfigError, match="length 1 has no room for the 2 marks"):
        compiled(tmp_path, tmp_path / "build", length=1)
    step = compiled(tmp_path, tmp_path / "build", length=1, add_special_tokens=False)
    assert ids_of(step, tmp_path / "build", "a")[1] == [1]


def test_text_around_the_prompt(tmp_path):
    plain(tmp_path)
    step = compiled(tmp_path, tmp_path / "build", length=4, pad_id=3, prefix="a ", suffix=" c")
    assert ids_of(step, tmp_path / "build", "b")[0] == [5, 6, 7, 3]


# ---------------------------------------------------------------- folders


def test_two_tokenizers_of_one_name_lie_side_by_side(tmp_path):
    plain(tmp_path / "w" / "tokenizer", SECTION)
    vocab = {"?": 0, "b": 1, "a": 2}
    plain(
        tmp_path / "w" / "tokenizer_2", SECTION | {"pad_id": 1, "direction": "Right"},
        model={"type": "WordLevel", "unk_token": "?", "vocab": vocab},
    )  # fmt: skip
    pipeline = pipeline_of(
        tmp_path / "w",
        {"tokenizer": "tokenizer", "length": 3},
        {"tokenizer": "tokenizer_2/tokenizer.json", "length": 3},
    )
    host, build = look(pipeline), tmp_path / "build"
    build.mkdir()
    assert host.write(build) == ["tokenizer_t0.json", "tokenizer_t1.json"]
    steps = [dict(s.params) for s in host.into(pipeline).stages]
    assert [ids_of(s, build, "a")[0] for s in steps] == [[6, 6, 5], [2, 1, 1]]


def test_a_text_that_is_given_has_its_tokenizer(tmp_path):
    """A stage's where it names the same, else one of its own; in the plan a file of the build."""
    plain(tmp_path / "tokenizer", SECTION)
    plain(tmp_path / "other", SECTION)
    text = Output("answer", "text", ("t0.input_ids",), 1, tokenizer="tokenizer", end=(4,))
    pipeline = pipeline_of(tmp_path, {"tokenizer": "tokenizer", "length": 3})
    for name, files in (
        ("tokenizer", ["tokenizer_t0.json"]),
        ("other", ["tokenizer_t0.json", "tokenizer_answer.json"]),
    ):
        named = replace(pipeline, outputs=(replace(text, tokenizer=name),))
        host = look(named)
        assert [made.name for made in host.made] == files
        assert host.into(named).outputs[0].tokenizer == files[-1]
    with pytest.raises(ConfigError, match=r"outputs\.answer\.tokenizer: there is no file"):
        look(replace(pipeline, outputs=(replace(text, tokenizer="none"),)))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"add_bos_token": True, "bos_token": "b", "eos_token": "c"},
        {"added_tokens_decoder": {"8": {"content": "<|x|>", "special": True}}},
        {"added_tokens_decoder": {"8": {"content": "<|x|>", "lstrip": True, "special": False}}},
    ],
)
@pytest.mark.parametrize("marked", [False, True])
def test_what_stands_beside_a_tokenizer_is_as_in_transformers(tmp_path, config, marked):
    """Tokens that only the configuration names are found; marks are those of the file."""
    from transformers import AutoTokenizer

    vocab = {w: i for i, w in enumerate(("?", "<pad>", "end", "a", "b", "c", "x", "<"))}
    single = [{"SpecialToken": {"id": "b", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    around = {
        "type": "TemplateProcessing", "single": single, "pair": single,
        "special_tokens": {"b": {"id": "b", "ids": [4], "tokens": ["b"]}},
    }  # fmt: skip
    plain(
        tmp_path,
        model={"type": "WordLevel", "unk_token": "?", "vocab": vocab},
        post_processor=around if marked else None,
    )
    said(tmp_path, tokenizer_class="PreTrainedTokenizerFast", pad_token="<pad>", **config)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    step = compiled(tmp_path, tmp_path / "build", length=6)
    for text in ("a", "a <|x|> c"):
        found = theirs(text, padding="max_length", max_length=6, truncation=True)
        made = ids_of(step, tmp_path / "build", text)
        assert made == (found["input_ids"], found["attention_mask"]), text


def test_marks_of_a_vocabulary_are_what_its_configuration_says(tmp_path):
    """A begin mark by the model's class, an end mark where it is asked for."""
    shutil.copy(SPM / "bpe.model", tmp_path / "tokenizer.model")
    for config, first, last in (
        ({}, 1, None),
        ({"add_bos_token": False}, None, None),
        ({"add_eos_token": True}, 1, 2),
    ):
        said(tmp_path, tokenizer_class="LlamaTokenizer", pad_token="<unk>", **config)
        step = compiled(tmp_path, tmp_path / "build", length=16)
        assert (step["pad_id"], step["pad_side"]) == (0, "left")
        ids, mask = ids_of(step, tmp_path / "build", "a red circle")
        kept = [i for i, there in zip(ids, mask, strict=True) if there]
        assert (kept[0] == 1) == (first == 1) and (kept[-1] == 2) == (last == 2)
        assert mask == sorted(mask) and mask[0] == 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocab.json": "{}"}, "there is no merges.txt beside it"),
        ({"vocab.json": '{"a": "b"}', "merges.txt": ""}, "a vocabulary is {token: id}"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "#version\na b c\n"}, "'a b c' is not two"),
        ({"vocab.json": "[", "merges.txt": ""}, "vocab.json: no JSON"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b\n"}, "is no tokenizer"),
        ({"tokenizer.json": "{}"}, "is no tokenizer"),
        ({"tokenizer.json": "[]"}, "no JSON object"),
        ({"tokenizer.json": "", "tokenizer_config.json": "x"}, "tokenizer_config.json: no JSON"),
        ({}, "there is no tokenizer in .*; it would be one of tokenizer.json, spiece.model"),
    ],
)
def test_damaged_folders_give_one_message(tmp_path, files, message):
    said(tmp_path, tokenizer_class="CLIPTokenizer")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        compiled(tmp_path, tmp_path / "build")


@pytest.mark.parametrize("name", ["../w", "/etc", "a/../../w", "", "a\\b"])
def test_no_tokenizer_leads_out_of_the_folder(name):
    fault = TOKENIZE.declared_fault({"tokenizer": name, "length": 2}, ["text"])
    assert fault is not None and "inside the folder of the weights" in fault


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    plain(tmp_path / "elsewhere", SECTION)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "tokenizer").symlink_to(tmp_path / "elsewhere")
    for name in ("tokenizer", "tokenizer/tokenizer.json"):
        with pytest.raises(ConfigError, match="no file of that folder"):
            look(pipeline_of(tmp_path / "w", {"tokenizer": name, "length": 3}))
    plain(tmp_path / "v", SECTION)
    (tmp_path / "v" / "tokenizer_config.json").symlink_to(tmp_path / "elsewhere" / "tokenizer.json")
    with pytest.raises(ConfigError, match="tokenizer_config.json is no file of that folder"):
        look(pipeline_of(tmp_path / "v", {"tokenizer": ".", "length": 3}))


def test_a_file_that_is_not_there_names_what_is(tmp_path):
    plain(tmp_path / "tokenizer", SECTION)
    with pytest.raises(ConfigError, match="say `tokenizer=tokenizer/tokenizer.json`"):
        look(pipeline_of(tmp_path, {"tokenizer": "tokenizer.json", "length": 3}))
    shutil.copy(SPM / "unigram.model", tmp_path / "spiece.model")
    with pytest.raises(ConfigError, match="say `tokenizer=spiece.model`"):
        look(pipeline_of(tmp_path, {"tokenizer": "tokenizer.json", "length": 3}))


def test_random_weights_bring_no_tokenizer(tmp_path):
    pipeline = replace(pipeline_of(tmp_path, {"tokenizer": ".", "length": 3}), weights="random:0")
    with pytest.raises(ConfigError, match=r"stages\.t0\.params: random weights .* `stand_in`"):
        look(pipeline)
    step = dict(look(pipeline, dry_run=True).into(pipeline).stages[0].params)
    assert step == {"tokenizer": "tokenizer_t0.json", "length": 3}


@pytest.mark.parametrize("config", [{}, {"tokenizer_class": "BigBirdTokenizer"}])
def test_a_class_that_is_not_known_is_refused(tmp_path, config):
    byte_pairs(tmp_path, [])
    said(tmp_path, **config)
    with pytest.raises(ConfigError, match=r"can be one of CLIPTokenizer, .*; or give a tokenizer"):
        compiled(tmp_path, tmp_path / "build")


def test_the_same_folder_makes_the_same_bytes(tmp_path):
    byte_pairs(tmp_path, ["<|startoftext|>", "<|endoftext|>"], ending="</w>")
    said(tmp_path, tokenizer_class="CLIPTokenizer")
    for build in ("one", "two"):
        compiled(tmp_path, tmp_path / build)
    one, two = ((tmp_path / b / "tokenizer_t0.json").read_bytes() for b in ("one", "two"))
    assert one == two


# ---------------------------------------------------------------- back


def test_ids_become_a_text_up_to_the_end(tmp_path):
    from transformers import CLIPTokenizer

    byte_pairs(tmp_path, ["<|startoftext|>", "<|endoftext|>"], ending="</w>")
    said(tmp_path, tokenizer_class="CLIPTokenizer")
    step, theirs = compiled(tmp_path, tmp_path / "build"), CLIPTokenizer.from_pretrained(tmp_path)
    file, end = tmp_path / "build" / step["tokenizer"], step["pad_id"]
    for text in ("a red circle", "naïve café 中文"):
        ids = tokenize(text, file, 40)["input_ids"][0].tolist()
        assert detokenize(ids, file, [end]) == theirs.decode(ids[: ids.index(end)], True) == text
    assert detokenize([5, end, 6], file, [end]) == detokenize([5], file, [])
    assert detokenize([end, 5], file, [end]) == ""
    with pytest.raises(RunError, match="-1 is the id of no token"):
        detokenize([-1], file, [])


def test_pieces_become_a_text(tmp_path):
    for name, file in (("unigram", "spiece.model"), ("bytes", "spiece.model")):
        shutil.copy(SPM / f"{name}.model", tmp_path / file)
        step = compiled(tmp_path, tmp_path / "build", length=64)
        ids, _ = ids_of(step, tmp_path / "build", "a red circle moves")
        path = tmp_path / "build" / step["tokenizer"]
        assert detokenize(ids, path, [1]) == "a red circle moves"


def test_the_vectors_are_small():
    assert sum(os.path.getsize(p) for p in SPM.iterdir()) < 100_000


# ---------------------------------------------------------------- ids and tables


@dataclass(frozen=True)
class Reading:
    """As much of a traced stage as ids are compared with: it looks ids up, turned, in 8 rows."""

    stage: Stage
    parts: tuple
    shapes: dict


def reading(source: str, rows: int = 8) -> dict[str, Reading]:
    def op(name, kind, inputs, weights=(), memory=Memory.OWN):
        return SimpleNamespace(name=name, kind=kind, inputs=inputs, weights=weights, memory=memory)

    ops = [
        op("turned", "transpose", ("ids",), memory=Memory.SHARED),
        op("counted", "add", ("ids",), ("one",)),
        op("found", "embedding", ("turned",), ("table",)),
        op("places", "embedding", ("counted",), ("small",)),
    ]
    stage = Stage(name="e", kind=StageKind.GRAPH, op="x", inputs=(("ids", source),))
    shapes = {"table": (rows, 4), "small": (2, 4), "one": (1,)}
    return {"e": Reading(stage, (SimpleNamespace(ops=ops),), shapes)}


def test_ids_have_rows_where_they_are_looked_up(monkeypatch):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    made = Tokenizer(WordLevel({"a": 0, "b": 7}, unk_token="a"))
    check_ids(reading("t.input_ids"), {"t": Ids.of(made, 0)})
    with pytest.raises(
        ConfigError, match=r"stages.t: gives ids up to 7, and table .* e has 7 rows"
    ):
        check_ids(reading("t.input_ids", 7), {"t": Ids.of(made, 0)})
    with pytest.raises(ConfigError, match="up to 8"):
        check_ids(reading("t.input_ids"), {"t": Ids.of(made, 8)})
    check_ids(reading("t.mask", 7), {"t": Ids.of(made, 0)})
    check_ids(reading("u.input_ids", 7), {"t": Ids.of(made, 0)})
    made.add_tokens([f"<{i}>" for i in range(9)])
    told = []
    monkeypatch.setattr(
        logging.getLogger("entracte"), "warning", lambda *a: told.append(a[0] % a[1:])
    )
    check_ids(reading("t.input_ids"), {"t": Ids.of(made, 0)})
    assert "stages.t: tokens that were added have ids up to 10, and table of" in told[0]
