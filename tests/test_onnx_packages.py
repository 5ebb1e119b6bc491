"""The ONNX models that packages on PyPI carry, against ONNX Runtime.

They are looked for where these packages are installed, and nothing of them is imported:

    pip install --no-deps magika==1.0.3 rapidocr==3.10.0 silero-vad==6.2.3

without what they need themselves (OpenCV, torchaudio), 51 MB in all; a folder on `PYTHONPATH` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from entracte.graphs import build

ort = pytest.importorskip("onnxruntime", reason="what is right is told by ONNX Runtime")
RNG = np.random.default_rng(0)


@dataclass
class Carried:
    """A model in a package, its parameters, and inputs as one would give them."""

    place: str
    params: dict[str, Any]
    feeds: dict[str, np.ndarray]
    fixed: dict[str, np.ndarray] = field(default_factory=dict)
    """Inputs that `values` fixes."""

    def path(self) -> Path:
        package, _, inner = self.place.partition("/")
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            pytest.skip(f"{package} is not installed: pip install --no-deps {package}")
        found = Path(next(iter(spec.submodule_search_locations))) / inner
        if not found.is_file():
            pytest.skip(f"this version of {package} has no {inner}")
        return found


def page(text: str, width: int, height: int) -> np.ndarray:
    """Black on white, as the recognisers take it: [1, 3, height, width] from -1 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(size=height // 2)
    ImageDraw.Draw(image).text((height // 4, height // 5), text, fill="black", font=font)
    pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(pixels / 127.5 - 1)


def sound(samples: int) -> np.ndarray:
    """A buzz that swells: what a voice is nearest to among formulas."""
    t = np.arange(samples) / 16000
    wave = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    return (0.1 * wave * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)


CODE = b"import sys\n\ndef main():\n    print(sys.argv)\n\nmain()\n" * 12
BYTES = np.array([[*CODE[:1024], *CODE[-1024:]] + [256] * 2048], np.int32)[:, :2048]
STATE = {"input": [1, 512], "state": [2, 1, 128]}
CHUNKS = sound(4 * 512).reshape(4, 512)
VOICE = {"input": CHUNKS[2:3], "state": 0.1 * RNG.standard_normal((2, 1, 128)).astype(np.float32)}
RATE = {"sr": np.array(16000)}

MODELS = {
    "magika": Carried(
        "magika/models/standard_v3_3/model.onnx", {"shapes": {"bytes": [1, 2048]}}, {"bytes": BYTES}
    ),
    "detection": Carried(
        "rapidocr/models/PP-OCRv6_det_small.onnx", {"shapes": {"x": [1, 3, 64, 192]}},
        {"x": page("Entracte", 192, 64)},
    ),
    "recognition": Carried(
        "rapidocr/models/PP-OCRv6_rec_small.onnx", {"shapes": {"x": [1, 3, 48, 160]}},
        {"x": page("Entracte", 160, 48)},
    ),
    "angle": Carried(
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", {"shapes": {"x": [1, 3, 48, 192]}},
        {"x": page("Entracte", 192, 48)},
    ),
    **{
        f"voice, {name}": Carried(
            f"silero_vad/data/{name}.onnx", {"shapes": STATE, "values": {"sr": 16000}}, VOICE, RATE
        )
        for name in ("silero_vad", "silero_vad_16k_op15", "silero_vad_op18_ifless")
    },
    "voice, half": Carried(
        "silero_vad/data/silero_vad_half.onnx", {"shapes": {"batch": 1, "sequence": 512}}, VOICE
    ),
    "voice, sequence": Carried(
        "silero_vad/data/silero_vad_16k_sequence.onnx", {"shapes": {"sequence_length": 3}},
        {"input": sound(3 * 576).reshape(3, 576), "h": VOICE["state"][:1], "c": VOICE["state"][1:]},
    ),
}  # fmt: skip


def session(path: Path) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def port(array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.int32)


def error(found: np.ndarray, right: np.ndarray) -> float:
    """Of the largest."""
    assert found.shape == right.shape
    return float(np.abs(found - right).max() / np.abs(right).max())


@pytest.mark.parametrize("name", MODELS)
def test_a_module_computes_what_onnx_runtime_does(name):
    given = MODELS[name]
    path = given.path()
    graph = build("onnx", {"file": str(path), **given.params})
    with torch.no_grad():
        made = graph.module(*(port(given.feeds[i.name]) for i in graph.inputs))
    right = session(path).run(None, given.feeds | given.fixed)
    assert len(made) == len(right)
    for found, wanted in zip(made, right, strict=True):
        assert error(found.numpy(), wanted) < 1e-4


# ---------------------------------------------------------------- all the way

PIPELINE = """
name: carried
title: A model out of a package
weights: {folder}
inputs:
  given: {{kind: tensor, shape: {shape}, dtype: {dtype}, default: 0}}
outputs:
  made: {{kind: tensor, value: model.{output}}}
stages:
  model:
    graph: onnx
    params: {{file: {file}, shapes: {shapes}}}
    inputs: {{{input}: given}}
    precision: {precision}
"""

SPEECH = """
name: speech
title: Voice activity, with the model's state as the loop's
weights: {folder}
inputs:
  chunks: {{kind: tensor, shape: [4, 512], default: 0}}
  first: {{kind: tensor, shape: [2, 1, 128], default: 0}}
outputs:
  speech: {{kind: tensor, value: over.speech}}
  state: {{kind: tensor, value: over.state}}
stages:
  vad:
    graph: onnx
    params: {{file: silero_vad.onnx, shapes: {{input: [1, 512], state: [2, 1, 128]}},
             values: {{sr: 16000}}}}
    inputs: {{input: over.chunk, state: over.state}}
    precision: {precision}
loops:
  over:
    count: 4
    stages: [vad]
    state: {{state: [first, vad.stateN]}}
    scan: {{chunk: {{value: chunks, axis: 0, size: 1}}}}
    collect: {{speech: {{value: vad.output, axis: 0}}}}
"""


def compiled(folder: Path, text: str) -> Path:
    from entracte.compile.job import compile_job
    from entracte.declare.compose import compose
    from entracte.declare.read import read

    (folder / "conf" / "pipeline").mkdir(parents=True)
    (folder / "conf" / "pipeline" / "carried.yaml").write_text(text)
    # Not compared there: on the default, a blank page, there is nothing to detect, and a flat
    # output below the resolution of fp16. Here are better inputs, and what is right from outside.
    words = ["+target=host", "pipeline=carried", "verify=off", f"out={folder / 'build'}"]
    compile_job(read(compose(words, folder / "conf")))
    return folder / "build"


def ran(folder: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from entracte.run.execute import run_build

    outputs = run_build(folder, inputs, device="reference").outputs
    return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


def check(found: np.ndarray, right: np.ndarray, precision: str) -> None:
    """fp32: 1e-4 of the largest. fp16: 40 dB below the largest."""
    assert error(found, right) < (1e-4 if precision == "fp32" else np.inf)
    noise = np.sqrt(np.mean((found.astype(np.float64) - right) ** 2))
    assert noise <= 1e-2 * np.abs(right).max()


WHOLE = [
    (name, precision)
    for name in ("magika", "detection", "recognition", "angle")
    for precision in ("fp32", "fp16")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), WHOLE)
def test_a_package_of_it_computes_what_onnx_runtime_does(name, precision, tmp_path):
    given = MODELS[name]
    path = given.path()
    ((feature, value),) = given.feeds.items()
    graph = build("onnx", {"file": str(path), **given.params})
    text = PIPELINE.format(
        folder=path.parent, file=path.name, shape=list(value.shape), precision=precision,
        dtype="int32" if value.dtype.kind == "i" else "fp32", input=feature,
        output=graph.outputs[0], shapes=given.params["shapes"],
    )  # fmt: skip
    made = ran(compiled(tmp_path, text), {"given": value})
    check(made["made"], session(path).run(None, given.feeds)[0], precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_state_goes_round_in_a_loop(precision, tmp_path):
    path = MODELS["voice, silero_vad"].path()
    first = np.zeros((2, 1, 128), np.float32)
    folder = compiled(tmp_path, SPEECH.format(folder=path.parent, precision=precision))
    made = ran(folder, {"chunks": CHUNKS, "first": first})
    model, state, speech = session(path), first, []
    for chunk in CHUNKS:
        one, state = model.run(None, {"input": chunk[None], "state": state, **RATE})
        speech.append(one)
    check(made["speech"], np.concatenate(speech), precision)
    check(made["state"], state, precision)
