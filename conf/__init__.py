"""The configuration: yaml files by group, found by Hydra as a package."""
