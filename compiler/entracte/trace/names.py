"""Names of functions and of the graphs they are measured on."""

from entracte.ir import Chunk

MAIN = "main"


def variant_graph(graph: str, function: str) -> str:
    """The name of a stage graph's variant."""
    return f"{graph}@{function}"


def span_of(chunk: Chunk, function: str) -> tuple[str, int, int]:
    """(stage graph, start, stop) of a chunk's function."""
    if function == MAIN:
        return chunk.graph, chunk.start, chunk.stop
    variant = next(v for v in chunk.variants if v.name == function)
    graph = variant.graph or variant_graph(chunk.graph, function)
    return graph, variant.start, variant.stop
