"""Files that the Swift runner writes, read by PIL, numpy and safetensors."""

import os

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from entracte.run.video import contact_sheet, to_frames
from tests.swift import built, done


def test_others_read_what_swift_writes(tmp_path):
    chain = built()
    words = chain.swift("test", "--skip-build", "--filter", "filesForOthersToRead")
    ran = done(words, env=os.environ | {"ENTRACTE_MEDIA_FILES": str(tmp_path)})
    assert ran.returncode == 0, ran.stdout + ran.stderr
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
