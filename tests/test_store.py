"""What was kept is believed only while it is what was kept; keys cover the code it is from."""

import hashlib
import json
import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from entracte.emit import trials
from entracte.errors import WriteError
from entracte.store import origin, seal
from entracte.store.cache import Cache, DigestMemo
from tests.test_imports import MODULES, PACKAGE, imports_of

Pairs = tuple[tuple[str, int], ...]


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path)


def make(cache: Cache, key: str = "aabb") -> Path:
    with cache.making("things", key) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "data").write_bytes(b"0123456789")
        (folder / "note").write_text("note")
    found = cache.folder("things", key)
    assert found is not None
    return found


def test_a_place_where_no_cache_can_be_made_is_told_at_once(tmp_path, monkeypatch):
    """One that is there may be read-only."""
    made = Cache(tmp_path / "made")
    made.keep("things", "aabb", (("a", 1),))
    monkeypatch.setattr(os, "access", lambda *_: False)
    made.check_place()
    with pytest.raises(WriteError, match="no/v1: no cache can be made there; make room there, or"):
        Cache(tmp_path / "no").check_place()


def spoil(path: Path, data: bytes) -> None:
    """As a careless user does it: in place, though the file is read-only."""
    found = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    # Tests are quicker than some systems' clocks tick.
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: spoil(f / "inner" / "data", b"0123456788"), "inner/data holds other bytes"),
        (lambda f: spoil(f / "inner" / "data", b"012345678"), "inner/data has another size"),
        (lambda f: spoil(f / "note", b"nope"), "note holds other bytes"),
        (lambda f: (f / "note").unlink(), "note is missing"),
        (lambda f: (f / "more").write_text(""), "more does not belong to it"),
        (lambda f: (f / "inner" / "more").symlink_to("data"), "inner/more does not belong"),
        (lambda f: (f / seal.SEAL).unlink(), ".seal.json is missing or damaged"),
        (lambda f: spoil(f / seal.SEAL, b"{"), ".seal.json is missing or damaged"),
        (lambda f: spoil(f / seal.SEAL, b"[1]"), ".seal.json is missing or damaged"),
    ],
)
def test_a_damaged_folder_is_dropped_and_said(cache, log, damage, told):
    path = make(cache)
    damage(path)
    assert cache.folder("things", "aabb") is None
    (said,) = log
    assert told in said and "is damaged and made again" in said
    assert not path.exists()
    assert (make(cache) / "inner" / "data").read_bytes() == b"0123456789"


def test_a_file_behind_a_link_is_not_the_entry_s(cache, tmp_path):
    path = make(cache)
    (tmp_path / "other").write_bytes(b"0123456789")
    (path / "inner" / "data").unlink()
    (path / "inner" / "data").symlink_to(tmp_path / "other")
    assert cache.folder("things", "aabb") is None


def test_damage_before_the_first_use_is_seen(cache):
    with cache.making("things", "aabb") as folder:
        (folder / "data").write_bytes(b"0123456789")
    (path,) = cache._root.glob("things/*/aabb")
    spoil(path / "data", b"9876543210")
    assert cache.folder("things", "aabb") is None


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_what_was_written_is_read_at_most_once_for_its_digest(cache, monkeypatch, size):
    """Not again by the seal nor when it is used, nor where whoever wrote it knows its digest; small
    files are known by their names too."""
    read, whole = [], seal.file_sha256
    monkeypatch.setattr(seal, "file_sha256", lambda p: (read.append(p.name), whole(p))[1])
    data = os.urandom(size)
    for known in (False, True):
        read.clear()
        with cache.making("things", f"aabb{known}") as folder:
            (folder / "aside").write_bytes(data)
            if known:
                seal.note_sha256(folder / "aside", hashlib.sha256(data).hexdigest())
            (folder / "aside").rename(folder / "data")
            assert seal.known_sha256(folder / "data") == hashlib.sha256(data).hexdigest()
        path = cache.folder("things", f"aabb{known}")
        assert seal.sealed(path) == {"data": hashlib.sha256(data).hexdigest()}
        assert len(read) == (1 if size == 10 else 1 - known)


def test_a_large_file_that_changed_has_another_digest(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(2 << 20))
    assert seal.known_sha256(path) == hashlib.sha256(bytes(2 << 20)).hexdigest()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert seal.known_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("change", ["inode", "time", "nothing"])
def test_files_are_read_again_when_their_state_changes_and_only_then(cache, monkeypatch, change):
    path, read = make(cache), []
    whole = seal.file_sha256
    monkeypatch.setattr(seal, "file_sha256", lambda p: (read.append(p.name), whole(p))[1])
    file = path / "inner" / "data"
    found = file.stat()
    if change == "inode":
        (path / "new").write_bytes(file.read_bytes())
        os.replace(path / "new", file)
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    elif change == "time":
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    for _ in range(3):
        assert cache.folder("things", "aabb") == path
    assert read == ([] if change == "nothing" else ["data"])


def test_notes_that_are_damaged_only_cost_a_reading(cache):
    path = make(cache)
    for text in ("{", "[]", '{"note": 1}', '{"note": [1, 2]}', json.dumps({"note": [1, 2, 3]})):
        (path / seal.SEEN).write_text(text)
        assert cache.folder("things", "aabb") == path


def test_a_cache_that_cannot_be_written_to_is_read_each_time(cache, monkeypatch):
    path = make(cache)
    (path / seal.SEEN).unlink()

    def refuse(*_):
        raise OSError(30, "read-only")

    monkeypatch.setattr(seal, "_write", refuse)
    assert cache.folder("things", "aabb") == path
    assert not (path / seal.SEEN).exists()


def test_digests_of_a_sealed_folder(cache):
    wanted = {
        "inner/data": hashlib.sha256(b"0123456789").hexdigest(),
        "note": hashlib.sha256(b"note").hexdigest(),
    }
    assert seal.sealed(make(cache)) == wanted
    assert seal.sealed(cache._root) == {}


# ---------------------------------------------------------------- records


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_any_flipped_bit_of_a_record_is_seen(cache, log, tmp_path):
    """Digits become other digits: only a digest can tell."""
    cache.keep("things", "aabb", (("weight_bytes", 123456),))
    (path,) = tmp_path.rglob("*.json")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(flipped(whole, at))
        assert cache.record("things", "aabb", Pairs) is None, whole[at:]
        assert not path.exists(), "it would be tried again and again"
    assert any("it holds other bytes, or is another entry" in said for said in log)
    path.write_bytes(whole)
    assert cache.record("things", "aabb", Pairs) == (("weight_bytes", 123456),)
    path.write_bytes(whole[:-1])
    assert cache.record("things", "aabb", Pairs) is None


def test_entries_that_changed_places_are_not_believed(cache, log):
    """Each is whole: only its name tells. A disk may lose a rename, a user may copy too much."""
    for key in ("aabb", "aacc"):
        make(cache, key)
        cache.keep("things", key, (("key", 1),))
    place = cache._root / "things" / "aa"
    for ending in ("", ".json"):
        one, other, aside = (place / f"{n}{ending}" for n in ("aabb", "aacc", "x"))
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
    for key in ("aabb", "aacc"):
        assert cache.folder("things", key) is None
        assert cache.record("things", key, Pairs) is None
    assert any("it is the entry 'things/aacc'" in said for said in log)
    assert any("or is another entry" in said for said in log)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "put", [os.mkdir, os.mkfifo, lambda p: p.symlink_to("nowhere"), lambda p: p.write_bytes(b"x")]
)
def test_what_is_no_entry_makes_way(cache, put):
    place = cache._root / "things" / "aa"
    place.mkdir(parents=True)
    put(place / "aabb")
    put(place / "aabb.json")
    assert cache.record("things", "aabb", Pairs) is None
    assert cache.folder("things", "aabb") is None
    assert make(cache).is_dir()
    cache.keep("things", "aabb", (("key", 1),))
    assert cache.record("things", "aabb", Pairs) == (("key", 1),)
    for name in (seal.SEAL, seal.SEEN):
        (place / "aabb" / name).unlink()
        os.mkfifo(place / "aabb" / name)
    assert cache.folder("things", "aabb") is None


def test_no_record_is_no_damage(cache, log):
    assert cache.record("things", "aabb", Pairs) is None
    assert not log


def test_digests_of_weights_are_of_the_code_that_made_them(cache, tmp_path):
    file = tmp_path / "w"
    file.write_bytes(b"1")
    DigestMemo(cache, "one").note(file, {"k": "d"})
    assert DigestMemo(cache, "one").known(file) == {"k": "d"}
    assert DigestMemo(cache, "other").known(file) == {}


# ---------------------------------------------------------------- code

MAKERS = {
    "packages": ("entracte.emit.make", "entracte.trace.stored"),
    "traces": ("entracte.trace.stored", "entracte.lower.registrations"),
    "weights": ("entracte.trace.weights",),
}
MUST = {
    "packages": (
        "codec declare.scheme emit.make emit.repair frontend.cleanup frontend.export "
        "frontend.extract frontend.precision ir lower.boundary lower.compress lower.convert "
        "lower.islands lower.merge lower.package lower.ports lower.registrations lower.rename "
        "lower.stamp lower.targets lower.template lower.values reference.info reference.liveness "
        "reference.mil reference.reader store.form trace.exported trace.traced trace.weights"
    ),
    "traces": (
        "codec declare.scheme frontend.backend frontend.export frontend.precision graphs.spec ir "
        "lower.registrations trace.codes trace.cuts trace.exported trace.flops trace.hoist "
        "trace.measure trace.places trace.stored trace.traced trace.variants"
    ),
    "weights": "trace.weights",
}
"""What surely takes part, written down by hand."""


@pytest.mark.parametrize("kind", MAKERS)
def test_every_module_that_takes_part_gives_another_key(kind):
    files, _ = origin.closure(MAKERS[kind])
    for name in MUST[kind].split():
        assert f"entracte.{name}" in files
    base = origin.digest_of_makers(MAKERS[kind])
    assert base == origin.maker_digest(*MAKERS[kind])
    for touched in files.values():

        def read(path: Path, touched: Path = touched) -> bytes:
            return path.read_bytes() + (b"\n# touched\n" if path == touched else b"")

        assert origin.digest_of_makers(MAKERS[kind], read) != base, touched


def test_a_verdict_is_also_of_the_code_that_its_inputs_are_from():
    files, _ = origin.closure(trials._MAKERS)
    must = (
        "devices.arrays emit.blame emit.draws emit.judge emit.trials reference.fidelity run.host "
        "run.tensors verify.recorded verify.sampled verify.source"
    )
    for name in must.split():
        assert f"entracte.{name}" in files


def test_what_takes_no_part_gives_the_same_key():
    """Else a change of a table's colour would convert all again."""
    files, _ = origin.closure(MAKERS["packages"])
    rooms = {name.split(".")[1] for name in files if "." in name}
    assert not rooms & {"cli", "report", "inspect", "run", "schedule", "decide", "plan", "clock"}
    assert "entracte.reference.loaded" not in files


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_are_found_as_python_finds_them(module):
    """The quick search against a whole parse, by the import test's own walk."""
    path = MODULES[module]
    package = path.name == "__init__.py"
    found = set(origin.imports(path.read_bytes(), module, is_package=package))
    wanted = {n for n in imports_of(path) if n.startswith("entracte.")}
    assert wanted <= {*found, *(f"{f}.{n.rpartition('.')[2]}" for f in found for n in wanted)}
    assert {n for n in wanted if n in MODULES} <= found


SPELLINGS = (
    b"import entracte.ir",
    b"    import entracte.ir as i, os",
    b"from entracte import ir",
    b"from entracte.ir import (\n    Plan,\n    Chunk,\n)",
    b"from entracte.ir import Plan, \\\n    Chunk",
    b"def f():\n    from entracte.ir import Plan  # why",
    b"if TYPE_CHECKING:\n    from entracte.ir import Plan",
)


@pytest.mark.parametrize("text", SPELLINGS)
def test_spellings_of_imports(text):
    found = set(origin.imports(b'"""from here import nothing."""\n' + text + b"\n", "entracte.x",
                               is_package=False))  # fmt: skip
    assert "entracte.ir" in found


def test_a_package_of_ours_offers_its_parts_only_to_those_who_ask():
    """Importing `entracte.reference.info` runs the door, but uses none of the names behind it."""
    text = (PACKAGE / "reference" / "__init__.py").read_bytes()
    name = "entracte.reference"
    passed = set(origin.imports(text, name, is_package=True, offered=False))
    asked = set(origin.imports(text, name, is_package=True))
    assert "entracte.reference.loaded" in asked - passed
    assert "entracte.reference.errors" in passed


@pytest.fixture
def foreign(tmp_path, monkeypatch) -> Path:
    """A package of graphs beside a helper that it imports; neither is installed."""
    inner = tmp_path / "someones_graphs"
    (inner / "deep").mkdir(parents=True)
    (inner / "__init__.py").write_text("")
    (inner / "build.py").write_text("from .deep import layers\nimport numpy, no_such_thing\n")
    (inner / "deep" / "__init__.py").write_text("")
    (inner / "deep" / "layers.py").write_text("import someones_helper.sizes\nX = 1\n")
    (tmp_path / "someones_helper").mkdir()
    (tmp_path / "someones_helper" / "sizes.py").write_text("from someones_single import *\n")
    (tmp_path / "someones_single.py").write_text("from entracte.graphs.spec import Graph\n")
    (tmp_path / "stranger.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    origin.is_library.cache_clear()
    return tmp_path


def test_graphs_of_others_count_with_all_their_files_and_what_they_import(foreign):
    """Namespace packages, single files, relative and starred imports."""
    base = origin.digest_of_package("someones_graphs")
    seen = set()
    for path in sorted(foreign.rglob("*.py")):
        text = path.read_text()
        path.write_text(text + "\nY = 2\n")
        if origin.digest_of_package("someones_graphs") != base:
            seen.add(path.name)
        path.write_text(text)
    assert seen == {"__init__.py", "build.py", "layers.py", "sizes.py", "someones_single.py"}
    assert origin.digest_of_package("someones_graphs") == base
    files, libraries = origin.closure((), ("someones_graphs",))
    assert "entracte.graphs.spec" in files and "numpy" in libraries
    (foreign / "someones_graphs" / "more.py").write_text("")
    assert origin.digest_of_package("someones_graphs") != base


def test_a_broken_file_of_others_still_counts(foreign):
    (foreign / "stranger.py").write_text("def (:\n")
    one = origin.digest_of_package("stranger")
    (foreign / "stranger.py").write_text("def (:)\n")
    assert origin.digest_of_package("stranger") != one


@pytest.mark.parametrize(
    "name",
    ["coremltools", "diffusers", "numpy", "protobuf", "safetensors", "torch", "transformers"],
)
def test_another_version_gives_another_key(name, monkeypatch):
    base = origin.digest_of_makers(MAKERS["packages"])

    def other(asked: str) -> str:
        return "99" if asked == name else version(asked)

    monkeypatch.setattr(origin, "version", other)
    assert origin.digest_of_makers(MAKERS["packages"]) != base


def test_versions_are_found_and_absence_is_one(monkeypatch):
    lines = origin.versions({"google"})
    assert f"numpy {version('numpy')}" in lines and f"protobuf {version('protobuf')}" in lines
    assert f"python {sys.version_info[0]}.{sys.version_info[1]}" in lines

    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(origin, "version", none)
    assert "torch is not there" in origin.versions(())


def test_the_search_for_imports_parses_no_prose():
    text = b'"""\nimport the goods\nfrom a import b c\n"""\n'
    assert not list(origin.imports(text, "entracte.x", is_package=False))


def test_the_commands_say_what_was_damaged_also_after_hydra(cache, capsys, monkeypatch):
    """Hydra's `disabled` logging disables every logger that it finds, and lets the root tell only
    errors."""
    from logging.config import dictConfig

    from entracte.cli.console import Bars

    dictConfig({"version": 1, "disable_existing_loggers": True})
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    logging.getLogger().manager._clear_cache()
    path = make(cache)
    (path / "note").unlink()
    with Bars():
        assert cache.folder("things", "aabb") is None
    said = " ".join(capsys.readouterr().out.split())
    assert "note: cache: an entry of things is damaged and made again" in said
    assert not logging.getLogger("entracte").handlers
