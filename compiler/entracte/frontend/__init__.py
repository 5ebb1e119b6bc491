"""The front end: torch modules in, clean ATen FX graphs out.

`export.export_graph` makes the graph of a whole stage, `extract.extract` cuts a piece of it out as
a module, `precision.fp32_values` names what fp16 cannot carry. What the converter takes is told by
a `backend.Backend`, which imports no torch.
"""
