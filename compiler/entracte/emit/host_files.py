"""Host operations' files in the build folder: found, looked at, and made of what a pipeline names.

They are looked at before anything is traced, and what they say (which id pads) becomes a param of
the plan's step: a runner in any language needs no file beside them.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from entracte.declare.host_ops import HOST_OPS, FileKind, Source
from entracte.declare.host_ops.kinds import MOST_ID
from entracte.declare.host_ops.words import length_fault
from entracte.disk.places import is_random, weights_folder
from entracte.disk.read import inside
from entracte.disk.write import write_bytes
from entracte.emit.bundle import PACKAGES
from entracte.emit.host_tables import look_at_table, write_table
from entracte.emit.ids import Ids
from entracte.emit.tokenizer.folder import ALL, Tokenizer, read_tokenizer
from entracte.errors import ConfigError
from entracte.ir import Output, Pipeline, Stage, StageKind
from entracte.plan.file import CONSTANTS, FILE, MAX_BYTES
from entracte.store.cache import Cache

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """A file of the build folder: its name, and what writes it."""

    name: str
    write: Callable[[Path], None]


Looked = tuple[Made, Given]
"""A file, and params of the plan's step."""


@dataclass(frozen=True, slots=True)
class HostFiles:
    """The files of all host steps, looked at and ready to be written."""

    made: tuple[Made, ...]
    params: Mapping[str, Given]
    """Stage -> what its plan's step has in place of what is configured."""
    tokenizers: Mapping[str, str]
    """Tokenizer as configured -> its file."""
    ids: Mapping[str, Ids]
    """Stage -> the largest ids that its tokenizer gives."""

    def into(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline with the params of a plan."""
        return replace(
            pipeline,
            stages=tuple(map(self._step, pipeline.stages)),
            outputs=tuple(map(self._output, pipeline.outputs)),
        )

    def _output(self, output: Output) -> Output:
        return replace(output, tokenizer=self.tokenizers.get(output.tokenizer, ""))

    def _step(self, stage: Stage) -> Stage:
        if stage.name not in self.params:
            return stage
        known = {p.name for p in HOST_OPS[stage.op].params}
        kept = {name: value for name, value in stage.params if name in known}
        return replace(stage, params=tuple(sorted({**kept, **self.params[stage.name]}.items())))

    def write(self, folder: Path) -> list[str]:
        """Write all of them; their names."""
        for made in self.made:
            made.write(folder / made.name)
        return [made.name for made in self.made]


def look(pipeline: Pipeline, cache: Cache | None = None, *, dry_run: bool = False) -> HostFiles:
    """Find and check all files that host steps will read. Raises `ConfigError`.

    Args:
        cache: where checkpoints that are pickles become safetensors; by default the usual one.
        dry_run: of random weights, which are for measuring: there need be no tokenizer.
    """
    found = _Found([], {}, {}, {}, cache)
    for stage in pipeline.stages:
        op = HOST_OPS[stage.op] if stage.kind is StageKind.HOST else None
        sources = op.sources(dict(stage.params), stage.weights or pipeline.weights) if op else ()
        for source in sources:
            found.add(stage, source, blank=dry_run and _is_blank(source.kind, source.place))
    for output in pipeline.outputs:
        if output.kind == "text" and output.tokenizer not in found.tokenizers:
            blank = dry_run and _is_blank(FileKind.TOKENIZER, pipeline.weights)
            found.add_text(output, pipeline.weights, blank=blank)
    return HostFiles(tuple(found.made), found.params, found.tokenizers, found.ids)


def _is_blank(kind: FileKind, place: str) -> bool:
    return kind in (FileKind.TOKENIZER, FileKind.DECODER) and is_random(place)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was looked at so far."""

    made: list[Made]
    params: dict[str, Given]
    tokenizers: dict[str, str]
    ids: dict[str, Ids]
    cache: Cache | None
    tables: dict[tuple[object, ...], str] = field(default_factory=dict)
    """Weight and type -> its file: steps that read one table share it."""

    def add(self, stage: Stage, source: Source, *, blank: bool) -> None:
        """A file that a stage reads."""
        made, own = _blank(stage.name) if blank else self._look(stage, source)
        same = _same_table(stage, source)
        name = self.tables.get(same) or self._keep(made, stage.name)
        if source.kind is FileKind.TABLE:
            self.tables[same] = name
        self.params[stage.name] = {**self.params.get(stage.name, {}), **own, source.param: name}
        if source.kind in (FileKind.TOKENIZER, FileKind.DECODER):
            self.tokenizers.setdefault(source.name, name)

    def _look(self, stage: Stage, source: Source) -> Looked:
        if source.kind is FileKind.TABLE:
            table = look_at_table(stage, _where(stage), source, self.cache)
            return Made(f"table_{stage.name}.bin", partial(write_table, table)), {}
        if source.kind is FileKind.TOKENIZER:
            looked, self.ids[stage.name] = _look_at_tokenizer(stage, source)
            return looked
        if source.kind is FileKind.DECODER:
            found = tokenizer_at(f"{_where(stage)}.{source.param}", source.place, source.name)
            return _made(f"{stage.name}_{source.param}", found), {}
        return _look_at_copy(stage, source)

    def add_text(self, output: Output, weights: str, *, blank: bool) -> None:
        """The tokenizer of a text that is given, which no stage has."""
        if blank:
            made, _ = _blank(output.name)
        else:
            where = f"pipeline.outputs.{output.name}.tokenizer"
            made = _made(output.name, tokenizer_at(where, weights, output.tokenizer))
        self.tokenizers[output.tokenizer] = self._keep(made, "output")

    def _keep(self, made: Made, whose: str) -> str:
        """Under a name of its own."""
        name = _free(made.name, whose, [*_OTHERS, *(m.name for m in self.made)])
        self.made.append(replace(made, name=name))
        return name


def _same_table(stage: Stage, source: Source) -> tuple[object, ...]:
    """What makes two tables the same file."""
    params = dict(stage.params)
    return (source.place, source.name, *(params.get(k) for k in ("key", "rows", "width", "dtype")))


_OTHERS = (FILE, CONSTANTS, PACKAGES, "run.json")
"""What lies in a build folder beside them."""


def _free(name: str, stage: str, taken: list[str]) -> str:
    """A name that no other file has, large and small letters being the same."""
    used, known = {t.casefold() for t in taken}, Path(name)
    names = [name, f"{known.stem}_{stage}{known.suffix}"]
    names += [f"{known.stem}_{stage}_{i}{known.suffix}" for i in range(2, len(taken) + 3)]
    return next(n for n in names if n.casefold() not in used)


# ---------------------------------------------------------------- kinds


def _look_at_copy(stage: Stage, source: Source) -> Looked:
    path = host_file(_where(stage), weights_folder(source.place), source.name)
    return Made(path.name, partial(_copy, path)), {}


def _copy(source: Path, target: Path) -> None:
    write_bytes(target, source.read_bytes())


def _look_at_tokenizer(stage: Stage, source: Source) -> tuple[Looked, Ids]:
    where, params = _where(stage), cast(Given, dict(stage.params))
    found = tokenizer_at(where, source.place, source.name)
    pad_id = params.get("pad_id", found.pad_id)
    if pad_id is None:
        raise ConfigError(
            f"{where}: nothing says which id pads (no padding in {source.name}, no pad_token in a "
            "tokenizer_config.json or special_tokens_map.json beside it); say it with `pad_id`"
        )
    marks = bool(params.get("add_special_tokens", True))
    if not 0 <= pad_id <= MOST_ID:
        raise ConfigError(f"{where}: the id {pad_id}, which pads, is none that int32 holds")
    if fault := length_fault(found.encoder, params["length"], marks):
        raise ConfigError(f"{where}: {fault}")
    rule = {
        "pad_id": pad_id,
        "pad_side": params.get("pad_side", found.pad_side),
        "truncation_side": params.get("truncation_side", found.truncation_side),
    }
    return (_made(stage.name, found), rule), Ids.of(found.encoder, pad_id)


def _made(name: str, found: Tokenizer) -> Made:
    return Made(f"tokenizer_{name}.json", partial(write_bytes, data=found.data))


def _blank(name: str) -> Looked:
    """Of a dry run, which writes no files."""
    return Made(f"tokenizer_{name}.json", lambda _: None), {}


def _where(stage: Stage) -> str:
    return f"pipeline.stages.{stage.name}.params"


# ---------------------------------------------------------------- places


def tokenizer_at(where: str, place: str, name: str) -> Tokenizer:
    """The tokenizer that a file or a folder of a place makes. `where` begins messages.

    Args:
        place: spelled like `pipeline.weights`.
        name: of a file or a folder in it; `.json` may be left out.
    """
    if is_random(place):
        raise ConfigError(
            f"{where}: random weights ({place}) bring no tokenizer; say where one is, with "
            "`stand_in` (package:entracte.graphs/weights/stand_in has one of bytes)"
        )
    folder = weights_folder(place)
    if not os.path.lexists(folder / name) and os.path.lexists(folder / f"{name}.json"):
        name = f"{name}.json"
    if os.path.isdir(folder / name):  # also of names that no system takes
        inner, file = Path(name), _first(where, folder, name)
    else:
        host_file(where, folder, name, _beside(folder / name))
        inner, file = Path(name).parent, Path(name).name

    def find(beside: str) -> Path | None:
        path = folder / inner / beside
        return host_file(where, folder, str(inner / beside)) if os.path.lexists(path) else None

    return read_tokenizer(file, find)


def _first(where: str, folder: Path, name: str) -> str:
    found = [file for file in ALL if os.path.lexists(folder / name / file)]
    if not found:
        raise ConfigError(
            f"{where}: there is no tokenizer in {folder / name}; it would be one of "
            f"{', '.join(ALL)}"
        )
    return found[0]


def _beside(path: Path) -> str:
    """What to say where there is no such file."""
    places = [(path.parent, ""), *((path.parent / f, f"{f}/") for f in ("tokenizer",))]
    found = [f"{inner}{f}" for place, inner in places for f in ALL if os.path.lexists(place / f)]
    return f"; there is {', '.join(found)}: say `tokenizer={found[0]}`" if found else ""


def host_file(where: str, folder: Path, name: str, otherwise: str = "") -> Path:
    """Whoever gets the build folder can read it: it is no file from elsewhere on this machine."""
    if not os.path.exists(folder / name):
        raise ConfigError(f"{where}: there is no file {folder / name}{otherwise}")
    # Snapshots of Hugging Face's hub are links into the folder beside them.
    root = folder.parent.parent if folder.parent.name == "snapshots" else folder
    file = inside(root, os.path.relpath(folder / name, root))
    if file is None or not file.is_file():
        raise ConfigError(
            f"{where}: {folder / name} is no file of that folder (a link out of it, a device or a "
            "pipe): it would be copied into the build folder; put the file itself there"
        )
    if file.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{where}: {folder / name} is larger than {MAX_BYTES} bytes")
    return folder / name
