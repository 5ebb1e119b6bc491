"""A module that a model has many times, with other weights each time, is exported once."""
