"""`plan export`: a package as an ONNX model, compared with it; a build as an Xcode project."""

from pathlib import Path

from entracte.cli.console import console
from entracte.units import format_bytes


def export_package(package: Path, out: Path, *, function: str, policy: str, seed: int) -> None:
    """Write the model and print what was written and what the comparison found."""
    from entracte.reference.export_onnx import export_onnx

    with console.status(f"exporting {package.name}"):
        made = export_onnx(package, out, function=function, policy=policy, seed=seed)
    files = " and ".join(str(file) for file in made.files)
    console.print(
        f"wrote {files}: {made.nodes} operations, {format_bytes(made.total_bytes)}, "
        f"arithmetic {policy}",
        soft_wrap=True,
        markup=False,
    )
    if made.agreement is None:
        console.print(
            "not checked: ONNX Runtime is not installed; `pip install 'entracte[onnx]'`",
            soft_wrap=True,
            markup=False,
        )
        return
    console.print(
        f"checked in ONNX Runtime {made.runtime} on random inputs of seed {seed}: {made.agreement}",
        soft_wrap=True,
        markup=False,
    )


def unsuited(out: Path | None, swift: Path | None) -> str | None:
    """What is wrong with the words of the command; None where nothing is."""
    if out is None and swift is None:
        return (
            "plan export: say what to write: `plan export PACKAGE FILE.onnx`, or "
            "`plan export BUILD --swift FOLDER`"
        )
    if out is not None and swift is not None:
        return f"plan export: both {out} and --swift {swift}; a build is exported to one folder"
    return None


def export_swift(build: Path, out: Path) -> None:
    """Write the project and print where it is."""
    from entracte.export.swift_app import export_app
    from entracte.export.xcode import APP

    with console.status(f"exporting {build}"):
        made = export_app(build, out)
    kept = "; the app in it stays as it was" if made.kept_app else ""
    console.print(
        f"wrote {out}: {format_bytes(made.size_bytes)} of packages and plan, the runner, and an app"
        f"{kept}\nnext:  on a Mac, open {out / f'{APP}.xcodeproj'}; README.md has the clicks",
        soft_wrap=True,
        markup=False,
    )
