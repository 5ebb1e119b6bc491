"""The first-block test in a graph, beside `apply_first_block_cache` of diffusers.

The library's own transformers, tiny and random, are called in a loop whose inputs move slowly; the
exported graph does the same in plain torch, with its state carried by hand.
"""

import pytest
import torch
from diffusers import (
    CogVideoXTransformer3DModel,
    FluxTransformer2DModel,
    LTXVideoTransformer3DModel,
)
from diffusers.hooks import FirstBlockCacheConfig, apply_first_block_cache
from torch import nn

from entracte.frontend.export import export_graph
from entracte.frontend.reuse import RESTS, with_reuse
from entracte.graphs.seen import goes_on, joined

SHARE, STEPS = 0.1, 8


class Called(nn.Module):
    """A transformer of diffusers with its first result alone, and what is the same in all steps."""

    def __init__(self, model, names, **fixed):
        super().__init__()
        self.model, self.names, self.fixed = model, names, fixed

    def forward(self, *given):
        named = dict(zip(self.names, given, strict=True))
        return self.model(**named, **self.fixed, return_dict=False)[0]


def ltx():
    model = LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16,
        cross_attention_dim=32, num_layers=4, caption_channels=16,
    )  # fmt: skip
    names = ("hidden_states", "encoder_hidden_states", "timestep", "encoder_attention_mask")
    shapes = torch.randn(1, 12, 4), torch.randn(1, 5, 16), torch.tensor([500.0]), torch.ones(1, 5)
    return model, Called(model, names, num_frames=2, height=2, width=3), shapes


def cogvideox():
    model = CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4,
        time_embed_dim=4, text_embed_dim=8, num_layers=4, sample_width=4, sample_height=4,
        sample_frames=5,
        patch_size=2, temporal_compression_ratio=4, max_text_seq_length=5,
    )  # fmt: skip
    names = ("hidden_states", "encoder_hidden_states", "timestep")
    shapes = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 5, 8), torch.tensor([500.0])
    return model, Called(model, names), shapes


def flux():
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=16, pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    names = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")
    shapes = (
        torch.randn(1, 12, 4), torch.randn(1, 5, 16), torch.randn(1, 8), torch.tensor([0.5]),
    )  # fmt: skip
    fixed = {"img_ids": torch.zeros(12, 3), "txt_ids": torch.zeros(5, 3)}
    return model, Called(model, names, **fixed), shapes


def inputs(shapes):
    """What each step reads: the first input moves, faster and slower."""
    first, *others = shapes
    turn = torch.randn_like(first)
    return [(first + turn * at, *others) for at in (0.0, 0.3, 0.33, 0.4, 0.6, 0.61, 0.9, 0.92)]


def values_of(program):
    """Weights and tables in the order in which the graph takes them."""
    held = {**program.state_dict, **program.constants}
    return [held[x.target] for x in program.graph_signature.input_specs if x.target is not None]


@pytest.mark.parametrize(
    "model_of", [cogvideox, *(pytest.param(x, marks=pytest.mark.slow) for x in (ltx, flux))]
)
@torch.no_grad()
def test_it_decides_and_computes_as_diffusers_does(model_of):
    torch.manual_seed(0)
    model, module, shapes = model_of()
    module.eval()
    program = export_graph(module, shapes, lambda _: True)
    with_reuse(module, program, 1, 0, SHARE)
    weights = values_of(program)
    seen = torch.zeros(_seen_shape(program))
    steps = inputs(shapes)
    plain = [module(*given) for given in steps]

    got, rested, change = [], [], {}
    for i, given in enumerate(steps):
        made = run(program, [*weights, *given, seen], change if i else None)
        got.append(made.result)
        rested.append(made.rests)
        seen, change = made.seen, made.change

    apply_first_block_cache(model, FirstBlockCacheConfig(threshold=SHARE))
    with model.cache_context("one"):
        want = [module(*given) for given in steps]
    assert sum(rested) >= 2 and not all(rested[1:])
    for mine, its, full, is_resting in zip(got, want, plain, rested, strict=True):
        assert (mine - its).abs().max() <= 1e-5
        assert ((its - full).abs().max() > 1e-4) == is_resting


# ---------------------------------------------------------------- slices that rest


@pytest.mark.parametrize(
    ("count", "at", "want"),
    [
        (5, (0, 2, 3), [0, 0, 1, 0, 0]),
        (5, (0, 1, 2), [1, 1, 0, 0, 0]),
        (4, (0,), [0, 0, 0, 0]),
        (3, (), [1, 1, 0]),
    ],
)
def test_where_slices_go_on(count, at, want):
    assert goes_on(count, at).arrays["goes_on"].tolist() == want


def test_iterations_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="give iterations of 0 to 2"):
        goes_on(3, (0, 3))


@pytest.mark.parametrize("first", [True, False])
def test_what_slices_saw_lies_in_their_order(first):
    always, resting = torch.full((1, 2, 2), 7.0), torch.full((1, 1, 2), 5.0)
    graph = joined((1, 1, 2), axis=1, always=2, resting=1, first=first)
    assert {i.name: i.shape for i in graph.inputs} == {
        "always": (1, 2, 2), "resting": (1, 1, 2), "goes_on": (1,)
    }  # fmt: skip
    for on in (0.0, 1.0):
        made = graph.module(always, resting, torch.tensor([on]))
        own = [5.0 * on, 7.0, 7.0] if first else [7.0, 7.0, 5.0 * on]
        assert made[0, :, 0].tolist() == own


def _seen_shape(program):
    last = program.graph_signature.user_inputs[-1]
    return next(n for n in program.graph.nodes if n.name == last).meta["val"].shape


class Made:
    """What an iteration gave."""

    def __init__(self, outputs, change):
        self.result, self.seen, rests = outputs
        assert rests.shape == (1,) and float(rests) in (0.0, 1.0)
        self.rests, self.change = bool(rests), change


def run(program, given, change):
    """One iteration, operation by operation; where it rests, what is marked is not computed, and
    `change` is what it made last."""

    class Follow(torch.fx.Interpreter):
        def run_node(self, n):
            if n.meta.get(RESTS) and change is not None and self.rests():
                return change.get(n.name)
            made = super().run_node(n)
            if n.meta.get(RESTS):
                kept[n.name] = made
            return made

        def rests(self):
            (output,) = (n for n in self.module.graph.nodes if n.op == "output")
            return bool(self.env[output.args[0][-1]])

    kept = {}
    outputs = Follow(program.graph_module).run(*given)
    return Made(outputs, kept or change)
