"""Stable Cascade's stages under the names of their own checkpoints."""
