"""The front end: torch modules in, clean ATen FX graphs out.

`export_graph` makes the graph of a whole stage, `extract` cuts a piece of it out as a module,
`fp32_values` names what fp16 cannot carry.
"""

from compiler.frontend.errors import GraphError
from compiler.frontend.export import export_graph
from compiler.frontend.extract import constants_of, extract
from compiler.frontend.precision import fp32_values

__all__ = ["GraphError", "constants_of", "export_graph", "extract", "fp32_values"]
