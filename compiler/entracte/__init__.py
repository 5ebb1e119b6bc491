"""Entracte: compile generative pipelines that do not fit into memory into packages that do.

    import entracte

    built = entracte.compile_pipeline(["target=host"], out="build/demo")
    plan = entracte.read_plan("build/demo")
    outcome = entracte.run_build("build/demo", {"prompt": "a red circle"}, out="clip.mp4")
    found = entracte.verify_build("build/demo")
    with entracte.Model("model.mlpackage") as model:
        outputs = model.predict({"x": array})

This is the door for programs: the commands call the same functions (docs/python.md). What is not
in `__all__` is inside: it may change with any version. Names resolve on first use, so importing
this package imports almost nothing. No name here is a room's: `entracte.plan` is a package.
"""

import importlib
from typing import TYPE_CHECKING, Any

from entracte.errors import (
    ConfigError,
    DoesNotFit,
    EntracteError,
    PlanError,
    RunError,
    WriteError,
)
from entracte.store.origin import VERSION

if TYPE_CHECKING:
    from entracte.compile.job import Built, compile_pipeline
    from entracte.fits.found import Fit
    from entracte.fits.on import fits_on
    from entracte.ir import Plan, Run
    from entracte.plan.file import check_plan, read_plan
    from entracte.progress.reporter import Reporter
    from entracte.reference.errors import PackageError
    from entracte.reference.model import Model
    from entracte.run.execute import run_build
    from entracte.run.runner import Outcome
    from entracte.verify.folder import Verified, verify_build
    from entracte.verify.source import Origin

__version__ = VERSION

__all__ = ["Built", "ConfigError", "DoesNotFit", "EntracteError", "Fit", "Model", "Origin",
           "Outcome", "PackageError", "Plan", "PlanError", "Reporter", "Run", "RunError",
           "Verified", "WriteError", "__version__", "check_plan", "compile_pipeline", "fits_on",
           "read_plan", "run_build", "verify_build"]  # fmt: skip

_HOME = {"Built": "compile.job", "compile_pipeline": "compile.job",
         "Reporter": "progress.reporter",
         "Fit": "fits.found", "fits_on": "fits.on",
         "Plan": "ir", "Run": "ir", "check_plan": "plan.file", "read_plan": "plan.file",
         "PackageError": "reference.errors", "Model": "reference.model",
         "run_build": "run.execute", "Outcome": "run.runner",
         "Origin": "verify.source", "Verified": "verify.folder",
         "verify_build": "verify.folder"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
