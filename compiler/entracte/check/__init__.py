"""The independent proof: a plan's numbers -> what it can need at most, or a refusal.

It imports the data model and errors, and shares no code with what plans.
"""
