"""The front end: torch modules in, clean ATen FX graphs out.

`export_graph` makes the graph of a whole stage, `extract` cuts a piece of it out as a module,
`fp32_values` names what fp16 cannot carry.
"""

from entracte.frontend.errors import GraphError
from entracte.frontend.export import export_graph
from entracte.frontend.extract import constants_of, extract
from entracte.frontend.precision import fp32_values

__all__ = ["GraphError", "constants_of", "export_graph", "extract", "fp32_values"]
