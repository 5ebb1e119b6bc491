"""Changes of right plans that reach checks which a change of one value seldom reaches.

Each row: the plan, by its name in `tools/make_plan_vectors.py`, and a change of its JSON in place.
"""

from collections.abc import Callable
from typing import Any

Change = Callable[[Any], Any]


def _load(k: int, **changes: Any) -> Change:
    return lambda p: p["schedule"]["loads"][k].update(changes)


def _gate(k: int, segment: int, step: int, moment: str) -> Change:
    gate = {"type": "Gate", "segment": segment, "step": step, "moment": moment}
    return _load(k, gate=gate)


def _moved(k: int, to: int) -> Change:
    return lambda p: p["schedule"]["loads"].insert(to, p["schedule"]["loads"].pop(k))


def _step(s: int, k: int, **changes: Any) -> Change:
    return lambda p: p["program"]["segments"][s]["steps"][k].update(changes)


def _segment(s: int, **changes: Any) -> Change:
    return lambda p: p["program"]["segments"][s].update(changes)


def _lasting(*names: str) -> Change:
    """The first segment drops these too."""
    return lambda p: p["program"]["segments"][0]["frees"].extend(names)


def _outputs(s: int, k: int, *names: str) -> Change:
    """What a step makes, bound to these tensors."""

    def change(p: Any) -> None:
        bound = p["program"]["segments"][s]["steps"][k]["outputs"]
        for binding, name in zip(bound, names, strict=False):
            binding["tensor"] = name

    return change


def _output(k: int, **changes: Any) -> Change:
    return lambda p: p["program"]["outputs"][k].update(changes)


def _tensor(name: str, **changes: Any) -> Change:
    def change(p: Any) -> None:
        for t in p["program"]["tensors"]:
            if t["port"]["name"] == name:
                t["port"].update({k: v for k, v in changes.items() if k in ("shape", "dtype")})
                t.update({k: v for k, v in changes.items() if k in ("slots", "streamed")})

    return change


def _given(**changes: Any) -> Change:
    return lambda p: p["program"]["inputs"][0].update(changes)


def _chunk(k: int, **changes: Any) -> Change:
    return lambda p: p["chunks"][k].update(changes)


def _variant(k: int, **changes: Any) -> Change:
    return lambda p: p["chunks"][k]["variants"][0].update(changes)


def _package(k: int, **changes: Any) -> Change:
    return lambda p: p["packages"][k].update(changes)


def _arrays(k: int, **changes: Any) -> Change:
    return lambda p: p["packages"][k]["arrays"].update(changes)


def _every_array(*ports: Any) -> Change:
    """The same arrays for all chunks of the graph."""

    def change(p: Any) -> None:
        for package in p["packages"]:
            if "arrays" in package:
                package["arrays"]["ports"] = list(ports)

    return change


def _array(name: str, shape: list[int], dtype: str = "fp16") -> Any:
    return {"type": "Port", "name": name, "shape": shape, "dtype": dtype}


def _compared(**changes: Any) -> Change:
    return lambda p: p["compared"][0].update(changes)


def _all(*changes: Change) -> Change:
    def change(p: Any) -> None:
        for one in changes:
            one(p)

    return change


def _more(what: str, times: int) -> Change:
    """A list of the plan with its items again and again."""
    return lambda p: p.update({what: p[what] * times})


_PORT = {"type": "Port", "name": "x", "shape": [4], "dtype": "fp16"}
_ARRAYS = {
    "type": "Arrays", "path": "packages/a.safetensors", "digest": "0" * 64, "file_bytes": 16_388,
    "ports": [{"type": "Port", "name": "w0", "shape": [2], "dtype": "fp16"}],
}  # fmt: skip
_WORK = {"type": "Work", "kind": "conv", "flops": 1, "moved_bytes": 1}
_BAR = {
    "type": "Bar", "queue": "compute", "label": "c0.01", "segment": 0, "iteration": 1, "step": 1,
    "start_s": 0.0, "end_s": 1.0, "size_bytes": 0,
}  # fmt: skip

LOADS: tuple[tuple[str, Change], ...] = (
    ("gates", _load(1, iterations="often")),
    ("gates", _load(1, free_moment="previous")),
    ("gates", _load(1, step=9)),
    ("gates", _load(1, free_step=9)),
    ("gates", _load(1, segment=9)),
    ("gates", _load(1, chunk="x")),
    ("gates", _gate(4, 0, 9, "last")),
    ("gates", _gate(4, 1, 0, "last")),
    ("gates", _gate(4, 1, 0, "previous")),
    ("gates", _gate(4, 0, 0, "same")),
    ("gates", _gate(2, 1, 0, "same")),
    ("gates", _load(2, free_step=1)),
    ("gates", _load(2, free_moment="last")),
    ("gates", _load(5, gate=None)),
    ("gates", _gate(5, 1, 0, "previous")),
    ("gates", _gate(6, 1, 0, "previous")),
    ("gates", _load(4, free_step=0)),
    ("gates", _moved(0, 1)),
    ("gates", _moved(1, 4)),
    ("gates", _moved(4, 0)),
    ("gates", _moved(8, 0)),
    ("gates", lambda p: p["schedule"]["loads"].pop(2)),
    ("gates", lambda p: p["schedule"]["loads"].pop(9)),
    ("gates", lambda p: p["schedule"]["loads"].append(p["schedule"]["loads"][9])),
    ("gates", lambda p: p["schedule"].update(resident=["c0.00", "c0.00"])),
    ("gates", lambda p: p["schedule"].update(resident=["x"])),
    ("gates", lambda p: p["schedule"].update(driver="luck")),
    ("online", lambda p: p["schedule"].update(kept=[{"slower": 1.0, "chunks": []}] * 2)),
    ("online", lambda p: p["schedule"].update(kept=[{"slower": 1.0, "chunks": ["x"]}])),
    ("online", lambda p: p["schedule"].update(budget_bytes=p["schedule"]["budget_bytes"] - 150)),
    ("online", lambda p: p["schedule"].update(budget_bytes=1)),
    ("pages", lambda p: p["target"].update(page_bytes=2**62)),
    ("early", _load(0, segment=1, step=0, free_step=0)),
    ("early", _step(1, 0, switch=[["merged", 2], ["merged", 2]])),
    ("early", _step(1, 0, switch=[["merged", 0]])),
    ("early", _step(1, 0, switch=[["main", 2]])),
    ("gates", _more("chunks", 300)),
    ("gates", _more("facts", 300)),
    ("gates", _more("files", 1200)),
    ("gates", lambda p: p["schedule"].update(loads=p["schedule"]["loads"] * 300)),
)  # fmt: skip

LIVES: tuple[tuple[str, Change], ...] = (
    ("gates", _step(0, 0, frees=[])),
    ("gates", _step(0, 0, frees=["x", "x"])),
    ("gates", _step(0, 0, frees=["t1"])),
    ("gates", _step(0, 0, frees=["x", "t0"])),
    ("gates", _step(0, 0, frees=["nothing"])),
    ("gates", _segment(1, frees=["nothing"])),
    ("gates", _segment(1, frees=["x", "x"])),
    ("early", _segment(1, until="t1")),
    ("early", _segment(1, until="t2")),
    ("early", _segment(1, until="x")),
    ("early", _segment(1, until="t0")),
    ("early", _segment(1, frees=[])),
    ("early", _segment(1, frees=["s1", "t0"])),
    ("early", _all(_tensor("t0", shape=[1]), _segment(1, until="t0"))),
    ("early", _segment(1, state=[["s1", "t0", "t1"]])),
    ("early", _segment(1, state=[["s1", "t1", "t2"]])),
    ("early", _segment(1, state=[["s1", "t0", "s1"]])),
    ("early", _segment(1, state=[["s1", "t0", "x"]])),
    ("early", _segment(1, state=[["s1", "t0", "nothing"]])),
    ("early", _segment(1, state=[["s1", "t0", "t2"], ["x", "t0", "t2"]])),
    ("early", _tensor("s1", shape=[5])),
    ("early", _tensor("s1", dtype="int32")),
    ("early", _tensor("s1", dtype="fp32")),
    ("early", _step(1, 0, at=[0, 2])),
    ("early", _outputs(1, 0, "done1", "t1")),
    ("early", _all(_step(1, 1, frees=[]), _segment(1, frees=["t0", "t1"]))),
    ("resting", _step(0, 2, at=[0, 2])),
    ("resting", _step(0, 1, at=[2, 4])),
    ("resting", _step(0, 1, at=[0, 4, 2])),
    ("resting", _step(0, 1, at=[0, 7])),
    ("resting", _all(_step(0, 2, frees=["t1"]), _segment(0, frees=["x"]))),
    ("resting", lambda p: p["forecast"].update(bars=[_BAR, *p["forecast"]["bars"]])),
    ("asking", _step(0, 2, rests_by="nothing")),
    ("asking", _step(0, 2, at=[])),
    ("asking", _step(0, 2, at=[0, 1, 2])),
    ("asking", _all(_step(0, 2, at=[], frees=[]), _lasting("t1", "asked0"))),
    ("asking", _all(_step(0, 2, at=[0, 5], frees=[]), _lasting("t1", "asked0"))),
    ("asking", _step(0, 2, at=[2, 3])),
    ("asking", _step(0, 1, rests_by="asked0")),
    ("asking", _step(0, 2, rests_by="")),
    ("asking", _tensor("asked0", shape=[2])),
    ("asking", _all(_step(0, 3, frees=["t0", "t2"], at=[0, 2]), _segment(0, frees=["s0", "x"]))),
    ("asking", lambda p: p["forecast"].pop("resting_s")),
    ("asking", lambda p: p["forecast"].update(resting_s=1.0)),
    ("cast", _tensor("s0", dtype="int32")),
    ("slices", _segment(2, frees=[])),
    ("gates", _tensor("t0", shape=[2**60])),
    ("gates", _tensor("t0", shape=[2**40], slots=2**30)),
)  # fmt: skip

PARTS: tuple[tuple[str, Change], ...] = (
    ("streamed", _step(1, 1, frees=["t1"])),
    ("streamed", _output(0, values=["s1", "stream1"])),
    ("streamed", _output(0, values=["t0"])),
    ("streamed", _output(0, values=[])),
    ("streamed", _output(0, values=["t0", "t0"])),
    ("streamed", _output(0, values=["t0", "nothing"])),
    ("streamed", _output(0, axis=1)),
    ("streamed", _output(1, values=["stream1"], axis=0)),
    ("streamed", _output(0, values=["stream1", "t0"])),
    ("streamed", _output(1, values=["t2"])),
    ("streamed", _output(1, values=["t1"])),
    ("streamed", _output(1, name="out0")),
    ("streamed", _tensor("stream1", streamed=3)),
    ("streamed", _tensor("stream1", slots=2)),
    ("streamed", _tensor("stream1", streamed=0)),
    ("streamed", _segment(1, state=[["s1", "stream1", "t2"]])),
    ("streamed", _segment(1, until="stream1")),
    ("streamed", _outputs(0, 0, "stream1")),
    ("streamed", _outputs(1, 0, "stream1")),
    ("streamed", _tensor("t0", shape=[4, 1])),
    ("collected", _step(0, 1, frees=["t0", "collect0"])),
    ("collected", _segment(0, state=[["collect0", "x", "t1"]])),
    ("collected", _segment(0, until="collect0")),
    ("collected", _tensor("collect0", dtype="int32")),
    ("collected", _tensor("collect0", shape=[15])),
    ("collected", _step(0, 1, repeat=2)),
    ("collected", _step(0, 1, at=[0, 1])),
    ("collected", _outputs(1, 0, "collect0")),
    ("tiles", _tensor("blend0", dtype="fp16")),
    ("tiles", _tensor("wide0", dtype="fp32")),
    ("tiles", _tensor("blend0", shape=[5, 7])),
    ("tiles", _outputs(1, 0, "wide0")),
    ("tiles", _step(1, 0, repeat=3)),
    ("tiles in a loop", _segment(1, count=3)),
    ("groups", _step(3, 0, repeat=2)),
    ("given", _given(kind="image", port=None)),
    ("given", _given(kind="number")),
    ("given", _given(kind="text", port=None)),
    ("given", _given(kind="choice", port=None)),
    ("given", _given(kind="smell")),
    ("given", _given(port=_PORT)),
    ("given", _given(kind="audio", rate=0.0)),
    ("given", _given(name="other")),
    ("given", lambda p: p["program"]["constants"][0].update(shape=[5])),
    ("given", lambda p: p["program"]["constants"][0].update(name="y")),
)  # fmt: skip

NUMBERS: tuple[tuple[str, Change], ...] = (
    ("shared", _step(1, 0, function="main")),
    ("shared", _step(1, 0, function="x")),
    ("shared", _variant(0, graph="")),
    ("shared", _variant(0, graph="c0.00")),
    ("shared", _variant(0, graph="g")),
    ("shared", _variant(0, name="main")),
    ("shared", _variant(0, inputs=[_PORT])),
    ("shared", _variant(0, work=[_WORK, _WORK])),
    ("shared", _chunk(0, compute_unit="quantum")),
    ("shared", _chunk(0, work=[_WORK])),
    ("shared", _chunk(0, work=[_WORK, _WORK])),
    ("shared", _package(0, own_ports=[])),
    ("shared", _package(0, file_bytes=1)),
    ("shared", _package(0, compression="zip")),
    ("shared", _package(0, digest="D" * 64)),
    ("gates", _package(0, compression="int8")),
    ("gates", _package(0, precision="fp32")),
    ("gates", _package(0, path="packages")),
    ("gates", _package(0, path="packages/c0.01.mlpackage/Data")),
    ("gates", _package(0, path="packages//c0.01.mlpackage")),
    ("gates", _package(0, path="./packages/C0.01.mlpackage")),
    ("gates", _package(0, path="a/../b")),
    ("gates", _package(0, path="a\\b")),
    ("gates", _package(0, path="")),
    ("gates", lambda p: p["files"][0].__setitem__(0, "packages/c0.00.mlpackage")),
    ("gates", lambda p: p.update(verify="maybe")),
    ("gates", lambda p: p.update(verify="on")),
    ("compared", lambda p: p.update(verify="off")),
    ("compared", lambda p: p["compared"].pop()),
    ("compared", lambda p: p["compared"].append(p["compared"][0])),
    ("compared", _compared(of="x")),
    ("compared", _compared(floor_db=30.0)),
    ("compared", _compared(share=1.5)),
    ("compared", _compared(db=None)),
    ("compared", _compared(db=39.5)),
    ("compared", _compared(inputs="dreamt")),
    ("gates", lambda p: p["target"].update(reload_on_switch=1)),
    ("gates", lambda p: p["target"].update(compute_flops=1e-320, efficiency=[["matmul", 1e-320]])),
    ("early", lambda p: p["target"].update(reload_on_switch=True)),
    ("early", lambda p: p["forecast"].update(earliest_s=None)),
    ("early", lambda p: p["forecast"].update(earliest_s=0.1)),
    ("early", lambda p: p["forecast"].update(earliest_s=1e6)),
    ("sampler", _step(0, 0, params=[["tokenizer", {}]])),
    ("sampler", _step(0, 0, params=[["tokenizer"]])),
    ("sampler", _step(0, 0, params=[["prefix", "a\nb\x07"]])),
    ("sampler", _step(0, 0, params=[["tokenizer", "a\nb"]])),
    ("sampler", _step(0, 0, inputs=[["text", "prompt", "x"]])),
    ("sampler", _step(0, 0, outputs={})),
    ("sampler", _step(0, 0, frees="x")),
    ("sampler", _step(0, 0, stage=5)),
    ("sampler", _step(0, 0, type="Call")),
    ("sampler", _segment(1, sliced="yes")),
    ("sampler", _segment(1, count=1.0)),
)  # fmt: skip

_OTHER = [{"type": "Port", "name": "in", "shape": [5], "dtype": "fp16"}]
_VARIANT = {
    "type": "Variant", "name": "f", "start": 0, "stop": 1, "activation_bytes": 1, "flops": 1,
    "moved_bytes": 1, "graph": "f", "inputs": [], "outputs": [],
}  # fmt: skip
_OWN = {"type": "FunctionPorts", "function": "f", "inputs": [], "outputs": []}

GRAPHS: tuple[tuple[str, Change], ...] = (
    ("one graph", _chunk(1, shares="")),
    ("one graph", _chunk(1, shares="c1.01")),
    ("one graph", _chunk(2, shares="")),
    ("one graph", _chunk(2, shares="c1.02")),
    ("one graph", _chunk(2, shares="nobody's")),
    ("one graph", _chunk(2, shares=7)),
    ("one graph", _chunk(2, shares="c1\x07")),
    ("one graph", _chunk(2, graph="c2")),
    ("one graph", _chunk(0, shares="c1.00")),
    ("one graph", _chunk(0, shares="c0.00")),
    ("one graph", _chunk(2, flops=2)),
    ("one graph", _chunk(2, weight_bytes=2)),
    ("one graph", _chunk(2, activation_bytes=2)),
    ("one graph", _all(_chunk(2, inputs=_OTHER), _package(2, inputs=_OTHER))),
    ("one graph", _all(_chunk(2, outputs=[]), _package(2, outputs=[]))),
    ("one graph", _all(
        _chunk(2, variants=[_VARIANT]), _package(2, functions=["main", "f"], own_ports=[_OWN])
    )),
    ("one graph", _package(2, arrays=None)),
    ("one graph", _package(0, arrays=_ARRAYS)),
    ("one graph", lambda p: p["packages"][2].pop("arrays")),
    ("one graph", _package(2, path="packages/c1.02.mlpackage")),
    ("one graph", _package(2, path="packages/c0.00.mlpackage")),
    ("one graph", _package(2, digest="f" * 64)),
    ("one graph", _package(2, file_bytes=13)),
    ("one graph", _package(2, activation_bytes=21)),
    ("one graph", _package(2, weight_bytes=71)),
    ("one graph", _all(*(_package(k, compression="int8") for k in (1, 2, 3)))),
    ("one graph", _all(*(_package(k, weight_bytes=72) for k in (1, 2, 3)))),
    ("one graph", _arrays(2, path="../c1.01.safetensors")),
    ("one graph", _arrays(2, path="")),
    ("one graph", _arrays(2, path="packages/c1.00.safetensors")),
    ("one graph", _arrays(2, path="packages/C1.00.safetensors")),
    ("one graph", _arrays(2, path="packages/c1.00.mlpackage")),
    ("one graph", _arrays(2, path="packages/c1.00.mlpackage/x")),
    ("one graph", _arrays(2, path="constants.safetensors")),
    ("one graph", _arrays(2, digest="E" * 64)),
    ("one graph", _arrays(2, digest="")),
    ("one graph", _arrays(2, file_bytes=70)),
    ("one graph", _arrays(2, file_bytes=-1)),
    ("one graph", _arrays(2, file_bytes="70")),
    ("one graph", _arrays(2, more=1)),
    ("one graph", _arrays(2, ports=[_array("w0", [27])])),
    ("one graph", lambda p: p["packages"][2]["arrays"]["ports"].reverse()),
    ("one graph", lambda p: p["packages"][2]["arrays"].pop("digest")),
    ("one graph", lambda p: p["packages"][2]["arrays"].update(type="Port")),
    ("one graph", _every_array(_array("w0", [27]), _array("w1", [2, 2], "fp32"))),
    ("one graph", _every_array(_array("w0", [2, 2], "fp32"), _array("w0", [27]))),
    ("one graph", _every_array(_array("w0", [2, 2], "fp32"), _array("w2", [27]))),
    ("one graph", _every_array(_array("w0", [2, 2], "fp32"), _array("w1", [28]))),
    ("one graph", _every_array(_array("w0", [2, 2], "fp32"), _array("w1", [3, 9]))),
    ("one graph", _every_array(_array("w0", [4], "int32"), _array("w1", [27]))),
    ("one graph", _every_array(_array("w0", [0]))),
    ("one graph", _every_array()),
    ("one graph", lambda p: p["facts"][2].update(activation_bytes=20)),
    ("one graph", lambda p: p["facts"][2].update(exec_s=1.0)),
    ("one graph", lambda p: p["facts"][2].update(load_s=0.95)),
    ("one graph", lambda p: p["facts"][2].update(cold_s=0.25)),
    ("one graph", lambda p: p["facts"][1].update(cold_s=0.0)),
    ("gates", _chunk(1, shares="c1.00")),
    ("dry", _chunk(1, shares="c1.00")),
    ("gates", _package(1, arrays={})),
    ("gates", _package(1, arrays=[])),
)  # fmt: skip

CHANGES = {"loads": LOADS, "lives": LIVES, "parts": PARTS, "agreement": NUMBERS, "graphs": GRAPHS}
