"""Whose work a result is: Entracte's version; digests of source, so that other code has other
cache entries.

What made a result is found by following imports from the module that makes it, read from the
files, also those inside functions and those that only name types (the values of such types are
handed in): whatever can take part, takes part in the digest. Of libraries the versions do.
"""

import ast
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

VERSION = "0.1.0"
"""Of Entracte, as pyproject.toml has it too; plans and pages name it."""

_OURS = "entracte"
_ROOT = Path(__file__).parent.parent
_DISTRIBUTIONS = {"google": "protobuf", "PIL": "Pillow", "sklearn": "scikit-learn"}
"""Import names that are not their distribution's."""
_BEHIND = ("coremltools", "diffusers", "numpy", "protobuf", "scikit-learn", "sympy", "torch",
           "transformers")  # fmt: skip
"""Always looked at: what graphs, torch and coremltools themselves compute with."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of distributions that have versions."""
_CODE = frozenset({".py", ".so", ".pyd"})

Read = Callable[[Path], bytes]


@cache
def maker_digest(*modules: str) -> str:
    """SHA-256 over the sources of all that these modules may use, and the libraries' versions."""
    return digest_of_makers(modules)


@cache
def graph_digest(package: str) -> str:
    """The same of a package of graphs: all its files, and what they import."""
    return digest_of_package(package)


def digest_of_makers(modules: Iterable[str], read: Read = Path.read_bytes) -> str:
    """`maker_digest`, of what `read` gives for each file."""
    return _digest(modules, (), read)


def digest_of_package(package: str, read: Read = Path.read_bytes) -> str:
    """`graph_digest`, of what `read` gives for each file."""
    return _digest((), (package,), read)


def _digest(modules: Iterable[str], packages: Iterable[str], read: Read) -> str:
    read = cache(read)  # for the imports, and for the digest
    files, foreign = closure(modules, packages, read)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(read(files[name])).hexdigest()}\n".encode())
    for line in versions(foreign):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def versions(modules: Iterable[str]) -> list[str]:
    """Python's, and those of the distributions that the libraries are from."""
    found = [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    for name in sorted({*_BEHIND, *(_DISTRIBUTIONS.get(m, m) for m in modules)}):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is not there")
    return found


def closure(
    modules: Iterable[str], packages: Iterable[str] = (), read: Read = Path.read_bytes
) -> tuple[dict[str, Path], set[str]]:
    """What takes part when these modules are used, or any module of these packages.

    Returns the files by name, and the top-level names of libraries.
    """
    files: dict[str, Path] = {}
    foreign: set[str] = set()
    todo = [*modules, *(f"{p}.*" for p in packages)]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        top, whole = name.partition(".")[0], name.removesuffix(".*")
        if whole != name:
            todo += _add_all(whole, files, read)
        elif top == _OURS:
            todo += _add_own(name, files, read)
        elif not is_library(top):
            todo.append(f"{top}.*")
        elif top not in sys.stdlib_module_names:
            foreign.add(top)
    return files, foreign


def _add_own(name: str, files: dict[str, Path], read: Read) -> Iterator[str]:
    """A module of ours; a name that is none is a name in a module, and followed with that."""
    path = _own_file(name)
    if path is None:
        return
    files[name] = path
    parent = name.rpartition(".")[0]
    while parent:
        # Imported on the way: what it does for that, not all that it offers.
        init = _own_file(parent)
        if init is not None and parent not in files:
            files[parent] = init
            yield from imports(read(init), parent, is_package=True, offered=False)
        parent = parent.rpartition(".")[0]
    yield from imports(read(path), name, is_package=path.name == "__init__.py")


@cache
def _own_file(name: str) -> Path | None:
    place = os.path.join(_ROOT, *name.split(".")[1:])
    found = (p for p in (f"{place}.py", f"{place}/__init__.py") if os.path.isfile(p))
    return next((Path(p) for p in found), None)


def _add_all(package: str, files: dict[str, Path], read: Read) -> Iterator[str]:
    """Every file of a package that is no library of a known version."""
    for root, path in _files_of(package):
        inner = path.relative_to(root).with_suffix("").parts
        is_package = inner[-1] == "__init__"
        name = ".".join((package, *(inner[:-1] if is_package else inner)))
        name = package if root == path.parent and path.stem == package else name
        files[name if path.suffix == ".py" else f"{name}{path.suffix}"] = path
        if path.suffix == ".py":
            yield from imports(read(path), name, is_package=is_package)


def _files_of(package: str) -> list[tuple[Path, Path]]:
    """(folder, file) of all code of a package, or of a module that is one file."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    roots = [Path(r) for r in spec.submodule_search_locations or ()]
    if not roots:
        file = Path(spec.origin or "")
        return [(file.parent, file)] if file.is_file() else []
    found = [(r, p) for r in roots for p in sorted(r.rglob("*")) if p.suffix in _CODE]
    return [(r, p) for r, p in found if p.is_file()]


@cache
def is_library(top: str) -> bool:
    """Whether a version says what it is: Python's own modules, and what is installed."""
    if top in sys.stdlib_module_names:
        return True
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return True
    if spec is None:
        return True
    places = [Path(p) for p in spec.submodule_search_locations or (spec.origin or "",)]
    return any(_INSTALLED & set(p.parts) for p in places)


# ---------------------------------------------------------------- imports

_STATEMENT = re.compile(
    rb"^[ \t]*((?:from[ \t]+[\w.]+[ \t]+import|import)[ \t]*"
    rb"(?:\([^)]*\)|[^\n(\\]*(?:\\\n[^\n\\]*)*))",
    re.MULTILINE,
)
"""What may be an import: ten times faster to find than to parse all of a file."""


def imports(source: bytes, name: str, *, is_package: bool, offered: bool = True) -> Iterator[str]:
    """Full names of all that a module may import: `from a import b` names `a` and `a.b`.

    Args:
        offered: whether imports that only name types count too.
    """
    package = name if is_package else name.rpartition(".")[0]
    for node in _nodes(source, whole=is_package or not _is_own(name), offered=offered):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
        module = node.module or ""
        full = ".".join(p for p in ((base if node.level else ""), module) if p)
        inner = [f"{full}.{alias.name}" for alias in node.names if alias.name != "*"]
        yield from inner
        if not inner or not _is_own(full) or not all(_own_file(i) for i in inner):
            yield full


def _is_own(name: str) -> bool:
    return name.partition(".")[0] == _OURS


def _nodes(source: bytes, *, whole: bool, offered: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    try:
        if whole:
            yield from _walk(ast.parse(source), offered)
            return
        for found in _STATEMENT.finditer(source):
            with_text = found.group(1).strip()
            try:
                yield from _walk(ast.parse(with_text), offered)
            except SyntaxError:
                continue  # prose in a docstring
    except (SyntaxError, ValueError):
        return


def _walk(node: ast.AST, offered: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and not offered and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        else:
            yield from _walk(child, offered)
