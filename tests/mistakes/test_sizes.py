"""Sizes of a clip through the door: what cannot be is refused with what is nearest, and all shapes
follow from the keys. The numbers are arithmetic: a latent is 8 x 8 pixels, the demo's VAE makes 8
frames of 2 latent ones."""

import pytest

import entracte


def plan_of(*words: str):
    return entracte.compile_pipeline(
        ["+target=host", "dry_run=true", "sampler.steps=2", *words]
    ).plan


PUBLISHED = " (or height and width of a published size of Open-Sora, like 240x426) (stage denoise)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pipeline.video.height=70"],
         "pipeline.video.height: 70 pixels are no multiple of 8 from 16 on; give 64 or 72"
         + PUBLISHED),
        (["pipeline=open_sora", "pipeline.video.width=427"],
         "pipeline.video.width: 427 pixels are no multiple of 8 from 16 on; give 424 or 432"
         + PUBLISHED),
        (["pipeline.video.frames=20"],
         "pipeline.video.frames: 20 frames are no whole number of the VAE's groups of 8; give a "
         "multiple of 8, for instance 16 or 24 (stage denoise)"),
        (["+pipeline.video.hight=64"],
         "pipeline.video.hight: nothing in the pipeline reads it (did you mean height?); read are "
         "fps, frames, height, width: leave it out, or refer to it, `${pipeline.video.hight}`"),
        (["sampler=lpl_adaptive", "+sampler.leap.patiense=2"],
         "sampler.leap.patiense: nothing in the pipeline reads it (did you mean patience?); read "
         "are minimum, over, patience, tolerance: leave it out, or refer to it, "
         "`${sampler.leap.patiense}`"),
        (["pipeline.stages.decode_space.map.size=5"],
         "pipeline.stages.decode_space.map.size: batches of 5 do not make 16 frames; give one of "
         "1, 2, 4, 8, 16"),
        (["pipeline.stages.decode_time.map.size=3"],
         "pipeline.stages.decode_time.inputs.z: cannot map over axis 2 of (1, 4, 4, 8, 8) in "
         "slices of 3: 1 are left over; the nearest sizes are 2 and 4 (or give a count)"),
        (["pipeline.stages.decode_time.map.size=4"],
         "pipeline.stages.decode_time.inputs.z: graph opensora.temporal_decoder wants shape (1, 4, "
         "2, 8, 8), its source sample.z gives (1, 4, 4, 8, 8) in each slice; give map.size=2"),
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_is_refused(words, message):
    with pytest.raises(entracte.ConfigError) as caught:
        plan_of(*words)
    assert str(caught.value) == message


def test_all_shapes_follow_from_the_keys():
    plan = plan_of(
        "pipeline.video.frames=24", "pipeline.video.height=48", "pipeline.video.width=72"
    )
    tensors = {t.port.name: t for t in plan.program.tensors}
    assert tensors["noise.noise"].port.shape == (1, 4, 6, 6, 9)
    pixels = tensors["decode_space.pixels"]  # all of them, or the piece that goes to the writer
    frames = pixels.port.shape[2] * max(1, pixels.streamed)
    assert (frames, *pixels.port.shape[3:]) == (24, 48, 72)


def test_a_key_may_be_read_in_any_spelling(tmp_path):
    """By its whole name, from a neighbour, and by a group that reads it whole."""
    (tmp_path / "pipeline").mkdir()
    text = """
name: mine
title: Mine
weights: "random:0"
video: {rows: 4, columns: "${.rows}", area: [VALUE]}
inputs: {seed: {kind: seed, default: 0}}
stages: {noise: {host: random_normal, params: {shape: READ}, inputs: {seed: seed}}}
outputs: {y: {kind: tensor, value: noise.noise}}
"""
    spelled = {
        "${pipeline.video.area}": "${pipeline.video.columns}",
        "[1, '${pipeline.video.columns}']": None,
    }
    for read, value in spelled.items():
        made = text.replace("READ", f'"{read}"' if value else read)
        made = made.replace(", area: [VALUE]", f", area: [2, '{value}']" if value else "")
        (tmp_path / "pipeline" / "mine.yaml").write_text(made)
        plan = entracte.compile_pipeline(
            ["+target=host", "pipeline=mine", "dry_run=true"], config_dir=tmp_path
        ).plan
        (noise,) = plan.program.tensors
        assert noise.port.shape[-1] == 4
