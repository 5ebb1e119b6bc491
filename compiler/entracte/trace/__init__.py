"""graphs (torch) -> StageGraph: export, measure, hoist. Imports torch when used."""
