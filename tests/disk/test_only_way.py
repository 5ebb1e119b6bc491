"""One way to write: `entracte.disk`. Every module of the compiler is read for any other."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "compiler" / "entracte"

WRITERS = {
    "write_text", "write_bytes", "mkdir", "makedirs", "touch", "rename", "renames", "unlink",
    "rmdir", "removedirs", "symlink", "symlink_to", "hardlink_to", "link", "truncate", "mkfifo",
    "copy2", "copyfile", "copytree", "copyfileobj", "copymode", "copystat", "move", "rmtree",
    "save", "save_file", "savez", "savez_compressed", "savetxt", "tofile", "to_file", "imwrite",
    "imsave", "dump", "chmod", "lchmod", "fchmod", "mkdtemp", "mkstemp", "mktemp",
    "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory", "SpooledTemporaryFile",
    "FileHandler",
}  # fmt: skip
"""Names of functions and methods that write, wherever they come from."""

OF_MODULES = {("os", "replace"), ("os", "remove"), ("shutil", "copy"), ("os", "open")}
"""Names that mean something else elsewhere."""

BARE = {"write_text", "write_bytes", "move", "rename", "save"}
"""Called by their bare names these are `entracte.disk`'s, `lower.rename`'s, and safetensors', which
gives bytes."""

EXCEPTIONS = {
    ("cli/compile.py", "mkdtemp"): "Hydra's file of a sweep; in /tmp, removed at the end",
    ("lower/compress.py", "save"): "coremltools, into a fresh folder of the conversion",
    ("lower/quiet.py", "TemporaryFile"): "what a library prints, into a file without a name",
    ("cli/sweep_pool.py", "open"): "a job's own log, in a folder that goes with the sweep",
    ("lower/worker.py", "open"): "the worker's own log, in the unfinished build folder",
    ("cli/predict.py", "savez"): "numpy, into the file that `writing` gave",
    ("cli/ui.py", "open"): "webbrowser's: it opens a page",
    ("report/clip.py", "save"): "of PIL, into memory",
    ("ui/server.py", "mkdtemp"): "where uploads lie until the server ends",
    ("export/swift_app.py", "copy"): "into the folder that `fresh` gave",
    ("export/swift_app.py", "copytree"): "the same",
    ("export/swift_app.py", "mkdir"): "the same",
    ("run/answers.py", "open"): "a file of the folder that `fresh` gave",
    ("run/comment.py", "open"): "the file that `writing` gave",
    ("devices/reference.py", "open"): "a method of its own: it opens a package",
    ("run/copies.py", "open"): "a device's method: it opens a package",
    ("schedule/window_lp.py", "open"): "a method of its own: it opens a window",
    ("reference/blob.py", "os.open"): "reads",
    ("reference/owned.py", "os.open"): "reads",
    ("store/tensor_file.py", "os.open"): "reads",
    ("store/unpickle.py", "open"): "the file that `writing` gave, for a child's output",
    ("store/origin.py", "dump"): "of a syntax tree, as a text",
    ("memory.py", "os.open"): "reads",
    ("reference/export_onnx.py", "save"): "onnx, into a fresh folder",
    ("reference/export_onnx.py", "open"): "os.devnull",
    ("cli/progress.py", "truncate"): "of rich's: a line of the screen is made shorter",
    ("progress/tracker.py", "move"): "a phase's own method: it counts",
    ("cli/start.py", "os.open"): "os.devnull",
    ("cli/start.py", "open"): "os.devnull",
    ("cli/faults.py", "mkstemp"): "the log of an internal error, in /tmp",
    ("cli/faults.py", "open"): "os.devnull",
    ("run/media.py", "open"): "PIL, av and zipfile, which read",
    ("run/outputs.py", "open"): "the file that `writing` gave",
    ("run/outputs.py", "write_text"): "into the file that `writing` gave",
    ("run/sinks.py", "open"): "a format's method: it opens a writer in what `writing` gave",
    ("run/spool.py", "os.open"): "the file that `writing` gave",
    ("run/video.py", "open"): "av, into the file that `writing` gave",
    ("run/video.py", "imwrite"): "imageio, into memory",
    ("run/video.py", "write_bytes"): "into the file or folder that `entracte.disk` gave",
    ("run/wave.py", "open"): "the file that `writing` gave",
    ("store/cache.py", "link"): "the cache's files into the unfinished build folder",
    ("store/cache.py", "copyfile"): "the same, from another disk",
    ("store/cache.py", "rename"): "a finished entry into its place, or out of it",
}
"""(module, name) -> why it may."""


def modules() -> list[Path]:
    found = PACKAGE.rglob("*.py")
    parts = ("disk", "graphs", "conf")
    return sorted(p for p in found if p.relative_to(PACKAGE).parts[0] not in parts)


def writes(source: str) -> set[str]:
    """The names under which a source writes by itself."""
    tree = ast.parse(source)
    given = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.context_expr, ast.Call)
        and isinstance(item.context_expr.func, ast.Name)
        and item.context_expr.func.id == "writing"
        and isinstance(item.optional_vars, ast.Name)
    }
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func)
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        owner_name = owner.id if isinstance(owner, ast.Name) else ""
        if (owner_name, name) in OF_MODULES:
            found.add(name if name != "open" else "os.open")
        elif name == "open" and owner_name != "os" and owner_name not in given:
            found |= {"open"} if _may_write(node) else set()
        elif name in WRITERS and not (owner is None and name in BARE):
            found.add(name)
    return found


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _may_write(call: ast.Call) -> bool:
    """`open` in any mode that is not plainly one of reading."""
    if isinstance(call.func, ast.Name) or _is_module(call.func):
        modes = [*call.args[1:2]]
    else:
        modes = [*call.args[:1]]
    modes += [k.value for k in call.keywords if k.arg == "mode"]
    return any(not (isinstance(m, ast.Constant) and m.value in ("r", "rb", "rt")) for m in modes)


def _is_module(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and (
        function.value.id in ("io", "gzip", "bz2", "lzma", "tarfile", "zipfile", "av", "codecs")
    )  # fmt: skip


def test_nothing_else_writes():
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in modules()
        for name in writes(path.read_text())
    }
    stray = sorted(found - EXCEPTIONS.keys())
    assert not stray, "write by entracte.disk, or say here why not"


def test_exceptions_are_needed():
    for path, name in EXCEPTIONS:
        assert name in writes((PACKAGE / path).read_text()), (path, name)


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('x')",
        "open(path, 'w')",
        "open(path, mode)",
        "path.open('ab')",
        "open(path, mode='x')",
        "os.open(path, flags)",
        "os.replace(a, b)",
        "shutil.copy(a, b)",
        "np.save(path, x)",
        "save_file(x, path)",
        "tempfile.mkdtemp()",
        "path.mkdir()",
        "with elsewhere(path) as aside: aside.open('wb')",
    ],
)
def test_the_reader_sees(line):
    assert writes(line)


@pytest.mark.parametrize(
    "line",
    [
        "path.open()",
        "open(path, 'rb')",
        "text.replace('a', 'b')",
        "copy(x)",
        "with writing(path) as aside, aside.open('wb') as file: file.write(b'')",
        "write_text(path, 'x')",
    ],
)
def test_the_reader_lets_pass(line):
    assert not writes(line)
