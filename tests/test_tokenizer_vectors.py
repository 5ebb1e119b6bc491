"""The vectors of tokenizers are what the `tokenizers` library says today."""

import json

import pytest

from tools import make_tokenizer_tables as tables
from tools import make_tokenizer_vectors as vectors
from tools.tokenizer_samples import SAMPLES, assigned, texts


def test_the_vectors_are_what_the_library_makes_of_the_texts():
    """All of some tokenizers, the others by turns: each file's own lines."""
    kept = vectors.FILE.read_text().splitlines()
    assert vectors.TEXTS.read_text() == vectors.spelled_texts()
    assert list(vectors.lines()) == kept


def test_every_sample_has_its_file_and_its_lines():
    files = {file.stem for file in vectors.FOLDER.glob("*.json")}
    assert {*SAMPLES, "normal_charsmap", "demo"} <= files
    lines = [json.loads(line) for line in vectors.FILE.read_text().splitlines()]
    assert {line[0] for line in lines} == files
    count = len(texts())
    for name in files:
        assert {line[1] for line in lines if line[0] == name} == {None, *range(count)}


def test_texts_hold_no_character_that_unicode_14_lacks():
    assert len(texts()) > 180 and all(map(assigned, texts()))
    assert not assigned("\U0001fae8")


def test_numbers_refusals_and_characters_are_what_is_made_today():
    assert vectors.SCORES.read_text() == vectors.scores()
    lines = [vectors._line(list(given)) for given in vectors.refused()]
    assert vectors.REFUSED.read_text().splitlines() == lines
    assert vectors.CHARACTERS.read_text() == vectors.characters()


def test_what_is_refused_is_a_tokenizer_s_part():
    """Most of it the library itself takes: so it is the runner that does not carry it out."""
    from tokenizers import Tokenizer

    plain = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": "?"},
    }
    taken = 0
    for section, value, *_ in vectors.refused():
        try:
            Tokenizer.from_str(json.dumps(plain | {section: value}))
            taken += 1
        except BaseException as error:
            assert type(error).__name__ in ("Exception", "PanicException"), error
    assert taken > 20


def test_the_tables_in_swift_are_the_library_s():
    for name, text in tables.files().items():
        assert (tables.SWIFT / name).read_text() == text, name


@pytest.mark.parametrize("name", ["pieces_unigram", "pieces_bpe", "pieces_siglip"])
def test_files_of_pieces_are_what_the_compiler_writes(name):
    made = dict(vectors._compiled())[name]
    assert json.loads((vectors.FOLDER / f"{name}.json").read_text()) == made


def test_vectors_are_small():
    size = sum(file.stat().st_size for file in vectors.FOLDER.iterdir())
    size += sum(file.stat().st_size for file in vectors.VECTORS.glob("tokeniz*.json*"))
    assert size < 1_500_000
