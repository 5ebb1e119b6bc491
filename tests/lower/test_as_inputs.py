"""Stored constants that become inputs: what the graph then gives is what torch gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (torch's own name)

from entracte import reference
from entracte.lower import package
from entracte.lower.as_inputs import Array, weights_as_inputs
from entracte.lower.errors import LowerError

RNG = np.random.default_rng(7)
NUMPY = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32}


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def made(tmp_path: Path, build: Callable[[Any, Any], Any], *shape: int) -> Path:
    """A package of one function of `in0`, written by coremltools in fp32."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape)], opset_version=ct.target.iOS17)
    def program(in0: Any) -> Any:
        return build(mb, in0)

    path = tmp_path / "one.mlpackage"
    ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    ).save(str(path))
    package.normalise(path)
    return path


def values(template: Path, arrays: tuple[Array, ...]) -> dict[str, np.ndarray]:
    blob = (template / package.WEIGHT_FILE).read_bytes()
    return {
        a.port.name: np.frombuffer(blob[a.start : a.start + a.size], NUMPY[a.port.dtype]).reshape(
            a.port.shape
        )
        for a in arrays
    }


def run(path: Path, given: dict[str, np.ndarray]) -> np.ndarray:
    with reference.load(path, strict=True) as loaded:
        (found,) = loaded.predict(given).values()
    return found.numpy()


W, B, G = drawn(24, 16), drawn(24), drawn(16)
K, C = drawn(12, 6, 3, 3), drawn(12)
CASES = {
    "linear": (
        lambda mb, x: mb.linear(x=x, weight=W, bias=B),
        (2, 5, 16),
        lambda x: F.linear(x, torch.tensor(W), torch.tensor(B)),
        2,
    ),
    "linear without bias": (
        lambda mb, x: mb.linear(x=x, weight=W),
        (5, 16),
        lambda x: F.linear(x, torch.tensor(W)),
        2,  # coremltools stores a bias of zeros
    ),
    "layer norm": (
        lambda mb, x: mb.layer_norm(x=x, axes=[-1], gamma=G, beta=B[:16], epsilon=1e-5),
        (2, 5, 16),
        lambda x: F.layer_norm(x, (16,), torch.tensor(G), torch.tensor(B[:16]), 1e-5),
        2,
    ),
    "convolution": (
        lambda mb, x: mb.conv(x=x, weight=K, bias=C, pad_type="valid"),
        (1, 6, 8, 7),
        lambda x: F.conv2d(x, torch.tensor(K), torch.tensor(C)),
        2,
    ),
    "instance norm": (
        lambda mb, x: mb.instance_norm(x=x, gamma=C, beta=B[:12], epsilon=1e-5),
        (1, 12, 4, 5),
        lambda x: F.instance_norm(x, weight=torch.tensor(C), bias=torch.tensor(B[:12])),
        2,
    ),
    "a product with a table": (
        lambda mb, x: mb.mul(x=mb.add(x=x, y=W), y=W),
        (24, 16),
        lambda x: (x + torch.tensor(W)) * torch.tensor(W),
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_graph_with_its_constants_as_inputs_gives_what_torch_gives(
    tmp_path: Path, name: str
) -> None:
    build, shape, torch_of, count = CASES[name]
    template, path = made(tmp_path, build, *shape), tmp_path / "graph.mlpackage"
    arrays = weights_as_inputs(template, path)
    assert [a.port.name for a in arrays] == [f"w{i}" for i in range(count)]
    assert not (path / package.WEIGHT_FILE).exists()
    assert reference.package_weight_bytes(path) == 0
    x = drawn(*shape)
    found = run(path, {"in0": x} | values(template, arrays))
    np.testing.assert_allclose(found, torch_of(torch.tensor(x)).numpy(), rtol=2e-5, atol=2e-5)
    # Others give others: nothing of the constants stayed in the program.
    others = {n: v * 0 for n, v in values(template, arrays).items()}
    assert np.abs(run(path, {"in0": x} | others)).max() < np.abs(found).max()


def test_the_graph_is_the_same_bytes_for_other_numbers(tmp_path: Path) -> None:
    digests = set()
    for i in range(2):
        folder = tmp_path / str(i)
        folder.mkdir()
        weight = drawn(24, 16)
        template = made(folder, lambda mb, x, w=weight: mb.linear(x=x, weight=w), 5, 16)
        weights_as_inputs(template, folder / "graph.mlpackage")
        digests.add(package.canonical_digest(folder / "graph.mlpackage"))
    assert len(digests) == 1


def test_what_takes_a_constant_only_is_refused_by_its_name(tmp_path: Path) -> None:
    template = made(
        tmp_path,
        lambda mb, x: mb.batch_norm(x=x, mean=C, variance=C * C, gamma=C, beta=C, name="norm_7"),
        1, 12, 4, 5,
    )  # fmt: skip
    with pytest.raises(LowerError, match="batch_norm `norm_7` takes beta, gamma, mean"):
        weights_as_inputs(template, tmp_path / "graph.mlpackage")
    assert not (tmp_path / "graph.mlpackage").exists()
