"""Published checkpoints load by their own key names, and what does not suit them is listed."""

from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import load_file, save_file

from entracte import graphs
from entracte.errors import ConfigError
from entracte.ir import DType, Port, Stage, StageKind
from entracte.lower.backend import CORE_ML
from entracte.trace.measure import checkpoint_key, trace_stage
from entracte.trace.weights import weight_source

CLIP = {"frames": 16, "height": 64, "width": 64, "fps": 8}
STAGES = ("text_encoder", "denoiser", "temporal_decoder", "spatial_decoder")
FILES = ("text_encoder", "denoiser", "vae")


def build(stage: str, preset: str = "tiny") -> graphs.Graph:
    clip = {} if stage == "text_encoder" else {**CLIP, "frames": 17 if preset == "xl" else 16}
    batch = {"batch": 1} if stage == "spatial_decoder" else {}
    built = graphs.build(f"opensora.{stage}", {"preset": preset, **clip, **batch})
    assert isinstance(built, graphs.Graph)
    return built


def keys(graph: graphs.Graph) -> dict[str, torch.Size]:
    """Key in the checkpoint -> shape, for all that the module keeps."""
    state = graph.module.state_dict()
    return {checkpoint_key(name, graph.key_map): value.shape for name, value in state.items()}


# ---------------------------------------------------------------- published names
# Written out from reference/systems.md sections 3.1 and 3.2 and transformers' T5.


def linear(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]


def stdit3_names(depth: int) -> Iterator[str]:
    yield from ("rope.freqs", "y_embedder.y_embedding")
    for name in ("x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2", "fps_embedder.mlp.0",
                 "fps_embedder.mlp.2", "t_block.1", "y_embedder.y_proj.fc1",
                 "y_embedder.y_proj.fc2", "final_layer.linear"):  # fmt: skip
        yield from linear(name)
    yield "final_layer.scale_shift_table"
    for block in (f"{g}_blocks.{i}" for g in ("spatial", "temporal") for i in range(depth)):
        yield f"{block}.scale_shift_table"
        yield from (f"{block}.attn.q_norm.weight", f"{block}.attn.k_norm.weight")
        for name in ("attn.qkv", "attn.proj", "cross_attn.q_linear", "cross_attn.kv_linear",
                     "cross_attn.proj", "mlp.fc1", "mlp.fc2"):  # fmt: skip
            yield from linear(f"{block}.{name}")


def t5_names(layers: int) -> Iterator[str]:
    yield from ("shared.weight", "encoder.final_layer_norm.weight")
    yield "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    for layer in (f"encoder.block.{i}.layer" for i in range(layers)):
        yield from (f"{layer}.0.layer_norm.weight", f"{layer}.1.layer_norm.weight")
        yield from (f"{layer}.0.SelfAttention.{n}.weight" for n in "qkvo")
        yield from (f"{layer}.1.DenseReluDense.{n}.weight" for n in ("wi_0", "wi_1", "wo"))


def residual_block(name: str, widens: bool) -> Iterator[str]:
    yield from linear(f"{name}.norm1")
    yield from linear(f"{name}.norm2")
    yield from (f"{name}.conv1.conv.weight", f"{name}.conv2.conv.weight")
    if widens:
        yield f"{name}.conv3.conv.weight"


def temporal_names(blocks: int, widening: set[int]) -> Iterator[str]:
    """`widening`: levels whose first block changes the width when decoding."""
    yield from ("scale", "shift")
    base = "temporal_vae.decoder"
    yield from linear("temporal_vae.post_quant_conv.conv")
    for name in (
        "conv1.conv",
        "conv_blocks.1.conv",
        "conv_blocks.2.conv",
        "norm1",
        "conv_out.conv",
    ):
        yield from linear(f"{base}.{name}")
    for j in range(blocks):
        yield from residual_block(f"{base}.res_blocks.{j}", False)
        for i in range(4):
            widens = j == 0 and i in widening
            yield from residual_block(f"{base}.block_res_blocks.{i}.{j}", widens)


@pytest.mark.parametrize(
    ("preset", "stage", "expected"),
    [
        ("xl", "denoiser", list(stdit3_names(28))),
        ("tiny", "denoiser", list(stdit3_names(3))),
        ("xl", "text_encoder", list(t5_names(24))),
        ("tiny", "text_encoder", list(t5_names(4))),
        ("xl", "temporal_decoder", list(temporal_names(4, {0, 2}))),
        ("tiny", "temporal_decoder", list(temporal_names(1, {1}))),
    ],
)
def test_modules_have_exactly_the_published_names(preset, stage, expected):
    assert sorted(keys(build(stage, preset))) == sorted(expected)
    if (preset, stage) == ("xl", "denoiser"):
        assert len(expected) == 973


def test_the_spatial_decoder_has_the_names_of_diffusers():
    """Its module *is* diffusers' AutoencoderKL, below `spatial_vae.module`."""
    names = set(keys(build("spatial_decoder", "xl")))
    for name in ("post_quant_conv", "decoder.conv_in", "decoder.mid_block.attentions.0.to_q",
                 "decoder.up_blocks.3.resnets.2.conv2", "decoder.up_blocks.2.upsamplers.0.conv",
                 "decoder.conv_norm_out", "decoder.conv_out"):  # fmt: skip
        assert {f"spatial_vae.module.{n}" for n in linear(name)} <= names
    assert all(n.startswith("spatial_vae.module.") for n in names)


# ---------------------------------------------------------------- files


@pytest.fixture(scope="module")
def traced():
    made = {}
    for name in STAGES:
        graph = build(name)
        stage = Stage(name=name, kind=StageKind.GRAPH, op=f"opensora.{name}")
        kinds = {"float": DType.FP16, "int": DType.INT32}
        ports = {i.name: Port(i.name, i.shape, kinds[i.kind]) for i in graph.inputs}
        made[name] = trace_stage(stage, graph, ports, None, CORE_ML)
    return made


@pytest.fixture(scope="module")
def checkpoints() -> dict[str, dict[str, torch.Tensor]]:
    """File -> tensors under the published names, with parts that no stage reads, as published."""
    torch.manual_seed(0)
    found = {name: {} for name in FILES}
    for stage in STAGES:
        graph = build(stage)
        file = found[str(graph.checkpoint)]
        file |= {key: torch.randn(shape) for key, shape in keys(graph).items()}
    text = found["text_encoder"]
    text["encoder.embed_tokens.weight"] = text["shared.weight"].clone()
    text["decoder.block.0.layer.0.SelfAttention.q.weight"] = torch.zeros(1)
    text["lm_head.weight"] = torch.zeros(1)
    for name in ("temporal_vae.encoder.conv_in.conv.weight", "temporal_vae.quant_conv.conv.bias",
                 "spatial_vae.module.encoder.conv_in.bias",
                 "spatial_vae.module.quant_conv.bias"):  # fmt: skip
        found["vae"][name] = torch.zeros(1)
    return found


def write(folder, checkpoints) -> None:
    for name, tensors in checkpoints.items():
        save_file(tensors, folder / f"{name}.safetensors")


@pytest.mark.parametrize("stage", STAGES)
def test_published_files_load(stage, traced, checkpoints, tmp_path):
    write(tmp_path, checkpoints)
    loaded = weight_source(str(tmp_path)).tensors(traced[stage])
    graph = build(stage)
    wanted = {n: k for n, k in traced[stage].key_of.items() if k in checkpoints[graph.checkpoint]}
    # Every parameter is read: a name that nothing uses would be a module that forgot something.
    assert set(wanted.values()) == set(keys(graph))
    for name, key in wanted.items():
        # T5's residual writers are divided by 4 at this size, exactly; the rest is as stored.
        writer = key == "shared.weight" or key.endswith((".o.weight", ".wo.weight"))
        factor = 0.25 if stage == "text_encoder" and writer else 1.0
        assert torch.equal(loaded[name], checkpoints[graph.checkpoint][key] * factor), name


def test_a_folder_of_several_files_is_a_checkpoint(traced, checkpoints, tmp_path):
    folder = tmp_path / "denoiser"
    folder.mkdir()
    names = sorted(checkpoints["denoiser"])
    for part, some in enumerate((names[::2], names[1::2])):
        tensors = {n: checkpoints["denoiser"][n] for n in some}
        save_file(tensors, folder / f"model-{part}-of-2.safetensors")
    loaded = weight_source(str(tmp_path)).tensors(traced["denoiser"])
    key_of = traced["denoiser"].key_of
    for name in (n for n, key in key_of.items() if key in names):
        assert torch.equal(loaded[name], checkpoints["denoiser"][key_of[name]])


BREAKS = {
    "text_encoder": "encoder.block.1.layer.1.DenseReluDense.wo.weight",
    "denoiser": "spatial_blocks.1.attn.qkv.weight",
    "temporal_decoder": "temporal_vae.decoder.conv1.conv.weight",
    "spatial_decoder": "spatial_vae.module.decoder.conv_in.weight",
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_fault_is_listed_at_once(stage, traced, checkpoints, tmp_path):
    """One key under another name, one of another shape."""
    broken = {name: dict(tensors) for name, tensors in checkpoints.items()}
    graph = build(stage)
    file, gone = broken[str(graph.checkpoint)], BREAKS[stage]
    other = next(k for k in sorted(keys(graph)) if k != gone and file[k].numel() > 1)
    file[gone.replace(".weight", ".weigth")] = file.pop(gone)
    file[other] = file[other].flatten()[:-1].clone()
    write(tmp_path, broken)
    with pytest.raises(ConfigError) as caught:
        weight_source(str(tmp_path)).tensors(traced[stage])
    message = str(caught.value)
    assert message.startswith(f"stage {stage}: {tmp_path}/{graph.checkpoint}: ")
    assert f"missing: {gone}" in message
    assert f"unexpected: {gone.replace('.weight', '.weigth')}" in message
    assert f"shape: {other} {tuple(file[other].shape)} instead of" in message


def test_shipped_files_hold_nothing_else(traced):
    """The demo's own files pass the same check, and no key of theirs goes unread."""
    folder = "package:entracte.graphs/weights/tiny_t2v"
    source = weight_source(folder)
    read: dict[str, set[str]] = {}
    for stage in traced.values():
        source.tensors(stage)
        read.setdefault(str(build(stage.stage.name).checkpoint), set()).update(
            stage.key_of.values()
        )
    from entracte.graphs.opensora.tiny import WEIGHTS

    for stem in FILES:
        assert set(load_file(WEIGHTS / f"{stem}.safetensors")) <= read[stem]
