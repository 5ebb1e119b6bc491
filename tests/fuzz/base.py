"""Sound things that cases change: weights, a build with its packages, runs of it, toy plans."""

import json
import shutil
from pathlib import Path

from tests.fuzz.media import make_media
from tests.fuzz.onnx_files import make_onnx

CONF = Path(__file__).parent / "conf"
STEPS = 4
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {
        "type": "WordLevel", "unk_token": "[UNK]",
        "vocab": {"[UNK]": 0, "a": 1, "red": 2, "circle": 3},
    },
}  # fmt: skip


def ready(folder: Path) -> Path:
    """Everything below `folder`, made by the first who asks."""
    done = folder / "done"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_weights(folder / "weights")
        make_build(folder)
        make_toys(folder / "toys")
        make_media(folder / "media")
        make_onnx(folder / "onnx")
        done.touch()
    return folder


def compile_words(
    weights: Path | str, *more: str, conf: Path = CONF, pipeline: str = "fuzz"
) -> tuple[str, ...]:
    """The command that compiles a pipeline of `conf/pipeline/`."""
    return (
        "compile", "--config-dir", str(conf), "+target=host", f"pipeline={pipeline}",
        f"pipeline.weights={weights}", f"sampler.steps={STEPS}", "workers=1", *more,
    )  # fmt: skip


def make_weights(folder: Path) -> None:
    """A folder of weights as a user has one."""
    import torch
    from safetensors.torch import save_file

    from tests.fuzz import graphs

    folder.mkdir(parents=True)
    drawn = torch.Generator().manual_seed(0)
    modules = {n: getattr(graphs, n)().module for n in ("text", "hint", "denoise", "smooth")}
    for name, module in {**modules, "decode": graphs.sharpen().module}.items():
        shapes = {k: v.shape for k, v in module.state_dict().items()}
        if name == "text":
            shapes["table.weight"] = torch.Size((16, graphs.WIDTH))
        tensors = {k: torch.randn(s, generator=drawn) * 0.2 for k, s in shapes.items()}
        save_file(tensors, folder / f"{name}.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))


def make_build(folder: Path) -> None:
    """A build of everything, and the record of a run of it."""
    from tests.fuzz.doors import call

    out = folder / "build"
    _well(call(compile_words(folder / "weights", f"out={out}")))
    record = folder / "run.json"
    _well(call(["plan", "run", str(out), "--device", "null", "--record", str(record)]))


def _well(said) -> None:
    assert said.status == 0, said.text


def make_toys(folder: Path) -> None:
    """Plans of numbers: by gates, by the rule, by pages, with an early end, of every construct."""
    from entracte.plan.file import write_plan
    from tests.planner.chain import Part
    from tests.planner.plans import make_online_plan, make_plan, make_special_plan, plan_of
    from tests.planner.programs import DOUBLE_BUFFER, ONLINE

    constructs = (
        Part(4, (70, 80), also=("collect", "stream", "rest")), Part(3, (60,), also=("cast",)),
        Part(1, (50, 40, 30), also=("groups",)), Part(1, (90,), also=("tiles",)),
        Part(2, (40,), also=("shared",)),
    )  # fmt: skip
    made = (
        make_plan(), make_online_plan(), make_online_plan(4096), make_special_plan(),
        plan_of(constructs, DOUBLE_BUFFER, 100), plan_of(constructs, ONLINE, 100),
    )  # fmt: skip
    for k, plan in enumerate(made):
        place = folder / str(k)
        place.mkdir(parents=True)
        write_plan(plan, place)
        for package in plan.packages:
            (place / package.path).mkdir(parents=True)
