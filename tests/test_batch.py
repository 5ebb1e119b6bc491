"""Several prompts and seeds in one command: which runs, what files are called, what is there."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.errors import RunError
from entracte.plan.file import read_plan
from entracte.run.batch import batch_of, named
from entracte.run.execute import run_build
from entracte.run.record import read_run
from tests.noise import build


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("noise"), (4,))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words):
    done = CliRunner().invoke(app, ["run", *map(str, words), "--device", "reference"])
    return done.exit_code, " ".join(done.output.split())


def names(runs) -> list[str]:
    return [run.name for run in runs]


def test_runs_are_all_pairs_and_texts_change_slowest():
    runs = batch_of({"x": 1}, {"prompt": ["A red circle!", "blue"], "seed": [0, 3]})
    assert names(runs) == ["a-red-circle-seed0", "a-red-circle-seed3", "blue-seed0", "blue-seed3"]
    assert runs[1].inputs == {"x": 1, "prompt": "A red circle!", "seed": 3}
    # Only what differs is in a name.
    assert names(batch_of({}, {"prompt": ["one"], "seed": [5, 6]})) == ["seed5", "seed6"]
    assert names(batch_of({}, {"prompt": ["one"], "seed": [5]})) == [""]
    assert names(batch_of({}, {})) == [""]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["a b", "a  B?"], ["1-a-b", "2-a-b"]),
        (["猫", "犬"], ["1", "2"]),
        (["../../etc", "x"], ["etc", "x"]),
        (["word " * 20, "y"], ["word-word-word-word-word-word-word-word", "y"]),
        (["x" * 50, "y"], ["x" * 40, "y"]),
    ],
)
def test_names_are_plain_short_and_never_the_same(texts, wanted):
    assert names(batch_of({}, {"prompt": texts})) == wanted


def test_where_a_name_goes():
    assert named("a.b/clip.mp4", "x-1") == "a.b/clip-x-1.mp4"
    assert named("frames/", "x") == "frames-x/" and named("frames/", "") == "frames/"


def test_what_is_given_twice_and_too_much_is_refused():
    with pytest.raises(RunError, match="input 'seed': 3 is given twice; leave one out"):
        batch_of({}, {"seed": [3, 4, 3]})
    with pytest.raises(RunError, match="10002 runs are too many: at most 10000"):
        batch_of({}, {"seed": list(range(5001)), "prompt": ["a", "b"]})


def test_each_run_is_what_it_is_alone(noise, place):
    code, text = command(noise, "--seeds", "0-1,5", "--out", "x.npy", "--record", "r.json")
    assert code == 0, text
    for seed in (0, 1, 5):
        alone = run_build(noise, {"seed": seed}, device="reference").output
        np.testing.assert_array_equal(np.load(f"x-seed{seed}.npy"), alone)
        record = read_run(place / f"r-seed{seed}.json")
        assert record.inputs == (("seed", seed),)
    assert len(list(place.iterdir())) == 6
    assert "3/3 seed 5:" in text and "wrote x-seed5.npy" in text


def test_nothing_is_overwritten_and_what_is_missing_is_made(noise, place):
    words = (noise, "--seed", "1", "--seed", "2", "--out", "x.npz")
    Path("x-seed2.npz").write_bytes(b"mine")
    code, text = command(*words)
    assert code == 1 and "x-seed2.npz: is there already" in text and "--resume" in text
    assert sorted(p.name for p in place.iterdir()) == ["x-seed2.npz"]
    Path("x-seed2.npz").unlink()
    assert command(*words)[0] == 0
    before = Path("x-seed1.npz").stat().st_mtime_ns
    Path("x-seed2.npz").unlink()
    code, text = command(*words, "--resume")
    assert code == 0 and "1/2 seed 1: is there already" in text, text
    assert Path("x-seed2.npz").is_file() and Path("x-seed1.npz").stat().st_mtime_ns == before
    # What is there was made of another seed.
    Path("x-seed1.npz").replace("x-seed2.npz")
    code, text = command(*words, "--resume")
    assert code == 1
    assert "x-seed2.npz: is there, and of other inputs" in text


def test_a_seed_is_drawn_and_told(noise, place):
    code, text = command(noise, "--seed", "random", "--out", "x.npy")
    assert code == 0, text
    seed = int(text.split("seed ", 1)[1].split()[0])
    alone = run_build(noise, {"seed": seed}, device="reference").output
    np.testing.assert_array_equal(np.load("x.npy"), alone)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seed", "-1"), "--seed -1: give a whole number from 0, or `random`, which draws one"),
        (("--seed", "1.5"), "--seed 1.5: is no whole number; give a whole number from 0"),
        (("--seeds", "3-1"), "--seeds 3-1: write ranges of whole numbers, as 0-3 or 0,2,8-11"),
        (("--seeds", ""), "--seeds : write ranges of whole numbers"),
        (("--seeds", "1,x"), "--seeds 1,x: write ranges"),
        (("--seed", "1", "--input", "seed=2"), "the input 'seed' is given by --input too"),
        (("--prompt", "a"), "--prompt: a text among the plan's inputs is meant, and there are no"),
        (("--negative", "a"), "--negative: the plan has no negative prompt; its inputs are seed"),
        (("--prompts", "none.txt"), "--prompts none.txt: cannot be read (No such file"),
        (("--prompts", "empty.txt"), "--prompts empty.txt: there is no prompt in it"),
        (("--prompts", "other.txt"), "--prompts other.txt: is no text in UTF-8"),
        (("--seed", "1", "--resume"), "--resume: goes on with several runs"),
        (("--seeds", "1,2", "--answers", "a"), "--answers: is of one run"),
    ],
)
def test_what_cannot_be_meant_is_one_message_before_any_run(words, message, noise, place):
    Path("empty.txt").write_text("\n  \n")
    Path("other.txt").write_bytes(b"\xff\xfe\xff")
    code, text = command(noise, *words)
    assert code == 1 and message in text, text
    assert not list(place.glob("*.npy"))


def test_minus_one_is_a_number_where_it_is_meant(noise, place):
    code, text = command(noise, "--input", "seed=-1", "--out", "x.npy")
    assert code == 0, text


def test_prompts_of_a_file_a_line_each(tmp_path):
    from entracte.cli.batch import _lines

    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa red circle\r\n\r\n  ünder  \n# a number sign\n".encode())
    assert _lines(file) == ["a red circle", "ünder", "# a number sign"]


def test_a_negative_prompt_is_the_input_of_that_name(noise):
    from dataclasses import replace

    from entracte.cli.batch import Words, runs_of
    from entracte.ir import Input

    plan = read_plan(noise)
    texts = (Input("prompt", "text", "p"), Input("negative", "text", ""))
    plan = replace(plan, program=replace(plan.program, inputs=(*plan.program.inputs, *texts)))
    words = Words(prompts=["a", "b"], negative="blurred", seeds=["4"])
    assert [dict(r.inputs) for r in runs_of(plan, words)] == [
        {"negative": "blurred", "prompt": prompt, "seed": 4} for prompt in ("a", "b")
    ]


# ---------------------------------------------------------------- computed once


def calls_of(record: Path) -> dict[str, int]:
    return {c.chunk: c.calls for c in read_run(record).chunks}


def test_the_text_of_several_seeds_is_encoded_once(whole, place, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(place / "tmp"))
    words = "word " * 30
    code, text = command(
        whole, "--prompt", words, "--seeds", "4-5", "--out", "x.npy", "--record", "r.json"
    )
    assert code == 0, text
    assert calls_of(place / "r-seed4.json")["text.00"] == 1
    assert calls_of(place / "r-seed5.json")["text.00"] == 0
    said = "reused, not computed: text, denoise.once, denoise.schedule"
    assert text.index("2/2 seed 5") < text.index(said), text
    alone = run_build(whole, {"prompt": words, "seed": 5}, device="reference")
    np.testing.assert_array_equal(np.load("x-seed5.npy"), alone.output)
    # What the tokenizer says of a prompt is true of each run with it.
    assert alone.run.notes == read_run(place / "r-seed5.json").notes != ()
    assert not list((place / "tmp").iterdir())


def test_conditioning_is_kept_from_command_to_command(whole, place):
    words = (whole, "--prompt", "a blue square", "--keep-conditioning", "kept")
    assert command(*words, "--seed", "1", "--out", "a.npy", "--record", "a.json")[0] == 0
    code, text = command(*words, "--seed", "2", "--out", "b.npy", "--record", "b.json")
    assert code == 0 and "reused, not computed: text" in text, text
    loads = {c.chunk: c.loads for c in read_run(place / "b.json").chunks}
    assert loads["text.00"] == loads["denoise.once.00"] == 0 < loads["denoise.00"]
    alone = run_build(whole, {"prompt": "a blue square", "seed": 2}, device="reference").output
    np.testing.assert_array_equal(np.load("b.npy"), alone)
    code, text = command(*words, "--no-reuse")
    assert code == 1 and "--no-reuse: takes nothing from --keep-conditioning" in text
    code, text = command(*words, "--answers", "answers")
    assert code == 1 and "--answers: has all calls in it" in text
