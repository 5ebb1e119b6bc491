"""What coremltools does without our cures: run as a program, prints one JSON object.

Each entry is the fault that one cure answers, or null if the fault is gone.
"""

from __future__ import annotations

import json
import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from entracte.lower.quiet import captured_output, coremltools

ct = coremltools()

from coremltools.converters.mil.frontend.torch import ops  # noqa: E402
from coremltools.converters.mil.frontend.torch.torch_op_registry import (  # noqa: E402
    _TORCH_OPS_REGISTRY,
)
from coremltools.converters.mil.mil.passes.defs.quantization import (  # noqa: E402
    FP16ComputePrecision,
)


def convert(module: nn.Module, *args: Tensor):  # noqa: ANN201
    program = torch.export.export(module.eval(), args, strict=False).run_decompositions({})
    return ct.convert(
        program,
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        convert_to="milinternal",
    )


def unregistered(*names: str) -> str | None:
    missing = [name for name in names if name not in _TORCH_OPS_REGISTRY.name_to_func_mapping]
    return f"not registered: {', '.join(missing)}" if len(missing) == len(names) else None


def gelu_mode() -> str | None:
    program = convert(nn.GELU(approximate="tanh"), torch.zeros(4))
    (op,) = program.functions["main"].find_ops(op_type="gelu")
    return "tanh became EXACT" if op.mode.val == "EXACT" else None


def attention_scale() -> str | None:
    class Attention(nn.Module):
        def forward(self, q: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(q, q, q, scale=0.3)

    return error_of(lambda: convert(Attention(), torch.zeros(1, 2, 4, 8, dtype=torch.float16)))


class _Call(nn.Module):
    def __init__(self, function) -> None:  # noqa: ANN001
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def unnamed_errors() -> str | None:
    fewer = _Call(lambda x: x.gather(0, torch.tensor([[0, 1]])))
    said = error_of(lambda: convert(fewer, torch.zeros(3, 4)))
    return None if said is None or "gather" in said else f"names no operation: {said}"


def truth_constants() -> str | None:
    both = _Call(lambda x: (torch.full((4,), True) & (x > 0)).float())
    return error_of(lambda: convert(both, torch.zeros(4)))


def reciprocal() -> str | None:
    program = convert(_Call(torch.reciprocal), torch.zeros(4))
    found = program.functions["main"].find_ops(op_type="inverse")
    return f"adds {found[0].epsilon.val}" if found and found[0].epsilon.val > 1e-6 else None


def clamp_types() -> str | None:
    return error_of(lambda: convert(_Call(lambda x: torch.clamp_max(x, 0)), torch.zeros(4)))


def whole_quotients() -> str | None:
    program = convert(_Call(lambda x: x // 2), torch.zeros(4, dtype=torch.int32))
    (made,) = program.functions["main"].outputs
    kind = made.dtype.__name__
    return None if kind == "int32" else f"of integers is {kind}"


def linear_bias() -> str | None:
    gate = _Call(lambda x: functional.linear(x, torch.ones(1, 3)) + 1.5)
    return error_of(lambda: convert(gate, torch.zeros(2, 3)))


def pooling() -> str | None:
    pool = _Call(lambda x: functional.avg_pool2d(x, 2, 2, ceil_mode=True))
    program = convert(pool, torch.zeros(1, 1, 5, 5))
    (op,) = program.functions["main"].find_ops(op_type="avg_pool")
    return "emitted with ceil_mode" if op.ceil_mode.val else None


def group_norm_rank() -> str | None:
    program = convert(nn.GroupNorm(2, 4), torch.zeros(1, 4, 2, 3, 3))
    operations = program.functions["main"].operations
    rank = max(var.rank for op in operations for var in op.outputs)
    return f"rank {rank}" if rank > 5 else None


def scalar_cast() -> str | None:
    """numpy >= 2.4 refuses what numpy < 2.4 warns about."""
    from coremltools.converters.mil import Builder as mb

    found: list[str | None] = []

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))])
    def program(x):  # noqa: ANN001, ANN202
        one = mb.const(val=np.array([3], dtype=np.int32))
        stock, ops._get_inputs = ops._get_inputs, lambda *_, **__: [one]
        context = SimpleNamespace(add=lambda *_: None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found.append(
                error_of(lambda: ops._cast(context, SimpleNamespace(name="n"), int, "int32"))
            )
        ops._get_inputs = stock
        return mb.identity(x=x)

    return found[0]


def constant_types() -> str | None:
    program = convert(
        _Call(lambda x: x + torch.arange(2, dtype=torch.float32).mean()), torch.ones(2)
    )
    (op,) = program.functions["main"].find_ops(op_type="add")
    return None if op.y.val == 0.5 else f"the mean of 0 and 1 is {op.y.val}"


def partly_known() -> str | None:
    known = torch.full((4,), 0.5)
    half = _Call(lambda x: torch.cat([x, known]).split(4)[1] + x)
    return error_of(lambda: convert(half, torch.zeros(4)))


def outer_types() -> str | None:
    table = _Call(lambda x: x + torch.outer(torch.arange(4), torch.tensor([0.5, 0.25])).sum(1))
    return error_of(lambda: convert(table, torch.zeros(4)))


def overflow_memory() -> str | None:
    value = np.zeros(1_000_000, dtype=np.float32)
    constant = SimpleNamespace(op_type="const", val=SimpleNamespace(val=value))
    var = SimpleNamespace(op=constant, is_tensor_or_scalar_of=lambda dtype: True)
    tracemalloc.start()
    FP16ComputePrecision.fp16_overflow(SimpleNamespace(inputs={"x": var}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"{peak / value.size:.0f} B per element" if peak > 2 * value.size else None


def error_of(action) -> str | None:  # noqa: ANN001
    try:
        action()
    except Exception as error:  # noqa: BLE001 - the error is the finding
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    with captured_output():
        faults = {
            "cure_alias_names": unregistered("alias", "concatenate", "__and__"),
            "cure_new_ones": unregistered("new_ones"),
            "cure_gelu_mode": gelu_mode(),
            "cure_attention_scale": attention_scale(),
            "cure_scalar_cast": scalar_cast(),
            "cure_group_norm_rank": group_norm_rank(),
            "cure_resampling": unregistered("upsample_nearest3d", "upsample_trilinear3d.vec"),
            "cure_unnamed_errors": unnamed_errors(),
            "cure_truth_constants": truth_constants(),
            "cure_truncation": unregistered("trunc"),
            "cure_reciprocal": reciprocal(),
            "cure_clamp_types": clamp_types(),
            "cure_products": unregistered("prod", "prod.dim_int"),
            "cure_whole_quotients": whole_quotients(),
            "cure_linear_bias": linear_bias(),
            "cure_pooling": pooling(),
            "cure_constant_types": constant_types(),
            "cure_partly_known": partly_known(),
            "cure_outer_types": outer_types(),
            "cure_overflow_check": overflow_memory(),
        }
    print(json.dumps(faults))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
