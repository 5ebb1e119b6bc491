"""What the words of a command give, inputs and files by name; and an example of such words."""

from collections.abc import Sequence

from entracte.errors import RunError
from entracte.ir import Input, Plan
from entracte.run.outputs import usual_name

_ANY = {"text": '"a blue square"', "seed": "0", "number": "1", "image": "picture.png",
        "video": "given.mp4", "audio": "sound.wav", "tensor": "given.npy"}  # fmt: skip


def given_by_name(
    plan: Plan,
    texts: Sequence[str],
    *,
    prompt: str | None = None,
    negative: str | None = None,
    seed: int | None = None,
) -> dict[str, object]:
    """`name=value` for each, and what `--prompt`, `--negative` and `--seed` stand for. Raises
    `RunError`."""
    given: dict[str, object] = dict(_pairs("--input", texts, "value"))
    for option, kind, value in (
        ("prompt", "text", prompt),
        ("negative", "text", negative),
        ("seed", "seed", seed),
    ):
        if value is None:
            continue
        name = meant(plan, option, kind).name
        if name in given:
            raise RunError(f"--{option}: the input {name!r} is given by --input too; leave one out")
        given[name] = value
    return given


def meant(plan: Plan, option: str, kind: str) -> Input:
    """The input of that name, or the only one of the kind; a negative prompt is no other text.
    Raises `RunError`."""
    inputs = {i.name: i for i in plan.program.inputs}
    names, alike = list(inputs), [i.name for i in inputs.values() if i.kind == kind]
    if option in inputs:
        return inputs[option]
    if option == "negative":
        raise RunError(
            f"--negative: the plan has no negative prompt; its inputs are "
            f"{', '.join(names) or 'none'}"
        )
    if len(alike) == 1:
        return inputs[alike[0]]
    has = f"several: {', '.join(alike)}" if alike else f"none; it has {', '.join(names) or 'none'}"
    raise RunError(f"--{option}: a {kind} among the plan's inputs is meant, and there are {has}")


def out_by_name(texts: Sequence[str]) -> str | dict[str, str] | None:
    """A file alone, or `NAME=FILE` for each output. Raises `RunError`."""
    if not texts:
        return None
    if len(texts) == 1 and ("=" not in texts[0] or "/" in texts[0].partition("=")[0]):
        return texts[0]
    return _pairs("--out", texts, "FILE")


def _pairs(option: str, texts: Sequence[str], what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RunError(f"{option} {text}: write {'name' if what == 'value' else 'NAME'}={what}")
        if name in found:
            raise RunError(f"{option} {text}: {name!r} is given twice")
        found[name] = value
    return found


def example_words(plan: Plan) -> str:
    """What `plan run` may be told of a plan: all that it must be given, or else a prompt, and a
    file for each output that is not printed."""
    inputs, outputs = plan.program.inputs, plan.program.outputs
    words = [f"--input {i.name}={_any(i)}" for i in inputs if i.default is None]
    if not words and [i.kind for i in inputs].count("text") == 1:
        words = ['--prompt "a blue square moves up"']
    for output in outputs:
        name = usual_name(output, alone=len(outputs) == 1)
        if len(outputs) == 1:
            words.append(f"--out {name}")
        elif output.kind != "text":
            words.append(f"--out {output.name}={name}")
    return " ".join(words)


def _any(i: Input) -> str:
    if i.kind == "choice":
        return i.choices[0] if i.choices else f"{i.least:g}"
    return _ANY[i.kind]
