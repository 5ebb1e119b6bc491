"""A plan as one HTML page to look at: what is decided, when, in how much memory, and why."""
