"""plan.json: what is written is what is read, and whatever a stranger wrote is refused."""

import json
from dataclasses import replace

import pytest

from entracte.codec import decode, encode
from entracte.errors import PlanError
from entracte.ir import Call, Gate, HostStep, Input, Moment, Plan, Policy, Step
from entracte.plan.file import FILE, check_files, read_plan, write_plan
from entracte.plan.file import _canonical as canonical
from entracte.plan.file import _sha256 as sha256
from tests.planner.plans import make_plan


def test_round_trip(tmp_path):
    plan = make_plan()
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path) == plan
    assert not list(tmp_path.glob("*.tmp"))


def test_the_same_plan_gives_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = write_plan(make_plan(), tmp_path / "a").read_bytes()
    assert write_plan(make_plan(), tmp_path / "b").read_bytes() == first


def rewrite(folder, change, *, rehash=True):
    path = folder / FILE
    whole = json.loads(path.read_text())
    change(whole["plan"])
    if rehash:
        whole["sha256"] = sha256(canonical(whole["plan"]))
    path.write_text(json.dumps(whole))


@pytest.fixture
def folder(tmp_path):
    write_plan(make_plan(), tmp_path)
    return tmp_path


def test_a_change_without_the_hash_is_seen(folder):
    rewrite(folder, lambda p: p.update(title="other"), rehash=False)
    with pytest.raises(PlanError, match="changed since it was written"):
        read_plan(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(version=99), "plan version 99"),
        (lambda p: p.update(surprise=1), "has no field 'surprise'"),
        (lambda p: p.pop("facts"), "lacks 'facts'"),
        (lambda p: p.update(fps="fast"), "plan.fps: wants float"),
        (lambda p: p.update(fps=float("nan")), "not finite"),
        (lambda p: p["packages"][0].update(path="../../etc/x.mlpackage"), "leads out"),
        (lambda p: p["packages"][0].update(path="/etc/x.mlpackage"), "leads out"),
        (lambda p: p["files"].append(["../tokenizer.json", "0"]), "leads out"),
        (lambda p: p["packages"].pop(), "not every chunk has its package"),
        (lambda p: p["forecast"].update(peak_bytes=1), "claims a peak of 1 bytes"),
        (lambda p: p["target"].update(memory_bytes=100), "scheduled for .* of 100 bytes"),
        (lambda p: p["schedule"].update(budget_bytes=100), "the budget is 100 bytes"),
        (lambda p: p["schedule"]["loads"].pop(), "without its chunk being loaded"),
        (lambda p: p["program"]["segments"][0]["steps"][0].update(type="Exec"), "none of Call"),
        (lambda p: p["program"]["segments"][0].update(steps=[]), "is empty"),
        (lambda p: p["program"]["segments"][1].update(count=10**9), "more than 1000000 calls"),
        (lambda p: p["chunks"][0]["inputs"][0].update(dtype="fp8"), "not one of fp16"),
        (lambda p: p["chunks"][0]["inputs"][0].update(shape=[7]), "wants fp16|other ports"),
        (lambda p: p["target"].update(settle_fraction=-1e308), "settle_fraction"),
        (lambda p: p["target"].update(contention=0.5), "contention 0.5 is below 1"),
        (lambda p: p["target"].update(load_bandwidth=0.0), "load_bandwidth 0.0 is not above 0"),
        (lambda p: p["packages"][0].update(chunk="no"), "not every chunk|a package of 'no'"),
        (lambda p: p.update(title="\x1b[2J"), r"plan.title: .* holds the control character"),
        (lambda p: p["chunks"][0].update(graph="a\u202eb"), r"plan.chunks\[0\].graph"),
        (lambda p: p["program"].update(output="a\nb"), "plan.program.output"),
    ],
)
def test_what_a_stranger_wrote_is_refused(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(PlanError, match=message):
        read_plan(folder)


def test_missing_and_truncated_files(tmp_path):
    with pytest.raises(PlanError, match="there is no plan.json here"):
        read_plan(tmp_path)
    path = write_plan(make_plan(), tmp_path)
    path.write_text(path.read_text()[:500])
    with pytest.raises(PlanError, match="not a whole JSON file"):
        read_plan(tmp_path)
    path.write_text("[]")
    with pytest.raises(PlanError, match="holds no plan"):
        read_plan(tmp_path)
    path.write_text('{"plan": ' + "[" * 100_000)
    with pytest.raises(PlanError):
        read_plan(tmp_path)


def test_a_dry_run_cannot_be_run(tmp_path):
    with pytest.raises(PlanError, match="a dry run, nothing was built"):
        check_files(make_plan(built=False), tmp_path)


def test_missing_packages_are_named(tmp_path):
    with pytest.raises(PlanError, match="c0.00.mlpackage is missing"):
        check_files(make_plan(), tmp_path)


def test_links_out_of_the_folder_are_refused(tmp_path):
    plan = make_plan()
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "packages").symlink_to(tmp_path)
    with pytest.raises(PlanError, match="leads out of the build folder"):
        check_files(plan, tmp_path / "build")


def test_unions_and_enums_survive():
    gate = Gate(1, 2, Moment.PREVIOUS)
    assert decode(Gate, encode(gate)) == gate
    assert decode(Gate | None, None) is None
    host = HostStep(
        stage="s", op="tokenize", params=(("a", (1, 2.5, "x", True)),), inputs=(), outputs=()
    )
    assert decode(Step, encode(host)) == host
    call = Call(stage="s", chunk="c", inputs=(), outputs=())
    assert decode(Step, encode(call)) == call
    for value in (0, 1.5, "text", None):
        again = decode(Input, encode(Input("x", "seed", value)))
        assert type(again.default) is type(value)


def test_wrong_json_types_are_refused_one_by_one():
    good = encode(Policy("p", 1, True))
    for name, bad in (("lookahead", True), ("lookahead", 1.5), ("retain", 1), ("name", None)):
        with pytest.raises(PlanError, match=name):
            decode(Policy, good | {name: bad})


def test_plan_type_is_fully_decodable():
    plan = replace(make_plan(), files=(("tokenizer.json", "abc"),))
    assert decode(Plan, json.loads(json.dumps(encode(plan)))) == plan


def test_prose_may_have_lines(folder):
    """A default prompt, a target's sources: they are never names."""
    rewrite(folder, lambda p: p["target"].update(sources=["a\nb"]))
    assert read_plan(folder).target.sources == ("a\nb",)


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(PlanError, match="plan.title: .*rename it"):
        write_plan(replace(make_plan(), title="tab\there"), tmp_path)
    assert not list(tmp_path.iterdir())
