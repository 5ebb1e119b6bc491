"""Folders of weights as libraries publish them, and modules built for them without numbers.

Files are written by transformers, diffusers and torch; right values are what these libraries read
out of them, or what they were given.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from entracte.errors import ConfigError
from entracte.graphs import Graph, Input, on_meta
from entracte.ir import DType, Pipeline, Port, Stage, StageKind
from entracte.lower.backend import CORE_ML
from entracte.store import unpickle_child
from entracte.store.cache import Cache, DigestMemo
from entracte.store.published import published
from entracte.trace.fp8 import reach
from entracte.trace.measure import trace_stage
from entracte.trace.traced import Traced
from entracte.trace.weights import FileWeights, PipelineWeights, weight_source

T5 = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=99)
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 99, "max_position_embeddings": 8,
        "bos_token_id": 1, "eos_token_id": 2, "projection_dim": 16}  # fmt: skip
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
          "num_attention_heads": 4, "image_size": 8, "patch_size": 4,
          "projection_dim": 16}  # fmt: skip
QWEN = Qwen2Config(hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                   num_attention_heads=4, num_key_value_heads=2, vocab_size=99,
                   tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)  # fmt: skip
WAN = {"patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12,
       "in_channels": 4, "out_channels": 4, "text_dim": 16, "freq_dim": 16, "ffn_dim": 32,
       "num_layers": 1, "rope_max_seq_len": 32}  # fmt: skip

MODELS: dict[str, Callable[[], nn.Module]] = {
    "clip": lambda: CLIPTextModel(CLIPTextConfig(**TEXT)),
    "qwen2": lambda: Qwen2ForCausalLM(QWEN),
    "t5": lambda: T5EncoderModel(T5),
    "wan": lambda: WanTransformer3DModel(**WAN),
}


# ---------------------------------------------------------------- on_meta


def tied(module: nn.Module) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


@pytest.mark.parametrize("name", MODELS)
def test_a_module_on_meta_is_the_module_without_its_parameters_numbers(name: str) -> None:
    whole, light = MODELS[name]().eval(), on_meta(MODELS[name])
    parameters = dict(whole.named_parameters(remove_duplicate=False))
    found = dict(light.named_parameters(remove_duplicate=False))
    assert {n: (p.shape, p.dtype) for n, p in found.items()} == {
        n: (p.shape, p.dtype) for n, p in parameters.items()
    }
    assert all(p.device.type == "meta" and not p.requires_grad for p in found.values())
    assert tied(light) == tied(whole)
    assert bool(tied(whole)) == (name in ("qwen2", "t5"))
    buffers = dict(whole.named_buffers(remove_duplicate=False))
    assert bool(buffers) == (name != "t5")
    assert dict(light.named_buffers(remove_duplicate=False)).keys() == buffers.keys()
    for key, buffer in buffers.items():
        assert torch.equal(light.get_buffer(key), buffer), key
    assert not light.training


class Tied(nn.Module):
    """A parameter that is made first and registered twice, a list, a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.Parameter(torch.randn(4, 4))
        self.a, self.b = shared, nn.Linear(4, 4)
        self.b.weight = shared
        self.several = nn.ParameterList([nn.Parameter(torch.ones(2)), shared])
        self._parameters["past"] = nn.Parameter(torch.ones(3))
        self.table = torch.arange(4)
        self.deep = nn.LSTM(4, 4)


def test_ties_and_what_is_put_there_otherwise() -> None:
    light = on_meta(Tied)
    assert tied(light) == [["a", "b.weight", "several.1"]] == tied(Tied())
    assert all(p.device.type == "meta" for p in light.parameters())
    assert torch.equal(light.table, torch.arange(4))


def test_modules_are_built_as_ever_afterwards() -> None:
    with pytest.raises(ZeroDivisionError):
        on_meta(lambda: nn.Linear(1 // 0, 1))
    assert nn.Linear(2, 2).weight.device.type == "cpu"


# ---------------------------------------------------------------- traced stages


class Text(nn.Module):
    """One output, no options: what a stage wants."""

    def __init__(self, model: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.model = model()

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.model(input_ids=ids).last_hidden_state,)


class Video(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = WanTransformer3DModel(**WAN)

    def forward(self, z: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.model(z, t, text, return_dict=False)[0]


def trace(graph: Graph) -> Traced:
    stage = Stage(name="stage", kind=StageKind.GRAPH, op="toy", precision="fp32")
    kinds = {"float": DType.FP32, "int": DType.INT32}
    ports = {i.name: Port(i.name, i.shape, kinds[i.kind]) for i in graph.inputs}
    return trace_stage(stage, graph, ports, None, CORE_ML)


IDS = (Input("ids", (1, 8), "int"),)


@pytest.fixture(scope="module")
def t5() -> Traced:
    module = on_meta(lambda: Text(MODELS["t5"]))
    return trace(Graph(module, IDS, ("y",), "text_encoder", (("model.", ""),)))


@pytest.fixture(scope="module")
def wan() -> Traced:
    inputs = (Input("z", (1, 4, 2, 4, 4)), Input("t", (1,)), Input("text", (1, 3, 16)))
    owns = ("",)
    return trace(Graph(on_meta(Video), inputs, ("y",), "transformer", (("model.", ""),), owns=owns))


def read(folder: Path, traced: Traced, cache: Path) -> dict[str, torch.Tensor]:
    """Key in the library's module -> value, of all that the stage uses."""
    source = FileWeights(folder, Cache(cache))
    source.look("stage", str(traced.record.checkpoint))
    source.check(traced)
    names = [n for n in traced.key_of if n not in traced.held]
    source.identity(traced, names, DigestMemo(Cache(cache)))
    found = source.tensors(traced, names)
    assert set(found) == set(names)
    return {n.removeprefix("model."): t for n, t in found.items()}


def same(found: dict[str, torch.Tensor], model: nn.Module) -> None:
    """Every value is the library's, in fp32."""
    state = model.state_dict()
    assert found
    for name, value in found.items():
        assert value.dtype is torch.float32 and torch.equal(value, state[name].float()), name


SAVES: dict[str, dict[str, Any]] = {
    "whole": {},
    "shards": {"max_shard_size": "20KB"},
    "variant": {"variant": "fp16"},
    "shards-of-a-variant": {"variant": "fp16", "max_shard_size": "20KB"},
}
PICKLED: dict[str, dict[str, Any]] = {
    "pickled": {"safe_serialization": False},
    "pickled-shards-of-a-variant": {
        "safe_serialization": False, "variant": "fp16", "max_shard_size": "50KB",
    },
}  # fmt: skip


@pytest.fixture
def said(log: list[str]) -> list[str]:
    """What the compiler says in its log."""
    return log


@pytest.mark.parametrize("how", SAVES)
def test_transformers_folders(how: str, t5: Traced, tmp_path: Path) -> None:
    """The encoder out of the whole model, whose tied embedding the files hold once."""
    whole = T5ForConditionalGeneration(T5)
    if "variant" in SAVES[how]:
        whole = whole.half()
    whole.save_pretrained(tmp_path / "text_encoder", **SAVES[how])
    files = sorted(p.name for p in (tmp_path / "text_encoder").glob("*.safetensors"))
    assert (len(files) > 1) == ("max_shard_size" in SAVES[how])
    variant = {"variant": "fp16"} if "variant" in SAVES[how] else {}
    theirs = T5EncoderModel.from_pretrained(tmp_path / "text_encoder", **variant)
    same(read(tmp_path, t5, tmp_path / "cache"), theirs)


@pytest.mark.parametrize(
    "how", [*SAVES, "pickled", pytest.param("pickled-shards-of-a-variant", marks=pytest.mark.slow)]
)
def test_diffusers_folders(how: str, wan: Traced, tmp_path: Path) -> None:
    made = WanTransformer3DModel(**WAN)
    made.save_pretrained(tmp_path / "transformer", **(SAVES | PICKLED)[how])
    same(read(tmp_path, wan, tmp_path / "cache"), made)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = AutoencoderKL(block_out_channels=(8,), norm_num_groups=2, latent_channels=2)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.model.decode(z, return_dict=False)[0]


def test_the_decoder_out_of_a_whole_vae(tmp_path: Path) -> None:
    Decoder().model.save_pretrained(tmp_path / "vae", max_shard_size="20KB")
    owns = ("decoder.", "post_quant_conv.")
    inputs = (Input("z", (1, 2, 4, 4)),)
    traced = trace(Graph(on_meta(Decoder), inputs, ("y",), "vae", (("model.", ""),), owns=owns))
    theirs = AutoencoderKL.from_pretrained(tmp_path / "vae", low_cpu_mem_usage=False)
    same(read(tmp_path, traced, tmp_path / "cache"), theirs)


def test_a_bf16_folder(wan: Traced, tmp_path: Path) -> None:
    made = WanTransformer3DModel(**WAN).to(torch.bfloat16)
    made.save_pretrained(tmp_path / "transformer")
    same(read(tmp_path, wan, tmp_path / "cache"), made)


def test_an_encoder_inside_a_full_model_under_a_prefix(tmp_path: Path) -> None:
    whole = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION))
    whole.save_pretrained(tmp_path / "clip")
    module = on_meta(lambda: Text(MODELS["clip"]))
    keys, owns = (("model.", "text_model."),), ("text_model.",)
    traced = trace(Graph(module, IDS, ("y",), "clip", keys, owns=owns))
    same(read(tmp_path, traced, tmp_path / "cache"), whole.text_model)


def test_clip_s_keys_before_transformers_5(tmp_path: Path) -> None:
    """Published files of Stable Diffusion and Flux; one of both encoders is not guessed at."""
    made = MODELS["clip"]()
    made.save_pretrained(tmp_path / "text_encoder")
    (file,) = (tmp_path / "text_encoder").glob("*.safetensors")
    state = load_file(file)
    save_file({f"text_model.{k}": v for k, v in state.items()}, file, {"format": "pt"})
    theirs = CLIPTextModel.from_pretrained(tmp_path / "text_encoder")
    module = on_meta(lambda: Text(MODELS["clip"]))
    traced = trace(Graph(module, IDS, ("y",), "text_encoder", (("model.", ""),)))
    same(read(tmp_path, traced, tmp_path / "cache"), theirs)
    both = {f"{name}_model.{k}": v.clone() for name in ("text", "vision") for k, v in state.items()}
    save_file(both, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"missing.*key_map"):
        read(tmp_path, traced, tmp_path / "cache")


def test_an_autoencoder_s_attention_before_it_was_renamed(tmp_path: Path) -> None:
    """As in Stable Diffusion 1.5's folder."""
    made = Decoder().model
    made.save_pretrained(tmp_path / "vae")
    (file,) = (tmp_path / "vae").glob("*.safetensors")
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.",
             ".to_out.0.": ".proj_attn."}  # fmt: skip
    state, count = {}, 0
    for key, value in load_file(file).items():
        before = next((key.replace(n, o) for n, o in names.items() if n in key), key)
        state[before], count = value, count + (before != key)
    assert count >= 8
    save_file(state, file, {"format": "pt"})
    theirs = AutoencoderKL.from_pretrained(tmp_path / "vae", low_cpu_mem_usage=False)
    inputs, owns = (Input("z", (1, 2, 4, 4)),), ("decoder.", "post_quant_conv.")
    traced = trace(Graph(on_meta(Decoder), inputs, ("y",), "vae", (("model.", ""),), owns=owns))
    same(read(tmp_path, traced, tmp_path / "cache"), theirs)


def test_the_module_s_own_ties_name_what_a_file_leaves_out(t5: Traced, tmp_path: Path) -> None:
    """Either name of the embedding will do."""
    model = T5EncoderModel(T5)
    for name, gone in (("shared", "encoder.embed_tokens"), ("encoder.embed_tokens", "shared")):
        state = {k: v.clone() for k, v in model.state_dict().items()}
        del state[f"{gone}.weight"]
        save_file(state, tmp_path / "text_encoder.safetensors")
        assert f"{name}.weight" in state
        same(read(tmp_path, t5, tmp_path / "cache"), model)


def test_a_legacy_spelling_of_variants(wan: Traced, tmp_path: Path) -> None:
    """`BASE-00001-of-00002.fp16.safetensors`, with an index of either spelling."""
    made = WanTransformer3DModel(**WAN)
    place = tmp_path / "transformer"
    made.save_pretrained(place, variant="fp16", max_shard_size="20KB")
    (index,) = place.glob("*.index.fp16.json")
    found = json.loads(index.read_text())
    index.unlink()

    def legacy(name: str) -> str:
        return name.replace(".fp16-", "-").replace(".safetensors", ".fp16.safetensors")

    for file in list(place.glob("*.safetensors")):
        file.rename(place / legacy(file.name))
    found["weight_map"] = {k: legacy(v) for k, v in found["weight_map"].items()}
    for spelling in ("{}.safetensors.fp16.index.json", "{}.fp16.safetensors.index.json"):
        index = place / spelling.format("diffusion_pytorch_model")
        index.write_text(json.dumps(found))
        same(read(tmp_path, wan, tmp_path / "cache"), made)
        index.unlink()


@pytest.mark.parametrize("place", ["text_encoder", "text_encoder/text_encoder"])
def test_a_variant_behind_an_underscore(
    t5: Traced, tmp_path: Path, said: list[str], place: str
) -> None:
    """As Stable Cascade's files are called; without one comes first here too."""
    model = MODELS["t5"]()
    file = tmp_path / f"{place}_bf16.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file({k: v.clone() for k, v in model.state_dict().items()}, file)
    same(read(tmp_path, t5, tmp_path / "cache"), model)
    assert "read is the variant 'bf16'" in said[0]
    other = MODELS["t5"]()
    state = {k: v.clone() for k, v in other.state_dict().items()}
    save_file(state, tmp_path / f"{place}.safetensors")
    same(read(tmp_path, t5, tmp_path / "cache"), other)


def test_without_a_variant_before_one_and_it_is_said(
    wan: Traced, tmp_path: Path, said: list[str]
) -> None:
    first, other = WanTransformer3DModel(**WAN), WanTransformer3DModel(**WAN)
    other.save_pretrained(tmp_path / "transformer", variant="fp16")
    same(read(tmp_path, wan, tmp_path / "cache"), other)
    assert "variant 'fp16'" in said.pop()
    first.save_pretrained(tmp_path / "transformer")
    same(read(tmp_path, wan, tmp_path / "cache"), first)
    assert "not fp16" in said.pop()


def test_variants_among_which_nothing_chooses_are_refused(wan: Traced, tmp_path: Path) -> None:
    for variant in ("ema", "non_ema"):
        WanTransformer3DModel(**WAN).save_pretrained(tmp_path / "transformer", variant=variant)
    with pytest.raises(ConfigError, match="variants ema, non_ema, and none without"):
        read(tmp_path, wan, tmp_path / "cache")


# ---------------------------------------------------------------- pickles


NESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer_states": [{}]},
    "ema": lambda state: {"model": {k: v * 2 for k, v in state.items()}, "ema": state, "step": 1},
    "module": lambda state: {"module": state},
    "model.state_dict": lambda state: {"model": {"state_dict": state}},
}


def unpickled(path: Path) -> tuple[dict[str, Any], str, list[str]]:
    """What the child finds, without its walls."""
    return unpickle_child._tensors(unpickle_child._loaded(torch, str(path)), torch)


@pytest.mark.parametrize("nest", NESTS)
def test_nested_state_dicts(nest: str, tmp_path: Path) -> None:
    state = dict(T5EncoderModel(T5).state_dict())
    torch.save(NESTS[nest](state), tmp_path / "x.pt")
    tensors, where, left_out = unpickled(tmp_path / "x.pt")
    assert where == nest and not left_out and tensors.keys() == state.keys()
    assert all(torch.equal(tensors[k], v) for k, v in state.items())


def test_the_old_format_of_torch_is_read_once_and_it_is_said_what(
    t5: Traced, tmp_path: Path, said: list[str]
) -> None:
    model = T5EncoderModel(T5).bfloat16()
    nested = {"model": {**model.state_dict(), "step": 7}, "epoch": 1}
    torch.save(nested, tmp_path / "text_encoder.ckpt", _use_new_zipfile_serialization=False)
    same(read(tmp_path, t5, tmp_path / "cache"), model)
    assert "under 'model'" in said[0] and "not read: step" in said[1]
    entries = list((tmp_path / "cache").rglob("weights.safetensors"))
    before = entries[0].stat().st_mtime_ns
    same(read(tmp_path, t5, tmp_path / "cache"), model)
    assert [e.stat().st_mtime_ns for e in entries] == [before]


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def refused(folder: Path, traced: Traced) -> str:
    """The message, of the first look: before anything is traced."""
    with pytest.raises(ConfigError) as caught:
        FileWeights(folder, Cache(folder / "cache")).look("stage", str(traced.record.checkpoint))
    assert not list((folder / "cache").rglob("weights.safetensors"))
    return str(caught.value)


def test_a_pickle_that_calls_is_refused_and_does_not(t5: Traced, tmp_path: Path) -> None:
    place, mark = tmp_path / "text_encoder.pt", tmp_path / "mark"
    torch.save({"w": torch.ones(2), "x": Evil(os.system, f"touch {mark}")}, place)
    message = refused(tmp_path, t5)
    assert f"{place}: " in message and "system" in message and "safetensors" in message
    assert not mark.exists()


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"version https://git-lfs.github.com/spec/v1\n", "lfs pull"), (b"", "empty"),
     (b"<html>", "web page"), (b"GGUF" + bytes(60), "GGUF")],
)  # fmt: skip
def test_files_that_are_no_pickles(raw: bytes, words: str, t5: Traced, tmp_path: Path) -> None:
    (tmp_path / "text_encoder.bin").write_bytes(raw)
    message = refused(tmp_path, t5)
    assert words in message and message.startswith(f"{tmp_path}/text_encoder.bin: ")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: torch.save(torch.ones(3), path), "no tensors by name"),
        (lambda path: torch.save({"a": 1, "b": "c"}, path), "no tensors by name, but a, b"),
        (lambda path: torch.save({"w": torch.ones(2).to_sparse()}, path), "'w' is torch.sparse"),
        (lambda path: torch.save({"w": torch.ones(2, device="meta")}, path), "'w' holds no data"),
        (lambda path: torch.save(nn.Linear(2, 2), path), "holds more than tensors"),
        (lambda path: torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path), "TorchScript"),
        (lambda path: path.write_bytes(b"\x80\x04K\x01."), "checkpoint"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_checkpoint(make: Any, words: str, tmp_path: Path) -> None:
    make(tmp_path / "x.bin")
    with pytest.raises(unpickle_child.Refused, match=words):
        unpickled(tmp_path / "x.bin")


def test_a_truncated_pickle(tmp_path: Path) -> None:
    place = tmp_path / "text_encoder.bin"
    torch.save(T5EncoderModel(T5).state_dict(), place)
    place.write_bytes(place.read_bytes()[:-1000])
    with pytest.raises(unpickle_child.Refused, match="download it again"):
        unpickled(place)


def test_an_index_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    os.mkfifo(tmp_path / "text" / "model.safetensors.index.json")
    with pytest.raises(ConfigError, match=r"index\.json: not a regular file; give the file itself"):
        published("stage", tmp_path, "text")


def test_a_pickle_of_views_fills_no_disk(t5: Traced, tmp_path: Path) -> None:
    """12 KB that would be 10 GiB of safetensors: each tensor is one number again and again."""
    one = torch.zeros(1).expand(64 << 20)
    torch.save({f"w{i}": one for i in range(40)}, tmp_path / "text_encoder.pt")
    assert "more than three times its size" in refused(tmp_path, t5)


WALLS = """
import sys
sys.argv = ["child", "x", "0"]
from entracte.store import unpickle_child as child
child._cut_off()
import torch
child._bound(child._SPARE_BYTES, 60)
sys.addaudithook(child._watch)
def tried(what):
    try:
        what()
    except (child.Refused, MemoryError, OSError, RuntimeError) as error:
        return
    print("went through:", what)
import os, socket, subprocess
tried(lambda: socket.create_connection(("127.0.0.1", PORT), timeout=2))
tried(lambda: os.system("true"))
tried(lambda: subprocess.run(["true"]))
tried(lambda: open("FILE", "w"))
tried(lambda: os.fork())
tried(lambda: bytearray(3 << 30))
tried(lambda: torch.ones(1 << 30))
"""


def test_the_walls_around_the_unpickler(tmp_path: Path) -> None:
    """Whoever got through the unpickler would find no network, no programs, little memory."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        text = WALLS.replace("PORT", str(server.getsockname()[1]))
        text = text.replace("FILE", str(tmp_path / "written"))
        run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "" and not (tmp_path / "written").exists()


# ---------------------------------------------------------------- fp8


def fp8(weight: torch.Tensor, scale: torch.Tensor, blocks: tuple[int, int]) -> torch.Tensor:
    """What a publisher writes: codes of the weight over its scales."""
    wide = scale.repeat_interleave(blocks[0], 0).repeat_interleave(blocks[1], 1)
    return (weight / wide).to(torch.float8_e4m3fn)


FP8 = {
    "one": ("{}_scale", (), ()),
    "one-comfy": ("{}scale_weight", (1,), ()),
    "rows": ("{}_scale", (64, 1), (64, 1)),
    "rows-flat": ("{}_scale", (64,), (64, 1)),
    "columns": ("{}_scale_inv", (1, 32), (1, 32)),
    "blocks": ("{}_scale_inv", (4, 2), (4, 2)),
}


@pytest.mark.parametrize("how", FP8)
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_is_multiplied_by_its_scales(
    how: str, kind: torch.dtype, t5: Traced, tmp_path: Path
) -> None:
    spelling, shape, grid = FP8[how]
    model = T5EncoderModel(T5)
    key = "encoder.block.1.layer.1.DenseReluDense.wi.weight"  # 64 by 32
    state = {k: v.clone() for k, v in model.state_dict().items() if "embed_tokens" not in k}
    assert state[key].shape == (64, 32)
    scale = torch.rand(grid or (1, 1)) + 0.5
    rows, columns = 64 // scale.shape[0], 32 // scale.shape[1]
    codes = torch.randn(64, 32).to(kind)
    right = torch.empty(64, 32)
    for i in range(64):  # by hand
        for j in range(32):
            right[i, j] = codes[i, j].float() * scale[i // rows, j // columns]
    stem = key.removesuffix("weight") if "scale_weight" in spelling else key
    state |= {key: codes, spelling.format(stem): scale.reshape(shape)}
    state |= {key.replace("weight", "input_scale"): torch.ones(())}
    save_file(state, tmp_path / "text_encoder.safetensors")
    found = read(tmp_path, t5, tmp_path / "cache")
    assert torch.equal(found[key], right)


@pytest.mark.parametrize(
    ("shape", "words"),
    [(None, "there are none beside it"), ((3, 2), "may mean several"), ((32,), "may mean several"),
     ((64, 32, 1), "may mean several"), ((5,), "may mean several")],
)  # fmt: skip
def test_fp8_whose_scales_do_not_say_what_they_are_is_refused(
    shape: Any, words: str, t5: Traced, tmp_path: Path
) -> None:
    state = {k: v.clone() for k, v in T5EncoderModel(T5).state_dict().items()}
    key = "encoder.block.1.layer.1.DenseReluDense.wi.weight"
    state[key] = state[key].to(torch.float8_e4m3fn)
    if shape is not None:
        state[f"{key}_scale"] = torch.ones(shape)
    save_file(state, tmp_path / "text_encoder.safetensors")
    with pytest.raises(ConfigError, match=words) as caught:
        read(tmp_path, t5, tmp_path / "cache")
    assert key in str(caught.value) and "text_encoder.safetensors: " in str(caught.value)


def test_blocks_are_whole_and_of_a_power_of_two() -> None:
    assert reach((256, 384), (2, 3)) == (128, 128)
    assert reach((6, 4), (1, 4)) == (6, 1)
    assert reach((6, 4), (2, 4)) is None  # threes: more likely another layout
    assert reach((6, 4), (4, 4)) is None


def test_the_scale_of_a_square_weight_s_rows_may_be_its_columns(t5: Traced, tmp_path: Path) -> None:
    state = {k: v.clone() for k, v in T5EncoderModel(T5).state_dict().items()}
    key = "encoder.block.0.layer.0.SelfAttention.q.weight"
    assert state[key].shape == (32, 32)
    state |= {key: state[key].to(torch.float8_e4m3fn), f"{key}_scale": torch.ones(32)}
    save_file(state, tmp_path / "text_encoder.safetensors")
    with pytest.raises(ConfigError, match="may mean several things"):
        read(tmp_path, t5, tmp_path / "cache")


# ---------------------------------------------------------------- refused by the first look


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    place = tmp_path / "text_encoder"
    T5EncoderModel(T5).save_pretrained(place, max_shard_size="20KB")
    return place


def test_an_index_that_names_a_missing_shard(shards: Path, t5: Traced, tmp_path: Path) -> None:
    gone = sorted(shards.glob("*.safetensors"))[1]
    gone.unlink()
    message = refused(tmp_path, t5)
    assert "model.safetensors.index.json: lists" in message and gone.name in message


def test_a_shard_that_no_index_lists(shards: Path, t5: Traced, tmp_path: Path) -> None:
    first = sorted(shards.glob("*.safetensors"))[0]
    shutil.copy(first, shards / "model-00099-of-00099.safetensors")
    assert "model-00099-of-00099.safetensors: a shard that" in refused(tmp_path, t5)


@pytest.mark.parametrize("change", ["moved", "left out", "elsewhere", "no map", "pointer"])
def test_an_index_that_does_not_suit_its_shards(
    change: str, shards: Path, t5: Traced, tmp_path: Path
) -> None:
    index = shards / "model.safetensors.index.json"
    found = json.loads(index.read_text())
    key, name = sorted(found["weight_map"].items())[0]
    other = next(n for n in found["weight_map"].values() if n != name)
    words = {"moved": f"says that {key!r} is in {other}", "left out": f"holds {key!r}",
             "elsewhere": "no name of a file", "no map": "no `weight_map`",
             "pointer": "git lfs pull"}[change]  # fmt: skip
    if change == "left out":
        del found["weight_map"][key]
    found["weight_map"][key] = {"moved": other, "elsewhere": "../x"}.get(change, name)
    if change == "left out":
        del found["weight_map"][key]
        alone = [n for n in found["weight_map"].values() if n == name]
        assert alone, "else the shard itself would be unlisted"
    if change == "no map":
        found = {"metadata": {}}
    index.write_text(json.dumps(found))
    if change == "pointer":
        index.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert words in refused(tmp_path, t5)


def test_shards_without_an_index_must_be_all_there(
    shards: Path, t5: Traced, tmp_path: Path
) -> None:
    (shards / "model.safetensors.index.json").unlink()
    same(
        read(tmp_path, t5, tmp_path / "c"),
        T5EncoderModel.from_pretrained(shards)
        if (shards / "model.safetensors.index.json").exists()
        else _joined(shards),
    )
    sorted(shards.glob("*.safetensors"))[0].unlink()
    assert "shard 1 of" in refused(tmp_path, t5)


def _joined(shards: Path) -> nn.Module:
    model = T5EncoderModel(T5)
    state = {k: v for p in shards.glob("*.safetensors") for k, v in load_file(p).items()}
    model.load_state_dict(state, strict=False)
    return model


def test_two_checkpoints_in_one_place(shards: Path, t5: Traced, tmp_path: Path) -> None:
    T5EncoderModel(T5).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", shards)
    assert "model.safetensors is a whole checkpoint beside" in refused(tmp_path, t5)
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "text_encoder.safetensors")
    assert "keep one of them" in refused(tmp_path, t5)


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
     (b"", "empty"), (b"GGUF" + bytes(60), "GGUF")],
)  # fmt: skip
def test_shards_that_are_none(
    raw: bytes, words: str, shards: Path, t5: Traced, tmp_path: Path
) -> None:
    file = sorted(shards.glob("*.safetensors"))[2]
    file.write_bytes(raw)
    assert words in (message := refused(tmp_path, t5)) and file.name in message


def test_a_truncated_shard(shards: Path, t5: Traced, tmp_path: Path) -> None:
    file = sorted(shards.glob("*.safetensors"))[2]
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file}: its tensors take" in refused(tmp_path, t5)


def test_what_is_not_read_is_named(t5: Traced, tmp_path: Path) -> None:
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "model-Q4_K.gguf").write_bytes(b"GGUF" + bytes(60))
    message = refused(tmp_path, t5)
    assert "no weights" in message and "model-Q4_K.gguf is not read" in message


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("encoder.block.0.layer.0.SelfAttention.q.weight", lambda w: w.to(torch.int8), "holds I8"),
        ("encoder.block.0.layer.0.SelfAttention.q.qweight", None, "quantized codes"),
    ],
)
def test_integer_codes(key: str, change: Any, words: str, t5: Traced, tmp_path: Path) -> None:
    state = {k: v.clone() for k, v in T5EncoderModel(T5).state_dict().items()}
    if change is None:
        state[key] = torch.zeros(4, 32, dtype=torch.int32)
        del state[key.replace("qweight", "weight")]
    else:
        state[key] = change(state[key])
    save_file(state, tmp_path / "text_encoder.safetensors")
    source = FileWeights(tmp_path, Cache(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=words) as caught:
        source.check(t5)
    assert key in str(caught.value) and "dequantized" in str(caught.value)


# ---------------------------------------------------------------- of stages


def test_each_stage_reads_its_own_place(t5: Traced, tmp_path: Path) -> None:
    from dataclasses import replace

    models = {name: T5EncoderModel(T5) for name in ("a", "b")}
    for name, model in models.items():
        (tmp_path / name).mkdir()
        model.save_pretrained(tmp_path / name / "text_encoder")
    other = replace(t5, stage=replace(t5.stage, name="other", weights=str(tmp_path / "b")))
    third = replace(t5, stage=replace(t5.stage, name="third", weights_of="other"))
    pipeline = Pipeline(name="p", title="p", weights=str(tmp_path / "a"), inputs=(), loops=(),
                        stages=(t5.stage, other.stage, third.stage), outputs=())  # fmt: skip
    source = PipelineWeights(pipeline, Cache(tmp_path / "cache"))
    for traced, model in ((t5, models["a"]), (other, models["b"]), (third, models["b"])):
        same({n.removeprefix("model."): t for n, t in source.tensors(traced).items()}, model)
    names = list(t5.key_of)
    memo = DigestMemo(Cache(tmp_path / "cache"))
    assert source.identity(t5, names, memo) != source.identity(other, names, memo)
    lost = replace(t5.stage, weights=str(tmp_path / "c"))
    with pytest.raises(ConfigError, match=r"pipeline.stages.stage.weights: there is no folder"):
        source.look(lost, "text_encoder")


def test_a_seed_draws_no_table(wan: Traced) -> None:
    found = weight_source("random:0").tensors(wan)
    rope = on_meta(Video).model.rope
    for name, table in (("freqs_cos", rope.freqs_cos), ("freqs_sin", rope.freqs_sin)):
        assert torch.equal(found[f"model.rope.{name}"].float(), table.float())


def test_keys_under_another_prefix_are_named(t5: Traced, tmp_path: Path) -> None:
    state = {f"t5.{k}": v.clone() for k, v in T5EncoderModel(T5).state_dict().items()}
    save_file(state, tmp_path / "text_encoder.safetensors")
    with pytest.raises(ConfigError, match=r"may be 't5\.encoder\..*' there: say so in .*key_map"):
        FileWeights(tmp_path, Cache(tmp_path / "cache")).check(t5)


def test_old_files_may_hold_tables_that_modules_do_not_save(tmp_path: Path) -> None:
    """CLIP's `position_ids`, in files of older versions."""
    model = MODELS["clip"]()
    module = on_meta(lambda: Text(MODELS["clip"]))
    traced = trace(Graph(module, IDS, ("y",), "clip", (("model.", ""),), owns=("",)))
    table = {"embeddings.position_ids": torch.arange(8)[None]}
    save_file({**model.state_dict(), **table}, tmp_path / "clip.safetensors")
    same(read(tmp_path, traced, tmp_path / "cache"), model)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.register_buffer("order", torch.arange(8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.norm(x)[:, self.order],)


def test_whole_numbers_of_a_file_are_read_as_they_are(tmp_path: Path) -> None:
    """The module's own order is another one; what is not used (a count) is not asked for."""
    traced = trace(Graph(on_meta(Counting), (Input("x", (2, 8)),), ("y",), "m"))
    state = Counting().state_dict()
    state["order"] = torch.arange(8).flip(0)
    del state["norm.num_batches_tracked"]
    save_file(state, tmp_path / "m.safetensors")
    found = weight_source(str(tmp_path), Cache(tmp_path / "cache")).tensors(traced)
    assert torch.equal(found["order"], state["order"])
    save_file({**state, "order": torch.ones(8)}, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="'order' holds F32, the module has whole numbers"):
        weight_source(str(tmp_path)).check(traced)
    # Without a file the module's own buffers stand: a drawn variance would be below zero.
    drawn = weight_source("random:0").tensors(traced)
    assert torch.equal(drawn["order"], torch.arange(8))
    assert torch.equal(drawn["norm.running_var"], torch.ones(8))


def test_tables_that_no_file_has_are_the_module_s_and_it_is_said(
    tmp_path: Path, said: list[str]
) -> None:
    """As libraries load them; not what training counts, of which a new module's says nothing."""
    traced = trace(Graph(on_meta(Counting), (Input("x", (2, 8)),), ("y",), "m"))
    state = Counting().state_dict()
    del state["order"]
    save_file(state, tmp_path / "m.safetensors")
    source = FileWeights(tmp_path, Cache(tmp_path / "cache"))
    source.check(traced)
    assert [s for s in said if "order: not there; taken are the values that the module" in s]
    assert torch.equal(source.tensors(traced)["order"], torch.arange(8))
    names = list(traced.key_of)
    memo = DigestMemo(Cache(tmp_path / "cache"))
    assert len(source.identity(traced, names, memo)) == len(names)
    del state["norm.running_var"]
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match=r"missing: norm\.running_var;"):
        FileWeights(tmp_path, Cache(tmp_path / "cache")).check(traced)


class Unfilled(Counting):
    """A buffer that a checkpoint is to fill."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((8,), torch.nan))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (super().forward(x)[0] * self.scale,)


def test_a_buffer_that_was_never_filled_is_the_checkpoint_s(tmp_path: Path) -> None:
    traced = trace(Graph(on_meta(Unfilled), (Input("x", (2, 8)),), ("y",), "m"))
    state = {**Unfilled().state_dict(), "scale": torch.ones(8)}
    save_file(state, tmp_path / "m.safetensors")
    assert torch.equal(weight_source(str(tmp_path)).tensors(traced)["scale"], torch.ones(8))
    del state["scale"]
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match="missing: scale;"):
        weight_source(str(tmp_path)).check(traced)


def test_both_names_of_a_tied_tensor_hold_the_same_numbers(tmp_path: Path) -> None:
    module = on_meta(MODELS["qwen2"])
    made = trace(Graph(Logits(module).eval(), IDS, ("y",), "qwen", (("model.", ""),)))
    model = MODELS["qwen2"]()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    assert torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"])
    # The same numbers in another type are the same.
    state["lm_head.weight"] = state["lm_head.weight"].double()
    save_file(state, tmp_path / "qwen.safetensors")
    same(read(tmp_path, made, tmp_path / "cache"), model)
    state["lm_head.weight"][0, 0] += 1
    save_file(state, tmp_path / "qwen.safetensors")
    with pytest.raises(
        ConfigError, match=r"embed_tokens.weight' holds other numbers than 'lm_head"
    ) as told:
        read(tmp_path, made, tmp_path / "cache")
    assert "tie_word_embeddings=False" in str(told.value)


class Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.model(input_ids=ids, use_cache=False).logits,)


def test_a_prefix_is_found_where_the_first_key_is_a_head_that_is_left_out(tmp_path: Path) -> None:
    made = trace(
        Graph(Logits(on_meta(MODELS["qwen2"])).eval(), IDS, ("y",), "q", (("model.", ""),))
    )
    state = {k.removeprefix("model."): v for k, v in MODELS["qwen2"]().state_dict().items()}
    del state["lm_head.weight"]
    save_file(state, tmp_path / "q.safetensors")
    with pytest.raises(ConfigError, match=r"'model.layers\.0\.(.*)' may be 'layers\.0\.\1' there"):
        FileWeights(tmp_path, Cache(tmp_path / "cache")).check(made)
