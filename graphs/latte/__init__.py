"""Latte of Vchitect, whose clips are of a class."""
