"""Packages beside their torch source."""
