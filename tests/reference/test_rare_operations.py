"""Operations that diffusion pipelines hardly use, executed directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from direct import evaluate
from torch.nn import functional

RNG = np.random.default_rng(0)


def data(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_suppression_keeps_the_best_of_overlapping_boxes():
    boxes = np.array([[[5, 5, 4, 4], [5.5, 5, 4, 4], [20, 20, 4, 4], [1, 1, 1, 1]]], np.float32)
    scores = np.array([[[0.5, 0.1], [0.9, 0.2], [0.1, 0.8], [0.05, 0.01]]], np.float32)
    options = {"iou_threshold": 0.5, "score_threshold": 0.1, "max_boxes": 3}
    found = evaluate("non_maximum_suppression", {"boxes": boxes, "scores": scores}, options,
                     out=("fp32", "fp32", "int32", "int32"), opset=16)  # fmt: skip
    np.testing.assert_array_equal(found[2], [[1, 2, -1]])
    np.testing.assert_array_equal(found[3], [2])
    np.testing.assert_array_equal(found[0][0], [*boxes[0, [1, 2]], np.zeros(4)])
    np.testing.assert_array_equal(found[1][0], [*scores[0, [1, 2]], np.zeros(2)])


@pytest.mark.parametrize("opset", [16, 17])
def test_suppression_within_classes_only(opset):
    boxes = np.array([[[5, 5, 4, 4], [5, 5, 4, 4], [5, 5, 4, 4]]], np.float32)
    scores = np.array([[[0.5, 0.1], [0.2, 0.9], [0.3, 0.1]]], np.float32)
    options = {"iou_threshold": 0.5, "max_boxes": 3, "per_class_suppression": True}
    tensors = {"boxes": boxes, "scores": scores}
    if opset == 17:  # the boxes are the last axis, and their number is not returned
        tensors = {name: value.swapaxes(1, 2) for name, value in tensors.items()}
    found = evaluate("non_maximum_suppression", tensors, options, opset=opset,
                     out=("fp32", "fp32", "int32", "int32")[: 4 if opset < 17 else 3])  # fmt: skip
    np.testing.assert_array_equal(found[2], [[1, 0, -1]])
    kept = found[1] if opset < 17 else found[1].swapaxes(1, 2)
    np.testing.assert_array_equal(kept, [[*scores[0, [1, 0]], np.zeros(2)]])


POOLS = {1: (functional.max_pool1d, functional.avg_pool1d),
         2: (functional.max_pool2d, functional.avg_pool2d),
         3: (functional.max_pool3d, functional.avg_pool3d)}  # fmt: skip


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_pools_are_torchs(spatial, ceil):
    x = data(1, 2, *[8] * spatial)
    options = {"kernel_sizes": [3] * spatial, "strides": [2] * spatial, "pad_type": "custom",
               "pad": [1, 1] * spatial, "ceil_mode": ceil}  # fmt: skip
    peak, mean = POOLS[spatial]
    shared = (torch.from_numpy(x), 3, 2, 1)
    found = evaluate("max_pool", {"x": x}, options)
    np.testing.assert_array_equal(found, peak(*shared, ceil_mode=ceil))
    for exclude in (False, True):
        chosen = options | {"exclude_padding_from_average": exclude}
        wanted = mean(*shared, ceil_mode=ceil, count_include_pad=not exclude)
        np.testing.assert_allclose(evaluate("avg_pool", {"x": x}, chosen), wanted, atol=1e-6)


def test_l2_pool():
    x = data(1, 2, 6, 6)
    options = {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid"}
    wanted = functional.lp_pool2d(torch.from_numpy(x), 2, 2, 2)
    np.testing.assert_allclose(evaluate("l2_pool", {"x": x}, options), wanted, rtol=1e-5)


def test_conv_with_byte_weights():
    x, stored = data(1, 2, 5, 5), RNG.integers(0, 256, (3, 2, 3, 3)).astype(np.uint8)
    scale, shift = [0.01, 0.02, 0.03], [-1.0, -2.0, -3.0]
    options = {"quantization_type": "linear", "quant_scale": scale, "quant_bias": shift}
    found = evaluate("conv_quantized", {"x": x, "weight": stored}, options, opset=15)
    dense = stored * np.float32(scale)[:, None, None, None] + np.float32(shift)[:, None, None, None]
    wanted = functional.conv2d(torch.from_numpy(x), torch.from_numpy(dense))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_reversed_sequences():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    options = {"seq_axis": 1, "batch_axis": 0}
    found = evaluate(
        "reverse_sequence", {"x": x, "lengths": np.array([1, 2, 4], np.int32)}, options
    )
    np.testing.assert_array_equal(found, [[0, 1, 2, 3], [5, 4, 6, 7], [11, 10, 9, 8]])
    again = evaluate("reverse_sequence", {"x": x.T, "lengths": np.array([1, 2, 4], np.int32)},
                     {"seq_axis": 0, "batch_axis": 1})  # fmt: skip
    np.testing.assert_array_equal(again, found.T)


def test_blocks_go_to_the_batch_and_back():
    x = data(2, 3, 4, 6)
    there = evaluate(
        "space_to_batch", {"x": x}, {"block_shape": [2, 3], "paddings": [[0, 0], [0, 0]]}
    )
    assert there.shape == (12, 3, 2, 2)
    back = evaluate("batch_to_space", {"x": there}, {"block_shape": [2, 3], "crops": [[0, 0]] * 2})
    np.testing.assert_array_equal(back, x)


def test_depth_goes_to_space_and_back():
    x = data(1, 8, 2, 3)
    wide = evaluate("depth_to_space", {"x": x}, {"block_size": 2})
    assert wide.shape == (1, 2, 4, 6)
    np.testing.assert_array_equal(evaluate("space_to_depth", {"x": wide}, {"block_size": 2}), x)
    shuffled = evaluate("pixel_shuffle", {"x": x}, {"upscale_factor": 2})
    again = evaluate("pixel_unshuffle", {"x": shuffled}, {"downscale_factor": 2})
    np.testing.assert_array_equal(again, x)


def test_windows_slide():
    x = np.arange(7, dtype=np.float32)
    found = evaluate("sliding_windows", {"x": x}, {"axis": 0, "size": 3, "stride": 2})
    np.testing.assert_array_equal(found, [[0, 1, 2], [2, 3, 4], [4, 5, 6]])


def test_resample_is_grid_sample():
    x, points = data(1, 2, 4, 5), RNG.uniform(-1.3, 1.3, (1, 3, 3, 2)).astype(np.float32)
    for padding, name in (("constant", "zeros"), ("border", "border"), ("reflection",) * 2):
        for align in (False, True):
            options = {"sampling_mode": "bilinear", "padding_mode": padding, "padding_value": 0.0,
                       "coordinates_mode": "normalized_minus_one_to_one",
                       "align_corners": align}  # fmt: skip
            found = evaluate("resample", {"x": x, "coordinates": points}, options)
            scaled = points
            if not align:
                sizes = np.float32([5, 4])
                scaled = (((points + 1) / 2 * sizes - 0.5) * 2 + 1) / sizes - 1
            wanted = functional.grid_sample(
                torch.from_numpy(x), torch.from_numpy(scaled), "bilinear", name, align
            )
            np.testing.assert_allclose(found, wanted, atol=1e-4, err_msg=f"{padding} {align}")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lstm_is_torchs(direction):
    torch.manual_seed(0)
    both = direction == "bidirectional"
    cell = torch.nn.LSTM(3, 4, bidirectional=both)
    x, size = torch.randn(5, 2, 3), 2 if both else 1
    h, c = torch.randn(size, 2, 4), torch.randn(size, 2, 4)

    def gates(name: str) -> np.ndarray:
        i, f, z, o = getattr(cell, name).detach().chunk(4)
        return torch.cat((i, f, o, z)).numpy()

    tensors = {"x": x.numpy(), "initial_h": torch.cat(list(h), -1).numpy(),
               "initial_c": torch.cat(list(c), -1).numpy()}  # fmt: skip
    for suffix, ours in [("", ""), ("_reverse", "_back")][:size]:
        for kind in ("ih", "hh"):
            tensors[f"weight_{kind}{ours}"] = gates(f"weight_{kind}_l0{suffix}")
        tensors[f"bias{ours}"] = gates(f"bias_ih_l0{suffix}") + gates(f"bias_hh_l0{suffix}")
    found = evaluate("lstm", tensors, {"direction": direction, "output_sequence": True},
                     out=("fp32",) * 3)  # fmt: skip
    with torch.no_grad():
        wanted, (last, _) = cell(x.flip(0) if direction == "reverse" else x, (h, c))
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)
    np.testing.assert_allclose(found[1], torch.cat(list(last), -1), atol=1e-6)


def test_quantization_rounds_and_clamps():
    x = np.float32([[-3.0, 0.26, 0.24, 9.0]])
    shared = {"scale": np.array(0.5, np.float32), "zero_point": np.array(3, np.int8)}
    stored = evaluate("quantize", {"input": x, **shared}, {"output_dtype": "int8"}, out="int8")
    np.testing.assert_array_equal(stored, [[-3, 4, 3, 21]])
    back = evaluate("dequantize", {"input": stored, **shared})
    np.testing.assert_array_equal(back, [[-3.0, 0.5, 0.0, 9.0]])
