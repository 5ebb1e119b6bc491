"""Drivers, which decide loads, and the clock that predicts what comes of it."""
