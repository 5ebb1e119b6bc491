"""Forecasts a tide from the levels of a day."""
