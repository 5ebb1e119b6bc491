"""`weights_of`: stages with one set of weights become functions of the same packages."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import entracte.graphs
from entracte.compile.job import Built, compile_pipeline
from entracte.errors import ConfigError, PlanError
from entracte.graphs.spec import Graph
from entracte.inspect.shared import apart
from entracte.ir import Plan
from entracte.lower import package
from entracte.plan.file import check_plan, read_plan
from entracte.reference.info import describe
from entracte.run.execute import execute, make_device
from entracte.run.packages import check_facts
from entracte.trace.shared import names_beside
from entracte.trace.traced import TraceRecord
from entracte.verify.source import Origin
from entracte.verify.verify import verify_distinct, verify_plan
from tests import sharing

SMALL = "partition.chunk_bytes=40KiB"


class Place:
    """Where a pipeline of ours is compiled."""

    def __init__(self, folder: Path, text: str, save: Callable[[Path], None]) -> None:
        self.folder = folder
        for name in ("conf/pipeline", "weights"):
            (folder / name).mkdir(parents=True)
        text = text.replace("WEIGHTS", str(folder / "weights"))
        (folder / "conf" / "pipeline" / "sharing.yaml").write_text(text)
        save(folder / "weights")

    def compiled(self, *overrides: str, out: str = "build") -> Built:
        return compile_pipeline(
            ["+target=host", "pipeline=sharing", f"cache={self.folder / 'cache'}", *overrides],
            out=self.folder / out,
            config_dir=self.folder / "conf",
        )

    @property
    def origin(self) -> Origin:
        return Origin(weights=str(self.folder / "weights"), cache=str(self.folder / "cache"))


@pytest.fixture(scope="module", autouse=True)
def graphs():
    with pytest.MonkeyPatch.context() as patch:
        for name, place in (sharing.GRAPHS | OWN).items():
            patch.setitem(entracte.graphs._BUILT_IN, name, place)
        yield


def decoder(folder: Path, step: str = "step", text: str = sharing.DECODER) -> Place:
    return Place(folder, text.replace("STEP", step), sharing.save_llama)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Place, Plan]:
    """The decoder in two chunks of two functions."""
    place = decoder(tmp_path_factory.mktemp("decoder"))
    return place, place.compiled(SMALL).plan


def calls_of(plan: Plan) -> list[tuple[str, str, str]]:
    steps = (s for g in plan.program.segments for s in g.steps)
    return [(s.stage, s.chunk, s.function) for s in steps if hasattr(s, "chunk")]


# ---------------------------------------------------------------- what it computes, in which bytes


def test_a_decoder_generates_what_transformers_generates(built):
    """A prompt of eight tokens, then four more; the cache is carried over the loop."""
    place, plan = built
    outcome = execute(plan, place.folder / "build", make_device("reference", plan), {})
    tokens, logits = sharing.greedy()
    np.testing.assert_allclose(outcome.output, logits, atol=2e-5 * np.abs(logits).max())
    # The logits are those behind four tokens of the model's own choice.
    assert int(np.argmax(outcome.output)) == tokens[-1]
    assert outcome.run.loaded_bytes == sum(p.weight_bytes for p in plan.packages)
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes


def test_the_packages_hold_one_set_of_weights(built):
    place, plan = built
    ids = [c.id for c in plan.chunks]
    assert ids == [f"prefill.{i:02d}" for i in range(len(ids))] and len(ids) > 1
    assert calls_of(plan) == [("prefill", i, "main") for i in ids] + [
        ("step", i, "step") for i in ids
    ]
    one_set = sum(4 * w.numel() for w in sharing.llama().state_dict().values())
    tables = sum(t.nbytes for t in sharing.places(0, sharing.PROMPT).values())
    files = [place.folder / "build" / p.path / package.WEIGHT_FILE for p in plan.packages]
    stored = sum(f.stat().st_size for f in files)
    assert one_set < stored < 1.05 * one_set + len(ids) * tables
    assert one_set <= sum(c.weight_bytes for c in plan.chunks) <= one_set + len(ids) * tables
    for p in plan.packages:
        path = place.folder / "build" / p.path
        for function in ("main", "step"):
            made = describe(path, function)
            wanted = tuple(sorted(x.name for x in side) for side in p.ports_of(function))
            assert (
                sorted(x.name for x in made.inputs),
                sorted(x.name for x in made.outputs),
            ) == wanted
    assert apart(plan) == []


@pytest.mark.parametrize("driver", ["gates", "online"])
def test_each_device_calls_each_function_with_its_own_ports(built, driver):
    """The null device refuses other shapes and a chunk that is loaded twice."""
    place, plan = built
    plan = replace(plan, schedule=replace(plan.schedule, driver=driver))
    execute(plan, place.folder / "build", make_device("null", plan), {})
    if driver == "gates":
        outcome = execute(plan, place.folder / "build", make_device("reference", plan), {})
        assert int(np.argmax(outcome.output)) == sharing.greedy()[0][-1]


def test_pages_serve_both_functions(built):
    place, plan = built
    paged = replace(plan, target=replace(plan.target, page_bytes=8192))
    device = make_device("reference", paged)
    outcome = execute(paged, place.folder / "build", device, {})
    assert int(np.argmax(outcome.output)) == sharing.greedy()[0][-1]
    assert device.resident_bytes() == 0


def test_the_rest_of_a_causal_clip_follows_its_first_frame(tmp_path):
    place = Place(tmp_path, sharing.CAUSAL, sharing.save_causal)
    plan = place.compiled().plan
    assert calls_of(plan) == [("first", "first.00", "main"), ("rest", "first.00", "rest")]
    outcome = execute(plan, tmp_path / "build", make_device("reference", plan), {})
    whole = sharing.whole_clip()[:, :, 1:]
    np.testing.assert_allclose(outcome.output, whole, atol=2e-5 * np.abs(whole).max())
    one_set = sum(4 * w.numel() for w in sharing.causal().state_dict().values())
    # The zeros before the first frame are tables: of 4 channels, and of 16.
    assert plan.packages[0].weight_bytes <= one_set + 4 * (4 + 16) * 2 * 6 * 6


@pytest.mark.slow
def test_packages_of_two_functions_are_stamped_to_the_bytes_of_a_conversion(tmp_path, monkeypatch):
    place = Place(tmp_path, sharing.EQUAL, sharing.save_equal)
    small = "partition.chunk_bytes=2600"
    stamped = place.compiled(small).plan
    assert [c.id for c in stamped.chunks] == [f"many.{i:02d}" for i in range(5)]
    assert list((tmp_path / "cache").glob("*/templates/*"))
    monkeypatch.setattr("entracte.emit.bundle._TWINS_FROM", 99)
    converted = place.compiled(small, f"cache={tmp_path / 'other'}", out="again").plan
    assert not list((tmp_path / "other").glob("*/templates/*"))
    assert [p.digest for p in stamped.packages] == [p.digest for p in converted.packages]
    outcome = execute(stamped, tmp_path / "build", make_device("reference", stamped), {})
    with torch.inference_mode():
        for name, x in sharing.given().arrays.items():
            (wanted,) = sharing.equal()(torch.from_numpy(x))
            np.testing.assert_allclose(outcome.outputs[name], wanted.numpy(), atol=1e-5)


# ---------------------------------------------------------------- verified


def test_a_build_is_verified_function_by_function(built):
    place, plan = built
    folder = place.folder / "build"
    result = verify_plan(plan, folder, make_device("reference", plan), {}, origin=place.origin)
    assert result.passed, result
    # Of the first function one call, of the other the first: both were compared.
    assert {c.calls for c in result.chunks} == {2}
    assert all(c.passed for c in verify_distinct(plan, folder, origin=place.origin))
    assert all(c.db is not None and c.inputs == "recorded" for c in plan.compared)


def damaged(built: tuple[Place, Plan], folder: Path) -> Plan:
    """A build whose first package adds in its function `step` what it should multiply, with a plan
    that says so of the bytes."""
    import shutil

    place, plan = built
    shutil.copytree(place.folder / "build", folder)
    first = plan.packages[0]
    path = folder / first.path
    path.chmod(0o755)
    spec = package.read_spec(path)
    (block,) = spec.mlProgram.functions["step"].block_specializations.values()
    next(o for o in block.operations if o.type == "mul").type = "add"
    model = path / package.MODEL_FILE
    body = spec.SerializeToString(deterministic=True)
    model.unlink()
    model.write_bytes(body)
    (path / package.MANIFEST).unlink()
    package.write_manifest(path, package.file_sha256(path / package.WEIGHT_FILE))
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    made = replace(first, digest=package.canonical_digest(path), file_bytes=size)
    return replace(plan, packages=(made, *plan.packages[1:]))


def test_a_fault_in_the_other_stages_function_is_found(built, tmp_path):
    place, plan = built
    wrong = damaged(built, tmp_path / "build")
    check_facts(wrong, tmp_path / "build")
    scores = verify_distinct(wrong, tmp_path / "build", origin=place.origin)
    assert [c.chunk for c in scores if not c.passed] == [plan.chunks[0].id]


def test_other_ports_of_a_function_are_refused(built):
    place, plan = built
    first = plan.packages[0]
    (own,) = first.own_ports
    renamed = replace(own, inputs=(replace(own.inputs[0], name="elsewhere"), *own.inputs[1:]))
    other = replace(plan, packages=(replace(first, own_ports=(renamed,)), *plan.packages[1:]))
    with pytest.raises(PlanError, match="inputs of function step"):
        check_facts(other, place.folder / "build")
    with pytest.raises(PlanError, match="other ports than its chunk"):
        check_plan(other)
    chunk = plan.chunks[0]
    (theirs,) = chunk.others
    stray = replace(theirs, graph="other")
    stolen = replace(plan, chunks=(replace(chunk, variants=(stray,)), *plan.chunks[1:]))
    with pytest.raises(PlanError, match="is said to be of other"):
        check_plan(stolen)


def test_the_plan_on_disk_is_the_same(built):
    place, plan = built
    assert read_plan(place.folder / "build") == plan
    check_plan(plan)


# ---------------------------------------------------------------- packages of their own


def test_where_cuts_do_not_align_the_other_stage_has_packages_of_its_own(tmp_path):
    place = decoder(tmp_path, "backwards")
    plan = place.compiled(SMALL, "dry_run=true").plan
    assert {c.graph for c in plan.chunks} == {"prefill", "step"}
    assert {f for _, _, f in calls_of(plan)} == {"main"}
    assert apart(plan) == [
        "step: packages of its own, with the weights of prefill once more: the two cannot be cut "
        "alike within the limits"
    ]
    # As one chunk they are alike whatever their order is.
    whole = place.compiled("dry_run=true", out="whole").plan
    assert [c.id for c in whole.chunks] == ["prefill.00"]


# ---------------------------------------------------------------- the same weight


def record(keys: dict[str, str], **more: object) -> TraceRecord:
    empty = dict.fromkeys(("parts", "outputs", "functions", "known_keys", "owns", "scales"), ())
    shapes = tuple((name, (2,)) for name in keys)
    fields = empty | {"key_of": tuple(keys.items()), "shapes": shapes, "checkpoint": "c"}
    return TraceRecord(**(fields | more))


def test_weights_are_the_same_by_their_key():
    main = record({"a": "k.a", "b": "k.b"})
    other = record({"x": "k.b", "y": "k.c"})
    assert names_beside(main, "s", other) == {"x": "b", "y": "y@s"}


def test_a_tied_weight_has_the_keys_of_all_its_names():
    """One stage may read it as the embedding, the other as the head only."""
    main = record({"embed": "k.embed"}, ties=(("embed", ("head",)),))
    assert names_beside(main, "s", record({"head": "head"})) == {"head": "embed"}
    both = record({"embed": "k.embed", "head": "head"}, ties=(("embed", ("head",)),))
    assert names_beside(both, "s", record({"head": "head"})) == {"head": "head"}
    assert names_beside(both, "s", both) == {"embed": "embed", "head": "head"}


def test_a_factor_on_what_is_read_makes_another_weight():
    main, other = record({"a": "k"}), record({"a": "k"}, scales=(("a", 2.0),))
    assert names_beside(main, "s", other) == {"a": "a@s"}
    assert names_beside(other, "s", other) == {"a": "a"}


def test_buffers_are_the_same_if_the_modules_hold_the_same():
    """Positions of another length, say: no checkpoint needs to have them."""
    main = record({"ids": "ids"}, buffers=("ids",), own=(("ids", "d1"),))
    other = record({"ids": "ids"}, buffers=("ids",), own=(("ids", "d2"),), shapes=(("ids", (3,)),))
    assert names_beside(main, "s", other) == {"ids": "ids@s"}
    assert names_beside(main, "s", main) == {"ids": "ids"}


# ---------------------------------------------------------------- refused


def other_shape() -> Graph:
    made = sharing.rest()
    made.module.convs[3] = torch.nn.Conv3d(sharing.CHANNELS, 3, (3, 1, 1)).eval()
    return made


def other_keys() -> Graph:
    return replace(sharing.rest(), key_map=(("", "decoder."),))


def other_file() -> Graph:
    return replace(sharing.rest(), checkpoint="another")


class Wider(sharing.Rest):
    """A gain that only this stage has."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.empty(3, 1, 1, 1))

    def forward(self, *given):
        frames, *kept = super().forward(*given)
        return frames * self.gain, *kept


def wider() -> Graph:
    return replace(sharing.rest(), module=Wider().eval())


def owner() -> Graph:
    return replace(sharing.first(), owns=("",))


OWN = {
    f"sharing.{f.__name__}": f"{__name__}:{f.__name__}"
    for f in (other_shape, other_keys, other_file, wider, owner)
}


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            "other_shape",
            r"convs.3.weight has shape \(3, 16, 3, 1, 1\) in rest and \(3, 16, 3, 3, 3\)",
        ),
        ("other_keys", "no weight of rest is one of first; the keys of one are decoder.convs"),
        ("other_file", "reads the checkpoint 'another', graph .* of first 'causal'"),
    ],
)
def test_weights_that_are_not_the_others_are_refused(tmp_path, graph, message):
    place = Place(
        tmp_path, sharing.CAUSAL.replace("sharing.rest", f"sharing.{graph}"), sharing.save_causal
    )
    weights = place.folder / "weights"
    (weights / "another.safetensors").write_bytes((weights / "causal.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=f"pipeline.stages.rest.weights_of: .*{message}"):
        place.compiled("dry_run=true")


def test_a_function_has_a_name_of_its_own(tmp_path):
    text = sharing.DECODER.replace("  step:\n", "  main:\n").replace("[step]", "[main]")
    with pytest.raises(ConfigError, match="give the stage another name"):
        decoder(tmp_path, text=text.replace("step.", "main.")).compiled("dry_run=true")


@pytest.mark.slow
def test_keys_of_its_own_lie_beside_the_others(tmp_path):
    """They are read from the same checkpoint, all of which the other stage says it reads."""

    def save(folder: Path) -> None:
        from safetensors.torch import save_file

        weights = sharing.causal().state_dict() | {"gain": torch.full((3, 1, 1, 1), 3.0)}
        save_file(weights, folder / "causal.safetensors")

    text = sharing.CAUSAL.replace("sharing.rest", "sharing.wider")
    place = Place(tmp_path, text.replace("sharing.first", "sharing.owner"), save)
    plan = place.compiled("compression=palette4", "pipeline.precision=fp16").plan
    assert [c.id for c in plan.chunks] == ["first.00"]
    outcome = execute(plan, tmp_path / "build", make_device("reference", plan), {})
    whole = 3 * sharing.whole_clip()[:, :, 1:]
    assert np.abs(outcome.output - whole).max() < 0.2 * np.abs(whole).max()
    # Once for both functions: two convolutions of 16 x 16 in 4 bits with tables of 16 numbers, the
    # smaller ones, three biases and the zeros before the first frame in fp16. For the second
    # function the converter makes one convolution of the last one and its gain.
    one_set = 2 * (16 * 16 * 27 // 2 + 32) + 2 * (16 * 4 + 3 * 16) * 27 + 3 * 32 + 2 * 20 * 72
    assert one_set <= plan.packages[0].weight_bytes <= one_set + 2 * 3 * 16 * 27 + 16
