"""Changing a package's program by hand, and expecting its refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from coremltools.proto import Model_pb2

from entracte.reference import Model, PackageError

MODEL = "Data/com.apple.CoreML/model.mlmodel"


def edit(package: Path, change) -> Path:
    """Rewrite a package's model after `change(block)` of its main function."""
    model = Model_pb2.Model()
    model.ParseFromString((package / MODEL).read_bytes())
    (block,) = model.mlProgram.functions["main"].block_specializations.values()
    change(block)
    (package / MODEL).write_bytes(model.SerializeToString())
    return package


def operation(block, kind: str):
    return next(o for o in block.operations if o.type == kind)


def refused(package: Path, inputs, *words: str, **options) -> str:
    with pytest.raises(PackageError) as caught, Model(package, **options) as model:
        model.predict(inputs)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)
