"""The tiny world: its rule for held-out cells, its captions, and the detector that judges clips."""

from itertools import combinations

import numpy as np

from tools.tiny_world_detect import detect
from tools.train_tiny import tokenizer, world

ATTRIBUTES = ("shape", "colour", "motion", "background")


def test_a_fifth_is_held_out_and_every_pair_of_values_is_seen():
    assert len(world.SEEN) + len(world.HELD_OUT) == 216
    assert 0.15 < len(world.HELD_OUT) / 216 < 0.25
    for a, b in combinations(ATTRIBUTES, 2):
        every = {(getattr(c, a), getattr(c, b)) for c in world.COMBINATIONS}
        assert {(getattr(c, a), getattr(c, b)) for c in world.SEEN} == every


def test_training_never_sees_a_held_out_cell():
    assert not any(c.held_out for c in world.sample(2000, np.random.default_rng(0)))


def test_plain_caption():
    cell = world.Combination("circle", "red", "right", "black")
    assert cell.plain_caption == "a red circle moves right"


def test_detector_reads_ground_truth():
    clips, coverage = world.draw(list(world.COMBINATIONS), np.random.default_rng(7))
    assert clips.shape == (216, 16, 64, 64, 3) and coverage.shape == (216, 16, 64, 64)
    wrong = []
    for cell, clip in zip(world.COMBINATIONS, clips, strict=True):
        found = detect((clip * 255).round().astype(np.uint8))
        if any(getattr(found, a) != getattr(cell, a) for a in ATTRIBUTES):
            wrong.append((cell, found))
    assert not wrong


def test_detector_reads_pictures_of_a_class():
    classes = np.arange(len(world.CLASSES)).repeat(10)
    drawn, coverage = world.pictures(classes, np.random.default_rng(3))
    assert drawn.shape == (180, 64, 64, 3) and coverage.shape == (180, 64, 64)
    found = [detect(picture[None]) for picture in drawn]
    assert [(f.colour, f.shape) for f in found] == [world.CLASSES[c] for c in classes]


def test_clips_that_begin_still_go_the_whole_way():
    cells = list(world.COMBINATIONS[::5])
    clips, _ = world.draw(cells, np.random.default_rng(5), still=4)
    assert np.array_equal(clips[:, 0], clips[:, 3])
    assert (np.abs(clips[:, 4] - clips[:, 3]).max((1, 2, 3)) > 0.1).all()
    for cell, clip in zip(cells, clips, strict=True):
        found = detect(clip)
        assert all(getattr(found, a) == getattr(cell, a) for a in ATTRIBUTES)


def test_detector_says_none_to_an_empty_clip():
    found = detect(np.zeros((16, 64, 64, 3), np.float32))
    assert (found.shape, found.colour, found.motion) == ("none",) * 3
    assert found.background == "black"


def test_drawing_is_reproducible():
    cells = list(world.COMBINATIONS[:4])
    first, _ = world.draw(cells, np.random.default_rng(3))
    second, _ = world.draw(cells, np.random.default_rng(3))
    assert np.array_equal(first, second)


def test_tokenizer_knows_every_word_and_survives_unknown_ones():
    encoder, rng = tokenizer.build(), np.random.default_rng(0)
    for cell in world.COMBINATIONS:
        text = world.caption(cell, rng)
        encoded = encoder.encode(text)
        assert sum(encoded.attention_mask) == len(text.split()) + 1
        assert tokenizer.UNKNOWN not in encoded.ids
    strange = encoder.encode("Ein großes Nashorn, bitte!")
    assert len(strange.ids) == tokenizer.LENGTH and strange.ids[-1] == tokenizer.END
