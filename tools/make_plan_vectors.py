"""Write the vectors of plans' readers, in tests/vectors.

    python -m tools.make_plan_vectors

JSON has a record a line. `digests.json`: SHA-256 of messages, packages and files of arrays.
`plans.json`: right plans of every construct. `hostile_plans.json`: what was changed in one of them,
and what its reader must say. `fp16.bin`: of each of the 65,536 patterns of fp16 the pattern in
fp32. `fp32.bin`: patterns of fp32, and behind them those of fp16 that they become.
"""

import base64
import hashlib
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from entracte.codec import encode
from entracte.errors import PlanError
from entracte.ir import Compared, DType, Plan, Port
from entracte.lower.identity import combined_digest, manifest_text
from entracte.plan import file as plan_file
from entracte.store.arrays import header_of, places_of
from entracte.store.origin import VERSION as ENTRACTE
from tests.fuzz.mutate import broken, mutated
from tests.planner import test_check_plan, test_plan_file
from tests.planner.plans import (
    SHAPE,
    heavier,
    make_plan,
    make_shared_plan,
    make_special_plan,
    plan_of,
)
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, Part
from tools.hostile_changes import CHANGES

FOLDER = Path(__file__).parent.parent / "tests" / "vectors"
MUTATIONS = 48
"""Drawn of each plan."""
DAMAGES = 16
"""Of each plan's bytes."""
LONGEST = 1500
"""Characters of what is changed: longer changes say nothing more."""

Change = dict[str, Any]


def write_lines(path: Path, records: list[Any]) -> None:
    """JSON with a record a line."""
    lines = ",\n".join(json.dumps(r, sort_keys=True) for r in records)
    path.write_text(f"[\n{lines}\n]\n")


# ---------------------------------------------------------------- digests


def digests() -> list[Any]:
    """SHA-256 of messages of all lengths around blocks; digests and manifests of packages; headers
    of files of arrays."""
    lengths = [*range(132), 191, 192, 193, 255, 256, 257, 1000, 4095, 4096, 65_537]
    made: list[Any] = [{"bytes": n, "sha256": _sha256(message(n))} for n in lengths]
    for n, has_weights in ((1, True), (2, False), (3, True)):
        model = _sha256(message(n))
        weights = _sha256(message(n + 100)) if has_weights else None
        made.append({
            "model": model, "weights": weights, "digest": combined_digest(model, weights),
            "manifest": manifest_text(model, weights),
        })  # fmt: skip
    return made + [_arrays(ports) for ports in ARRAYS]


def _port(name: str, shape: tuple[int, ...], dtype: DType = DType.FP16) -> Port:
    return Port(name, shape, dtype)


ARRAYS: tuple[tuple[Port, ...], ...] = (
    (),
    (_port("w0", ()),),
    (_port("w1", (2, 3, 4), DType.FP32), _port("w2", (5,), DType.INT32), _port("w0", (7, 1))),
    tuple(_port(f"w{i}", (i + 1, 1152)) for i in range(300)),
)
"""Of files, in their order: none, a number alone, all types, more than a page of header."""


def _arrays(ports: tuple[Port, ...]) -> Any:
    """Where the arrays of a file lie, and the SHA-256 of all that stands before them."""
    header, places = header_of(ports), places_of(ports)
    return {
        "ports": [[p.name, list(p.shape), str(p.dtype)] for p in ports],
        "places": [list(p) for p in places],
        "header_bytes": len(header),
        "sha256": _sha256(header),
    }


def message(n: int) -> bytes:
    """Byte i of n is 7 i + n, modulo 256."""
    return bytes((7 * i + n) % 256 for i in range(n))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------- fp16


def fp16() -> bytes:
    """All patterns, as fp32."""
    return np.arange(65_536, dtype=np.uint16).view(np.float16).astype("<f4").tobytes()


def fp32() -> bytes:
    """Patterns of fp32, then of the fp16 that they become."""
    drawn = random.Random(16)
    patterns = {drawn.getrandbits(32) for _ in range(4000)}
    for half in [*range(0, 0x7C00, 61), *range(0x3F0), 0x7BFF, 0x3FF, 0x400, 0x401]:
        low, high = (int(np.uint16(h).view(np.float16).astype("<f4").view("<u4"))
                     for h in (half, half + 1))  # fmt: skip
        middle = (low + high) // 2
        patterns |= {low, middle - 1, middle, middle + 1}
    patterns |= {0x33000000, 0x33000001, 0x32FFFFFF, 0x477FEFFF, 0x477FF000, 0x47800000, 0x7F7FFFFF}
    patterns |= {1, 0x7FFFFF, 0x800000, 0x7F800000, 0x7F800001, 0x7F802000, 0x7FC00000, 0x7FFFFFFF}
    patterns |= {x | 0x80000000 for x in patterns}
    given = np.array(sorted(patterns), dtype="<u4")
    with np.errstate(over="ignore", invalid="ignore"):
        return given.tobytes() + given.view("<f4").astype("<f2").tobytes()


# ---------------------------------------------------------------- plans


def _compared() -> Plan:
    plan = make_plan()
    entries = tuple(
        Compared(
            chunk=p.chunk, of=plan.packages[0].chunk, floor_db=40.0, db=71.5, max_error=1.5e-4,
            inputs="recorded", share=1.0,
        )
        for p in plan.packages
    )  # fmt: skip
    return replace(plan, verify="on", compared=entries)


def _of(*shape: Part, spare: int = 100) -> Callable[[], Plan]:
    return lambda: plan_of(shape, DOUBLE_BUFFER, spare)


PLANS: Mapping[str, Callable[[], Plan]] = {
    "sampler": test_check_plan.make_sampler,
    "gates": make_plan,
    "dry": lambda: make_plan(built=False),
    "early": make_special_plan,
    "online": lambda: plan_of(SHAPE, ONLINE, 100),
    "pages": lambda: plan_of(heavier(SHAPE[:2]), ONLINE, 11_000, page_bytes=4096),
    "compared": _compared,
    "streamed": _of(Part(1, (50,), also=("stream",)), Part(4, (70, 80), also=("stream",))),
    "collected": _of(Part(4, (70, 80), also=("collect",)), Part(1, (50,), also=("collect",))),
    "cast": _of(Part(4, (70, 80), also=("cast",))),
    "resting": _of(Part(7, (70, 80, 60), also=("rest",))),
    "asking": _of(Part(7, (70, 80, 60, 50), also=("ask within",))),
    "slices": _of(Part(3, (70, 80), also=("slices", "stream"))),
    "groups": _of(Part(3, (70, 80), also=("groups",))),
    "tiles": _of(Part(1, (70,), also=("tiles",))),
    "tiles in a loop": _of(Part(4, (70,), also=("tiles", "stream"))),
    "shared": _of(Part(1, (70,)), Part(1, (5,), also=("shared",))),
    "given": _of(Part(1, (70,), also=("given",))),
    "one graph": make_shared_plan,
}


def plans() -> list[Any]:
    """Right plans: what `read_plan` takes."""
    made = []
    for name, make in PLANS.items():
        body = encode(make())
        made.append({"name": name, "plan": body, "file_sha256": _sha256(plan_file.framed(body))})
    return made


# ---------------------------------------------------------------- hostile plans


def by_hand() -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    """(plan, what it is about, change in place): the cases of the tests' tables."""
    tables = {
        "pieces": [change for change, _ in test_check_plan.PIECES.values()],
        "host": [change for change, _ in test_check_plan.HOST],
        "promise": [change for change, _ in test_check_plan.PROMISES],
    }
    for name in (
        "test_a_name_is_used_once", "test_packages_are_of_their_chunks",
        "test_what_is_given_and_what_it_gives", "test_numbers_are_in_their_ranges",
    ):  # fmt: skip
        tables[name.removeprefix("test_")] = _cases(getattr(test_check_plan, name))
    for what, changes in tables.items():
        for change in changes:
            yield "sampler", what.replace("_", " "), change
    for what, rows in CHANGES.items():
        for name, change in rows:
            yield name, what, change
    for change in _cases(test_plan_file.test_what_a_stranger_wrote_is_refused):
        yield "gates", "what a stranger wrote", change


def _cases(test: Any) -> list[Callable[[Any], Any]]:
    (mark,) = test.pytestmark
    return [change for change, _ in mark.args[1]]


def spoiled() -> Iterator[tuple[str, str, bytes]]:
    """(plan, what it is about, its file): the same of bytes."""
    framed = plan_file.framed(encode(make_plan()))
    body = framed[85:-3]
    (mark,) = test_plan_file.test_a_frame_of_another_form_is_refused.pytestmark
    for spoil in mark.args[1]:
        yield "gates", "frame", spoil(framed)
    for change in _cases(test_plan_file.test_what_other_readers_may_read_otherwise_is_refused):
        yield "gates", "what others read otherwise", test_plan_file.reframed(change(body))
    yield "gates", "another hash", framed[:11] + b"0" * 64 + framed[75:]
    yield "gates", "another byte", framed[:300] + b" " + framed[300:]
    yield "gates", "no plan", test_plan_file.reframed(b"[]")
    for name, make in PLANS.items():
        framed = plan_file.framed(encode(make()))
        drawn = random.Random(name)
        for _ in range(DAMAGES):
            damaged = broken(framed[85:-3], drawn, [])
            whole = drawn.random() < 0.7
            yield name, "bytes", test_plan_file.reframed(damaged) if whole else damaged


def hostile(*, every: int = 1) -> Iterator[tuple[int, Change]]:
    """(place, record) of each, or of every n-th."""
    bodies = {name: encode(make()) for name, make in PLANS.items()}
    place = 0
    for name, what, change in by_hand():
        place += 1
        if place % every == 0:
            yield from _numbered(
                place, _record(bodies[name], _changed(bodies[name], change)), name, what
            )
    for name, body in bodies.items():
        for k in range(MUTATIONS):
            place += 1
            if place % every:
                continue
            notes: list[str] = []
            made = mutated(_copy(body), random.Random(f"{name} {k}"), notes)
            if len(notes) == 1:
                yield from _numbered(place, _record(body, made), name, notes[0].split()[0])
    for name, what, data in spoiled():
        place += 1
        if place % every == 0:
            yield from _numbered(place, _spliced(plan_file.framed(bodies[name]), data), name, what)


def _numbered(
    place: int, record: Change | None, name: str, what: str
) -> Iterator[tuple[int, Change]]:
    if record is not None and _is_text(record):
        yield place, {"plan": name, "what": what} | record


def _is_text(record: Change) -> bool:
    """Half of a surrogate pair as a key is no text that a vector could hold."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _copy(body: Any) -> Any:
    return json.loads(json.dumps(body))


def _changed(body: Any, change: Callable[[Any], Any]) -> Any:
    made = _copy(body)
    change(made)
    return made


def _record(body: Any, made: Any) -> Change | None:
    """Edits, and what the reader says; None where nothing is changed, or too much to be told."""
    edits = list(_edits(body, made, []))
    try:
        text = json.dumps(made, sort_keys=True).encode()
    except ValueError:  # a number with thousands of digits
        return None
    if not edits or len(json.dumps(edits)) > LONGEST:
        return None
    return {"edits": edits} | _judged(test_plan_file.reframed(text))


def _edits(one: Any, other: Any, path: list[Any]) -> Iterator[list[Any]]:
    """[path, JSON of the new value], or [path] of what is gone.

    [path, JSON of items, from, count]: so many items of a list from there on become those.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if key not in other:
                yield [[*path, key]]
            elif key not in one:
                yield [[*path, key], json.dumps(other[key], sort_keys=True)]
            else:
                yield from _edits(one[key], other[key], [*path, key])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _edits(a, b, [*path, k])
    elif isinstance(one, list) and isinstance(other, list) and one:
        at, removed, put = _splice([json.dumps(x) for x in one], [json.dumps(x) for x in other])
        yield [path, json.dumps(other[at : at + len(put)], sort_keys=True), at, removed]
    elif json.dumps(one) != json.dumps(other):
        yield [path, json.dumps(other, sort_keys=True)]


def _spliced(data: bytes, made: bytes) -> Change | None:
    """Which bytes of the file are others: from where, how many, and what stands there instead."""
    start = next((i for i, (a, b) in enumerate(zip(data, made, strict=False)) if a != b),
                 min(len(data), len(made)))  # fmt: skip
    reseals = made[:11] == data[:11] and made[75:85] == data[75:85] and start < 75
    if reseals:  # the hash is made anew, or is another one
        body = made[85:-3]
        if made[11:75] != _sha256(body).encode() or made[-3:] != data[-3:]:
            reseals = False
    old, new = (data[85:-3], made[85:-3]) if reseals else (data, made)
    at, removed, put = _splice(old, new)
    if len(put) > LONGEST:
        return None
    splice = [at, removed, base64.b64encode(put).decode()]
    return {"splice": splice, "sealed": reseals} | _judged(made)


def _splice(old: Any, new: Any) -> tuple[int, int, Any]:
    """Of two bytes or lists: from where on, how many, and what stands there instead."""
    most = min(len(old), len(new))
    at = next((i for i in range(most) if old[i] != new[i]), most)
    tail = next((i for i in range(most - at) if old[-1 - i] != new[-1 - i]), most - at)
    return at, len(old) - at - tail, new[at : len(new) - tail]


_ELSEWHERE = re.compile(r": line \d|codec can't|Exceeds the limit|cannot be read|BOM")


def _judged(data: bytes) -> Change:
    """What the reader says of a file. `by`: whose check it is, where not every reader has it."""
    message, known = _said(data), ""
    if message is not None and _ELSEWHERE.search(message):
        # The rest is the JSON reader's own words, which differ.
        message, known = message.partition("(")[0], "prefix"
    elif message is not None and _said(data, host=False) != message:
        known = "host"
    return {"message": message} | ({"by": known} if known else {})


def _said(data: bytes, *, host: bool = True) -> str | None:
    checks = plan_file.check_host_steps
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / plan_file.FILE
        path.write_bytes(data)
        try:
            if not host:
                plan_file.check_host_steps = lambda _: None
            plan_file.read_plan(path)
        except PlanError as error:
            return (
                str(error)
                .replace(str(path), "PLAN")
                .replace(f" Entracte {ENTRACTE} ", " Entracte ")
            )
        finally:
            plan_file.check_host_steps = checks
    return None


def main() -> None:
    """Write all of them."""
    write_lines(FOLDER / "digests.json", digests())
    write_lines(FOLDER / "plans.json", plans())
    write_lines(FOLDER / "hostile_plans.json", [r for _, r in hostile()])
    (FOLDER / "fp16.bin").write_bytes(fp16())
    (FOLDER / "fp32.bin").write_bytes(fp32())


if __name__ == "__main__":
    main()
