"""Schedulers of diffusers as constants and one compiled step."""
