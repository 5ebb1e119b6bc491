"""Recorded runs -> a target with the rates that they show, and how far predictions are off."""
