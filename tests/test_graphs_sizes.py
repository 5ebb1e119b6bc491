"""Presets and clips: published parameter counts, latent sizes, and the clips that are refused."""

import pytest
import torch

from entracte import graphs
from entracte.graphs.opensora import tiny
from entracte.graphs.opensora.presets import PRESETS, preset
from entracte.graphs.opensora.published import BY_RESOLUTION
from entracte.graphs.opensora.vae import TemporalDecoder, VAEConfig, VAETemporal, spatial_vae
from entracte.graphs.opensora.video import Video, latent_size


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def clip(frames=68, height=256, width=256, fps=24, **more):
    return {"frames": frames, "height": height, "width": width, "fps": fps, **more}


@pytest.mark.parametrize(
    ("stage", "params", "expected"),
    [
        ("text_encoder", {}, 4_762_310_656),
        ("denoiser", clip(), 1_207_643_972),
        ("temporal_decoder", clip(), 165_265_944),
        ("spatial_decoder", clip(), 49_490_199),
    ],
)
def test_xl_has_the_published_parameters(stage, params, expected):
    graph = graphs.build(f"opensora.{stage}", {"preset": "xl", **params})
    assert count(graph.module) == expected


@pytest.mark.parametrize("name", PRESETS)
def test_modules_hold_no_numbers_but_their_tables(name):
    """Parameters and stored buffers are on meta at every size; tables without a file are real."""
    size = clip(frames=68 if name == "xl" else 16)
    for stage in ("text_encoder", "denoiser", "temporal_decoder", "spatial_decoder"):
        params = {} if stage == "text_encoder" else size
        graph = graphs.build(f"opensora.{stage}", {"preset": name, **params})
        for module in (graph.module, *graph.variants.values()):
            stored = set(module.state_dict())
            assert all(p.device.type == "meta" for p in module.parameters())
            for key, buffer in module.named_buffers():
                assert buffer.device.type == ("meta" if key in stored else "cpu"), key
            assert not any(m.training for m in module.modules())


def test_the_merged_variant_has_the_same_weights():
    graph = graphs.build("opensora.denoiser", {"preset": "xl", **clip()})
    plain, merged = (
        {k: v.shape for k, v in m.state_dict().items()}
        for m in (graph.module, graph.variants["merged"])
    )
    assert plain == merged


# reference/systems.md sections 1.1 and 1.2; the last is a single group.
PUBLISHED = [
    ((51, 192, 192), (15, 24, 24)),
    ((51, 240, 426), (15, 30, 53)),
    ((51, 360, 640), (15, 45, 80)),
    ((102, 480, 854), (30, 60, 106)),
    ((68, 256, 256), (20, 32, 32)),
    ((68, 192, 192), (20, 24, 24)),
    ((17, 256, 256), (5, 32, 32)),
]


@pytest.mark.parametrize(("size", "latent"), PUBLISHED)
def test_latent_sizes_are_the_published_ones(size, latent):
    video = Video(*size, fps=24)
    assert latent_size(video, VAEConfig()) == latent
    cfg = preset("xl").denoiser_for(video)
    assert (cfg.latent, cfg.pixels, cfg.fps) == (latent, size[1:], 24.0)


def test_remainders_follow_upstream():
    """Full groups of 17 give 5 latents, a rest r gives ceil(r / 4)."""
    assert [VAEConfig().latent_frames(n) for n in (1, 16, 17, 18, 34, 52)] == [1, 4, 5, 6, 10, 16]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        # 3 x 17 = 51 and 4 x 17 = 68.
        ({"frames": 60}, r"pipeline.video.frames: 60 .* groups of 17; .* instance 51 or 68$"),
        ({"frames": 1}, r"pipeline.video.frames: 1 .* for instance 17$"),
        ({"frames": 34.5}, r"pipeline.video.frames: 34.5 .* instance 34 or 51$"),
        ({"frames": "many"}, r"pipeline.video.frames: many .* instance 17$"),
        # 8 x 8 = 64 and 9 x 8 = 72; 2 x 8 = 16 is one token of 2 x 2 latents.
        ({"height": 70}, r"pipeline.video.height: 70 pixels .*; give 64 or 72 \("),
        ({"width": 71.5}, r"pipeline.video.width: 71.5 pixels .*; give 64 or 72 \("),
        ({"height": 8}, r"pipeline.video.height: 8 pixels .*; give 16 \("),
        ({"width": 0}, r"pipeline.video.width: 0 pixels .*; give 16 \("),
        ({"height": True}, r"pipeline.video.height: True pixels"),
        # A published size is one of both: 240 x 426 is, 240 x 418 and 426 x 426 are not.
        ({"height": 240, "width": 418}, r"pipeline.video.width: 418 .*; give 416 or 424 \("),
        ({"height": 426, "width": 426}, r"pipeline.video.height: 426 .*; give 424 or 432 \("),
        ({"fps": 0}, r"pipeline.video.fps: 0 is not positive"),
        ({"fps": "fast"}, r"pipeline.video.fps: fast is not positive"),
    ],
)
@pytest.mark.parametrize("stage", ["denoiser", "guided_euler", "temporal_decoder"])
def test_clips_that_cannot_be_are_refused(stage, wrong, message):
    with pytest.raises(ValueError, match=message):
        graphs.build(f"opensora.{stage}", {"preset": "xl", **clip(**wrong)})


@pytest.mark.parametrize("size", [(240, 426), (426, 240), (480, 854), (678, 339), (221, 165)])
def test_only_published_sizes_have_a_rest(size):
    """It is cut off: 426 = 53 x 8 + 2, 854 = 106 x 8 + 6, 678 = 84 x 8 + 6, 339 = 42 x 8 + 3, 221 =
    27 x 8 + 5, 165 = 20 x 8 + 5."""
    whole = {240: 30, 426: 53, 480: 60, 854: 106, 678: 84, 339: 42, 221: 27, 165: 20}
    rows, columns = size
    assert latent_size(Video(68, *size, fps=24), VAEConfig())[1:] == (whole[rows], whole[columns])
    near = latent_size(Video(68, whole[rows] * 8, whole[columns] * 8, fps=24), VAEConfig())
    assert near[1:] == (whole[rows], whole[columns])


# Upstream's area of each resolution, and the ratios of its names: height over width.
AREAS = {"144p": 36864, "240p": 102240, "360p": 230400, "480p": 409920, "720p": 921600,
         "1080p": 2073600}  # fmt: skip
RATIOS = [3 / 8, 9 / 21, 12 / 25, 1 / 2, 9 / 17, 27 / 50, 9 / 16, 5 / 8, 2 / 3, 3 / 4, 1, 4 / 3,
          3 / 2, 16 / 9, 17 / 9, 2, 50 / 24]  # fmt: skip


@pytest.mark.parametrize("name", AREAS)
def test_published_sizes_are_near_an_area_and_a_ratio(name):
    """To the next even number, or of 144p the next number: a side differs by less than 2 pixels."""
    sizes = [tuple(map(int, s.split("x"))) for s in BY_RESOLUTION[name].split()]
    assert len(sizes) == len(set(sizes)) == len(RATIOS)
    for (height, width), ratio in zip(sizes, RATIOS, strict=True):
        assert abs(height - (AREAS[name] * ratio) ** 0.5) < 2 and abs(width - height / ratio) < 3


def test_a_batch_must_divide_the_frames():
    with pytest.raises(ValueError, match=r"map.size: .* of 4 .* 51 frames; .* 1, 3, 17, 51"):
        graphs.build("opensora.spatial_decoder", {"preset": "xl", **clip(frames=51), "batch": 4})


def test_unknown_presets_are_refused():
    with pytest.raises(ValueError, match="params.preset: 'xxl' is not one of tiny, xl"):
        graphs.build("opensora.text_encoder", {"preset": "xxl"})


@pytest.mark.parametrize("groups", [1, 3])
def test_mapped_decoders_give_the_frames_asked_for(groups):
    """Groups and batches put together are the clip: upstream's loop over the whole latent."""
    vae = tiny.TINY_VAE
    frames = groups * vae.micro_frames
    torch.manual_seed(0)
    temporal = TemporalDecoder(vae).eval()
    graph = graphs.build("opensora.temporal_decoder", {"preset": "tiny", **clip(frames=frames)})
    size = graph.inputs[0].shape
    latent = latent_size(Video(frames, 64, 64, 8), vae)
    assert latent[0] == groups * size[2]
    z = torch.randn(1, 4, *latent)
    with torch.no_grad():
        parts = [temporal(part) for part in z.split(size[2], dim=2)]
    assert sum(p.shape[2] for p in parts) == frames


def test_seventeen_frames_come_from_five_latents():
    """The published group: 5 latents are 20 frames, the first 3 are the encoder's padding."""
    cfg = VAEConfig(filters=8, groups=4, res_blocks=1)
    module = TemporalDecoder(cfg).eval()
    with torch.no_grad():
        assert module(torch.randn(1, 4, 5, 3, 3)).shape == (1, 4, 17, 3, 3)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: VAETemporal(VAEConfig()), 309_687_144),
        (lambda: spatial_vae(VAEConfig()), 83_653_863),
    ],
)
def test_whole_vaes_have_the_published_parameters(make, expected):
    with torch.device("meta"):
        assert count(make()) == expected
