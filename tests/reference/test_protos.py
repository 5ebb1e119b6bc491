"""Core ML's message classes without coremltools, and with it in either order."""

from __future__ import annotations

import subprocess
import sys

import pytest

OURS = "from entracte.reference.protos import protos; mil, model = protos()"
ALONE = f"""
{OURS}
import sys
assert not [m for m in sys.modules if m.split('.')[0] in ('coremltools', 'torch')]
"""
SAME = """
import coremltools
from coremltools.proto import MIL_pb2, Model_pb2
assert coremltools.proto.Model_pb2 is Model_pb2
assert Model_pb2.Model is model.Model and MIL_pb2.Program is mil.Program
theirs, ours = Model_pb2.Model(), model.Model()
theirs.description.input.add().name = 'x'
ours.ParseFromString(theirs.SerializeToString())
theirs.CopyFrom(ours)
assert ours == theirs
"""
CODES = {
    "alone": ALONE,
    "ours first": f"{OURS}\n{SAME}",
    "theirs first": f"import coremltools.proto\n{OURS}\n{SAME}",
}


@pytest.mark.parametrize("backend", ["upb", pytest.param("python", marks=pytest.mark.slow)])
@pytest.mark.parametrize("order", CODES)
def test_the_classes_are_the_same_in_any_order(order, backend, monkeypatch):
    """In fresh processes, for both of protobuf's implementations."""
    monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", backend)
    done = subprocess.run([sys.executable, "-c", CODES[order]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
