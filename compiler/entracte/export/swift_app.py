"""`plan export BUILD --swift DIR`: an Xcode project, the runner, the build and an app.

    DIR/README.md                what to click
    DIR/EntracteApp.xcodeproj
    DIR/App                      a small SwiftUI app: yours from then on
    DIR/Entracte                 the runner, as a Swift package
    DIR/Build                    the build folder

Exported again into the same folder, `Entracte` and `Build` are replaced; the app, its project and
its README stay as they are.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from entracte.check.names import package_paths
from entracte.disk.folder import fresh, make_folder, open_to_readers, put
from entracte.disk.write import told, write_text
from entracte.errors import RunError
from entracte.export.xcode import (
    APP,
    BUILD,
    PACKAGE,
    RUNNER,
    SETTINGS,
    SOURCES,
    project_text,
)
from entracte.ir import Plan
from entracte.plan.file import FILE, check_files, read_plan
from entracte.run.packages import check_all_bytes, check_facts
from entracte.units import format_bytes

README = "README.md"


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    size_bytes: int
    """Of the build: what the app brings to the phone."""
    kept_app: bool
    """An app was there and stays."""


def export_app(build: Path, out: Path) -> Exported:
    """Write the project into a folder, whole or not at all; of one that is there, each folder so.

    Raises:
        PlanError: no whole build, or packages with other bytes than the plan says.
        RunError: `out` is there and is no export.
        WriteError: it cannot be written.
    """
    plan = read_plan(build)
    check_files(plan, build)
    check_facts(plan, build)
    check_all_bytes(plan, build)
    out = out.absolute()
    if _is_export(out):
        _put_runner(out / PACKAGE)
        return Exported(out, _put_build(plan, build, out / BUILD), kept_app=True)
    with fresh(out.parent, out.name) as aside:
        size_bytes = _fill(plan, build, aside)
        open_to_readers(aside)
        put(aside, out)
    return Exported(out, size_bytes, kept_app=False)


def _fill(plan: Plan, build: Path, out: Path) -> int:
    """A new project; the bytes of its build."""
    _put_runner(out / PACKAGE)
    size_bytes = _put_build(plan, build, out / BUILD)
    _put_app(out / SOURCES)
    project = out / f"{APP}.xcodeproj"
    make_folder(project)
    write_text(project / "project.pbxproj", project_text(_bundle(plan), plan.title))
    write_text(out / README, _readme(plan, size_bytes))
    return size_bytes


def _is_export(out: Path) -> bool:
    """Whether an app was exported here. Raises `RunError` for a folder of something else."""
    with told(out):
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return False
    if (out / f"{APP}.xcodeproj").is_dir() and (out / BUILD / FILE).is_file():
        return True
    raise RunError(
        f"{out}: there is something else here; give a new folder, or one that an earlier "
        "`plan export --swift` made"
    )


def _put_runner(place: Path) -> None:
    with fresh(place.parent, place.name) as aside:
        with told(place):
            shutil.copy(RUNNER / "Package.swift", aside)
            shutil.copytree(RUNNER / "Sources", aside / "Sources")
        open_to_readers(aside)
        put(aside, place)


def _put_app(place: Path) -> None:
    with fresh(place.parent, place.name) as aside:
        with told(place):
            others = shutil.ignore_patterns(README, SETTINGS)
            shutil.copytree(RUNNER / SOURCES, aside, dirs_exist_ok=True, ignore=others)
        open_to_readers(aside)
        put(aside, place)


def _put_build(plan: Plan, build: Path, place: Path) -> int:
    """What the plan names and nothing else; returns its bytes."""
    names = [FILE, *(path for path, _ in plan.files), *package_paths(plan)]
    with fresh(place.parent, place.name) as aside:
        with told(place):
            for name in names:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (build / name).is_dir() else shutil.copyfile
                copy(build / name, aside / name)
        open_to_readers(aside)
        size_bytes = sum(f.stat().st_size for f in aside.rglob("*") if f.is_file())
        put(aside, place)
    return size_bytes


def _bundle(plan: Plan) -> str:
    """The app's identifier: letters, digits and `-` of the pipeline's name."""
    return f"com.example.entracte.{re.sub('[^A-Za-z0-9]+', '-', plan.pipeline).strip('-')}"


def _readme(plan: Plan, size_bytes: int) -> str:
    text = (RUNNER / SOURCES / README).read_text()
    told_of = {
        "TITLE": plan.title,
        "TARGET": plan.target.title,
        "SIZE": format_bytes(size_bytes),
        "PEAK": format_bytes(plan.forecast.peak_bytes),
    }
    for name, value in told_of.items():
        text = text.replace(f"[{name}]", value)
    return text
