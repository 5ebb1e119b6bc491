"""Arrows one way: who may import whom, and what stays out of light commands."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMPILER = ROOT / "compiler"

LAYERS = [
    {"errors"},
    {"units", "ir", "memory", "origin"},
    {"codec", "form", "order", "settings", "cost", "check_life"},
    {"partition"},
    {"read", "program", "check_online", "cache"},
    {"slots", "window_lp", "check"},
    {"ci_dl", "online_table", "pace", "retention", "bounds"},
    {"place"},
    {"search"},
    {"gates", "online", "contend"},
    {"simulate", "online_simulate"},
    {"online_replay"},
    {"online_search", "replay"},
    {"schedule", "forecast"},
    {"decide", "plan", "timeline"},
    {"residency", "peak", "steady", "record"},
    {"overview", "diagram", "claims"},
    {
        "host",
        "video",
        "frontend",
        "lower",
        "reference",
        "devices",
        "report",
        "perfetto",
        "diagram_text",
        "compare",
    },
    {"trace", "run"},
    {"make", "execute", "run_online"},
    {"emit", "source", "sampled"},
    {"build", "verify", "advise"},
    {"cli"},
]
"""Each module may import from its own layer's lower ones, and from itself."""

EXCEPTIONS = {
    # Which of the two runners follows a plan; imported inside the function.
    ("run", "run_online"),
    # Which operations the converter lacks decides what the front end decomposes.
    ("frontend", "lower"),
    ("lower", "frontend"),
    # Devices of the same layer as what they wrap.
    ("devices", "reference"),
    ("lower", "reference"),
    ("settings", "units"),
}


def layer_of(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return found


def files() -> list[Path]:
    return sorted(
        p for p in COMPILER.rglob("*.py") if p.name != "__init__.py" or p.parent != COMPILER
    )


def package(path: Path) -> str:
    return path.relative_to(COMPILER).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(COMPILER)))
def test_arrows_point_one_way(path):
    own = package(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "compiler" or len(parts) < 2:
            continue
        other = parts[1]
        if other == own or other == "__version__" or (own, other) in EXCEPTIONS:
            continue
        assert layer_of(other) < layer_of(own), f"{own} imports {other}"


def test_graphs_never_import_the_compiler():
    for path in (ROOT / "graphs").rglob("*.py"):
        assert not any(n.split(".")[0] == "compiler" for n in imports_of(path)), path


def test_the_checker_imports_only_the_data_model():
    for name in ("check.py", "check_life.py", "check_online.py"):
        ours = {n for n in imports_of(COMPILER / name) if n.startswith("compiler")}
        assert {n.split(".")[1] for n in ours} <= {"ir", "errors", "check_life", "check_online"}


def test_the_compiler_names_no_model_and_no_device_figure():
    """Models are files in graphs/ and conf/, devices are files in conf/."""
    words = ("stdit", "opensora", "open_sora", "iphone16", "a17")
    allowed = {"compile.py", "hoist.py"}  # an example command; the source of a constant
    for path in files():
        if path.name in allowed or "reference" in path.parts or "lower" in path.parts:
            continue
        text = path.read_text().lower()
        assert not [w for w in words if w in text], path


@pytest.mark.parametrize(
    "code",
    [
        "import compiler.cli.compile",
        "import compiler.cli.plan, compiler.cli.show",
        "import compiler.cli.report, compiler.report.page, compiler.report.sweep",
        "import compiler.decide, compiler.plan, compiler.run, compiler.devices.null",
        "import graphs",
        "import compiler.reference",
    ],
)
def test_light_imports_stay_light(code):
    heavy = ["torch", "coremltools", "transformers", "diffusers", "scipy"]
    script = f"{code}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_no_module_reads_pickles_or_evaluates():
    for path in [*files(), *(ROOT / "graphs").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        names = imports_of(path)
        assert not names & {"pickle", "dill", "hydra.utils"}, path
        calls = {
            n.func.id
            for n in ast.walk(tree)
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert not calls & {"eval", "exec"}, path
