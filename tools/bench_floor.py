"""The least that a compile must do: make each weight, cast it and write it, in a bare loop.

    python -m tools.bench_floor FILE pipeline=on_device_sora target=iphone15pro cache=FOLDER

Prints JSON: the processor time of the loop in seconds, and the bytes that it wrote. Unlike the time
of a copy it does not move with the disk. Weights are drawn or read as the compile has them, one at
a time; traces are read from the cache, and neither they nor imports count.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced
    from entracte.trace.weights import PipelineWeights


def stages(overrides: Sequence[str]) -> tuple[PipelineWeights, list[Traced]]:
    """Where a pipeline's weights come from, and its stages as they were traced."""
    from entracte.declare.compose import compose
    from entracte.declare.read import read
    from entracte.lower.traced import trace_with_weights
    from entracte.store.cache import Cache, cache_folder

    job = read(compose(overrides))
    traced, source = trace_with_weights(job.pipeline, Cache(cache_folder(job.cache)))
    return source, list(traced.stages.values())


def cast(source: PipelineWeights, traced: Traced) -> Iterator[torch.Tensor]:
    """Each weight of a stage in the stage's precision, one after the other."""
    import torch

    own = torch.float16 if traced.stage.precision == "fp16" else torch.float32
    for name in traced.key_of:
        value = source.tensors(traced, [name])[name]
        yield value.to(own) if value.is_floating_point() else value


def loop(overrides: Sequence[str], path: Path) -> tuple[float, int]:
    """(processor time in seconds, bytes written)"""
    source, traced = stages(overrides)
    lent = [t for t in traced if not t.stage.weights_of]
    begun = time.process_time()
    with path.open("wb") as file:
        for stage in lent:
            for tensor in cast(source, stage):
                tensor.contiguous().numpy().tofile(file)
    return time.process_time() - begun, path.stat().st_size


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("file", type=Path)
    reader.add_argument("overrides", nargs="*")
    words = reader.parse_args()
    path = words.file
    try:
        seconds, size = loop(words.overrides, path)
    finally:
        path.unlink(missing_ok=True)
    print(json.dumps({"processor_s": seconds, "size_bytes": size}))


if __name__ == "__main__":
    main()
