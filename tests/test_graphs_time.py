"""The timestep embedding at real scale, 0 to 1000: what fp16 does to it, and what we emit."""

import numpy as np
import torch
from torch import nn

from entracte.graphs.opensora.embed import ScalarEmbedder
from entracte.graphs.opensora.sampler import rflow_timesteps
from tests.lower.execute import lower, psnr, run
from tests.lower.ports import ports_of

HIDDEN = 64


class Embedding(nn.Module):
    """All timesteps of a schedule through STDiT3's embedder."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedder = ScalarEmbedder(HIDDEN)

    def forward(self, timestep: torch.Tensor) -> torch.Tensor:
        return self.embedder(timestep)


def timesteps() -> torch.Tensor:
    """The published schedule at 256x256, 68 frames: 1000 to 70.9."""
    values, _ = rflow_timesteps(30, 68, 256, 256)
    return torch.from_numpy(values.astype(np.float32))


def in_half(embedder: ScalarEmbedder, timestep: torch.Tensor) -> torch.Tensor:
    """The same with the angle rounded to fp16, which is what an fp16 program computes."""
    angle = (timestep.half()[:, None] * embedder.frequencies.half()).float()
    return embedder.mlp(torch.cat((angle.cos(), angle.sin()), dim=-1))


def test_emitted_fp16_embedding_is_right_where_plain_fp16_is_not(tmp_path):
    module, t = Embedding().eval(), timesteps()
    with torch.no_grad():
        expected, plain = module(t), in_half(module.embedder, t)
    path = tmp_path / "time.mlpackage"
    inputs, outputs = ports_of(module, (t,), "fp16")
    # A timestep is an fp32 port: tracing finds that it ends in a sine (frontend/precision.py).
    wide = [type(p)(p.name, p.shape, type(p.dtype)("fp32")) for p in inputs]
    lower(module, (t,), path, precision="fp16", deployment="iOS18", ports=(wide, outputs))
    (found,) = run(path, (t,))
    angle = t[:, None] * module.embedder.frequencies
    rough = (t.half()[:, None] * module.embedder.frequencies.half()).float()
    # fp16 numbers near 1000 are 0.5 apart: some sines are wrong in the first digit, and the
    # embedding has 42 dB. Two fp16 layers behind exact sines round by 2^-11, -66 dB; 60 is asked.
    assert (angle.sin() - rough.sin()).abs().max() > 0.2
    assert psnr(plain, expected) < 45
    assert psnr(found, expected) >= 60


def test_the_denoiser_takes_its_timestep_in_fp32():
    """Tracing keeps the port and the sines' arguments out of fp16."""
    from entracte import graphs
    from entracte.frontend.export import export_graph
    from entracte.frontend.precision import fp32_values
    from entracte.lower.backend import CORE_ML

    sizes = {"preset": "tiny", "frames": 16, "height": 64, "width": 64, "fps": 8}
    graph = graphs.build("opensora.denoiser", sizes)
    program = export_graph(
        graph.module, tuple(torch.zeros(i.shape) for i in graph.inputs), CORE_ML.is_convertible
    )
    wide = fp32_values(program, CORE_ML.aten_islands)
    assert "timestep" in wide
    sine = (torch.ops.aten.sin.default, torch.ops.aten.cos.default)
    sines = {n.name for n in program.graph.nodes if n.target in sine}
    assert sines and sines <= wide
