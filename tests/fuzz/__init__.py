"""Hostile and broken input through the commands' doors, by the thousand.

    python -m tests.fuzz --cases 20000 --seed 0

A case is a kind, a seed and an index, and nothing else: `--only 123` makes the same one again. Each
runs the commands as a user does, in a process that is watched: no traceback, no hang over 10 s of
processor time (40 where stages are traced), no memory over 2 GB, nothing written (or read)
outside. What is accepted is checked too: a plan must keep what it claims on the null device.
"""
