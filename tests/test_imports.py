"""Arrows one way: an ordered list of rooms, and what stays out of light commands.

A room is a folder of `compiler/entracte/` or one of the few modules in its root. Every module is
looked at, and every import in it: at the top, inside functions, under `TYPE_CHECKING`.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compiler" / "entracte"

ROOMS = [
    "errors",
    "units",
    "ir",
    "codec",
    "garbage",
    "memory",
    "cost",
    "progress",
    "disk",
    "graphs",
    "declare",
    "store",
    "program",
    "check",
    "clock",
    "schedule",
    "decide",
    "plan",
    "reference",
    "devices",
    "frontend",
    "trace",
    "lower",
    "emit",
    "run",
    "calibrate",
    "verify",
    "inspect",
    "report",
    "export",
    "halves",
    "compile",
    "advise",
    "fits",
    "search",
    "ui",
    "cli",
]
"""Bottom first: a room may import from those above it in this list, and from itself."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files() -> list[Path]:
    """Every module of ours, the graphs (a link) by their true place left out."""
    return sorted(p for p in PACKAGE.rglob("*.py") if room_of(p) not in ("graphs", "conf"))


MODULES = {module_of(path): path for path in files()}


def imports_of(path: Path) -> set[str]:
    """Full names of all that a file imports; `from a import b` names `a.b`, and `a` unless every b
    is a module of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            inner = {f"{node.module}.{a.name}" for a in node.names}
            found |= inner
            if not inner <= MODULES.keys():
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return found


def ours(path: Path) -> set[str]:
    """The modules of ours that a file imports, packages (`__init__`) included."""
    return {name for name in imports_of(path) if name in MODULES}


def test_every_module_has_a_room_and_the_root_is_small():
    assert {room_of(p) for p in files()} - {"__init__", "__main__"} == set(ROOMS) - {"graphs"}
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_arrows_point_one_way(path):
    own = room_of(path)
    if own in ("__init__", "__main__"):
        # The door of the package hands on what others made; only the commands may use it.
        return
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "entracte" or len(parts) < 2 or parts[1] in (own, "__version__"):
            continue
        assert ROOMS.index(parts[1]) < ROOMS.index(own), f"{module_of(path)} imports {name}"


def test_no_circle_of_modules():
    """Also within a room. A package's own `__init__` is imported by its modules without a word,
    so only what it names counts."""
    arrows = {name: ours(path) - {name} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(arrows):
        visit(name, ())


def test_graphs_never_import_the_compiler():
    for path in (ROOT / "graphs").rglob("*.py"):
        names = {n for n in imports_of(path) if n.split(".")[0] == "entracte"}
        assert all(n == "entracte" or n.startswith("entracte.graphs") for n in names), path


def test_the_checker_imports_only_the_data_model():
    for path in (PACKAGE / "check").rglob("*.py"):
        rooms = {n.split(".")[1] for n in imports_of(path) if n.startswith("entracte.")}
        assert rooms <= {"ir", "errors", "check"}, path


def bound(path: Path) -> set[str]:
    """Every name that a module's own statements bind, at any depth outside functions and classes;
    of a package, its modules too."""
    found = {p.stem for p in path.parent.iterdir()} if path.name == "__init__.py" else set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        nodes += ast.iter_child_nodes(node)
    return found


def test_what_tools_import_is_there():
    """Most of them are run by hand, so a name that moved would not be missed by any test."""
    places = {"entracte": ROOT / "compiler", "tools": ROOT, "tests": ROOT}
    known: dict[Path, set[str]] = {}
    for path in (ROOT / "tools").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            root = (getattr(node, "module", "") or "").partition(".")[0]
            if not isinstance(node, ast.ImportFrom) or root not in places:
                continue
            base = places[root] / node.module.replace(".", "/")
            if base.is_dir() and not (base / "__init__.py").exists():
                continue  # a folder of modules, which mere import finds
            file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
            names = known.setdefault(file, bound(file) if file.exists() else set())
            lacks = [a.name for a in node.names if a.name not in names | {"*"}]
            if "__getattr__" not in names:
                assert not lacks, f"{path}: {node.module} has no {', '.join(lacks)}"


def test_the_compiler_names_no_model_and_no_device_figure():
    """Models are files in graphs/ and conf/, devices are files in conf/."""
    words = ("stdit", "opensora", "open_sora", "iphone", "ipad", "macbook", "a17")
    for path in files():
        text = path.read_text().lower().replace("compile target=iphone15pro", "")  # an example
        assert not [w for w in words if w in text], path


@pytest.mark.parametrize(
    "code",
    [
        "import entracte.cli.compile",
        "import entracte.cli.plan, entracte.cli.show",
        "import entracte.cli.report, entracte.report.page, entracte.report.sweep",
        "import entracte.decide.decide, entracte.plan.file, entracte.run.runner",
        "import entracte.devices.null",
        "import entracte.graphs",
        "import entracte.reference",
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


def test_what_shows_pages_enters_only_what_makes_the_web_ui_s_page():
    """All else of it is tested without Gradio."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in files()
        for name in imports_of(path)
        if name.split(".")[0] in ("gradio", "fastapi", "starlette", "uvicorn")
    }
    pages = {f"ui/{name}.py" for name in ("app", "look", "pages", "server")}
    tabs = {f"ui/{name}_tab.py" for name in ("plan", "run", "compare")}
    assert found == pages | tabs


def test_one_process_of_its_own_unpickles():
    calls = [p for p in files() if "torch.load(" in p.read_text()]
    assert [p.name for p in calls] == ["unpickle_child.py"]
    assert "weights_only=True" in calls[0].read_text()
