"""Every number that stands in two places of a plan is the same in both, or the plan is refused."""

import json
from dataclasses import fields, replace

import pytest

from entracte.codec import decode, encode
from entracte.errors import PlanError
from entracte.ir import ChunkFacts, Compared, Forecast, Package, Plan, Work
from entracte.plan.agree import check_agreement
from entracte.plan.file import check_plan, read_plan, write_plan
from entracte.plan.forecast import check_forecast
from tests.planner.plans import make_plan, make_special_plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan()


@pytest.fixture(scope="module")
def special() -> Plan:
    return make_special_plan()


@pytest.fixture(scope="module")
def dry() -> Plan:
    return make_plan(built=False)


def refused(plan: Plan, told: str) -> None:
    with pytest.raises(PlanError) as error:
        check_plan(plan)
    assert told in str(error.value), error.value


def with_package(plan: Plan, k: int = 0, **changed: object) -> Plan:
    made = list(plan.packages)
    made[k] = replace(made[k], **changed)
    return replace(plan, packages=tuple(made))


def with_facts(plan: Plan, k: int = 0, **changed: object) -> Plan:
    made = list(plan.facts)
    made[k] = replace(made[k], **changed)
    return replace(plan, facts=tuple(made))


def with_chunk(plan: Plan, k: int = 0, **changed: object) -> Plan:
    made = list(plan.chunks)
    made[k] = replace(made[k], **changed)
    return replace(plan, chunks=tuple(made))


def test_honest_plans_agree(plan, special, dry):
    for one in (plan, special, dry):
        check_agreement(one)


def test_packages_a_hundred_times_heavier_than_the_facts_are_refused(plan, tmp_path):
    """Made, written and read: nowhere is the proof about other bytes than those that are loaded."""
    heavy = tuple(
        replace(p, weight_bytes=100 * p.weight_bytes, file_bytes=100 * p.file_bytes)
        for p in plan.packages
    )
    refused(replace(plan, packages=heavy), "the facts of chunk c0.00 say weight_bytes 90, its")
    write_plan(replace(plan, packages=heavy), tmp_path)
    with pytest.raises(PlanError, match="its package and the target give 9000"):
        read_plan(tmp_path)


@pytest.mark.parametrize("k", [0, -1])
@pytest.mark.parametrize("field", [f.name for f in fields(ChunkFacts) if f.name != "id"])
def test_every_field_of_every_fact_follows(plan, dry, field, k):
    """One more, a little more: none is free."""
    for one in (plan, dry):
        value = getattr(one.facts[k], field)
        others = {
            "exec_by": [(("merged", 0.5),)],
            "cold_s": [1e-12],
        }.get(field, [value + 1, value - 1, value * (1 + 1e-6)] if value else [1])
        for other in others:
            other = int(other) if isinstance(value, int) else other
            is_negative = isinstance(other, int | float) and other < 0  # the checker's
            if other != value and not is_negative:
                refused(with_facts(one, k, **{field: other}), f"say {field} ")


def test_seconds_may_differ_in_the_last_digit_only(plan):
    check_agreement(with_facts(plan, exec_s=1.0 + 2e-16))
    check_agreement(with_facts(plan, exec_s=1.0 + 1e-10))
    with pytest.raises(PlanError, match="say exec_s"):
        check_agreement(with_facts(plan, exec_s=1.0 + 2e-9))


def test_functions_and_their_seconds_agree(special):
    k = next(i for i, f in enumerate(special.facts) if f.exec_by)
    assert special.facts[k].exec_by == (("merged", 0.5),)
    for other in ((), (("merged", 0.6),), (("main", 0.5),)):
        refused(with_facts(special, k, exec_by=other), "say exec_by")
    for functions in (("main",), ("merged", "main"), ("main", "merged", "more"), ()):
        refused(with_package(special, k, functions=functions), "its chunk main, merged")


def test_the_hungriest_of_package_and_trace_counts(plan):
    """What the package needs, and no less than what was traced."""
    traced = plan.chunks[0].activation_bytes
    less = with_package(plan, activation_bytes=traced - 1)
    check_agreement(less)
    more = with_package(plan, activation_bytes=traced + 1)
    refused(more, f"say activation_bytes {traced}, its package and the target give {traced + 1}")
    check_agreement(with_facts(more, activation_bytes=traced + 1))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"digest": ""}, "has no SHA-256 but ''"),
        ({"digest": "d" * 63}, "has no SHA-256"),
        ({"digest": "D" * 64}, "has no SHA-256"),
        ({"digest": "d" * 64 + "\n"}, "has no SHA-256"),
        ({"file_bytes": 89}, "90 bytes of weights in 89 bytes of files"),
        ({"weight_bytes": -1}, "weight_bytes: -1 is negative"),
        ({"precision": "fp8"}, "precision 'fp8' is not one of fp16, fp32"),
        ({"compression": "zip"}, "compression 'zip' is not one of none, int8"),
        ({"precision": "fp32"}, "of one stage, but their precision is 'fp32' and 'fp16'"),
        ({"compression": "int8"}, "of one stage, but their compression is 'int8' and 'none'"),
        ({"inputs": ()}, "has other ports than its chunk"),
        ({"outputs": ()}, "has other ports than its chunk"),
        ({"chunk": "c0.01"}, "two packages are for chunk 'c0.01'"),
        ({"chunk": "c"}, "not every chunk has its package"),
        ({"path": "packages/c0.01.mlpackage"}, "two packages are at 'packages/c0.01.mlpackage'"),
        ({"path": "packages//c0.01.mlpackage"}, "two paths are, but for large"),
        ({"path": "./packages/c0.01.mlpackage"}, "two paths are, but for large"),
        ({"path": "packages/C0.01.mlpackage"}, "two paths are, but for large"),
        ({"path": "packages/c0.01.mlpackage/Data"}, "lies inside packages/c0.01.mlpackage"),
        ({"path": "packages"}, "lies inside packages; paths lie side by side"),
    ],
)
def test_packages_that_no_compile_makes_are_refused(plan, changed, told):
    refused(with_package(plan, **changed), told)


def test_a_package_may_be_all_weights(plan):
    assert plan.packages[0].file_bytes == plan.packages[0].weight_bytes
    check_agreement(plan)


def test_files_and_packages_lie_side_by_side(plan):
    inside = (*plan.files, (f"{plan.packages[0].path}/tokenizer.json", "0" * 64))
    refused(replace(plan, files=inside), "lies inside packages/c0.00.mlpackage")
    twice = (*plan.files, ("tokenizer.json", "0" * 64), ("Tokenizer.json", "0" * 64))
    refused(
        replace(plan, files=twice),
        "two paths are, but for large and small letters, 'tokenizer.json'",
    )
    check_agreement(replace(plan, files=(("tokenizer.json", "0" * 64),)))


def test_chunks_have_names_ports_and_functions_of_their_own(plan, special):
    first = plan.chunks[0]
    refused(with_chunk(plan, inputs=first.inputs * 2), "(c0.00): two inputs are called 'in'")
    refused(with_chunk(plan, outputs=first.outputs * 2), "(c0.00): two outputs are called 'out'")
    k = next(i for i, c in enumerate(special.chunks) if c.variants)
    variant = special.chunks[k].variants[0]
    refused(with_chunk(special, k, variants=(variant, variant)), "two functions are called")
    named = replace(variant, name="main")
    refused(with_chunk(special, k, variants=(named,)), "two functions are called")
    refused(with_chunk(plan, id="c"), "have different names")


def test_work_by_class_is_all_of_the_work(plan, special):
    both = (Work("conv", 1, 0), Work("move", 0, 1))
    check_agreement(with_facts(with_chunk(plan, work=both), exec_s=0.5 + 1.0))
    refused(with_chunk(plan, work=both[:1]), "has moved_bytes 1, its work by class 0")
    refused(with_chunk(plan, work=both[1:]), "has flops 1, its work by class 0")
    k = next(i for i, c in enumerate(special.chunks) if c.variants)
    variant = replace(special.chunks[k].variants[0], work=(Work("conv", 2, 0),))
    refused(with_chunk(special, k, variants=(variant,)), "has flops 1, its work by class 2")


def compared(plan: Plan, **changed: object) -> Plan:
    """All packages exact, the first one as the test says."""
    made = [
        Compared(chunk=c.id, of=c.id, floor_db=40.0, db=50.0, inputs="drawn", share=1.0)
        for c in plan.chunks
    ]
    made[0] = replace(made[0], **changed)
    return replace(plan, verify="on", compared=tuple(made))


def test_comparisons_that_a_compile_makes_agree(plan):
    for fine in (plan, compared(plan), compared(plan, db=None, share=0.5, why="too dear")):
        check_plan(fine)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"chunk": "c1.01"}, "two comparisons are of chunk 'c1.01'"),
        ({"chunk": "other"}, "it has one entry for each package, not for"),
        ({"of": "other"}, "what ran was 'other', which is no chunk"),
        ({"floor_db": 30.0}, "its floor is 30.0 dB, what it is stored as has 40.0 dB"),
        ({"db": 39.9}, "39.9 dB are below its floor of 40.0 dB"),
        ({"db": None}, "it did not run, and nothing says why"),
        ({"share": 1.1}, "1.1 of its operations ran"),
        ({"inputs": "dreamt"}, "'dreamt' are none of recorded, drawn"),
    ],
)
def test_comparisons_that_no_compile_keeps_are_refused(plan, changed, told):
    refused(compared(plan, **changed), told)


def test_it_was_compared_or_not(plan, dry):
    whole = compared(plan)
    refused(replace(whole, verify="off"), "with verify=off it has one entry for none")
    refused(replace(whole, verify="maybe"), "'maybe' is not one of on, off")
    refused(replace(whole, compared=whole.compared[1:]), "with verify=on it has one entry for each")
    refused(replace(plan, verify="on"), "not for none")
    refused(replace(dry, compared=whole.compared), "with verify=off it has one entry for none")


def test_dry_runs_have_no_packages(plan, dry):
    refused(replace(dry, packages=plan.packages), "says it is a dry run, but names packages")
    refused(with_facts(dry, weight_bytes=1), "say weight_bytes 1, tracing gives 90")


def test_a_target_without_speed_is_one_message(plan):
    target = replace(plan.target, load_bandwidth=0.0)
    refused(replace(plan, target=target), "load_bandwidth: 0.0 is not above 0")


@pytest.mark.parametrize("kind", [Package, ChunkFacts])
def test_no_number_of_a_plan_can_be_changed_alone(plan, kind):
    """Every integer and every fraction of packages and facts, one more: refused by check_plan."""
    body = json.loads(json.dumps(encode(plan)))
    rows = body["packages" if kind is Package else "facts"]
    for row in rows:
        for field, value in list(row.items()):
            # More files than the plan says are for the disk to contradict.
            if isinstance(value, int | float) and field != "file_bytes":
                row[field] = value + 1
                with pytest.raises(PlanError):
                    check_plan(decode(Plan, body))
                row[field] = value
    check_plan(decode(Plan, body))


@pytest.mark.parametrize("made", [make_plan, make_special_plan])
@pytest.mark.parametrize("field", [f.name for f in fields(Forecast) if f.name != "lower_bound"])
def test_every_promise_is_what_the_clock_makes(made, field):
    """A little less, and one less of what there are several: `plan verify` has the clock."""
    plan = made()
    proof = check_plan(plan)
    check_forecast(plan, proof)
    given = getattr(plan.forecast, field)
    if given is None:
        other = 1.0
    elif isinstance(given, str | tuple):
        other = given[:-1] if given else (("steady", 0.0),)
    else:
        other = given - 1 if isinstance(given, int) else given * 0.999
    wrong = replace(plan, forecast=replace(plan.forecast, **{field: other}))
    if other != given:
        with pytest.raises(PlanError, match=f"promises other {field}"):
            check_forecast(wrong, proof)
