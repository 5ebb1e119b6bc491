"""WFVAE of Open-Sora Plan 1.3: upstream's numbers through the loading door, its counts, and clips
in pieces."""

import pytest
import torch

from entracte.graphs import Graph, GraphFault, Input, on_meta
from entracte.graphs.models import build_model
from entracte.graphs.opensora_plan.wavelets import Haar, InverseHaar
from entracte.graphs.opensora_plan.wfvae_layers import Frames
from tests.upstream import case, loaded
from tools.wfvae_chunks import decode_in_chunks

RUNS = {
    "osp13_wfvae_a": ("decode_9f", "encode_9f", "decode_1f", "encode_1f", "decode_5f", "decode_29f",
                      "encode_29f"),
    "osp13_wfvae_b": ("decode_21f", "decode_33f", "encode_33f", "decode_49f"),
}  # fmt: skip


class Both(torch.nn.Module):
    """What stages call, so that every weight is read."""

    def __init__(self, config):
        super().__init__()
        self.model = build_model("WFVAEModel", config)

    def forward(self, x, z):
        return self.model.encode(x), self.model.decode(z)


def save_published(known, place):
    """`merged.ckpt` with averaged weights of the model in its wrapper, and others beside them."""
    place.mkdir()
    averaged = {f"module.{k}": v for k, v in known.weights.items()}
    last = {k: v + 1 for k, v in known.weights.items()}
    saved = {"ema_state_dict": averaged, "state_dict": {"gen_model": last}}
    torch.save(saved, place / "merged.ckpt")


@pytest.fixture(scope="module", params=RUNS)
def upstreams(request, tmp_path_factory):
    """A case, and our model with its numbers, read as a build reads them."""
    known, place = case(request.param), tmp_path_factory.mktemp("upstream")
    module = on_meta(lambda: Both(known.config))
    ports = Input("x", (1, 3, 1, 8, 8)), Input("z", (1, 8, 1, 1, 1))
    graph = Graph(module, ports, ("moments", "pixels"), checkpoint="vae",
                  key_map=(("model.", ""),))  # fmt: skip
    if request.param.endswith("_a"):
        known.save(place / "vae", "diffusion_pytorch_model")
    else:
        save_published(known, place / "vae")
    made = loaded(graph, place, place / "cache")
    return request.param, known, made.model


@torch.no_grad()
def test_it_is_upstreams(upstreams):
    name, known, model = upstreams
    assert set(RUNS[name]) == set(known.about["runs"])
    for run in RUNS[name]:
        given, want = known.inputs(run), known.outputs(run)
        if run.startswith("encode"):
            known.check(model.encode(given["x"]), want["moments"])
            continue
        known.check(model.decoder(given["z"], Frames()), want["coefficients"])
        known.check(model.decode(given["z"]), want["x"])


@torch.no_grad()
def test_its_pieces_are_upstreams(upstreams):
    """fp32, one latent at a time."""
    _, known, model = upstreams
    for run in RUNS[upstreams[0]]:
        given, want = known.inputs(run), known.outputs(run)
        if run.startswith("encode"):
            known.check(encoded(model, given["x"], 1), want["moments"])
        else:
            known.check(decoded(model, given["z"], 1), want["x"])


@pytest.mark.parametrize("name", RUNS)
def test_it_has_upstreams_names(name):
    """All but the wavelets, whose taps are constants."""
    known = case(name)
    ours = {k: v.shape for k, v in build_model("WFVAEModel", known.config).state_dict().items()}
    wavelets = {k for k in known.weights if ".wavelet_tranform_" in k or ".inverse_wavelet_" in k}
    assert ours == {k: v.shape for k, v in known.weights.items() if k not in wavelets}
    assert len(wavelets) == 24


def test_the_taps_are_upstreams():
    """What is taken for constants is in the files: a cube for each band, of one colour."""
    weights = case("osp13_wfvae_a").weights
    for side, three, two in (
        ("encoder.wavelet_tranform_l", Haar(3, 1), Haar(2, 1)),
        ("decoder.inverse_wavelet_tranform_l", InverseHaar(3, 1), InverseHaar(2, 1)),
    ):
        end = "_conv.conv.weight" if side.startswith("enc") else ""
        bands = ("h", "g", "hh", "gh", "h_v", "g_v", "hh_v", "gh_v")
        for made, names in ((three, [f"{side}2.{b}{end}" for b in bands]),
                            (two, [f"{side}1.{b}" for b in ("aa", "ad", "da", "dd")])):  # fmt: skip
            taps = made.taps if made.taps.shape[-1] == 2 else made.taps[..., 0, 0].T
            for ours, name in zip(taps, names, strict=True):
                assert torch.equal(ours.flatten(), weights[name].flatten()), name


def test_wavelets_are_undone():
    x = torch.randn(2, 3, 4, 6, 8)
    for dimensions, gain in ((2, 1.0), (3, 8 * 0.3536**2)):
        made = Haar(dimensions)(x)
        assert made.shape == (2, 3 * 2**dimensions, 4 // (dimensions - 1), 3, 4)
        assert torch.allclose(InverseHaar(dimensions)(made), gain * x, atol=1e-5)


def test_the_published_model_has_its_parameters():
    with torch.device("meta"):
        made = build_model("WFVAEModel", {})
    counts = [sum(p.numel() for p in x.parameters()) for x in (made.encoder, made.decoder)]
    taps = 8 * 8  # upstream counts those of its encoder
    assert counts == [37_182_288 - taps, 110_165_436]
    assert sum(counts) == 147_347_724 - taps


SIZES = {
    "latent_dim": 2, "base_channels": 4, "encoder_num_resblocks": 1, "decoder_num_resblocks": 1,
    "encoder_energy_flow_hidden_size": 2, "decoder_energy_flow_hidden_size": 4,
    "connect_res_layer_num": 1,
}  # fmt: skip


def tiny(**changes):
    torch.manual_seed(3)
    return build_model("WFVAEModel", SIZES | changes).double().eval()


def decoded(model, z, count):
    """Two latents, `count` at a time, and the end."""
    decoder, total = model.decoder, z.shape[2]
    frames = Frames(is_last=total == 1)
    low = decoder.low(z[:, :, :2], frames)
    before = len(frames.after)
    made = [decoder.pixels(decoder.high(*low, frames), frames)]
    for start in range(2, total, count):
        part, is_last = z[:, :, start : start + count], start + count >= total
        frames = Frames(frames.after, is_last=is_last)
        made.append(decoder.pixels(decoder(part, frames), frames))
    if total == 2:
        frames = Frames(frames.after[before:])
        made.append(decoder.pixels(decoder.high(None, None, frames), frames))
    return torch.cat(made, 2)


def encoded(model, x, count):
    frames = Frames()
    made = [model.encoder(x[:, :, :1], frames)]
    for start in range(1, x.shape[2], 4 * count):
        frames = Frames(frames.after)
        made.append(model.encoder(x[:, :, start : start + 4 * count], frames))
    return torch.cat(made, 2)


def check_groupings(model, latents, counts):
    z = torch.randn(1, 2, latents, 1, 2, dtype=torch.float64)
    x = torch.randn(1, 3, 4 * latents - 3, 8, 16, dtype=torch.float64)
    want, moments = model.decode(z), model.encode(x)
    assert want.shape == x.shape
    for count in counts:
        for got, whole in ((decoded(model, z, count), want), (encoded(model, x, count), moments)):
            assert got.shape == whole.shape
            assert float((got - whole).abs().max()) < 1e-10 * float(whole.abs().max())


@torch.no_grad()
@pytest.mark.parametrize(("latents", "counts"), [(1, [1]), (2, [1]), (6, [1, 2, 3, 4]), (9, [2])])
def test_pieces_are_the_whole_clip(latents, counts):
    check_groupings(tiny(), latents, counts)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("latents", range(1, 26))
def test_every_grouping_is_the_whole_clip(latents):
    """Of 1 to 97 frames, in pieces of 1 latent to all."""
    check_groupings(tiny(), latents, range(1, latents + 1))


@torch.no_grad()
@pytest.mark.parametrize("changes", [
    {"t_interpolation": "nearest"}, {"use_attention": False}, {"connect_res_layer_num": 2},
    {"encoder_num_resblocks": 3, "decoder_num_resblocks": 2},
])  # fmt: skip
def test_other_configurations_run_in_pieces(changes):
    check_groupings(tiny(**changes), 4, [1, 3])


@torch.no_grad()
@pytest.mark.parametrize(("latents", "count"), [(1, 4), (2, 1), (6, 1), (6, 4), (7, 2)])
def test_the_baseline_in_chunks_is_the_whole_clip(latents, count):
    """Upstream's way with the latent after each chunk, which its own code leaves out for (6, 4)."""
    z = torch.randn(1, 2, latents, 1, 2, dtype=torch.float64)
    got, want = decode_in_chunks(tiny(), z, count), tiny().decode(z)
    assert got.shape == want.shape
    assert float((got - want).abs().max()) < 1e-10 * float(want.abs().max())


@torch.no_grad()
def test_the_doubling_is_torchs():
    """The first frame for itself, the others by `interpolate`."""
    x = torch.randn(1, 4, 5, 2, 3, dtype=torch.float64)
    for mode in ("trilinear", "nearest"):
        double = tiny(t_interpolation=mode).decoder.up2[-2]
        aligned = {} if mode == "nearest" else {"align_corners": False}
        more = torch.nn.functional.interpolate(
            x[:, :, 1:], scale_factor=(2, 1, 1), mode=mode, **aligned
        )
        want = torch.nn.functional.interpolate(
            torch.cat([x[:, :, :1], more], 2), scale_factor=(1, 2, 2), mode=mode, **aligned
        )
        assert torch.allclose(double._wide(double._long(x, Frames())), want, atol=1e-12)


@pytest.mark.parametrize(("changes", "says"), [
    ({"norm_type": "groupnorm"}, "norm_type is 'groupnorm'; what is built is 'layernorm'"),
    ({"l1_upsample_block": "Other"}, "l1_upsample_block is 'Other'"),
    ({"t_interpolation": "cubic"}, "give trilinear or nearest"),
    ({"decoder_energy_flow_hidden_size": 8}, "is 8 and base_channels 4"),
    ({"scale": [1.0, 2.0, 3.0]}, "scale has 3 numbers for 2 channels"),
    ({"wide": 3}, "WFVAEModel has no wide"),
])  # fmt: skip
def test_what_is_not_built_is_refused(changes, says):
    with pytest.raises(GraphFault, match=says):
        tiny(**changes)
