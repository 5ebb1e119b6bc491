"""Lowering: one chunk of a stage graph becomes one deterministic .mlpackage."""
