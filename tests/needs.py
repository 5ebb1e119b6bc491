"""What each test file needs, as the marker that its tests get: one table, one place.

    light    neither torch nor coremltools, also not in processes that the tests start
    torch    modules of torch; nothing is converted
    convert  coremltools: conversion, packages, the reference device
    browser  Chromium
    apple    coremltools' own test suites

`pytest -m light` runs without torch (`tests/test_needs.py` takes it away and shows that): files and
folders in which `-m` can choose nothing are not even imported.
"""

import ast
from pathlib import Path, PurePath

HERE = Path(__file__).parent
MARKERS = ("light", "torch", "convert", "browser", "apple")

NEEDS = {
    "inspection/*": "light",
    "planner/test_run_reference.py": "convert",
    "planner/*": "light",
    "report/test_browser.py": "browser",
    "report/*": "light",
    "lower/*": "convert",
    "reference/test_apple_suites.py": "apple",
    "reference/*": "convert",
    "test_advise.py": "torch",
    "test_build_choice.py": "light",
    "test_calibrate.py": "light",
    "test_config.py": "light",
    "test_devices.py": "light",
    "test_end_to_end.py": "convert",
    "test_graphs_*.py": "torch",
    "test_host_ops.py": "light",
    "test_imports.py": "light",
    "test_needs.py": "light",
    "test_overlap.py": "convert",
    "test_resume.py": "convert",
    "test_techniques.py": "convert",
    "test_tiny_world.py": "light",
    "test_trace.py": "torch",
    "test_wheel.py": "torch",
}
"""Pattern of a path below `tests/` -> marker; the first that matches counts."""


def need_of(path: Path) -> str:
    """The marker of a test file. Raises `LookupError` for one that is not in the table."""
    name = PurePath(path.relative_to(HERE))
    for pattern, marker in NEEDS.items():
        if name.match(pattern) and name.parent == PurePath(pattern).parent:
            return marker
    raise LookupError(f"{name} has no row in tests/needs.py: say what its tests need")


def can_choose(expression: str, path: Path) -> bool:
    """Whether `-m expression` can choose a test of this file or folder; True if it is unknown."""
    if path.is_dir():
        below = f"{path.relative_to(HERE)}/" if path.is_relative_to(HERE) else ""
        markers = {m for pattern, m in NEEDS.items() if pattern.startswith(below)}
    else:
        markers = {need_of(path)}
    return not markers or any(_holds(expression, marker) is not False for marker in markers)


def _holds(expression: str, marker: str) -> bool | None:
    """The value of a `-m` expression for a test with this marker; None when others decide it."""
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        return None
    return _value(tree, marker)


def _value(node: ast.expr, marker: str) -> bool | None:
    if isinstance(node, ast.Name) and node.id in MARKERS:
        return node.id == marker
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _value(node.operand, marker)
        return None if inner is None else not inner
    if isinstance(node, ast.BoolOp):
        values = [_value(v, marker) for v in node.values]
        decides = isinstance(node.op, ast.Or)
        if decides in values:
            return decides
        return None if None in values else not decides
    return None
