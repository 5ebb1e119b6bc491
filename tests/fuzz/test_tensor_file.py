"""Weight files: what is read is what the safetensors library reads, and the rest has a name."""

import json
import os
import struct
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from entracte.errors import ConfigError
from entracte.store.cache import Cache, DigestMemo
from entracte.store.tensor_file import Stored, read_header
from entracte.trace.weights import FileWeights, weight_source

SOUND = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
         "b": {"dtype": "F16", "shape": [3], "data_offsets": [16, 22]}}  # fmt: skip


def written(path, header, data: bytes = bytes(22), length: int | None = None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def changed(key: str, **fields):
    return {k: {**v, **fields} if k == key else dict(v) for k, v in SOUND.items()}


def test_a_sound_file_is_read_as_the_library_reads_it(tmp_path):
    kinds = (
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.bool,
        torch.float8_e5m2,
    )
    tensors = {f"t{k}": torch.zeros(k, 2, dtype=d) for k, d in enumerate(kinds)}
    save_file(tensors, tmp_path / "x", metadata={"format": "pt"})
    with safe_open(tmp_path / "x", framework="pt") as file:
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        said = {k: Stored(s.get_dtype(), tuple(s.get_shape())) for k, s in slices.items()}
    assert read_header(tmp_path / "x") == said


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (changed("a", dtype="F64"), "'a' what cannot be"),
        (changed("a", dtype="f32"), "'a' what cannot be"),
        (changed("a", dtype=None), "'a' what cannot be"),
        (changed("a", shape=[2, -2]), "'a' what cannot be"),
        (changed("a", shape=[2**32, 2**32]), "'a' what cannot be"),
        (changed("a", shape=[2.0, 2]), "'a' what cannot be"),
        (changed("a", data_offsets=[16, 0]), "'a' what cannot be"),
        (changed("a", data_offsets=[0]), "'a' what cannot be"),
        (changed("b", data_offsets=[14, 20]), r"'b' \(14 to 20\) overlap"),
        (changed("b", data_offsets=[18, 24]), r"'b' \(18 to 24\) leave a gap"),
        ({"a": SOUND["a"]}, "take 16 bytes, the file has 22"),
        ({"a": {"dtype": "F32"}, "b": SOUND["b"]}, "'a' what cannot be"),
        ([], "no table of tensors"),
        (b"{x", "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_what_the_library_refuses_is_refused_with_its_place(header, words, tmp_path):
    path = written(tmp_path / "x.safetensors", header)
    with pytest.raises(ConfigError, match=f"x.safetensors: .*{words}"):
        read_header(path)
    with pytest.raises(SafetensorError), safe_open(path, framework="pt"):
        pass


def test_a_key_that_stands_twice_is_refused(tmp_path):
    """Readers differ on which one counts."""
    entry = json.dumps(SOUND["a"])
    path = written(tmp_path / "x", f'{{"a": {entry}, "a": {entry}}}'.encode(), bytes(16))
    with pytest.raises(ConfigError, match="'a' stands in it twice"):
        read_header(path)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_refused_at_once(length, tmp_path):
    path = written(tmp_path / "x", SOUND, length=length)
    with pytest.raises(ConfigError, match="length is wrong"):
        read_header(path)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (b"\x80\x02}q\x00" + bytes(60), "pickle"),
        (b"<!DOCTYPE html><html>" + bytes(60), "web page"),
        (b"GGUF" + bytes(60), "GGUF"),
        (b"short", "only a part"),
    ],
)
def test_what_often_lies_there_instead_is_named(raw, words, tmp_path):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ConfigError, match=words):
        read_header(tmp_path / "x")


def test_no_file_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, words in (("pipe", "not a regular file"), ("folder", "Is a directory"),
                        ("loop", "cannot be read"), ("nothing", "No such file")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            read_header(tmp_path / name)


# ---------------------------------------------------------------- a folder of them


def traced(**shapes):
    """What the reader of weights asks of a traced stage."""
    record = SimpleNamespace(
        checkpoint="m", scales=(), owns=(), known_keys=(), functions=(), whole=(), buffers=(),
        ties=(),
    )  # fmt: skip
    return SimpleNamespace(
        record=record, key_of={n: n for n in shapes}, held={}, own={}, shapes=shapes,
        is_its_own=False,
        stage=SimpleNamespace(name="s"),
    )  # fmt: skip


def read(folder, tensors: dict[str, torch.Tensor]):
    stage = traced(**{n: tuple(t.shape) for n, t in tensors.items()})
    source = FileWeights(folder)
    source.check(stage)
    source.identity(stage, list(tensors), DigestMemo(Cache(folder / "cache")))
    return source.tensors(stage)


def test_a_key_in_two_shards_is_refused(tmp_path):
    (tmp_path / "m").mkdir()
    tensors = {"w": torch.ones(2)}
    save_file(tensors, tmp_path / "m" / "1.safetensors")
    assert torch.equal(read(tmp_path, tensors)["w"], torch.ones(2))
    save_file({"w": torch.zeros(2)}, tmp_path / "m" / "2.safetensors")
    with pytest.raises(ConfigError, match=r"2.safetensors: holds 'w', and so does .*1.safetensors"):
        read(tmp_path, tensors)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int8, torch.float8_e4m3fn, torch.bool])
def test_weights_without_their_scales_are_refused(dtype, tmp_path):
    """Codes of a quantized checkpoint would be taken for the numbers themselves."""
    save_file({"w": torch.ones(2).to(dtype)}, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="'w' holds .*, weights are one of F64, F32, F16, BF16"):
        read(tmp_path, {"w": torch.ones(2)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_is_refused(dtype, tmp_path):
    tensor = torch.ones(2000, dtype=dtype)
    save_file({"w": tensor}, tmp_path / "m.safetensors")
    read(tmp_path, {"w": tensor})
    tensor[1234] = float("nan")
    save_file({"w": tensor}, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="m.safetensors: 'w' holds NaN"):
        read(tmp_path, {"w": tensor})


@pytest.mark.parametrize(
    "spec",
    ["random:", "random:x", "random:²", "random:-1", "random:" + "9" * 30, "package:", "package:..",
     "package:no.such/x", "package:json/x", "~nobody/x", "a\0b", "a" * 5000, "nowhere"],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(spec):
    with pytest.raises(ConfigError, match="pipeline.weights"):
        weight_source(spec)
