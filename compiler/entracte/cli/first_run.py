"""What to type behind `plan run` first: the inputs and outputs of this very plan."""

from collections.abc import Iterator

from entracte.ir import Input, Plan
from entracte.run.outputs import USUAL

_TEXT = '"a blue square moves up"'
_SHOWN = {"text": _TEXT, "number": "1", "choice": "0", "seed": "0"}
"""Values of inputs that are no files."""


def run_words(plan: Plan) -> str:
    """A text, every input that has no default, and where each output goes."""
    return " ".join((*_inputs(plan.program.inputs), *_outputs(plan)))


def _inputs(inputs: tuple[Input, ...]) -> Iterator[str]:
    texts = [i.name for i in inputs if i.kind == "text"]
    meant = "prompt" if "prompt" in texts else texts[0] if len(texts) == 1 else None
    if meant is not None:
        yield f"--prompt {_TEXT}"
    for i in inputs:
        if i.default is None and i.name != meant:
            shown = _SHOWN.get(i.kind)
            yield f"--input {i.name}={shown or i.name + USUAL[i.kind][1]}"


def _outputs(plan: Plan) -> Iterator[str]:
    outputs = plan.program.outputs
    for o in outputs:
        name, ending = USUAL[o.kind]
        yield f"--out {name}{ending}" if len(outputs) == 1 else f"--out {o.name}={o.name}{ending}"
