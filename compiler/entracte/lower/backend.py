"""Core ML as a backend: what tracing, cutting and lowering agree on, in one row."""

from entracte.frontend.backend import Backend, Islands, Sharing
from entracte.lower.registrations import is_convertible

__all__ = ["CORE_ML"]

CORE_ML = Backend(
    name="coreml",
    max_rank=5,
    is_convertible=is_convertible,
    aliases=frozenset({"reshape", "view", "unsqueeze", "squeeze", "getitem", "alias"}),
    sharing=Sharing(
        # A transpose and a split are read in place.
        views=frozenset({
            "unsqueeze", "squeeze", "getitem", "alias", "permute", "transpose", "t", "split",
            "split_with_sizes", "chunk", "unbind",
        }),
        slices=frozenset({"slice", "select", "narrow"}),
        reshapes=frozenset({"reshape", "view", "_unsafe_view", "flatten", "unflatten", "view_as"}),
        # Not matrix products, nor what becomes one, nor minima and maxima along an axis, nor what
        # is gathered: the indices are chosen first.
        keeping=frozenset({
            "unsqueeze", "squeeze", "getitem", "alias", "linear", "layer_norm", "mean",
            "sum", "full", "cat", "stack", "expand", "repeat",
            "_to_copy", "add", "sub", "rsub", "mul", "div", "neg", "reciprocal", "maximum",
            "minimum", "pow", "sigmoid", "silu", "gelu", "relu", "tanh", "exp", "sqrt", "rsqrt",
            "square", "softmax", "_softmax", "clamp", "clamp_min", "clamp_max", "cos", "sin", "erf",
            "abs", "log", "batch_norm", "convolution", "conv1d", "conv2d", "conv3d",
        }),
        # The last of its ten operations reads a reshape.
        ordering=frozenset({"group_norm", "native_group_norm"}),
        # See `resample.py`. In three dimensions, whole factors too are two steps with reshapes.
        resampling=frozenset({
            "upsample_nearest3d", "_upsample_nearest_exact3d", "upsample_trilinear3d",
            "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "upsample_bicubic2d",
            "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "adaptive_avg_pool3d",
            "_adaptive_avg_pool3d",
        }),
        whole_resampling=frozenset({
            "upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d",
        }),
    ),
    # MIL operations without value inference.
    unfolded=frozenset({
        "silu", "batch_norm", "convolution", "conv1d", "conv2d", "conv3d", "pixel_shuffle",
        "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_bilinear2d",
    }),
    score_copies=2,
    # A group norm ends in a quotient, reshaped back, scaled and shifted. In fp16 the quotient does
    # not lie in order, so the reshape copies it.
    group_norm_copies=2,
    fp32_group_norm_copies=1,
    # Both patterns are measured (`reference/conversion.md`, 1.5). Timestep embeddings take the sine
    # of arguments up to 1000, where fp16 steps are 0.5 apart. In RMS norms coremltools drops the
    # model's own upcast, and the square of 256 overflows.
    aten_islands=Islands(
        sines=frozenset({"sin", "cos", "tan"}),
        followed=frozenset({
            "add", "sub", "mul", "div", "exp", "neg", "reciprocal", "pow", "square", "unsqueeze",
            "squeeze", "reshape", "permute", "transpose", "cat", "stack", "expand", "slice",
            "select", "_to_copy", "repeat", "rsub", "sqrt", "log", "abs", "floor", "ceil", "round",
            "trunc", "floor_divide", "remainder", "where", "clamp", "clamp_min", "clamp_max",
            "maximum", "minimum", "mean", "sum", "cumsum", "flip", "roll", "constant_pad_nd", "pad",
        }),
        outer=frozenset({"linear", "mm", "bmm", "matmul"}),
        lookups=frozenset({"gather", "index", "index_select"}),
        roots=frozenset({"rsqrt", "sqrt"}),
        averaging=frozenset({
            "add", "mean", "sum", "clamp", "clamp_min", "maximum", "mul", "div", "_to_copy",
        }),
        squares=frozenset({"pow", "square"}),
        # Sums too: the root of a sum of squares is a norm, and 64 squares of 100 are too many.
        reductions=frozenset({
            "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
            "adaptive_avg_pool2d", "adaptive_avg_pool3d",
        }),
        sizes=frozenset({"abs"}),
        spread=frozenset({
            "add", "sub", "mul", "div", "pow", "square", "sqrt", "rsqrt", "reciprocal", "clamp",
            "clamp_min", "clamp_max", "maximum", "mean", "sum", "amax", "neg", "slice", "select",
            "where", "exp", "abs", "relu", "sign",
        }),
        scaling=frozenset({"mul", "div"}),
        # In fp16 a softmax ends at 6e-8: its logarithm at -16.6, and then at minus infinity.
        logarithms=frozenset({"log", "log2", "log10"}),
        tails=frozenset({
            "softmax", "_softmax", "sigmoid", "exp", "sum", "mean", "cumsum", "add", "sub", "rsub",
            "mul", "div", "neg", "abs", "clamp", "clamp_min", "clamp_max", "maximum", "log",
            "reshape", "unsqueeze", "squeeze", "expand", "_to_copy", "permute", "transpose",
            "select", "slice",
        }),
    ),
    own_islands=Islands(
        sines=frozenset({"sin", "cos"}),
        # Convolutions, linears and normalisations end the chain: an activation such as
        # x + sin(x)^2 must not turn a network fp32. `matmul` is here for outer products of
        # positions and frequencies; see `islands.py`.
        followed=frozenset({
            "add", "sub", "mul", "real_div", "exp", "cast", "expand_dims", "squeeze", "reshape",
            "transpose", "concat", "stack", "tile", "slice_by_index", "slice_by_size", "split",
            "identity", "gather", "inverse", "matmul", "pow", "square",
        }),
        roots=frozenset({"rsqrt"}),
        averaging=frozenset({
            "add", "reduce_mean", "reduce_sum", "maximum", "clip", "mul", "real_div", "cast",
        }),
        squares=frozenset({"pow", "square"}),
    ),
    # A rate of exchange, not the speed of a device: weights decide, and FLOPs settle only the rest.
    # Any rate from 1 to 10^9 cuts the shipped pipelines alike, the targets' own (52 to 3300 between
    # what they compute and what they load in a second) among them. One figure for all targets keeps
    # a stage's trace, and with it every package, the same for all of them.
    hoist_flops_per_byte=1000,
)  # fmt: skip
