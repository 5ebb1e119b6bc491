"""Chunks -> packages in a build folder: from the cache, stamped or converted."""
