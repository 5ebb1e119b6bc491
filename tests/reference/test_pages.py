"""Packages loaded by pages: the same bits, exactly the pages' memory, and nothing else is read."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from hostile import MODEL, edit, operation
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutate
from packages import Maker

from entracte.clock.table import split
from entracte.devices import PagedDevice
from entracte.devices.reference import ReferenceDevice
from entracte.errors import RunError
from entracte.ir import ChunkFacts, Package
from entracte.reference import PackageError, package_weight_bytes
from entracte.reference.owned import PAGE_BYTES
from entracte.reference.pages import Datum, Extent, PagedWeights, cut, snapped, stretches
from entracte.reference.reader import read_program

WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
C = cto.coreml


def package_of(path: Path, functions: tuple[str, ...] = ("main",)) -> Package:
    return Package(
        chunk="c", path=path.name, digest="", file_bytes=1,
        weight_bytes=package_weight_bytes(path), activation_bytes=0, precision="", compression="",
        inputs=(), outputs=(), functions=functions,
    )  # fmt: skip


def sizes_of(package: Package, pages: int) -> list[int]:
    """As the online rule cuts it."""
    size = package.weight_bytes
    facts = ChunkFacts(id="c", weight_bytes=size, activation_bytes=0, load_s=0.0, exec_s=0.0)
    return [u.size_bytes for u in split(facts, pages)]


def whole(path: Path, inputs, package: Package, function: str = "main"):
    device = ReferenceDevice()
    handle = device.load(package, path.parent)
    return device.call(handle, function, inputs)


def equal(found, wanted) -> None:
    assert found.keys() == wanted.keys() and found
    for name, value in found.items():
        np.testing.assert_array_equal(value.view(np.uint8), wanted[name].view(np.uint8))


# ---------------------------------------------------------------- the same bits


def _module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(4, 24, 3), torch.nn.Flatten(2), torch.nn.Linear(36, 40),
        torch.nn.Linear(40, 200),
    )  # fmt: skip


def _compressed(make: Maker, ios: int, config) -> Path:
    path = make.traced(_module(), (torch.randn(1, 4, 8, 8),), ios)
    model = ct.models.MLModel(str(path), skip_model_load=True)
    wrapped = C.OptimizationConfig(global_config=config)
    if isinstance(config, C.OpLinearQuantizerConfig):
        return make._save(C.linear_quantize_weights(model, wrapped))
    return make._save(C.palettize_weights(model, wrapped))


MADE = {
    "fp16": lambda make: make.traced(_module(), (torch.randn(1, 4, 8, 8),), 18),
    "fp32": lambda make: make.traced(_module(), (torch.randn(1, 4, 8, 8),), 17, "fp32"),
    "int8": lambda make: _compressed(
        make, 16, C.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    ),
    "int4-block": lambda make: _compressed(
        make,
        18,
        C.OpLinearQuantizerConfig(
            mode="linear_symmetric",
            dtype="int4",
            granularity="per_block",
            block_size=4,
            weight_threshold=0,
        ),
    ),
    "palette4": lambda make: _compressed(
        make, 16, C.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)
    ),
}


@pytest.mark.parametrize("pages", [1, 3, 50])
@pytest.mark.parametrize("kind", sorted(MADE))
def test_outputs_are_those_of_a_whole_load(kind, pages, make):
    path = MADE[kind](make)
    package, inputs = package_of(path), {"x0": np.random.default_rng(0).random((1, 4, 8, 8))}
    wanted = whole(path, inputs, package)
    device, order = ReferenceDevice(), list(range(pages))
    handle = device.open(package, path.parent, sizes_of(package, pages))
    for turn in range(3):
        random.Random(turn).shuffle(order)
        for page in order[turn:]:
            device.load_page(handle, page)
        for page in order[:turn]:
            device.load_page(handle, page)
        equal(device.call(handle, "main", inputs), wanted)
        for page in order:
            device.free_page(handle, page)
    device.free(handle)
    assert device.resident_bytes() == 0


def test_functions_share_the_pages(make):
    """Both read one weight; a function is switched without a page being read again."""
    weight = np.random.default_rng(0).standard_normal((3000,)).astype(np.float32)
    both = ct.utils.MultiFunctionDescriptor()
    for name, build in (
        ("main", lambda x: mb.add(x=x, y=weight)),
        ("merged", lambda x: mb.sub(x=mb.mul(x=x, y=x), y=weight)),
    ):
        both.add_function(str(make.mil(build, [((3000,), "fp32")], 18)), "main", name)
    both.default_function_name = "main"
    path = make.folder / "both.mlpackage"
    ct.utils.save_multifunction(both, str(path))
    package = package_of(path, ("main", "merged"))
    assert package.weight_bytes == weight.nbytes
    inputs = {"x0": np.arange(3000, dtype=np.float32)}
    device = ReferenceDevice()
    handle = device.open(package, path.parent, sizes_of(package, 4), "merged")
    for page in range(4):
        device.load_page(handle, page)
    for function in ("merged", "main", "merged"):
        equal(
            device.call(handle, function, inputs), whole(path, inputs, package, function)
        )  # fmt: skip
    assert device.resident_bytes() == weight.nbytes


def test_what_is_no_view_is_made_again_with_the_pages(make):
    """torch has no unsigned 16-bit numbers: such a constant is a copy, and goes with its page."""
    indices = np.random.default_rng(0).integers(0, 4000, 4000).astype(np.uint16)
    path = make.mil(lambda x: mb.gather(x=x, indices=indices), [((4000,), "fp32")], 18)
    package, inputs = package_of(path), {"x0": np.arange(4000, dtype=np.float32)}
    assert package.weight_bytes == indices.nbytes
    wanted = whole(path, inputs, package)
    device = ReferenceDevice()
    handle = device.open(package, path.parent, sizes_of(package, 3))
    for _ in range(2):
        for page in (2, 0, 1):
            device.load_page(handle, page)
        assert handle.weights.copied
        equal(device.call(handle, "main", inputs), wanted)
        device.free_page(handle, 1)
        assert not handle.functions, "the copy is there although a page is not"
        device.free_page(handle, 0)
        device.free_page(handle, 2)


def test_a_package_opened_again_is_not_prepared_again(make):
    path = MADE["fp16"](make)
    package = package_of(path)
    device, sizes = ReferenceDevice(), sizes_of(package, 2)
    first = device.open(package, path.parent, sizes)
    second = device.open(package, path.parent, sizes)
    assert first is not second
    for page in (0, 1):
        device.load_page(first, page)
    prepared = first.functions["main"]
    device.free(first)
    again = device.open(package, path.parent, sizes)
    assert again.functions["main"] is prepared
    assert device.open(package, path.parent, sizes_of(package, 3)) is not first


# ---------------------------------------------------------------- memory and reading


def _heavy(make: Maker) -> Path:
    """8 MiB of fp32 weights in four records."""
    numbers = np.random.default_rng(0)
    weights = [numbers.standard_normal((512, 1024)).astype(np.float32) for _ in range(4)]

    def build(x):
        parts = [mb.matmul(x=x, y=w) for w in weights]
        return mb.add(x=mb.add(x=parts[0], y=parts[1]), y=mb.add(x=parts[2], y=parts[3]))

    return make.mil(build, [((1, 512), "fp32")], 17)


def anonymous_bytes() -> int:
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * PAGE_BYTES


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says it")
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("pages", [2, 7])
def test_memory_is_the_pages_that_are_there(make, direct, pages):
    """The ledger counts the pages' bytes; the system that and the blocks at their ends."""
    path = _heavy(make)
    package, device = package_of(path), ReferenceDevice(direct=direct)
    sizes = sizes_of(package, pages)
    handle = device.open(package, path.parent, sizes)
    begun, there = anonymous_bytes(), []

    def check() -> None:
        held = sum(sizes[p] for p in there)
        assert device.resident_bytes() == held
        # Headers of records are in no page's bytes, but in its memory.
        beyond = anonymous_bytes() - begun - held
        assert -PAGE_BYTES <= beyond <= (len(there) + 1) * PAGE_BYTES, beyond

    # Never all: a package that is whole is prepared, and Python's own memory is not meant here.
    order = [p for p in (3, 0, 6, 2, 1) if p < pages][: pages - 1]
    for page in order:
        device.load_page(handle, page)
        there.append(page)
        check()
    for page in reversed(order):
        device.free_page(handle, page)
        there.remove(page)
        check()
    device.free(handle)


def test_a_page_is_read_from_its_own_bytes(make, monkeypatch):
    path = _heavy(make)
    package = package_of(path)
    read: list[tuple[int, int]] = []
    system = os.preadv

    def preadv(descriptor, views, offset):
        got = system(descriptor, views, offset)
        read.append((offset, offset + got))
        return got

    device, sizes = ReferenceDevice(), sizes_of(package, 5)
    handle = device.open(package, path.parent, sizes)
    monkeypatch.setattr(os, "preadv", preadv)
    for page, size in enumerate(sizes):
        read.clear()
        device.load_page(handle, page)
        begin, end = sum(sizes[:page]), sum(sizes[: page + 1])
        # 64 bytes of header for the file and each record; whole blocks, the first of which may
        # have come with the page before.
        assert begin - PAGE_BYTES < read[0][0] <= begin + 64 * 5 + PAGE_BYTES
        assert end <= read[-1][1] <= end + 64 * 5 + PAGE_BYTES
        assert sum(b - a for a, b in read) <= size + 2 * PAGE_BYTES


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_order_of_loads_and_frees_leaves_the_files_bytes(heavy, seed):
    """Pages of a few bytes to several blocks; blocks that pages share come and go once."""
    path, file, program, weight_bytes = heavy
    rng = random.Random(seed)
    ends = sorted(rng.sample(range(weight_bytes), rng.choice((1, 3, 30, 300))))
    sizes = [b - a for a, b in zip([0, *ends], [*ends, weight_bytes], strict=True)]
    weights = PagedWeights(program, sizes)
    there: set[int] = set()
    for _ in range(60):
        page = rng.randrange(len(sizes))
        (weights.free if page in there else weights.load)(page)
        there ^= {page}
        assert weights.resident_bytes == sum(sizes[p] for p in there)
    for page in set(range(len(sizes))) - there:
        weights.load(page)
    assert weights.complete
    for (_, offset), raw in weights._raw.items():
        start = int.from_bytes(file[offset + 16 : offset + 24], "little")
        assert raw.numpy().tobytes() == file[start : start + raw.numel()]
    weights.rest()
    assert not any(weights._shared.values()), "a block is held although no page is there"
    assert not weights._memory.bytes[::PAGE_BYTES].any()


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """A small package with several records: its path, file, program and bytes."""
    numbers = np.random.default_rng(0)
    weights = [numbers.standard_normal(n).astype(np.float32) for n in (700, 5000, 1030, 17)]

    def build(x):
        for weight in weights:
            x = mb.add(x=x, y=mb.reduce_max(x=mb.mul(x=weight, y=x), axes=[0], keep_dims=True))
        return x

    path = Maker(tmp_path_factory.mktemp("pages")).mil(build, [((1,), "fp32")], 17)
    program = read_program(path)
    return path, (path / WEIGHTS).read_bytes(), program, package_weight_bytes(path)


# ---------------------------------------------------------------- cutting


def test_pages_are_cut_from_the_data_alone():
    data = [Datum("a", 128, 1128), Datum("a", 1216, 9000), Datum("a", 90_000, 90_010)]
    found = stretches(data)
    assert [(s.start, s.stop, s.at) for s in found] == [(0, 9000, 0), (86_016, 90_010, 12_288)]
    places = [(0, 128, 1128), (0, 1216, 9000), (1, 16_272, 16_282)]
    assert cut(places, [1000, 0, 7789, 5]) == (
        (Extent(0, 128, 1128),),
        (),
        (Extent(0, 1216, 9000), Extent(1, 16_272, 16_277)),
        (Extent(1, 16_277, 16_282),),
    )
    assert cut(places, [1001, 7793])[0] == (Extent(0, 128, 1217),)


def test_large_pages_end_where_huge_pages_do():
    """Data of 6 MiB behind 192 bytes of headers: the headers' bytes go to the last page."""
    mib = 2**20
    pages = cut([(0, 128, 3 * mib), (0, 3 * mib + 64, 6 * mib + 192)], [2 * mib] * 3)
    assert [s.low for (s,) in pages] == [128, 2 * mib + 128, 4 * mib + 192]
    spans = snapped(pages)
    assert [(s.low, s.high) for (s,) in spans] == [
        (128, 2 * mib),
        (2 * mib, 4 * mib),
        (4 * mib, 6 * mib + 192),
    ]
    # Not where data lies far from there, or in another stretch; and no page is emptied.
    for kept in (
        [(Extent(0, 0, 3 * mib),), (Extent(0, 3 * mib, 5 * mib),)],
        [(Extent(0, 0, 2 * mib + 64),), (), (Extent(0, 2 * mib + 64, 3 * mib),)],
        [(Extent(0, 0, 2 * mib + 64),), (Extent(1, 4 * mib, 5 * mib),)],
        [(Extent(0, 2 * mib, 2 * mib + 8),), (Extent(0, 2 * mib + 8, 3 * mib),)],
    ):
        assert list(snapped(kept)) == kept


# ---------------------------------------------------------------- refusals


def test_the_reference_device_can_load_pages():
    assert isinstance(ReferenceDevice(), PagedDevice)


def test_pages_that_are_not_the_packages_are_refused(heavy):
    path, _, _, size = heavy
    package, device = package_of(path), ReferenceDevice()
    for sizes in ([size - 1], [size, 1], [size + 1, -1], []):
        with pytest.raises(PackageError, match=f"holds {size} bytes of weights, its"):
            device.open(package, path.parent, sizes)
    assert device.resident_bytes() == 0


def test_calls_and_pages_out_of_turn_are_refused(heavy):
    path, _, _, size = heavy
    package, device = package_of(path), ReferenceDevice()
    handle = device.open(package, path.parent, sizes_of(package, 3))
    inputs = {"x0": np.ones(1, np.float32)}
    device.load_page(handle, 0)
    device.load_page(handle, 2)
    with pytest.raises(RunError, match="without its page 1"):
        device.call(handle, "main", inputs)
    with pytest.raises(PackageError, match="page 2 is loaded twice"):
        device.load_page(handle, 2)
    with pytest.raises(PackageError, match="page 1 is freed but not loaded"):
        device.free_page(handle, 1)
    for page in (3, -1):
        with pytest.raises(PackageError, match="is none of 3"):
            device.load_page(handle, page)


def test_a_file_that_ends_early_is_refused_and_holds_nothing(heavy, tmp_path):
    path = tmp_path / "p.mlpackage"
    shutil.copytree(heavy[0], path)
    package, device = package_of(path), ReferenceDevice()
    handle = device.open(package, tmp_path, sizes_of(package, 3))
    device.load_page(handle, 0)
    os.truncate(path / WEIGHTS, 12_000)
    with pytest.raises(PackageError, match="weight.bin: the file ends early"):
        device.load_page(handle, 2)
    assert device.resident_bytes() == sizes_of(package, 3)[0]
    with pytest.raises(PackageError, match="lie outside the file"):
        device.open(package, tmp_path, sizes_of(package, 2))


def test_two_records_on_the_same_data_are_refused(heavy, tmp_path):
    """Whole loads take them; but then the data is less than the plan says the weights are."""
    path = tmp_path / "p.mlpackage"
    shutil.copytree(heavy[0], path)

    def change(block):
        # The second multiplication reads the first one's numbers, by a record of its own.
        file = bytearray((path / WEIGHTS).read_bytes())
        record = file[64:128]
        (path / WEIGHTS).write_bytes(file + record)
        constant = [o for o in block.operations if o.type == "const"]
        blobs = [
            o.attributes["val"].blobFileValue
            for o in constant
            if o.attributes["val"].WhichOneof("value") == "blobFileValue"
        ]
        twin = next(b for b in blobs if b.offset == 64)
        added = block.operations.add()
        added.CopyFrom(next(o for o in constant if o.attributes["val"].blobFileValue is twin))
        added.outputs[0].name = "twin"
        added.attributes["val"].blobFileValue.offset = len(file)
        assert operation(block, "mul")

    edit(path, change)
    package = package_of(path)
    assert package.weight_bytes > heavy[3]
    with pytest.raises(PackageError, match="two records share the data at 128"):
        ReferenceDevice().open(package, tmp_path, [package.weight_bytes])


def test_damaged_packages_give_a_package_error(heavy, tmp_path):
    """In the model and in the weights' records; whatever is still right runs."""
    rng, outcomes = np.random.default_rng(0), {"run": 0, "refused": 0}
    model, file = (heavy[0] / MODEL).read_bytes(), heavy[1]
    path = tmp_path / "p.mlpackage"
    shutil.copytree(heavy[0], path)
    for n in range(150):
        if n % 2:
            (path / MODEL).write_bytes(mutate(model, rng))
        else:
            damaged = bytearray(file)
            for _ in range(rng.integers(1, 4)):
                # Within the records' headers: elsewhere a byte is a number like any other.
                at = int(rng.choice([64, 2944, 23_104, 27_328])) + int(rng.integers(0, 32))
                damaged[at % len(damaged)] = int(rng.integers(0, 256))
            (path / MODEL).write_bytes(model)
            (path / WEIGHTS).write_bytes(damaged)
        device = ReferenceDevice()
        try:
            package = package_of(path)
            handle = device.open(package, tmp_path, sizes_of(package, 4))
            for page in range(4):
                device.load_page(handle, page)
            device.call(handle, "main", {"x0": np.ones(1, np.float32)})
            outcomes["run"] += 1
        except PackageError:
            outcomes["refused"] += 1
        (path / WEIGHTS).write_bytes(file)
    assert min(outcomes.values()) > 10, outcomes
