"""Bytes on the disk: written whole or not at all, read from inside a folder only."""
