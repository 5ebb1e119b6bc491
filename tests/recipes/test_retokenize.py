"""`retokenize`: what one model wrote, as another reads it."""

import numpy as np
import pytest

from entracte.declare.host_ops import HOST_OPS, Place
from entracte.errors import RunError
from tests.recipes import words

LENGTH = 14
END = words.bytes_bpe("<|end|>").convert_tokens_to_ids("<|end|>")


@pytest.fixture
def folder(tmp_path):
    words.bytes_bpe("<|end|>").save_pretrained(tmp_path / "a")
    words.t5(LENGTH).save_pretrained(tmp_path / "b")
    for name in "ab":
        (tmp_path / f"{name}.json").write_bytes((tmp_path / name / "tokenizer.json").read_bytes())
    return tmp_path


def again(folder, ids, **more):
    notes = []
    params = {"decoder": "a.json", "tokenizer": "b.json", "length": LENGTH, **more}
    op = HOST_OPS["retokenize"]
    assert op.fault(params, ["ids"]) is None
    made = op.run(params, {"ids": np.array([ids], np.int32)}, Place(folder, note=notes.append))
    return made, notes


def test_the_text_up_to_its_end_is_read_by_the_other(folder):
    writer, reader = words.bytes_bpe("<|end|>"), words.t5(LENGTH)
    ids = writer("\n a red cat ").input_ids + [END] + writer("dog").input_ids
    made, notes = again(folder, ids, end=(END,), prefix="b ")
    want = reader("b a red cat").input_ids
    assert made["input_ids"].tolist() == [want + [0] * (LENGTH - len(want))]
    assert made["mask"].sum() == len(want)
    assert notes == ["the text is 'a red cat'"]
    other, _ = again(folder, writer("a red dog").input_ids, end=(END,), prefix="b ")
    assert other["input_ids"].tolist() != made["input_ids"].tolist()


def test_without_an_end_all_is_read(folder):
    writer, reader = words.bytes_bpe("<|end|>"), words.t5(LENGTH)
    made, _ = again(folder, writer("a red").input_ids)
    want = reader("a red").input_ids
    assert made["input_ids"][0, : len(want)].tolist() == want


@pytest.mark.parametrize("end", [(-1,), (2**31,), (1.5,), "7"])
def test_what_is_no_list_of_ids_is_refused(end):
    params = {"decoder": "a.json", "tokenizer": "b.json", "length": 4, "end": end}
    assert "params.end" in str(HOST_OPS["retokenize"].fault(params, ["ids"]))


def test_an_id_of_no_token_is_refused(folder):
    with pytest.raises(RunError, match="-3 is the id of no token"):
        again(folder, [-3])
