"""Trains the embedded demo pipeline `tiny_t2v` from nothing: `python -m tools.train_tiny`."""
