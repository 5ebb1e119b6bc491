"""Measured graphs -> chunks, a program and a schedule: the search over partitions."""
