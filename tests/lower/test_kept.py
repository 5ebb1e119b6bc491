"""Packages from the cache: a damaged entry is never shipped; another key for another variant."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from entracte.decide.partition import Measured
from entracte.emit import bundle, make
from entracte.emit.bundle import ByteProgress, Workshop
from entracte.emit.make import CHUNK, FACTS
from entracte.errors import WriteError
from entracte.graphs.spec import Graph, Input
from entracte.ir import DType, Port, Stage, StageKind
from entracte.lower.backend import CORE_ML
from entracte.lower.package import MODEL_FILE, WEIGHT_FILE, canonical_digest
from entracte.store import origin, seal
from entracte.store.cache import Cache, DigestMemo
from entracte.trace.measure import trace_stage
from entracte.trace.weights import RandomWeights


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x, /):
        return torch.relu(self.linear(x))


def traced_as(*, port: str = "x", precision: str = "fp16", compression: str = "none"):
    stage = Stage(
        name="tiny",
        kind=StageKind.GRAPH,
        op="toy",
        inputs=((port, "a.x"),),
        precision=precision,
        compression=compression,
    )
    graph = Graph(Tiny().eval(), (Input(port, (1, 64)),), ("y",), "tiny")
    return trace_stage(stage, graph, {port: Port(port, (1, 64), DType(precision))}, None, CORE_ML)


def order_of(traced, cache: Cache, *, deployment: str = "iOS18", seed: int = 0):
    chunk = Measured(traced.parts[0]).chunk(0, len(traced.parts[0].ops), 0)
    memo = DigestMemo(cache)
    return bundle._order({"tiny": traced}, chunk, RandomWeights(seed), deployment, memo)


@pytest.fixture(scope="module")
def traced():
    return traced_as()


@pytest.fixture(scope="module")
def kept(traced, tmp_path_factory):
    """A cache with one converted package; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("kept")
    make.convert_order(order_of(traced, Cache(folder)), Cache(folder))
    return folder


@pytest.fixture
def cache(kept, tmp_path) -> Cache:
    import shutil

    shutil.copytree(kept, tmp_path / "cache")
    return Cache(tmp_path / "cache")


def flip(path: Path, at: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def zeros(entry: Path) -> None:
    facts = json.loads((entry / FACTS).read_text())
    facts |= {"weight_bytes": 0, "activation_bytes": 0}
    (entry / FACTS).chmod(0o644)
    (entry / FACTS).write_text(json.dumps(facts))


DAMAGE = {
    "a weight": lambda e: flip(e / CHUNK / WEIGHT_FILE, -1),
    "a bit of the model": lambda e: flip(e / CHUNK / MODEL_FILE, 100),
    "the manifest": lambda e: flip(e / CHUNK / "Manifest.json", 30),
    "zeros for facts": zeros,
    "no facts": lambda e: (e / FACTS).unlink(),
    "no weights": lambda e: (e / CHUNK / WEIGHT_FILE).unlink(),
    "a stranger": lambda e: (e / CHUNK / "Data" / "more").write_text("x"),
}


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_entry_is_made_again_and_never_shipped(traced, kept, cache, tmp_path, name):
    """What ships has the bytes that the undamaged cache has, and its facts."""
    order = order_of(traced, cache)
    entry = cache.folder(make.PACKAGES, order.key)
    DAMAGE[name](entry)
    assert not bundle._is_made(order, cache)
    assert not entry.exists()
    # Made again here by taking the undamaged bytes, as a conversion is deterministic.
    good = Cache(kept).folder(make.PACKAGES, order.key)
    with cache.making(make.PACKAGES, order.key) as again:
        for file, data in files(good).items():
            if not file.startswith("."):
                (again / file).parent.mkdir(parents=True, exist_ok=True)
                (again / file).write_bytes(data)
    assert bundle._is_made(order, cache)
    package = bundle._link(order, cache, tmp_path / "build")
    place = tmp_path / "build" / package.path
    assert files(place) == files(good / CHUNK)
    assert canonical_digest(place) == package.digest == make.facts_of(good).digest


def test_damage_through_a_build_folder_is_seen(traced, cache, tmp_path):
    """Builds hold links to the cache: whoever writes into one writes into the other."""
    order = order_of(traced, cache)
    package = bundle._link(order, cache, tmp_path / "build")
    flip(tmp_path / "build" / package.path / WEIGHT_FILE, 70)
    assert not bundle._is_made(order, cache)


def test_facts_about_another_package_are_not_believed(traced, cache):
    """Sealed well, but not about these bytes: a disk that lost what was written, say."""
    order = order_of(traced, cache)
    entry = cache.folder(make.PACKAGES, order.key)
    facts = make.facts_of(entry)
    for wrong in (replace(facts, digest="0" * 64), replace(facts, file_bytes=facts.file_bytes + 1)):
        (entry / FACTS).chmod(0o644)
        (entry / FACTS).write_text(json.dumps(make.encode(wrong)))
        (entry / seal.SEAL).chmod(0o644)
        seal.seal(entry, f"{make.PACKAGES}/{order.key}")
        assert not bundle._is_made(order, cache)
        make.convert_order(order, cache)
        entry = cache.folder(make.PACKAGES, order.key)
        assert make.facts_of(entry) == facts


def test_what_was_just_made_and_is_gone_is_one_message(traced, tmp_path):
    with pytest.raises(Exception, match=r"the package of tiny.*00 was just made and is damaged"):
        bundle._link(order_of(traced, Cache(tmp_path)), Cache(tmp_path), tmp_path / "build")


def test_a_whole_emit_repairs_its_cache(traced, cache, tmp_path, monkeypatch):
    """The command's own way: damaged, converted once more, the same bytes."""
    order = order_of(traced, cache)
    entry = cache.folder(make.PACKAGES, order.key)
    wanted = files(entry / CHUNK)
    flip(entry / CHUNK / WEIGHT_FILE, -1)
    shop = Workshop(tmp_path / "build", cache, 1, ByteProgress(), tmp_path / "logs")
    monkeypatch.setattr(Workshop, "run", lambda _, tasks: [t.call(*t.arguments) for t in tasks])
    made = bundle.emit(
        {"tiny": traced}, [order.chunk], order.source, deployment="iOS18", shop=shop
    ).packages[0]
    assert files(tmp_path / "build" / made.path) == wanted


def test_a_disk_that_is_too_small_is_told_before_anything_is_converted(traced, tmp_path):
    """2**60 bytes are more than any disk has."""
    order = order_of(traced, Cache(tmp_path / "cache"))
    huge = replace(order.chunk, weight_bytes=2**60)
    shop = Workshop(tmp_path / "build", Cache(tmp_path / "cache"), 1, ByteProgress(), tmp_path)
    with pytest.raises(WriteError, match=r"cache/v1: packages take about 1073741824 GiB, "):
        bundle.emit({"tiny": traced}, [huge], order.source, deployment="iOS18", shop=shop)
    assert not list(tmp_path.glob("*.log"))


# ---------------------------------------------------------------- keys


def test_variants_that_differ_in_one_thing_have_two_keys(traced, tmp_path, monkeypatch):
    """Compression, deployment, ports, precision, weights, code and versions, one at a time."""
    cache = Cache(tmp_path)
    keys = {"base": order_of(traced, cache).key}
    assert order_of(traced_as(), cache).key == keys["base"]
    keys["deployment"] = order_of(traced, cache, deployment="iOS17").key
    keys["weights"] = order_of(traced, cache, seed=1).key
    keys["port"] = order_of(traced_as(port="z"), cache).key
    keys["precision"] = order_of(traced_as(precision="fp32"), cache).key
    for name in ("int8", "palette8", "palette4"):
        keys[name] = order_of(traced_as(compression=name), cache).key
    monkeypatch.setattr(bundle, "maker_digest", lambda *_: "other code")
    keys["code"] = order_of(traced, cache).key
    monkeypatch.setattr(bundle, "maker_digest", lambda *modules: origin.digest_of_makers(modules))
    monkeypatch.setattr(origin, "version", lambda _: "99")
    keys["versions"] = order_of(traced, cache).key
    assert len(set(keys.values())) == len(keys), keys


def test_templates_serve_only_what_is_made_in_the_same_way(traced, tmp_path, monkeypatch):
    """Other weights and other names of ports are stamped from one template; nothing else is."""
    cache = Cache(tmp_path)
    base = order_of(traced, cache).twin_key
    assert order_of(traced, cache, seed=1).twin_key == base
    assert order_of(traced_as(port="z"), cache).twin_key == base
    keys = {
        base,
        order_of(traced, cache, deployment="iOS17").twin_key,
        order_of(traced_as(precision="fp32"), cache).twin_key,
        order_of(traced_as(compression="int8"), cache).twin_key,
    }
    monkeypatch.setattr(bundle, "maker_digest", lambda *_: "other code")
    keys.add(order_of(traced, cache).twin_key)
    assert len(keys) == 5


class Kept(Cache):
    """Notes the keys that are asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: dict[str, str] = {}

    def record(self, kind, key, type_):
        self.asked[kind] = key
        return super().record(kind, key, type_)


def test_traces_are_kept_by_stage_ports_backend_code_and_versions(tmp_path, monkeypatch):
    from entracte.trace import stored

    graph = Graph(Tiny().eval(), (Input("x", (1, 64)),), ("y",), "tiny")
    monkeypatch.setattr(stored.Shelf, "_graph", lambda *_: graph)

    def key(*, backend=CORE_ML, dtype=DType.FP16, **changed) -> str:
        cache = Kept(tmp_path)
        stage = Stage(name="tiny", kind=StageKind.GRAPH, op="toy", inputs=(("x", "a.x"),))
        ports = {"x": Port("x", (1, 64), dtype)}
        stored.Shelf(backend, cache).traced(replace(stage, **changed), ports, None)
        return cache.asked["traces"]

    keys = {"base": key()}
    assert key() == keys["base"]
    assert key(compression="int8") == keys["base"]
    keys["precision"] = key(precision="fp32")
    keys["params"] = key(params=(("width", 64),))
    keys["dtype"] = key(dtype=DType.FP32)
    keys["backend"] = key(backend=replace(CORE_ML, max_rank=4))
    known = stored.maker_digest
    monkeypatch.setattr(stored, "maker_digest", lambda *m: known("entracte.ir"))
    keys["code"] = key()
    monkeypatch.setattr(stored, "graph_digest", lambda *_: "other graphs")
    keys["graphs"] = key()
    assert len(set(keys.values())) == len(keys), keys


def test_what_is_convertible_is_part_of_a_trace_s_code(monkeypatch):
    from entracte.trace import stored

    asked = []
    monkeypatch.setattr(stored, "maker_digest", lambda *modules: str(asked.append(modules)))
    stage = Stage(name="tiny", kind=StageKind.GRAPH, op="toy")
    stored._code(stage, CORE_ML.is_convertible)
    assert asked == [("entracte.lower.registrations", "entracte.trace.stored")]


def test_verify_judges_by_what_the_stage_declares(traced, cache):
    """A plan that calls its fp16 package a palette of 4 bits would pass at 15 dB."""
    from entracte.errors import PlanError
    from entracte.verify.source import SourceDevice

    order = order_of(traced, cache)
    source = SourceDevice({order.chunk.id: order.chunk}, {"tiny": traced}, order.source)
    facts = make.facts_of(cache.folder(make.PACKAGES, order.key))
    package = replace(facts, chunk=order.chunk.id, path="p")
    source.check_declared(package)
    for changed in ({"compression": "palette4"}, {"precision": "fp32"}):
        with pytest.raises(PlanError, match=r"p says \w+ '\w+', its stage tiny declares"):
            source.check_declared(replace(package, **changed))


@pytest.mark.slow
def test_all_that_takes_part_in_a_process_is_in_the_key(tmp_path):
    """Truth from Python itself: what a process has imported once it has imported the makers, and
    what is imported while it traces, converts and stamps. This file brings more; were that used
    in the making, its import would be seen there."""
    import subprocess
    import sys

    makers = (*bundle._MAKERS, "entracte.decide.partition")
    code = (
        "import builtins, importlib, sys\n"
        "from pathlib import Path\n"
        f"[importlib.import_module(m) for m in {makers}]\n"
        "from entracte.store.cache import Cache\n"
        "from entracte.store.origin import closure\n"
        "used = set(sys.modules)\n"
        "from tests.lower import test_kept as t\n"
        "brought, known = set(sys.modules), builtins.__import__\n"
        "def noted(name, *given, **named):\n"
        "    names = named.get('fromlist') or (given[2] if len(given) > 2 else None) or ()\n"
        "    used.update((name, *(f'{name}.{n}' for n in names)))\n"
        "    return known(name, *given, **named)\n"
        "builtins.__import__ = noted\n"
        "traced = t.traced_as(compression='int8')\n"
        "builtins.__import__ = known\n"
        f"cache = Cache(Path({str(tmp_path)!r}))\n"
        "order = t.order_of(traced, cache)\n"
        "builtins.__import__ = noted\n"
        "t.make.convert_order(order, cache)\n"
        "[t.make.convert_marked(order, cache, s) for s in t.make.SEEDS]\n"
        "t.make.make_template(order, cache)\n"
        "t.make.stamp_order(order, cache, cache.folder(t.make.TEMPLATES, order.twin_key))\n"
        "builtins.__import__ = known\n"
        "used = (used | (set(sys.modules) - brought)) & set(sys.modules)\n"
        "mine = {m for m in used if m.partition('.')[0] == 'entracte'}\n"
        f"files, _ = closure({makers})\n"
        "print(len(mine), sorted(mine - files.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    count, _, rest = done.stdout.strip().partition(" ")
    assert rest == "[]" and int(count) > 50, done.stdout + done.stderr
