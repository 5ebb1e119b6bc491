"""What each test file needs, as the marker that its tests get: one table, one place.

    light    neither torch nor coremltools, also not in processes that the tests start
    torch    modules of torch; nothing is converted
    convert  coremltools: conversion, packages, the reference device
    browser  Chromium
    apple    coremltools' own test suites
    swift    a Swift toolchain; skipped where there is none

`pytest -m light` runs without torch (`tests/test_needs.py` takes it away and shows that): files and
folders in which `-m` can choose nothing are not even imported.
"""

import ast
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

HERE = Path(__file__).parent
MARKERS = ("light", "torch", "convert", "browser", "apple", "swift")

NEEDS = {
    "fuzz/test_json.py": "light",
    "fuzz/test_settings.py": "light",
    "fuzz/*": "convert",
    "inspection/test_sweep.py::test_a_dry_run_writes_*": "torch",
    "inspection/test_sweep.py::test_a_sweep_of_dry_runs_*": "torch",
    "disk/*": "light",
    "inspection/*": "light",
    "newcomers/*": "convert",
    "planner/test_run_online.py::test_a_real_loop_*": "convert",
    "planner/test_run_reference.py": "convert",
    "planner/*": "light",
    "report/test_browser.py": "browser",
    "report/test_browser_memory.py": "browser",
    "report/test_browser_area.py": "browser",
    "report/*": "light",
    "ui/test_real.py": "convert",
    "ui/test_page.py::test_the_demo_*": "convert",
    "ui/test_page.py": "browser",
    "ui/*": "light",
    "lower/*": "convert",
    "mistakes/test_words.py": "light",
    "mistakes/*": "torch",
    "recipes/*": "convert",
    "reference/test_apple_suites.py": "apple",
    "reference/*": "convert",
    "test_advise.py": "torch",
    "test_advise_techniques.py": "light",
    "test_batch.py": "convert",
    "test_bench_overlap.py::test_the_bench_*": "convert",
    "test_bench_overlap.py": "torch",
    "test_build_choice.py": "convert",
    "test_causal.py::test_packages_*": "convert",
    "test_causal.py": "torch",
    "test_constructs.py": "torch",
    "test_compared.py": "convert",
    "test_fits.py": "convert",
    "test_calibrate.py": "light",
    "test_cleaning.py": "light",
    "test_commands.py": "light",
    "test_configuration_page.py": "light",
    "test_config.py": "light",
    "test_devices.py": "light",
    "test_docs.py": "light",
    "test_docs_output.py::test_two_pages_*": "light",
    "test_docs_output.py::test_dry_runs_*": "light",
    "test_docs_output.py::test_the_sweep_*": "torch",
    "test_docs_output.py": "convert",
    "test_draws.py": "torch",
    "test_edges_run.py": "convert",
    "test_end_to_end.py": "convert",
    "test_example_package.py": "convert",
    "test_export_app.py": "convert",
    "test_attention_blocks.py": "torch",
    "test_auto.py": "torch",
    "test_availability.py": "light",
    "test_first_block.py": "torch",
    "test_folders.py": "torch",
    "test_foreign_models.py": "light",
    "test_graphs_*.py": "torch",
    "test_host_ops.py": "light",
    "test_host_steps.py": "convert",
    "test_host_tables.py": "torch",
    "test_imports.py": "light",
    "test_kept_builds.py": "convert",
    "test_kept_plans.py": "torch",
    "test_media.py::test_a_stretched_picture_*": "torch",
    "test_media.py": "light",
    "test_media_vectors.py": "light",
    "test_metadata.py": "convert",
    "test_needs.py": "light",
    "test_onnx_packages.py": "convert",
    "test_outputs.py": "light",
    "test_own_numbers.py": "convert",
    "test_overlap.py": "convert",
    "test_places.py": "torch",
    "test_progress.py": "light",
    "test_public_door.py": "convert",
    "test_resume.py": "convert",
    "test_resume_run.py": "convert",
    "test_preview.py": "light",
    "test_guidance.py": "torch",
    "test_repeats.py": "torch",
    "test_reuse.py": "torch",
    "test_packages.py": "convert",
    "test_store.py": "light",
    "test_search.py::test_without_commas_*": "convert",
    "test_search.py": "light",
    "test_signals.py": "convert",
    "test_shared_graphs.py": "convert",
    "test_stranger.py": "light",
    "test_techniques.py": "convert",
    "test_tiny_demos.py": "convert",
    "test_swift*.py": "swift",
    "test_tiny_world.py": "light",
    "test_tokenizer_vectors.py": "light",
    "test_tokenizers.py": "torch",
    "test_trace.py": "torch",
    "test_truth.py": "convert",
    "test_weights_of.py": "convert",
    "test_wheel.py": "torch",
    "test_words.py": "light",
    "test_your_own_pipeline.py": "convert",
    "test_writers.py": "light",
}
"""Pattern of a file below `tests/`, or of some tests in it -> marker; the first that matches."""


FIRST = (
    "test_end_to_end.py",
    "reference/test_apple_suites.py",
    "test_resume.py",
    "test_techniques.py",
    "fuzz/test_fuzz.py",
    "report/test_browser.py",
    "lower/test_kinds.py",
    "lower/test_convert.py",
    "test_overlap.py",
    "planner/test_safety.py",
    "planner/test_run_online.py",
    "test_advise.py",
    "test_public_door.py",
    "test_wheel.py",
    "lower/test_stamp.py",
    "lower/test_package.py",
    "planner/test_schedule.py",
    "reference/test_families.py",
    "test_compared.py",
    "lower/test_compress.py",
)
"""The files that take longest, longest first: begun last, one would keep a single process busy
when the others are done."""


def rank_of(path: Path) -> int:
    """Where a file comes in the order of a run; those with the same rank stay as they are."""
    name = path.relative_to(HERE).as_posix()
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _rows(path: Path) -> dict[str, str]:
    """Pattern of the test's name -> marker, of the rows for one file."""
    name = PurePath(path.relative_to(HERE))
    rows = {}
    for row, marker in NEEDS.items():
        pattern, _, tests = row.partition("::")
        if name.match(pattern) and name.parent == PurePath(pattern).parent:
            rows.setdefault(tests or "*", marker)
    return rows


def need_of(path: Path, test: str) -> str:
    """The marker of a test in a file. Raises `LookupError` where there is no row for it."""
    for pattern, marker in _rows(path).items():
        if fnmatchcase(test, pattern):
            return marker
    name = path.relative_to(HERE)
    raise LookupError(f"{name}: no row in tests/needs.py says what its tests need")


def can_choose(expression: str, path: Path) -> bool:
    """Whether `-m expression` can choose a test of this file or folder; True if it is unknown."""
    if path.is_dir():
        below = f"{path.relative_to(HERE)}/" if path.is_relative_to(HERE) else ""
        markers = {marker for row, marker in NEEDS.items() if row.startswith(below)}
    else:
        markers = set(_rows(path).values())
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
