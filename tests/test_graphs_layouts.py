"""Weights as the seeds' authors publish them: tiny files in the layout of each repository
(docs/real-weights.md), through the loading door. Values are what was written into them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    MT5Config,
    MT5EncoderModel,
    MT5ForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

import entracte
from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.emit.host_files import tokenizer_at
from entracte.errors import ConfigError
from entracte.graphs import Graph, Input, on_meta
from entracte.store import unpickle_child
from tests import opensora
from tests.upstream import case, loaded

SIZES = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 99,
         "feed_forward_proj": "gated-gelu"}  # fmt: skip
PIECES = Path(__file__).parent / "vectors" / "sentencepiece" / "unigram.model"
State = Mapping[str, Tensor]


class Text(nn.Module):
    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.model = make()

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        return (self.model(input_ids=ids).last_hidden_state,)


class Small(nn.Module):
    """Any model, for what only concerns its file."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.second(self.first(x)),)


def text_graph(make: Callable[[], nn.Module]) -> Graph:
    ids = (Input("ids", (1, 7), "int"),)
    return Graph(on_meta(lambda: Text(make)), ids, ("y",), "text_encoder", (("model.", ""),))


def small_graph(stem: str) -> Graph:
    return Graph(on_meta(Small), (Input("x", (1, 3)),), ("y",), stem, owns=("",))


def doubled(state: State) -> dict[str, Tensor]:
    return {key: 2 * value for key, value in state.items()}


def wrapped(state: State) -> dict[str, Tensor]:
    return {f"module.{key}": value for key, value in state.items()}


def shards(folder: Path, state: State, name: str = "pytorch_model-{:05}-of-00002.bin") -> None:
    """As transformers and Colossal-AI save them."""
    keys = list(state)
    parts = (keys[: len(keys) // 2], keys[len(keys) // 2 :])
    folder.mkdir(parents=True)
    index = {}
    for number, part in enumerate(parts, 1):
        torch.save({key: state[key] for key in part}, folder / name.format(number))
        index |= dict.fromkeys(part, name.format(number))
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    )


def as_in_the_hubs_cache(folder: Path) -> Path:
    """Files named by digest, a snapshot of links into them; the snapshot."""
    repository = folder.parent / f"models--{folder.name}"
    snapshot = repository / "snapshots" / "0123456789abcdef"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        blob = repository / "blobs" / f"{number:064x}"
        shutil.move(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("is_linked", [False, True])
def test_t5s_shards_with_their_vocabulary(tmp_path: Path, is_linked: bool) -> None:
    """DeepFloyd/t5-v1_1-xxl: two `.bin` shards, an index, `spiece.model`, no tokenizer.json."""
    model, weights = T5EncoderModel(T5Config(**SIZES)).eval(), tmp_path / "weights"
    shards(tmp_path / "t5-v1_1-xxl", model.state_dict())
    (tmp_path / "t5-v1_1-xxl" / "config.json").write_text("{}")
    shutil.copy(PIECES, tmp_path / "t5-v1_1-xxl" / "spiece.model")
    weights.mkdir()
    if is_linked:
        (weights / "text_encoder").symlink_to(as_in_the_hubs_cache(tmp_path / "t5-v1_1-xxl"))
    else:
        shutil.move(tmp_path / "t5-v1_1-xxl", weights / "text_encoder")
    graph = text_graph(lambda: T5EncoderModel(T5Config(**SIZES)))
    net, ids = loaded(graph, weights, tmp_path / "cache"), torch.arange(7)[None]
    torch.testing.assert_close(net(ids)[0], model(input_ids=ids).last_hidden_state)
    if not is_linked:
        (weights / "tokenizer").symlink_to("text_encoder")
        found = tokenizer_at("here", str(weights), "tokenizer")
        assert found.pad_id == 0 and found.pad_side == "right"
        assert found.encoder.encode("a red circle").ids[-1] == 1


@torch.no_grad()
def test_mt5s_one_file_of_the_whole_model(tmp_path: Path) -> None:
    """google/mt5-xxl: encoder and decoder in one `pytorch_model.bin`."""
    torch.manual_seed(0)
    sizes = SIZES | {"tie_word_embeddings": False, "decoder_start_token_id": 0}
    whole, ids = MT5ForConditionalGeneration(MT5Config(**sizes)).eval(), torch.arange(7)[None]
    folder = tmp_path / "weights" / "text_encoder"
    folder.mkdir(parents=True)
    torch.save(whole.state_dict(), folder / "pytorch_model.bin")
    graph = text_graph(lambda: MT5EncoderModel(MT5Config(**sizes)))
    net = loaded(graph, tmp_path / "weights", tmp_path / "cache")
    torch.testing.assert_close(net(ids)[0], whole.encoder(input_ids=ids).last_hidden_state)


MERGED: dict[str, Callable[[State], dict[str, Any]]] = {
    # LanguageBind/Open-Sora-Plan-v1.3.0, vae/merged.ckpt: averaged weights win, their wrapper goes.
    "averaged": lambda state: {
        "ema_state_dict": wrapped(state), "state_dict": {"gen_model": doubled(state)},
        "epoch": 3, "current_step": 7, "optimizer_state": {"state": {0: {"step": torch.ones(1)}}},
    },
    "trained": lambda state: {
        "state_dict": {"gen_model": dict(state), "dics_model": doubled(state)}, "epoch": 3,
    },
    # DiT-XL-2-256x256.pt as published, and as its own training script saves one.
    "plain": dict,
    "script": lambda state: {
        "model": doubled(state), "ema": dict(state), "opt": {"state": {}, "param_groups": [{}]},
        "args": argparse.Namespace(model="DiT-XL/2", image_size=256, vae="ema", ckpt=None),
    },
    "wrapped": wrapped,
    "loop": lambda state: {"ema": None, "model": wrapped(state)},
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_what_is_read_of_checkpoints_of_training(name: str, tmp_path: Path) -> None:
    """Inside the child's walls; `module.` stays for the reader."""
    state = Small().state_dict()
    torch.save(MERGED[name](state), tmp_path / "x.pt")
    found, _, _ = unpickle_child._tensors(
        unpickle_child._loaded(torch, str(tmp_path / "x.pt")), torch
    )
    assert {key.removeprefix("module.") for key in found} == state.keys()
    for key, value in found.items():
        assert torch.equal(value, state[key.removeprefix("module.")]), key


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "file"),
    [("averaged", "vae/merged.ckpt"), pytest.param("script", "vae.pt", marks=pytest.mark.slow)],
)
def test_checkpoints_of_training(name: str, file: str, tmp_path: Path) -> None:
    model, place = Small(), tmp_path / "weights" / file
    place.parent.mkdir(parents=True)
    if place.parent.name == "vae":
        (place.parent / "config.json").write_text("{}")
    torch.save(MERGED[name](model.state_dict()), place)
    net = loaded(small_graph("vae"), tmp_path / "weights", tmp_path / "cache")
    for key, value in model.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key


def test_a_command_line_is_an_object_of_names_and_values(tmp_path: Path) -> None:
    """What it holds is read by the same rules: nothing that a pickle names is called."""
    torch.save({"model": Small().state_dict(), "args": argparse.Namespace(a=argparse.Action)},
               tmp_path / "x.pt")  # fmt: skip
    with pytest.raises(unpickle_child.Refused, match="argparse.Action"):
        unpickle_child._loaded(torch, str(tmp_path / "x.pt"))


@pytest.mark.slow
@torch.no_grad()
def test_shards_of_colossal_ai(tmp_path: Path) -> None:
    """What OpenDiT and Open-Sora train: shards without `-of-`, an index."""
    model = Small()
    shards(tmp_path / "weights" / "denoiser", model.state_dict(), "pytorch_model-{:05}.bin")
    net = loaded(small_graph("denoiser"), tmp_path / "weights", tmp_path / "cache")
    assert torch.equal(net.second.weight, model.second.weight)


@torch.no_grad()
def test_a_file_may_be_a_link_under_a_components_name(tmp_path: Path) -> None:
    """stabilityai/StableWurst: `stage_c.safetensors` among others, wherever the download is."""
    model, weights = Small(), tmp_path / "weights"
    weights.mkdir()
    (tmp_path / "downloads").mkdir()
    for stage, state in (("stage_b_bf16", doubled(model.state_dict())),
                         ("stage_c_bf16", model.state_dict())):  # fmt: skip
        save_file(state, tmp_path / "downloads" / f"{stage}.safetensors")
    (weights / "stage_c.safetensors").symlink_to(tmp_path / "downloads/stage_c_bf16.safetensors")
    net = loaded(small_graph("stage_c"), weights, tmp_path / "cache")
    assert torch.equal(net.second.weight, model.second.weight)


def test_two_checkpoints_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "transformer"
    folder.mkdir(parents=True)
    for size in (256, 512):
        save_file(Small().state_dict(), folder / f"DiT-XL-2-{size}x{size}.safetensors")
    with pytest.raises(
        ConfigError, match=r"512x512.saf.*: holds .* so does .*256x256.saf.*; keep one"
    ):
        loaded(small_graph("transformer"), tmp_path / "weights", tmp_path / "cache")


def test_a_tokenizers_name_stands_for_its_json_too(tmp_path: Path) -> None:
    """`tokenizer.json` beside the weights, as before; a folder `tokenizer` comes first."""
    stand_in = Path(__file__).parents[1] / "graphs" / "weights" / "stand_in" / "tokenizer.json"
    shutil.copy(stand_in, tmp_path / "tokenizer.json")
    assert len(tokenizer_at("here", str(tmp_path), "tokenizer").encoder.encode("ab").ids) == 3
    (tmp_path / "tokenizer").mkdir()
    shutil.copy(PIECES, tmp_path / "tokenizer" / "spiece.model")
    assert tokenizer_at("here", str(tmp_path), "tokenizer").encoder.get_vocab_size() != 258


PAGE = (Path(__file__).parents[1] / "docs" / "real-weights.md").read_text()
SECTIONS = {
    "open_sora": "Open-Sora 1.2", "open_sora_i2v": "Open-Sora 1.2",
    "open_sora_plan": "Open-Sora Plan 1.3", "open_sora_plan_i2v": "Open-Sora Plan 1.3",
    "dit_xl_2": "MiniSora", "sit_xl_2": "MiniSora", "vdit": "MiniSora",
    "latte_minisora": "MiniSora", "stable_cascade": "Stable Cascade",
}  # fmt: skip


@pytest.mark.parametrize("name", SECTIONS)
def test_the_page_says_where_every_file_of_a_pipeline_goes(name: str) -> None:
    """Places that the recipe reads, with a folder of weights and the package's configurations."""
    section = next(part for part in PAGE.split("\n## ") if part.startswith(SECTIONS[name]))
    assert f"`{name}`" in section
    words = ["+target=host", f"pipeline={name}", "pipeline.weights=/nowhere"]
    words += ["pipeline.options.refiner=true"] if name == "open_sora_plan" else []
    declared = read(compose(words)).pipeline
    read_of = [dict(stage.params) for stage in declared.stages]
    keys = ("checkpoint", "tokenizer", "decoder", "table")
    places = {params[key] for params in read_of for key in keys if key in params}
    assert places
    for place in places:
        said = (f"/{place}", f'"{place}/*"', f" {place}.safetensors")
        assert any(spelling in section for spelling in said), place


def test_open_sora_as_its_repositories_have_it(tmp_path: Path) -> None:
    """hpcai-tech/OpenSora-STDiT-v3 and OpenSora-VAE-v1.2 under upstream's names, DeepFloyd's T5."""
    net, vae, weights = case("os12_stdit3_a"), case("os12_vae_a"), tmp_path / "weights"
    text = SIZES | {"d_model": net.config["caption_channels"], "vocab_size": 192}
    folder = opensora.put(tmp_path / "folder", "denoiser", net.config)
    opensora.put(opensora.put(folder, "vae", vae.config), "text_encoder", text)
    net.save(weights / "denoiser", "model")
    vae.save(weights / "vae", "model")
    shards(weights / "text_encoder", T5EncoderModel(T5Config(**text)).state_dict())
    shutil.copy(PIECES, weights / "text_encoder" / "spiece.model")
    (weights / "tokenizer").symlink_to("text_encoder")
    words = ["+target=host", "pipeline=open_sora", f"pipeline.folder={folder}",
             f"pipeline.weights={weights}", "pipeline.video.height=32", "pipeline.video.width=32",
             "pipeline.video.frames=17", "sampler.steps=2", f"cache={tmp_path}/cache"]  # fmt: skip
    built = entracte.compile_pipeline([*words, "dry_run=true"])
    assert built.plan.program
