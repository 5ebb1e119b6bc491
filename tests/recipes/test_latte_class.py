"""Vchitect's Latte of classes, whole and tiny, against a loop of torch."""

import pytest
import torch

from entracte.errors import ConfigError
from tests.recipes.harness import check, compiled, normal, run
from tests.recipes.test_minisora import STEPS, ddpm, saved

LATTE = {"input_size": 4, "patch_size": 2, "in_channels": 4, "hidden_size": 24, "num_heads": 2,
         "mlp_ratio": 2.0, "depth": 2, "num_frames": 3, "num_classes": 5, "extras": 2,
         "learn_sigma": True, "class_dropout_prob": 0.1}  # fmt: skip
SCALE = 3.0


def folder_of(tmp_path, **config):
    return saved(tmp_path / "folder", "LatteClassPipeline", "Latte", LATTE | config,
                 {"noise_schedule": "linear"})  # fmt: skip


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("extras", [2, 1])
def test_a_class_becomes_a_clip(tmp_path, extras, precision):
    model, vae = folder_of(tmp_path, extras=extras)
    labels = torch.tensor([3, LATTE["num_classes"]])

    def guided(z, t):
        x = z.transpose(1, 2)
        if extras == 1:
            return model(x, t.reshape(1)).transpose(1, 2)
        one, none = model(x.repeat(2, 1, 1, 1, 1), t.repeat(2), labels).transpose(1, 2).chunk(2)
        # Of four channels, all; what follows is the variance.
        return torch.cat([none[:, :4] + SCALE * (one[:, :4] - none[:, :4]), one[:, 4:]], 1)

    z = ddpm(guided, normal(3, 1, 4, LATTE["num_frames"], 4, 4))
    want = vae.decode(z[0].transpose(0, 1) / 0.18215).sample.transpose(0, 1)[None]
    folder = tmp_path / "folder"
    built = compiled(folder, tmp_path / "build", f"sampler.steps={STEPS}", precision=precision)
    given = {"label": 3, "guidance": SCALE} if extras == 2 else {}
    check(run(built, {"seed": 3, **given}, "video"), want, precision)


def test_a_model_of_texts_is_refused(tmp_path):
    folder_of(tmp_path, extras=78)
    with pytest.raises(ConfigError, match="extras 78 is of texts; .* LattePipeline is of texts"):
        compiled(tmp_path / "folder", tmp_path / "build")
