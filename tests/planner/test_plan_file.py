"""plan.json: what is written is what is read, and whatever a stranger wrote is refused."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from entracte.codec import decode, encode
from entracte.errors import PlanError
from entracte.ir import Call, Gate, HostStep, Input, Kept, Moment, Plan, Policy, Step
from entracte.plan.file import (
    CONSTANTS,
    FILE,
    MAX_BYTES,
    check_files,
    check_plan,
    framed,
    read_plan,
    write_plan,
)
from tests.planner.plans import make_plan, make_special_plan


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


def by_the_page(data: bytes) -> tuple[str, bytes, dict]:
    """A reader as docs/plan-format.md describes it: the hash, the bytes it is of, the plan."""
    assert data[:11] == b'{"sha256":"' and data[75:85] == b'","plan":\n'
    assert data[-3:] == b"\n}\n"
    body = data[85:-3]
    return data[11:75].decode(), body, json.loads(body)


def rewrite(folder, change):
    path = folder / FILE
    _, _, plan = by_the_page(path.read_bytes())
    change(plan)
    path.write_bytes(reframed(json.dumps(plan).encode()))


def reframed(body: bytes) -> bytes:
    return b'{"sha256":"%s","plan":\n%s\n}\n' % (hashlib.sha256(body).hexdigest().encode(), body)


@pytest.fixture
def folder(tmp_path):
    write_plan(make_plan(), tmp_path)
    return tmp_path


def test_the_hash_is_of_the_bytes_in_the_file(folder):
    """By a reader that shares nothing with ours; another language's spelling of numbers counts."""
    data = (folder / FILE).read_bytes()
    named, body, plan = by_the_page(data)
    assert hashlib.sha256(body).hexdigest() == named
    assert json.loads(data) == {"sha256": named, "plan": plan}
    spelled = re.sub(rb'("contention": )1\.0\b', rb"\g<1>10E-1", body).replace(b"\n", b"\r\n\t")
    assert spelled != body
    (folder / FILE).write_bytes(reframed(spelled))
    assert read_plan(folder) == make_plan()


@pytest.mark.parametrize("at", [-4, 85, 200])
def test_any_other_byte_is_seen(folder, at):
    """Also one that JSON does not care about."""
    data = bytearray((folder / FILE).read_bytes())
    data[at : at if at > 0 else at + 1] = b" " if at > 0 else bytes([data[at]]) + b" "
    (folder / FILE).write_bytes(bytes(data))
    with pytest.raises(PlanError, match="changed since it was written"):
        read_plan(folder)


def test_another_hash_is_seen(folder):
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[:11] + b"0" * 64 + data[75:])
    with pytest.raises(PlanError, match="changed since it was written"):
        read_plan(folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: b" " + d,
        lambda d: d + b"\n",
        lambda d: d[:-1],
        lambda d: d[:11] + d[11:75].upper() + d[75:],
        lambda d: d.replace(b'"plan":\n', b'"plan": ', 1),
        lambda d: d.replace(b'{"sha256"', b'{"plan":{},"sha256"', 1),
        lambda d: d[:85] + d[-2:],
        lambda _: reframed(b'{"version":6} , "x": {}'),
        lambda d: json.dumps(json.loads(d)).encode(),
    ],
)
def test_a_frame_of_another_form_is_refused(folder, spoil):
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(spoil(data))
    with pytest.raises(PlanError, match="not a whole JSON file"):
        read_plan(folder)


def test_plans_of_older_versions_are_named(folder):
    body = encode(make_plan()) | {"version": 5}
    (folder / FILE).write_text(json.dumps({"sha256": "0" * 64, "plan": body}, indent=1))
    with pytest.raises(PlanError, match="plan version 5, .* reads version 6; compile again"):
        read_plan(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda b: b.replace(b'"title":', b'"title": "a", "title":', 1),
            "'title' stands in it twice",
        ),
        (lambda b: b.replace(b'"contention": 1.0', b'"contention": NaN', 1), "NaN is not finite"),
        (
            lambda b: b.replace(b'"contention": 1.0', b'"contention": -Infinity', 1),
            "-Infinity is not finite",
        ),
        (
            lambda b: b.replace(b'"contention": 1.0', b'"contention": 1e999', 1),
            "plan.target.contention: inf is not finite",
        ),
        (
            lambda b: b.replace(b'"contention": 1.0', b'"contention": ' + b"9" * 5000, 1),
            "not a whole JSON file",
        ),
        (
            lambda b: b.replace(b'"contention": 1.0', b'"contention": ' + b"9" * 400, 1),
            "plan.target.contention.* 64 bits",
        ),
        (lambda b: b.replace(b'"toy"', b'"t\xffy"', 1), "not a whole JSON file"),
    ],
)
def test_what_other_readers_may_read_otherwise_is_refused(folder, change, message):
    _, body, _ = by_the_page((folder / FILE).read_bytes())
    (folder / FILE).write_bytes(reframed(change(body)))
    with pytest.raises(PlanError, match=message):
        read_plan(folder)


def test_the_largest_file(folder):
    body = by_the_page((folder / FILE).read_bytes())[1]
    (folder / FILE).write_bytes(reframed(body + b" " * (MAX_BYTES - 88 - len(body))))
    assert (folder / FILE).stat().st_size == MAX_BYTES
    assert read_plan(folder) == make_plan()
    (folder / FILE).write_bytes(reframed(body + b" " * (MAX_BYTES - 87 - len(body))))
    with pytest.raises(PlanError, match="this is no plan"):
        read_plan(folder)
    assert framed({"a": 1.5}) == reframed(b'{\n "a": 1.5\n}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(version=99), "plan version 99"),
        (lambda p: p.update(surprise=1), "has no field 'surprise'"),
        (lambda p: p.pop("facts"), "lacks 'facts'"),
        (lambda p: p["target"].update(contention="fast"), "plan.target.contention: wants float"),
        (lambda p: p["target"].update(contention=float("nan")), "NaN is not finite"),
        (lambda p: p["packages"][0].update(path="../../etc/x.mlpackage"), "leads out"),
        (lambda p: p["packages"][0].update(path="/etc/x.mlpackage"), "leads out"),
        (lambda p: p["files"].append(["../tokenizer.json", "0" * 64]), "leads out"),
        (lambda p: p["files"].append(["tokenizer.json", "0" * 63]), "has no SHA-256 but '000"),
        (lambda p: p["files"].append(["tokenizer.json", "G" * 64]), "has no SHA-256 but 'GGG"),
        (lambda p: p["packages"].pop(), "not every chunk has its package"),
        (lambda p: p["packages"].append(p["packages"][0]), "two packages are for chunk 'c0.00'"),
        (lambda p: p["chunks"].append(p["chunks"][0]), "two chunks are called 'c0.00'"),
        (lambda p: p["facts"].append(p["facts"][0]), "the facts of two chunks are called 'c0.00'"),
        (lambda p: p["facts"].pop(), "have different names"),
        (lambda p: p["facts"][0].update(id="c"), "have different names"),
        (lambda p: p.update(built=False), "says it is a dry run, but names packages"),
        (lambda p: p["forecast"].update(peak_bytes=1), "claims a peak of 1 bytes"),
        (lambda p: p["target"].update(memory_bytes=100), "scheduled for .* of 100 bytes"),
        (lambda p: p["schedule"].update(budget_bytes=100), "the budget is 100 bytes"),
        (lambda p: p["schedule"]["loads"].pop(), "without its chunk being loaded"),
        (lambda p: p["program"]["segments"][0]["steps"][0].update(type="Exec"), "none of Call"),
        (lambda p: p["program"]["segments"][0].update(steps=[]), "is empty"),
        (lambda p: p["program"]["segments"][1].update(count=10**9), "at most 15000 are possible"),
        (lambda p: p["chunks"][0]["inputs"][0].update(dtype="fp8"), "not one of fp16"),
        (lambda p: p["chunks"][0]["inputs"][0].update(shape=[7]), "wants fp16|other ports"),
        (lambda p: p["target"].update(settle_fraction=-1e308), "settle_fraction"),
        (lambda p: p["target"].update(contention=0.5), "contention: 0.5 is not from 1 to 1000"),
        (lambda p: p["target"].update(load_bandwidth=0.0), "load_bandwidth: 0.0 is not above 0"),
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
    with pytest.raises(PlanError, match="JSON, but no plan; give a build folder"):
        read_plan(tmp_path)
    path.write_bytes(reframed(b"[]"))
    with pytest.raises(PlanError, match="holds no plan"):
        read_plan(tmp_path)
    path.write_bytes(reframed(b"[" * 100_000))
    with pytest.raises(PlanError, match="not a whole JSON file"):
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
    plan = replace(make_plan(), files=(("tokenizer.json", "0" * 64),))
    assert decode(Plan, json.loads(json.dumps(encode(plan)))) == plan


def test_prose_may_have_lines(folder):
    """A default prompt, a target's sources: they are never names."""
    rewrite(folder, lambda p: p["target"].update(sources=["a\nb"]))
    assert read_plan(folder).target.sources == ("a\nb",)


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(PlanError, match="plan.title: .*rename it"):
        write_plan(replace(make_plan(), title="tab\there"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "whole"),
    [(2**63 - 1, True), (-(2**63), True), (2**63, False), (-(2**63) - 1, False)],
)
def test_whole_numbers_fit_into_64_bits(value, whole):
    """In fields of a type and in parameters, which have none."""
    lookahead = encode(Policy("p", 1, True)) | {"lookahead": value}
    for kind, data in ((Policy, lookahead), (object, value), (object, [value])):
        if whole:
            decode(kind, data)
            continue
        with pytest.raises(PlanError, match="does not fit into 64 bits"):
            decode(kind, data)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_parameters_are_finite(value):
    for data in (value, [value], [[1, value]]):
        with pytest.raises(PlanError, match="is not finite"):
            decode(object, data, "plan.params")


def test_nesting_has_a_limit():
    def nested(depth: int) -> object:
        return [nested(depth - 1)] if depth else 1

    decode(object, nested(40))
    with pytest.raises(PlanError, match="nested deeper than 40"):
        decode(object, nested(41))


def test_parameters_are_lists_and_scalars_and_nothing_else():
    assert decode(object, [1, 2.5, "x", True, None, [False]]) == (1, 2.5, "x", True, None, (False,))
    assert decode(object, True) is True
    with pytest.raises(PlanError, match=r"plan: \{\} is no parameter"):
        decode(object, {})
    with pytest.raises(PlanError, match=r"\{\} is no parameter"):
        decode(object, [{}])


def test_pairs_have_two_items():
    kind = tuple[tuple[str, int], ...]
    assert decode(kind, [["a", 1], ["b", 2]]) == (("a", 1), ("b", 2))
    for bad in (["a"], ["a", 1, 2], "a1"):
        with pytest.raises(PlanError, match=r"plan\[1\]: wants"):
            decode(kind, [["a", 1], bad])
    with pytest.raises(PlanError, match=r"plan\[1\]\[1\]: wants a whole number"):
        decode(kind, [["a", 1], ["b", "2"]])


def test_what_is_given_is_quoted_in_forty_characters():
    with pytest.raises(PlanError) as error:
        decode(int, "x" * 38)
    assert str(error.value).endswith(f"finds '{'x' * 38}'")
    with pytest.raises(PlanError) as error:
        decode(int, "x" * 39)
    assert str(error.value).endswith(f"finds '{'x' * 36}...")


def test_fields_with_defaults_may_be_left_out():
    body = encode(Policy("p", 1, True, "searched"))
    del body["driver"]
    assert decode(Policy, body) == Policy("p", 1, True, "searched", "gates")
    del body["retain"]
    with pytest.raises(PlanError, match="Policy lacks 'retain'"):
        decode(Policy, body)


def test_constants_without_a_digest_are_refused(tmp_path):
    """They would be read and never compared."""
    plan = replace(make_plan(), files=())
    for package in plan.packages:
        (tmp_path / package.path).mkdir(parents=True)
    with pytest.raises(PlanError, match=f"names no digest of {CONSTANTS}"):
        check_files(plan, tmp_path)
    (tmp_path / CONSTANTS).write_bytes(b"1")
    known = hashlib.sha256(b"1").hexdigest()
    check_files(replace(plan, files=((CONSTANTS, known),)), tmp_path)
    (tmp_path / CONSTANTS).write_bytes(b"2")
    with pytest.raises(PlanError, match=f"{CONSTANTS} changed since it was written"):
        check_files(replace(plan, files=((CONSTANTS, known),)), tmp_path)


@pytest.mark.parametrize("path", ["", "..", "a/../b", "/a", "a\\b", "../a"])
def test_paths_stay_inside(path):
    plan = replace(make_plan(), files=((path, "0" * 64),))
    with pytest.raises(PlanError, match="leads out of the build folder"):
        check_plan(plan)


@pytest.mark.parametrize("character", ["\u2028", "\u200f", "\u2066", "\x7f", "\ud800"])
def test_no_name_turns_text_around(character):
    with pytest.raises(PlanError, match="holds the control character"):
        write_plan(replace(make_plan(), title=f"a{character}b"), Path("/nowhere"))


def test_functions_that_a_call_uses_exist():
    plan = make_special_plan()
    segments = list(plan.program.segments)
    loop = next(i for i, g in enumerate(segments) if g.is_loop)
    step = segments[loop].steps[0]
    for changed in ({"function": "other"}, {"switch": (("other", 2),)}):
        steps = (replace(step, **changed), *segments[loop].steps[1:])
        segments[loop] = replace(segments[loop], steps=steps)
        program = replace(plan.program, segments=tuple(segments))
        with pytest.raises(PlanError, match=r"calls function 'other' of .* has \['main', 'merged'"):
            check_plan(replace(plan, program=program))


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (Kept, {"slower": float("nan")}, "slower: nan is not finite"),
        (Kept, {"slower": 10**400}, "slower: 1000.* does not fit"),
        (Kept, {"type": "Gate"}, "wants a Kept, finds a 'Gate'"),
        (HostStep, {"inputs": [["a", "b", "c"]]}, r"inputs\[0\]: wants 2 items, finds 3"),
        (HostStep, {"inputs": [["a"]]}, r"inputs\[0\]: wants 2 items, finds 1"),
        (HostStep, {"params": [["a", nested(50)]]}, "nested deeper than 40"),
        (HostStep, {"params": [["a", float("inf")]]}, "inf is not finite"),
        (HostStep, {"params": [["a", {}]]}, "is no parameter"),
    ],
)
def test_the_reader_refuses_by_itself(kind, change, message):
    good = {
        Kept: Kept(1.0, ()),
        HostStep: HostStep(stage="s", op="o", params=(("a", (1,)),), inputs=(), outputs=()),
    }[kind]
    with pytest.raises(PlanError, match=message):
        decode(kind, encode(good) | change)
    assert decode(kind, encode(good)) == good
