"""The commands: `compile` (Hydra) and `plan` (typer). Nothing heavy is imported here."""
