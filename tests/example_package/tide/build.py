"""The model as a stage: what a pipeline's `graph: tide.forecaster` makes."""

from entracte.graphs import Graph, Input
from tide.model import Forecaster


def forecaster(behind: int, ahead: int, width: int = 8) -> Graph:
    """Its arguments are the stage's `params`."""
    return Graph(
        module=Forecaster(behind, ahead, width).eval(),
        inputs=(Input("levels", (1, behind)),),
        outputs=("spread", "level"),
        checkpoint="tide",
    )
