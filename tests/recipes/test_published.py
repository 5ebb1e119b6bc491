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
    # Of images the table of positions counts (it is a buffer here), of texts CLIP's does not.
    ("dit_xl_2", "transformer"): 675_129_632 - 256 * 1152,
    ("sit_xl_2", "transformer"): 675_129_632 - 256 * 1152,
    ("dit_xl_2", "vae"): 83_653_863,
    ("vdit_xl_1x2x2", "transformer"): 674_272_544 + 63_165_952,
    ("opendit_latte_xl_1x2x2", "transformer"): 674_272_544 + 63_165_952,
    ("open_sora_plan_1.3", "transformer"): 2_771_981_600,
    ("open_sora_plan_1.3_i2v", "transformer"): 2_782_713_632,
}


@pytest.mark.parametrize(("name", "component"), PARAMETERS)
def test_a_component_is_as_large_as_published(name, component):
    folder = model_folder(PUBLISHED / name)
    made = on_meta(lambda: build(folder.component(component).name, folder.config(component)))
    assert sum(p.numel() for p in made.parameters()) == PARAMETERS[name, component]


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [({"hidden_size": 1024, "depth": 24}, 458.1),
     ({"hidden_size": 768, "depth": 12, "num_heads": 12}, 130.5),
     ({"hidden_size": 384, "depth": 12, "num_heads": 6}, 33.0)],
)  # fmt: skip
def test_a_smaller_dit_is_as_large_as_published(changes, parameters):
    """Of L/2, B/2 and S/2, in millions."""
    folder = model_folder(PUBLISHED / "dit_xl_2", {"transformer": changes})
    made = on_meta(lambda: build("entracte.DiT", folder.config("transformer")))
    counted = sum(x.numel() for x in made.state_dict().values())
    assert round(counted / 1e6, 1) == parameters
