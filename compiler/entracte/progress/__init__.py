"""How far a long job is, as values; `cli` prints them."""
