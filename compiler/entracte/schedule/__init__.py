"""A workload and a policy -> loads, gates and kept chunks; what no schedule can beat."""
