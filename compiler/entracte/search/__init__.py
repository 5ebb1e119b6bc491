"""Which points of a space to try next, by what came out of those before."""
