"""Tiny models of other libraries: what they are, and what becomes of them here."""
