"""A plan or a record of a run -> rows, timelines, peaks, traces, diagrams. Nothing prints."""
