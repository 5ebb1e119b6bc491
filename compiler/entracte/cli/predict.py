"""`plan predict`: one package on the arrays of a file, as Core ML would hand them over."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from entracte.disk.write import writing
from entracte.errors import RunError

if TYPE_CHECKING:
    import numpy as np

    from entracte.reference import Model


def predict_package(
    console: Console,
    package: Path,
    inputs: Path,
    out: Path | None,
    *,
    function: str | None,
    policy: str,
    strict: bool,
    watch: bool,
) -> bool:
    """Run, print, write. True when `watch` found a result that fp16 cannot hold.

    Raises:
        RunError: a file that cannot be read or written, or a policy that does not exist.
        PackageError: as `entracte.reference.Model` does.
    """
    from entracte.reference import Model
    from entracte.reference.precision import POLICIES

    if policy not in POLICIES:
        raise RunError(f"--policy {policy}: not one of {', '.join(POLICIES)}")
    _check_out(out)
    arrays = read_arrays(inputs)
    with Model(package, function, policy=policy, strict=strict) as model:
        given = {name: _offered(model, name, array) for name, array in arrays.items()}
        found = model.predict(given, _state(model))
        title = f"{package.name}, function {model.function_name}, arithmetic {policy}"
        console.print(outputs_table(title, found))
        excess = model.first_out_of_range(given, _state(model)) if watch else None
    if excess is not None:
        console.print(f"watch: first out of range: {excess}", soft_wrap=True, markup=False)
    elif watch:
        console.print("watch: every result is finite and within fp16's range")
    if out is not None:
        write_arrays(out, found)
        console.print(f"wrote {out}", soft_wrap=True, markup=False)
    return excess is not None


def read_arrays(path: Path) -> "dict[str, np.ndarray]":
    """The arrays of an .npz by name. Pickled objects are refused.

    Raises:
        RunError: no such file, no .npz, or one with objects in it.
    """
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise ValueError("one array without a name")
        with found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: {_reason(error)}; write it with numpy.savez") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    if "Object arrays" in str(error):
        return "holds Python objects, and only arrays of numbers are read"
    # numpy takes any file that it does not know for a pickle.
    return "not an .npz file" if "pickle" in str(error) else f"not an .npz file ({error})"


def write_arrays(path: Path, outputs: Mapping[str, Any]) -> None:
    """Write outputs as an .npz, whole or not at all.

    A picture becomes an array, a table of classes two: `<name>.classes` and `<name>.values`.
    """
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, value in outputs.items():
        if isinstance(value, dict):
            arrays[f"{name}.classes"] = np.array(list(value))
            arrays[f"{name}.values"] = np.array(list(value.values()))
        else:
            arrays[name] = np.asarray(value)
    with writing(path, follow=True) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def outputs_table(title: str, outputs: Mapping[str, Any]) -> Table:
    """One row per output; least, largest and mean are those of its finite elements."""
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.add_column("output", overflow="fold")
    table.add_column("shape", overflow="fold")
    table.add_column("dtype", no_wrap=True)
    for name in ("min", "max", "mean", "not finite"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, value in outputs.items():
        table.add_row(Text(name), *_row(value))
    return table


def _row(value: Any) -> tuple[str, ...]:
    import numpy as np

    if isinstance(value, str):
        return "", "string", "", "", "", repr(value)
    if isinstance(value, dict):
        return f"{len(value)} classes", "dict", "", "", "", ""
    array = np.asarray(value)
    shape = "x".join(map(str, array.shape))
    kind = f"image {value.mode}" if hasattr(value, "mode") else array.dtype.name
    finite = array[np.isfinite(array)].astype(np.float64)
    if finite.size == 0:
        return shape, kind, "-", "-", "-", str(array.size)
    numbers = (finite.min(), finite.max(), finite.mean())
    return shape, kind, *(f"{n:.5g}" for n in numbers), str(array.size - finite.size)


def _offered(model: "Model", name: str, array: "np.ndarray") -> Any:
    """An array as the model takes it: for an image input, a picture of its bytes."""
    import numpy as np

    described = model.inputs.get(name)
    if described is None or described.dtype != "image":
        return array
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise RunError(
            f"input {name!r} is an image: give uint8 of (height, width, 3), or (height, width) "
            f"for gray, not {array.dtype} of {array.shape}"
        )
    from PIL import Image

    return Image.fromarray(array)


def _state(model: "Model") -> Any:
    return model.make_state() if model.states else None


def _check_out(out: Path | None) -> None:
    """Say that the result cannot be written before computing it."""
    if out is None:
        return
    if out.suffix != ".npz":
        raise RunError(f"--out {out}: write to a file that ends in .npz")
    if not out.parent.is_dir():
        raise RunError(f"--out {out}: the folder {out.parent} does not exist")
