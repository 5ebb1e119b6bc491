"""Files that the Swift runner writes, and what they say of how they were made, read by PIL, numpy,
PyAV, zipfile and safetensors."""

import json
import os
import wave
import zipfile

import av
import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from entracte.run.video import contact_sheet, to_frames
from tests.swift import built, done

COMMENT = json.dumps({"prompt": 'a "red" circle, \u00fc \\', "seed": 3})


def test_others_read_what_swift_writes(tmp_path):
    chain = built()
    words = chain.swift("test", "--skip-build", "--filter", "filesForOthersToRead")
    given = {"ENTRACTE_MEDIA_FILES": str(tmp_path), "ENTRACTE_MEDIA_COMMENT": COMMENT}
    ran = done(words, env=os.environ | given)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _check_numbers(tmp_path)
    _check_comments(tmp_path)


def _check_numbers(tmp_path):
    values = (np.arange(3 * 2 * 40 * 60) % 997).astype(np.float32) / np.float32(997)
    clip = values.reshape(1, 3, 2, 40, 60)
    frames = to_frames(clip)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "sheet.png")), contact_sheet(frames)
    )
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / f"frames/{k:05}.png")), frame
        )
    np.testing.assert_array_equal(np.load(tmp_path / "clip.npy"), clip)
    np.testing.assert_array_equal(np.load(tmp_path / "clip.npz")["clip"], clip)
    np.testing.assert_array_equal(load_file(tmp_path / "clip.safetensors")["clip"], clip)
    with wave.open(str(tmp_path / "sound.wav")) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8, 31)


def _check_comments(tmp_path):
    for name in ("sheet.png", "frames/00000.png", "frames/00001.png"):
        with Image.open(tmp_path / name) as image:
            assert image.text == {"Comment": COMMENT}
    with zipfile.ZipFile(tmp_path / "clip.npz") as archive:
        assert archive.comment.decode() == COMMENT and archive.testzip() is None
    with safe_open(tmp_path / "clip.safetensors", "np") as file:
        assert file.metadata() == {"entracte": COMMENT}
    with av.open(str(tmp_path / "sound.wav")) as sound:
        assert sound.metadata == {"comment": COMMENT}
