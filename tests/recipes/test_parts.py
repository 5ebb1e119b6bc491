"""What recipes of pictures share: sizes, shifts of a schedule, packing of latents."""

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from entracte.graphs.recipes.hub import ModelFolder
from entracte.graphs.recipes.parts_bins import binned_sizes
from entracte.graphs.recipes.parts_flow import packed, places, shift_of, unpacked
from entracte.graphs.recipes.recipe import Recipe


def recipe(**options) -> Recipe:
    return Recipe(ModelFolder(Path(), "SanaPipeline", {}, {}), options, None)


def test_sizes_that_a_model_was_trained_for_are_taken():
    assert binned_sizes(recipe(), 32, 32) == (1024, 1024)
    assert binned_sizes(recipe(height=768, width=1344), 32, 32) == (768, 1344)


def test_other_sizes_are_refused_with_the_nearest():
    # 0.57 is 576 / 1024 as well as 768 / 1344.
    with pytest.raises(ValueError, match="not trained for 576 x 1024; .* is 768 x 1344"):
        binned_sizes(recipe(height=576, width=1024), 32, 32)


@pytest.mark.parametrize("sample_size", [32, 4])
def test_any_size_is_taken_where_it_is_asked_for_or_no_list_is_known(sample_size):
    binned = {"binned": False} if sample_size == 32 else {}
    assert binned_sizes(recipe(height=576, width=1024, **binned), 32, sample_size) == (576, 1024)


def test_a_size_over_the_most_is_refused():
    with pytest.raises(ValueError, match="length: 600 is more than the 512 .* give 512"):
        recipe(length=600).size("length", 256, most=512)


@pytest.mark.parametrize("most", [1.15, 1.16])
def test_the_shift_is_diffusers(most):
    config = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5}
    for tokens in (24, 1024, 4096):
        assert shift_of(config, tokens, most) == calculate_shift(tokens, max_shift=most)
        assert shift_of({**config, "max_shift": 0.9}, tokens, most) == calculate_shift(
            tokens, max_shift=0.9
        )


def test_latents_are_packed_as_diffusers_packs_them():
    z = torch.arange(3.0 * 4 * 6).reshape(1, 3, 4, 6)
    assert torch.equal(packed(z), FluxPipeline._pack_latents(z, 1, 3, 4, 6))
    assert torch.equal(unpacked(packed(z), z), z)
    ids = FluxPipeline._prepare_latent_image_ids(1, 2, 3, "cpu", torch.float32)
    assert torch.equal(places(2, 3), ids)
