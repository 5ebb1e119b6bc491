"""An ONNX file as a graph: its operations in torch, its numbers in the module.

`build.stage` is the factory; `table.OPERATORS` has a row for each operator.
"""
