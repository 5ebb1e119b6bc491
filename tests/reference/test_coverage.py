"""Every operation that coremltools can write has a handler."""

from __future__ import annotations

from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from entracte.reference.ops import load_table

# Neither is ever written as an operation of its own.
BUILDER_ONLY = {"const", "_const_symbolic"}


def test_no_registered_operation_is_missing():
    assert set(SSAOpRegistry.core_ops) - BUILDER_ONLY <= set(load_table())


def test_what_is_written_but_not_registered_is_there():
    assert {"write_state"} <= set(load_table())
