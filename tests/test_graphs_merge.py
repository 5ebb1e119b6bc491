"""Token merging: the merged denoiser against a plain statement of the published method."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from entracte.graphs.opensora.embed import STDiT3Config
from entracte.graphs.opensora.merge import merge_frames, merged_count, unmerge_frames
from entracte.graphs.opensora.stdit3 import NORM_EPS, STDiT3

SMALL = STDiT3Config(
    hidden=48, depth=2, heads=4, caption_channels=8, text_tokens=5, latent=(4, 4, 6)
)
# fp32, one network deep, sums in another order.
TOLERANCE = 2e-5


def pair(frames: int) -> tuple[STDiT3, STDiT3]:
    torch.manual_seed(0)
    cfg = replace(SMALL, latent=(frames, 4, 6))
    plain, merged = STDiT3(cfg).eval(), STDiT3(cfg, merged=True).eval()
    merged.load_state_dict(plain.state_dict())
    return plain, merged


def inputs(cfg: STDiT3Config) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    bias = torch.tensor([0, 0, 0, -3e4, -3e4]).reshape(1, 1, 1, 5)
    return torch.randn(2, 4, *cfg.latent), torch.tensor([700.0, 700.0]), torch.randn(2, 5, 8), bias


# ---------------------------------------------------------------- a plain statement


def frame_means(x: torch.Tensor) -> torch.Tensor:
    """[B, T, S, C] -> the mean of frames 0 and 1, of 2 and 3, ...; an odd last one as it is."""
    return torch.stack([x[:, i : i + 2].mean(1) for i in range(0, x.shape[1], 2)], dim=1)


def copies(x: torch.Tensor, frames: int) -> torch.Tensor:
    """[B, ceil(T / 2), S, C] -> [B, T, S, C]: frame i gets what was computed for i // 2."""
    return torch.stack([x[:, i // 2] for i in range(frames)], dim=1)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, bias=None):
    """[N, L, C] each, in one loop over heads."""
    size = q.shape[-1] // heads
    parts = []
    for h in range(heads):
        a, b, c = (t[..., h * size : (h + 1) * size] for t in (q, k, v))
        scores = a @ b.transpose(-1, -2) / size**0.5
        scores = scores if bias is None else scores + bias
        parts.append(scores.softmax(-1) @ c)
    return torch.cat(parts, -1)


def norm_heads(x: torch.Tensor, weight: torch.Tensor, heads: int) -> torch.Tensor:
    y = x.reshape(*x.shape[:-1], heads, -1)
    y = y / (y.square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * weight
    return y.reshape(x.shape)


def rotate(x: torch.Tensor, freqs: torch.Tensor, heads: int) -> torch.Tensor:
    """[N, T, C]: neighbouring channels of every head as complex numbers, turned by place."""
    y = torch.view_as_complex(x.reshape(*x.shape[:-1], heads, -1, 2).contiguous())
    angle = torch.arange(x.shape[1])[:, None, None] * freqs
    return torch.view_as_real(y * torch.polar(torch.ones_like(angle), angle)).reshape(x.shape)


def self_attention(block, x: torch.Tensor, rope, heads: int) -> torch.Tensor:
    """[B, T, S, C]: within frames, or (temporal) within places."""
    b, t, s, c = x.shape
    rows = x.transpose(1, 2).reshape(b * s, t, c) if block.temporal else x.reshape(b * t, s, c)
    q, k, v = block.attn.qkv(rows).chunk(3, -1)
    q = norm_heads(q, block.attn.q_norm.weight, heads)
    k = norm_heads(k, block.attn.k_norm.weight, heads)
    if block.temporal:
        q, k = rotate(q, rope.freqs, heads), rotate(k, rope.freqs, heads)
    out = block.attn.proj(attention(q, k, v, heads))
    return out.reshape(b, s, t, c).transpose(1, 2) if block.temporal else out.reshape(x.shape)


def plain_block(block, x: torch.Tensor, y, t_mlp, bias, rope, cfg: STDiT3Config) -> torch.Tensor:
    """[B, T, S, C]; attentions on merged frames, all else on every frame."""
    b, t, s, c = x.shape
    table = (block.scale_shift_table + t_mlp)[:, :, None, None]
    shift1, scale1, gate1, shift2, scale2, gate2 = (table[:, i] for i in range(6))
    h = F.layer_norm(x, (c,), eps=NORM_EPS) * (1 + scale1) + shift1
    x = x + gate1 * copies(self_attention(block, frame_means(h), rope, cfg.heads), t)
    means = frame_means(x)
    k, v = block.cross_attn.kv_linear(y).chunk(2, -1)
    q = block.cross_attn.q_linear(means.reshape(b, -1, c))
    cross = block.cross_attn.proj(attention(q, k, v, cfg.heads, bias[0]))
    x = x + copies(cross.reshape(means.shape), t)
    h = F.layer_norm(x, (c,), eps=NORM_EPS) * (1 + scale2) + shift2
    return x + gate2 * block.mlp(h)


def plain_merged(model: STDiT3, x, timestep, y, bias) -> torch.Tensor:
    cfg = model.cfg
    t = model.t_embedder(timestep) + model.fps_embedder(model.fps)
    t_mlp = model.t_block(t).reshape(-1, 6, cfg.hidden)
    y = model.y_embedder(y)
    h = model._add_positions(model.x_embedder(x))
    b, n, c = h.shape
    h = h.reshape(b, cfg.grid[0], n // cfg.grid[0], c)
    for spatial, temporal in zip(model.spatial_blocks, model.temporal_blocks, strict=True):
        h = plain_block(spatial, h, y, t_mlp, bias, model.rope, cfg)
        h = plain_block(temporal, h, y, t_mlp, bias, model.rope, cfg)
    return model._unpatchify(model.final_layer(h.reshape(b, n, c), t))


# ---------------------------------------------------------------- tests


@pytest.mark.parametrize("frames", [1, 2, 4, 5])
def test_merged_model_equals_the_plain_statement(frames):
    plain, merged = pair(frames)
    args = inputs(merged.cfg)
    with torch.no_grad():
        expected, found, unmerged = plain_merged(merged, *args), merged(*args), plain(*args)
    peak = expected.abs().max()
    assert (found - expected).abs().max() / peak < TOLERANCE
    if frames > 1:  # one frame has no partner
        assert (found - unmerged).abs().max() / peak > 100 * TOLERANCE


def test_names_shapes_and_results_are_alike():
    plain, merged = pair(4)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (plain, merged)]
    assert shapes[0] == shapes[1]
    args = inputs(merged.cfg)
    assert plain(*args).shape == merged(*args).shape


@pytest.mark.parametrize("frames", [4, 5])
def test_merged_model_exports_up_to_rank_five(frames):
    _, merged = pair(frames)
    args = inputs(merged.cfg)
    program = torch.export.export(merged, args, strict=False)
    values = [node.meta.get("val") for node in program.graph.nodes]
    assert max(v.ndim for v in values if isinstance(v, torch.Tensor)) <= 5
    with torch.no_grad():
        torch.testing.assert_close(program.module()(*args), merged(*args))


def test_pairs_of_equal_frames_are_left_alone():
    """Spatial blocks: a mean of equal frames is the frame. (Temporal ones rotate by place.)"""
    plain, merged = pair(4)
    cfg = plain.cfg
    torch.manual_seed(2)
    half = torch.randn(2, 2, 6, cfg.hidden)
    x = half.repeat_interleave(2, dim=1).reshape(2, 24, cfg.hidden)
    y, t_mlp = torch.randn(2, 5, cfg.hidden), torch.randn(2, 6, cfg.hidden)
    bias = torch.zeros(1, 1, 1, 5)
    with torch.no_grad():
        expected = plain.spatial_blocks[0](x, y, t_mlp, bias, plain.rope)
        found = merged.spatial_blocks[0](x, y, t_mlp, bias, merged.rope)
        # Without rotation, temporal attention over doubled keys weighs them alike too.
        block = merged.temporal_blocks[0]
        whole = plain.temporal_blocks[0].attn(x.reshape(2, 4, 6, -1).transpose(1, 2).flatten(0, 1))
        means = merge_frames(x, 4).reshape(2, 2, 6, -1).transpose(1, 2).flatten(0, 1)
        merged_attention = block.attn(means)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(merged_attention.repeat_interleave(2, dim=1), whole)


@pytest.mark.parametrize("frames", [1, 2, 15, 20])
def test_merging_and_its_reverse(frames):
    x = torch.randn(2, frames * 3, 4)
    merged = merge_frames(x, frames)
    assert merged.shape == (2, merged_count(frames) * 3, 4)
    by_frame = x.reshape(2, frames, 3, 4)
    torch.testing.assert_close(merged.reshape(2, -1, 3, 4), frame_means(by_frame))
    back = unmerge_frames(merged, frames).reshape(2, frames, 3, 4)
    assert torch.equal(back, copies(merged.reshape(2, -1, 3, 4), frames))
