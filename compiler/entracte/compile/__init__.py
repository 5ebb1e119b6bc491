"""Job -> build folder: trace, decide, emit, plan. The one place where the phases meet."""
