"""Yaml -> declared values, every fault named; the tables that configurations choose from."""
