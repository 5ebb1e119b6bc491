"""docs/your-own-pipeline.md: every block of it, in order, in a folder of its own; what comes out is
compared with torch, transformers, diffusers and ONNX Runtime, called by hand."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import entracte

PAGE = Path(__file__).parent.parent / "docs" / "your-own-pipeline.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LENGTH = 12


def sections() -> dict[str, list[tuple[str, str, str]]]:
    """Heading -> its blocks: (language, file's name or nothing, text)."""
    parts = PAGE.read_text().split("\n## ")[1:]
    return {p.partition("\n")[0]: BLOCK.findall(p) for p in parts}


class Folder:
    """A project of somebody's, in which the page is followed."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self._patch = path, patch
        self.done: list[str] = []

    def follow(self, *headings: str) -> None:
        """Write the files, type the commands."""
        known = sections()
        for heading in headings:
            for language, name, text in known[heading]:
                if name:
                    (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                    (self.path / name).write_text(text)
                else:
                    assert language == "sh", text
                    for line in text.splitlines():
                        self._type(shlex.split(line))
            self.done.append(heading)

    def _type(self, words: list[str]) -> None:
        if words == ["pip", "install", "-e", "."]:
            self._install()
        elif words[:2] == ["compile", "--config-dir"]:
            entracte.compile_pipeline([*words[3:], "workers=1"], config_dir=words[2])
        else:
            self._plan(words)

    def _install(self) -> None:
        """What an installer writes, without one."""
        project = tomllib.loads((self.path / "pyproject.toml").read_text())["project"]
        info = self.path / "site" / "mine-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1\n"
        )
        points = project["entry-points"]["entracte.graphs"].items()
        lines = "\n".join(f"{name} = {place}" for name, place in points)
        (info / "entry_points.txt").write_text(f"[entracte.graphs]\n{lines}\n")
        self._patch.syspath_prepend(str(info.parent))
        self._patch.syspath_prepend(str(self.path))

    def _plan(self, words: list[str]) -> None:
        from entracte.cli.plan import app

        assert words.pop(0) == "plan"
        made = CliRunner().invoke(app, [*words, "--device", "reference"])
        assert made.exit_code == 0, made.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield Folder(tmp_path, monkeypatch)
    for name in ("classifier", "encoder", "picture"):
        sys.modules.pop(name, None)


def near(got, want, most: float) -> None:
    """To a part of the largest: fp16 keeps 11 bits of each number."""
    want = np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= most * np.abs(want).max()


def test_the_page_has_these_sections():
    assert list(sections()) == [
        "A package", "A torch module", "A transformers encoder", "A diffusers folder",
        "An ONNX file",
    ]  # fmt: skip


@torch.no_grad()
def test_a_torch_module(folder):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder.path / "cat.png")
    folder.follow("A package", "A torch module")
    from classifier import Classifier

    torch.manual_seed(0)
    module = Classifier(32, 5).eval()
    image = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    near(np.load(folder.path / "logits.npy"), module(image), 4e-3)


@torch.no_grad()
def test_a_transformers_encoder(folder):
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat"]
    torch.manual_seed(1)
    BertTokenizerFast(vocab={w: i for i, w in enumerate(words)}).save_pretrained("models/bert")
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained("models/bert")
    folder.follow("A package", "A transformers encoder")
    given = AutoTokenizer.from_pretrained("models/bert")(
        "the cat sat on a mat", padding="max_length", max_length=LENGTH, return_tensors="pt"
    )
    assert given.attention_mask.sum() == 8  # six words and two marks
    wanted = AutoModel.from_pretrained("models/bert")(**given).last_hidden_state
    near(np.load(folder.path / "meaning.npy"), wanted, 4e-3)


@pytest.mark.slow
@torch.no_grad()
def test_a_diffusers_folder(folder):
    """The same latents through diffusers' own pipeline."""
    from diffusers import StableDiffusionPipeline
    from PIL import Image

    from entracte.declare.host_ops import random_normal

    save_picture("models/picture")
    folder.follow("A package", "A diffusers folder")
    pipe = StableDiffusionPipeline.from_pretrained("models/picture")
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(
        "a red cat", negative_prompt="", num_inference_steps=3, guidance_scale=3.0,
        latents=torch.tensor(random_normal(3, (1, 4, 8, 8))), output_type="pt",
    ).images  # fmt: skip
    image = np.load(folder.path / "cat.npy")
    near(np.clip(image / 2 + 0.5, 0, 1), wanted, 1e-4)
    shown = np.asarray(Image.open(folder.path / "cat.png"))
    assert np.abs(shown - wanted[0].permute(1, 2, 0).numpy() * 255).max() < 0.6


def save_picture(place: str) -> None:
    """Stable Diffusion in small, with numbers of a seed, as diffusers writes it."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{c}</w>" for c in letters), "re", "red</w>"]
    words += [f"<{i}>" for i in range(62 - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    torch.manual_seed(2)
    text = CLIPTextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, bos_token_id=62, eos_token_id=63,
        pad_token_id=63,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        sample_size=16, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer(
            vocab={word: i for i, word in enumerate(words)},
            merges=[("r", "e"), ("re", "d</w>")],
            model_max_length=LENGTH,
        ),
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(place)


def test_an_onnx_file(folder):
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    drawn = np.random.default_rng(4)
    numbers = {
        "w": drawn.standard_normal((24, 8)), "v": drawn.standard_normal((8, 5)),
    }  # fmt: skip
    model = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Tanh", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "v"], ["logits"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 24])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 5])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in numbers.items()],
    )
    Path("models").mkdir()
    made = helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, "models/classifier.onnx")
    x = drawn.standard_normal((1, 24)).astype(np.float32)
    np.save("x.npy", x)
    folder.follow("An ONNX file")
    (wanted,) = InferenceSession("models/classifier.onnx").run(None, {"x": x})
    near(np.load("logits.npy"), wanted, 4e-3)
