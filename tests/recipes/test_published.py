"""Folders with published configurations: modules are as large as their authors say."""

from pathlib import Path

import pytest

import entracte.graphs
from entracte.graphs.meta import on_meta
from entracte.graphs.recipes.called import build
from entracte.graphs.recipes.hub import model_folder

PUBLISHED = Path(entracte.graphs.__file__).parent / "published"
# As the models' weights are known to be.
PARAMETERS = {
    ("flux.1_schnell", "transformer"): 11_891_178_560,
    ("flux.1_schnell", "text_encoder"): 123_060_480,
    ("flux.1_schnell", "text_encoder_2"): 4_762_310_656,
    ("flux.1_schnell", "vae"): 83_819_683,
    ("sdxl_base_1.0", "unet"): 2_567_463_684,
    ("sdxl_base_1.0", "text_encoder_2"): 694_659_840,
    ("sdxl_base_1.0", "vae"): 83_653_863,
    ("flux.2_klein_4b", "text_encoder"): 4_022_468_096,
}


@pytest.mark.parametrize(("name", "component"), PARAMETERS)
def test_a_component_is_as_large_as_published(name, component):
    folder = model_folder(PUBLISHED / name)
    made = on_meta(lambda: build(folder.component(component).name, folder.config(component)))
    assert sum(p.numel() for p in made.parameters()) == PARAMETERS[name, component]
