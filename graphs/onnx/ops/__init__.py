"""The operators, by kind; `entracte.graphs.onnx.table` has all of them."""
