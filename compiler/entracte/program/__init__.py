"""Pipeline and chunks -> calls in order; what is alive when; a workload to schedule."""
