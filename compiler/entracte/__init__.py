"""Entracte: compile generative pipelines that do not fit into memory into packages that do."""

__version__ = "0.1.0"
