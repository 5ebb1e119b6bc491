"""DiTPipeline: a class becomes a picture."""

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from diffusers.pipelines.dit import pipeline_dit

from tests.recipes.harness import check, compiled, normal, run


def tiny() -> DiTPipeline:
    torch.manual_seed(11)
    # The pipeline says 1000 for no class: the table has 1001 rows as the hub's has.
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2,
        sample_size=8, norm_num_groups=4, num_embeds_ada_norm=1000,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    # In training labels would be dropped at random.
    pipe = DiTPipeline(transformer.eval(), vae, DDIMScheduler(clip_sample=False))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("guidance", [3.0, pytest.param(None, marks=pytest.mark.slow)])
def test_a_class_becomes_a_picture(tmp_path, monkeypatch, precision, guidance):
    pipe = tiny()
    pipe.save_pretrained(tmp_path / "folder")
    # The hub's folders have the older name.
    for file in ("model_index.json", "transformer/config.json"):
        path = tmp_path / "folder" / file
        path.write_text(path.read_text().replace("DiTTransformer2DModel", "Transformer2DModel"))
    # This pipeline takes no latents; what it draws is given here.
    monkeypatch.setattr(pipeline_dit, "randn_tensor", lambda shape, **_: normal(3, *shape))
    want = pipe([17], guidance or 1.0, num_inference_steps=3, output_type="pt").images
    words = ["sampler.steps=3", f"pipeline.options.guided={str(bool(guidance)).lower()}"]
    built = compiled(tmp_path / "folder", tmp_path / "build", *words, precision=precision)
    given = {"label": 17, "seed": 3} | ({"guidance": guidance} if guidance else {})
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)
