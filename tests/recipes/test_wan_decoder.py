"""Wan's VAE decoded in slices: the same video however it is sliced, cut and ordered, and that of
`AutoencoderKLWan.decode`."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from entracte.compile.job import compile_pipeline
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.recipes.wan_decoder import decode_video, kept_by
from entracte.graphs.recipes.wan_encoder import kept_by_encoder
from tests.recipes.harness import NEAR, normal, run
from tests.recipes.test_wan import vae

Z = (1, 4, 5, 2, 3)
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(1)
    place, made = tmp_path_factory.mktemp("folder"), vae()
    made.save_pretrained(place / "vae")
    index = {"_class_name": "WanPipeline", "vae": ["diffusers", "AutoencoderKLWan"]}
    (place / "model_index.json").write_text(json.dumps(index))
    return place, made


def declared(place, size: int, order: str) -> dict:
    r = Recipe(model_folder(place), {"slice": size}, None)
    decode_video(r, r.given("z", Z, kind="tensor"))
    r.inputs["z"]["shape"] = list(Z)
    r.stages["decode"]["map"]["order"] = order
    return {"name": "own", "title": "own", "weights": str(place), "precision": "fp32",
            "inputs": r.inputs, "stages": r.stages, "outputs": r.outputs}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("size", "order", "chunk_bytes"), [
    pytest.param(1, "slice", "4KiB", marks=SLOW), pytest.param(1, "chunk", "4KiB", marks=SLOW),
    pytest.param(2, "slice", "6KiB", marks=SLOW), pytest.param(4, "auto", "1MiB", marks=SLOW),
])  # fmt: skip
def test_slices_are_the_whole_clip(folder, tmp_path, size, order, chunk_bytes):
    place, decoder = folder
    z = normal(4, *Z)
    std, mean = (torch.tensor(decoder.config[f"latents_{n}"]).view(1, -1, 1, 1, 1)
                 for n in ("std", "mean"))  # fmt: skip
    want = decoder.decode(z * std + mean).sample.numpy()
    (tmp_path / "conf" / "pipeline").mkdir(parents=True)
    made = OmegaConf.create(declared(place, size, order))
    OmegaConf.save(made, tmp_path / "conf" / "pipeline" / "own.yaml")
    words = ["+target=host", "pipeline=own", "verify=off", f"partition.chunk_bytes={chunk_bytes}"]
    built = compile_pipeline(
        [*words, f"cache={tmp_path / 'cache'}"], out=tmp_path / "build",
        config_dir=tmp_path / "conf",
    )  # fmt: skip
    loops = [len(s.steps) for s in built.plan.program.segments if s.sliced]
    assert (len(loops) == 1) == (order != "chunk") and (size == 4 or sum(loops) > 4)
    got = run(built, {"z": z.numpy()}, "video")
    assert got.shape == want.shape == (1, 3, 4 * Z[2] - 3, 8 * Z[3], 8 * Z[4])
    # Frames differ, and are not all at the ends of the range.
    assert np.ptp(want, axis=2).max() > 0.1 and (np.abs(want) < 1).mean() > 0.2
    assert np.abs(got - want).max() <= NEAR * np.abs(want).max()


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 2])
def test_shapes_of_what_is_kept_are_the_librarys(blocks):
    made = vae(num_res_blocks=blocks)
    rows, columns = 2, 3
    kept = [None] * made._cached_conv_counts["decoder"]
    for k in range(3):
        z = torch.zeros(1, 4, 1, rows, columns)
        made.decoder(z, feat_cache=kept, feat_idx=[0], first_chunk=k == 0)
    known = [k.shape for k in kept_by(made.config, rows, columns)]
    assert known == [tuple(x.shape) for x in kept if x is not None]
    kept = [None] * made._cached_conv_counts["encoder"]
    for size in (1, 4, 4):
        made.encoder(torch.zeros(1, 3, size, 16, 24), feat_cache=kept, feat_idx=[0])
    known = kept_by_encoder(made.config, 16, 24)
    assert known == [tuple(x.shape) for x in kept if x is not None]
