"""A plan and inputs -> outputs and a record: the runner, host steps, files."""
