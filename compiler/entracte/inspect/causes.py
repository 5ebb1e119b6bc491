"""Where calls wait, in words."""

CAUSES = {
    "start": "at the start",
    "straight": "outside loops",
    "first": "in first iterations",
    "steady": "in later iterations",
    "switch": "at switches of function",
}
"""`Forecast.stalls` in words: where calls wait."""
