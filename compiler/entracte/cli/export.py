"""`plan export`: a package as an ONNX model, and how well it agrees."""

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
