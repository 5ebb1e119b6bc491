"""What a user types after `compile` by mistake, and the one message that is said: the word, what is
wrong with it, what there is, what to write. All of it goes the command's own way."""

import io
import logging
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from rich.console import Console

from entracte.cli import compile as command
from entracte.cli import offered
from entracte.cli.compile_help import compile_help
from entracte.cli.plan import app
from entracte.cli.tables import say
from entracte.cli.verify import verification_table
from entracte.cli.words import completed_line, hydra_words
from entracte.declare.compose import compose
from entracte.declare.keys import GROUPS
from entracte.declare.overrides import as_typed
from entracte.disk import left
from entracte.verify.verify import ChunkScore

TARGETS = (
    "host, ipad_m4, ipad_m5, iphone15pro, iphone16e, iphone16pro, iphone17pro, iphone18pro, "
    "macbook_m3, macbook_m5, vision_pro"
)
POLICIES = "ci_dl, double_buffer, online, optimal, sequential, strided"
SAMPLERS = "lpl_adaptive, lpl_static, rflow"
KEYS = (
    "target, pipeline, policy, sampler, guidance, compression, partition, out, dry_run, advise, "
    "verify, workers, sweep, search, cache, cache_limit, allow_packages"
)
OPTIONS = (
    "there are --multirun (-m), --config-dir, --config-name, --cfg, --info, --quiet, --verbose, "
    "--progress, --version, --help (-h); all else is KEY=VALUE"
)
SETTING = "compile has no such option; settings are KEY=VALUE: write "
HELP = "; see `compile --help`"


@pytest.fixture
def typed(monkeypatch, capsys):
    """Types a line; gives the message without its first word, `error: `."""

    def line(text: str) -> str:
        monkeypatch.setattr(sys, "argv", shlex.split(text))
        with pytest.raises(SystemExit) as ended:
            command._main()
        assert ended.value.code == 1
        said = capsys.readouterr()
        assert said.out == ""
        first, rest = said.err.split(": ", 1)
        assert first == "error"
        return rest.removesuffix("\n")

    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield line
    # What the end of a command would undo: Hydra's logging, and the folder of its sweeps.
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.getLogger("entracte").disabled = False
    if command._scratch.cache_info().currsize:
        folder = Path(command._scratch())
        left.remove(folder)
        left.forget(folder)
        command._scratch.cache_clear()


ONE = {
    # ------------------------------------------------ groups
    "compile target=iphone15":
        "target=iphone15: there is no such target (did you mean iphone15pro?); there are "
        + TARGETS,
    "compile +target=iphone15":
        "target=iphone15: there is no such target (did you mean iphone15pro?); there are "
        + TARGETS,
    "compile target=pixel":
        f"target=pixel: there is no such target; there are {TARGETS}",
    "compile target=host policy=optimall":
        "policy=optimall: there is no such policy (did you mean optimal?); there are " + POLICIES,
    "compile target=host +policy=optimall":
        "policy=optimall: there is no such policy (did you mean optimal?); there are " + POLICIES,
    "compile target=host sampler=rflo":
        "sampler=rflo: there is no such sampler (did you mean rflow?); there are " + SAMPLERS,
    "compile target=host partition=auto.yml":
        "partition=auto.yml: there is no such partition (did you mean auto?); there are auto, "
        "shared; a file of your own is DIR/partition/auto.yaml: write --config-dir DIR "
        "partition=auto",
    "compile target=host policy=mine/fast.yaml":
        f"policy=mine/fast.yaml: there is no such policy; there are {POLICIES}; a file of your own "
        "is DIR/policy/fast.yaml: write --config-dir DIR policy=fast",
    "compile target=host target=ipad_m4":
        "target is chosen twice; give one target=NAME",
    # ------------------------------------------------ keys
    "compile target=host polcy=optimal":
        f"polcy: there is no such key (did you mean policy?); there are {KEYS}{HELP}",
    "compile trget=host":
        f"trget: there is no such key (did you mean target?); there are {KEYS}{HELP}",
    "compile target=host dry-run=true":
        f"dry-run: there is no such key (did you mean dry_run?); there are {KEYS}{HELP}",
    "compile target=host sampler.step=4":
        "sampler.step: there is no such key (did you mean steps?); there are name, steps, "
        f"evaluations, leap{HELP}",
    "compile target=host pipeline.stages.decod.precision=fp32":
        "pipeline.stages.decod.precision: there is no 'decod' (did you mean decode_time?); there "
        "are tokenize, text, noise, schedule, denoise, step, decode_time, decode_space; a new one "
        "takes a plus: +pipeline.stages.decod.precision=VALUE",
    "compile target=host ~sampler.speed":
        "~sampler.speed: there is no sampler.speed that could be removed",
    # ------------------------------------------------ values
    "compile target=host sampler.steps=many":
        "sampler.steps: 'many' is no whole number; e.g. sampler.steps=30",
    "compile target=host sampler.steps=2.5":
        "sampler.steps: 2.5 is no whole number; e.g. sampler.steps=30",
    "compile target=host dry_run=maybe":
        "dry_run: 'maybe' is no true or false; e.g. dry_run=true",
    "compile target=host policy.lookahead=[1]":
        "policy.lookahead: [1] is no whole number; e.g. policy.lookahead=1",
    "compile target=host target.contention=fast":
        "target.contention: 'fast' is no number; e.g. target.contention=1.59",
    "compile target=host out='${ouch}'":
        "out: ${ouch} refers to nothing that there is",
    # ------------------------------------------------ words that cannot be read
    "compile iphone15pro":
        "'iphone15pro' is no KEY=VALUE; did you mean target=iphone15pro?",
    "compile target=host dry_run":
        "'dry_run' is no KEY=VALUE; did you mean dry_run=true?",
    "compile target=host sequental":
        "'sequental' is no KEY=VALUE; did you mean policy=sequential?",
    "compile target host":
        "'target' is no KEY=VALUE; did you mean target=NAME?",
    "compile target=host quickly":
        "'quickly' is no KEY=VALUE; see `compile --help` for what there is",
    "compile target=host =3":
        "'=3' has no key; write KEY=VALUE, without spaces around the `=`",
    "compile target=host 'pipeline.video={frames: 2'":
        "'pipeline.video={frames: 2' cannot be read at its end: a bracket is open: close it with }",
    "compile target=host 'allow_packages=[a'":
        "'allow_packages=[a' cannot be read at its end: a bracket is open: close it with ]",
    "compile target=host 'out=my(dir)'":
        "'out=my(dir)' cannot be read: quote the value, and for the shell the whole word: "
        "'out=\"my(dir)\"'",
    "compile target=host out=a=b":
        "'out=a=b' cannot be read from '=b' on: quote the value, and for the shell the whole "
        "word: 'out=\"a=b\"'",
    # ------------------------------------------------ sweeps
    "compile target=host sampler.steps=2,3":
        "sampler.steps=2,3: several values make a sweep, with -m (--multirun); one list is "
        "sampler.steps=[2,3], one text 'sampler.steps=\"2,3\"'",
    "compile target=host 'sampler.steps=range(2,4)'":
        "sampler.steps=range(2,4): several values make a sweep; add -m (--multirun)",
    "compile target=host,ipad_m4":
        "+target=host,ipad_m4: several values make a sweep, with -m (--multirun)",
    "compile -m target=host,ipadm4 dry_run=true":
        f"target=ipadm4: there is no such target (did you mean ipad_m4?); there are {TARGETS}",
    "compile target=host -m polcy=optimal,online dry_run=true":
        f"polcy: there is no such key (did you mean policy?); there are {KEYS}{HELP}",
    "compile -m target=host 'sampler.steps=2,(3'":
        "'sampler.steps=2,(3' cannot be read from ",
    # ------------------------------------------------ folders and files
    "compile --config-name mine target=host":
        "--config-name mine: there is no file mine.yaml; name the folder that has it with "
        "--config-dir",
    "compile --config-dir /no/such target=host":
        "--config-dir: there is no folder /no/such",
}  # fmt: skip
OF_OPTIONS = {
    "compile target=host --dry-run": f"--dry-run: {SETTING}dry_run=true",
    "compile --target iphone15pro": f"--target: {SETTING}target=iphone15pro",
    "compile -target=iphone15pro": f"-target=iphone15pro: {SETTING}target=iphone15pro",
    "compile --target=iphone15pro": f"--target=iphone15pro: {SETTING}target=iphone15pro",
    "compile target=host --out build/x": f"--out: {SETTING}out=build/x",
    "compile target=host --sampler.steps=2": f"--sampler.steps=2: {SETTING}sampler.steps=2",
    "compile target=host --workers": f"--workers: {SETTING}workers=VALUE",
    "compile target=host --multi-run":
        f"--multi-run: compile has no such option (did you mean --multirun?); {OPTIONS}",
    "compile target=host -x": f"-x: compile has no such option; {OPTIONS}",
    "compile target=host --config-dir": f"--config-dir: a value is missing{HELP}",
    "compile --help samplers":
        "--help samplers: there is no such group (did you mean sampler?); there are compile, "
        "pipeline, target, policy, sampler, guidance, compression, partition, sweep, search",
}  # fmt: skip


@pytest.mark.parametrize("line", ONE)
def test_a_mistyped_word_is_one_message(typed, line):
    said = typed(line)
    # Lists of values end these two: of them the beginning is compared.
    if ONE[line].endswith(("--multirun)", "from ")):
        assert said.startswith(f"configuration: {ONE[line]}")
    else:
        assert said == f"configuration: {ONE[line]}"
    assert "HYDRA_FULL_ERROR" not in said and "Traceback" not in said and "\n" not in said


@pytest.mark.parametrize("line", OF_OPTIONS)
def test_a_mistyped_option_is_one_message(typed, line):
    assert typed(line) == OF_OPTIONS[line]


def test_a_file_that_is_no_yaml_is_told_with_its_line(typed, tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "mine.yaml").write_text("name: mine\n\tlookahead: 1\n")
    said = typed(f"compile target=host --config-dir {tmp_path} policy=mine")
    assert said == (
        f"configuration: {tmp_path}/policy/mine.yaml:2:1: no yaml: found character '\\t' that "
        "cannot start any token while scanning for the next token; indent with spaces, and quote "
        "what has `: ` or `#` in it"
    )


def test_a_value_in_a_file_is_told_with_the_file(typed, tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "mine.yaml").write_text("name: mine\nlookahead: soon\nretain: true\n")
    said = typed(f"compile target=host --config-dir {tmp_path} policy=mine")
    assert said == (
        "configuration: in policy/mine.yaml: policy.lookahead: 'soon' is no whole number; e.g. "
        "policy.lookahead=1"
    )


# ---------------------------------------------------------------- what is no mistake


@pytest.mark.parametrize("words", [
    ["target=host"], ["+target=host"], ["++target=host"],
    ["target=host", "+policy=online"], ["target=host", "++policy=online"],
])  # fmt: skip
def test_a_group_is_chosen_with_a_plus_or_without(words):
    assert compose(words).target.name == "host"
    assert compose(words).policy.name == ("online" if len(words) == 2 else "optimal")


def test_a_value_in_braces_is_one_of_keys():
    assert compose(["target=host", "target={contention: 2.0}"]).target.contention == 2.0


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("target=host -m a=1,2", "-m +target=host a=1,2"),
        ("+policy=online --cfg job ++target=host", "--cfg job policy=online +target=host"),
        ("--config-dir a=b target=x", "--config-dir a=b +target=x"),
        ("--config-name mine target=x", "--config-name mine target=x"),
        ("target={memory: 1}", "target={memory: 1}"),
        ("target.memory=1GB", "target.memory=1GB"),
    ],
)
def test_options_come_first_and_groups_get_their_plus(words, given):
    whole = words.replace(": ", ":_").split(" ")
    said = hydra_words([w.replace(":_", ": ") for w in whole])
    assert " ".join(said) == given


def test_what_is_being_completed_stays_as_it_is():
    assert completed_line("compile target=host pol") == "compile +target=host pol"
    assert completed_line("compile target=ho") == "compile target=ho"
    assert completed_line("compile  target=host ") == "compile  +target=host "


# ---------------------------------------------------------------- the help


def test_the_help_says_every_key_within_80_columns():
    text = compile_help(["--help"], 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    for line in (
        "  target: host, ipad_m4, ipad_m5, iphone15pro, iphone16e, iphone16pro,",
        "  sampler.steps  whole number [must be given]",
        "      That divide the whole time; null for the pipeline's own; e.g. 30",
        "  verify  on | off [on]",
        "  out  text",
        "  -h, --help [GROUP]  this page, or the part of one group",
    ):
        assert line in text.splitlines(), line
    places = {f"  {place}.{f.name}  " if place else f"  {f.name}  "
              for place, group in GROUPS for f in fields(group)}  # fmt: skip
    assert not [p for p in places if p not in text]


def test_the_help_of_a_group_is_that_group_only():
    text = compile_help(["--help", "policy"], 80)
    keys = [line.split()[0] for line in text.splitlines() if line.startswith("  policy.")]
    assert keys == [f"policy.{k}" for k in ("name", "lookahead", "retain", "keep", "driver",
                                            "margin")]  # fmt: skip
    assert "sampler" not in text and "  policy: ci_dl, double_buffer, online" in text


def test_files_of_ones_own_are_in_the_help(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "watch.yaml").write_text("")
    text = compile_help(["--help", "--config-dir", str(tmp_path)], 80)
    assert "vision_pro, watch" in " ".join(text.split())


# ---------------------------------------------------------------- what a shell offers


def completed(monkeypatch, capsys, words: str) -> list[str]:
    """What `plan` answers to bash at the end of a line."""
    line = f"plan {words}"
    monkeypatch.setenv("_PLAN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit):
        app(args=[], prog_name="plan")
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("run build --device ", ["auto", "reference", "coreml", "null"]),
        ("run build --policy r", ["round"]),
        ("predict a.mlpackage b.npz --policy ", ["hybrid", "round", "fp32"]),
        ("export a.mlpackage b.onnx --policy ", ["round", "fp32"]),
        ("graph build --format ", ["dot", "mermaid", "svg"]),
        ("graph build --for", ["--format"]),
        ("comp", ["compare"]),
    ],
)
def test_a_shell_offers_the_values_of_an_option(monkeypatch, capsys, words, values):
    assert completed(monkeypatch, capsys, words) == values


@pytest.mark.parametrize(
    ("name", "values", "file"),
    [
        ("DEVICES", offered.DEVICES, "run/execute.py"),
        ("POLICIES", offered.POLICIES, "reference/precision.py"),
        ("POLICIES", offered.EXPORT_POLICIES, "reference/export_onnx.py"),
        ("FORMATS", offered.FORMATS, "inspect/diagram_text.py"),
    ],
)
def test_what_is_offered_is_what_is_taken(name, values, file):
    """Read, not imported: some bring torch."""
    text = (Path(offered.__file__).parents[1] / file).read_text()
    assert f"\n{name} = {values}\n".replace("'", '"') in text


# ---------------------------------------------------------------- narrow terminals


def printed(width: int, *lines: str) -> list[str]:
    out = io.StringIO()
    say(Console(file=out, width=width), *lines)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_path_is_never_broken_within():
    path = "/home/somebody/" + "a-long-name/" * 8
    assert printed(40, f"wrote {path}: open it") == ["wrote", f"{path}:", "open it"]
    assert printed(12, "one two three four") == ["one two", "three four"]
    assert printed(40, "", "a\nb") == ["", "a", "b"]


def test_hydras_words_become_one_line_to_type():
    """The target without its plus, another key with it; quotes where a shell needs them."""
    words = ["+target=host", "+pipeline.stages.a.b=1", "out=my folder", "sweep={jobs:2}"]
    assert as_typed(words) == (
        "target=host +pipeline.stages.a.b=1 'out=my folder' 'sweep={jobs:2}'"
    )


def test_a_narrow_table_keeps_its_digits():
    score = ChunkScore("pipeline.a_long_name.00", 65.4321, 0.00123, 50.0, calls=123456)
    for width in (80, 40, 34):
        out = io.StringIO()
        Console(file=out, width=width).print(verification_table([score], width))
        row = out.getvalue().splitlines()[-2]
        assert "65.4 dB" in row and "50 dB" in row
    assert "123456" not in row
