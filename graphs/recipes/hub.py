"""A model folder as diffusers and transformers write it: which class, which components, their
configurations. Only JSON is read, and no code that a folder brings is run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from entracte.graphs import models
from entracte.graphs.checks import GraphFault, similar

LIBRARIES = ("diffusers", "transformers", models.LIBRARY)
_WITH_PIPELINES = {"PaellaVQModel": "diffusers.pipelines.deprecated.wuerstchen"}
"""Models of diffusers that it does not export: where they are. Folders say `wuerstchen` for the
library, and those that diffusers 0.42 saves say `diffusers`."""
ROOT = "."
"""A tokenizer, or a checkpoint, that is in the folder itself."""
_LARGEST_BYTES = 20_000_000
_NOISE = ("_name_or_path", "_commit_hash", "transformers_version", "architectures", "torch_dtype",
          "dtype", "id2label", "label2id", "auto_map")  # fmt: skip
"""Of a configuration: what changes nothing that is computed."""
_TOKENIZERS = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
               "vocab.json", "vocab.txt")  # fmt: skip
_CONFIGS = ("config.json", "scheduler_config.json", "preprocessor_config.json")
"""By one of these names a component's folder has its configuration."""


@dataclass(frozen=True, slots=True)
class Component:
    """An entry of `model_index.json`: a class of a library."""

    library: str
    kind: str

    @property
    def name(self) -> str:
        """`LIBRARY.CLASS`, as stages have it."""
        return f"{self.library}.{self.kind}"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with `model_index.json`, or with one model's `config.json`."""

    path: Path
    kind: str
    """The class that it is of."""
    components: Mapping[str, Component]
    index: Mapping[str, Any]
    """`model_index.json`, where settings of the pipeline itself stand too."""
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Component -> keys of its configuration that the user writes over (`pipeline.models`)."""

    def component(self, name: str) -> Component:
        """Raises `GraphFault` where there is none, or where its code is the folder's own."""
        if name not in self.components:
            raise GraphFault(
                f"{self.path}: a {self.kind} needs the component {name!r}, and model_index.json "
                f"names {', '.join(self.components) or 'none'}{similar(name, self.components)}; "
                "download the whole folder"
            )
        found = self.components[name]
        if found.library not in LIBRARIES:
            raise GraphFault(
                f"{self.path}: the component {name!r} is {found.name}: code of the folder's own, "
                f"which is never run; components of {' and '.join(LIBRARIES)} are built"
            )
        return found

    def has(self, name: str) -> bool:
        """Whether the component is there at all."""
        return name in self.components

    def config(self, name: str) -> dict[str, Any]:
        """Of a component, with the library's defaults for what the file leaves out (old files lack
        keys that came later), without what changes nothing. Raises `GraphFault`."""
        component = self.component(name)
        folder = self.path / name if self.index else self.path
        for file in _CONFIGS:
            if (folder / file).is_file():
                found = _completed(component, _read(folder / file))
                found |= self._changed(name, found)
                return {k: v for k, v in found.items() if k not in _NOISE}
        raise GraphFault(
            f"{folder}: there is no {' or '.join(_CONFIGS[:2])}; download the whole folder"
        )

    def _changed(self, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """What the user writes over. Raises `GraphFault` for a key that there is not."""
        given = dict(self.changes.get(name, {}))
        for key in given:
            if key not in config:
                raise GraphFault(
                    f"pipeline.models.{name}.{key}: its configuration has no such key"
                    f"{similar(key, config)}; it has {', '.join(config)}"
                )
        return given

    def check_changes(self) -> None:
        """Raises `GraphFault` for a component that is not there."""
        for name in self.changes:
            if name not in self.components:
                raise GraphFault(
                    f"pipeline.models.{name}: the folder has no such component"
                    f"{similar(name, self.components)}; it has {', '.join(self.components)}"
                )

    def has_file(self, name: str) -> bool:
        """Whether a file, or a folder, of that name is in it."""
        return (self.path / name).exists()

    def json(self, *names: str) -> dict[str, Any]:
        """A file of the folder itself, the first that is there; empty where none is."""
        files = (self.path / name for name in names)
        return next((_read(file) for file in files if file.is_file()), {})

    def has_tokenizer(self, name: str) -> bool:
        """Whether there is one: a file of that name, or a folder (of `ROOT` this one) that has one,
        which may be a model's too."""
        place = self.path / name
        return place.is_file() or any((place / file).exists() for file in _TOKENIZERS)


def model_folder(path: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> ModelFolder:
    """What a folder says of itself, and what the user writes over. Raises `GraphFault`."""
    found = replace(_model_folder(path), changes=changes or {})
    found.check_changes()
    return found


def _model_folder(path: Path) -> ModelFolder:
    index = path / "model_index.json"
    if index.is_file():
        return _of_diffusers(path, _read(index))
    if (path / "config.json").is_file():
        return _of_transformers(path, _read(path / "config.json"))
    raise GraphFault(
        f"{path}: there is no model_index.json (of a diffusers pipeline) and no config.json (of a "
        "transformers model); give the folder that save_pretrained, or a download, made"
    )


def tokens_in(file: Path, text: str) -> int:
    """How many tokens a text is by a `tokenizer.json`, with marks. Raises `GraphFault`."""
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_str(file.read_text("utf-8"))
    except Exception as error:
        raise GraphFault(f"{file}: no tokenizer ({error}); download the whole folder") from None
    made.no_padding()
    made.no_truncation()
    return len(made.encode(text).ids)


def _of_diffusers(path: Path, index: Mapping[str, Any]) -> ModelFolder:
    kind = _class_of(path / "model_index.json", index.get("_class_name"), "_class_name")
    found = {}
    for name, value in index.items():
        is_pair = isinstance(value, list) and len(value) == 2
        if is_pair and all(isinstance(word, str) for word in value):
            is_own = value[1] in _WITH_PIPELINES
            found[name] = Component("diffusers" if is_own else str(value[0]), str(value[1]))
    return ModelFolder(path, kind, found, index)


def _of_transformers(path: Path, config: Mapping[str, Any]) -> ModelFolder:
    listed = config.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else None
    kind = _class_of(path / "config.json", first, "architectures")
    return ModelFolder(path, kind, {ROOT: Component("transformers", kind)}, {})


def _class_of(file: Path, value: object, key: str) -> str:
    """Some files have [module, class]; then the code is the folder's own."""
    if isinstance(value, str) and value.isidentifier():
        return value
    raise GraphFault(
        f"{file}: {key} is {value!r}: no class of a library's; code that a folder brings is never "
        "run"
    )


def library_class(library: str, kind: str) -> Any:
    """A class of one of `LIBRARIES`; None where what is installed has none of that name."""
    if library == models.LIBRARY:
        return models.model_class(kind)
    if kind in _WITH_PIPELINES:
        return getattr(import_module(_WITH_PIPELINES[kind]), kind, None)
    return getattr(import_module(library), kind, None)


def _completed(component: Component, config: dict[str, Any]) -> dict[str, Any]:
    cls = library_class(component.library, component.kind)
    if cls is None:
        return config
    if component.library != "transformers":
        takes = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in takes if p.default is not p.empty} | config
    made = getattr(cls, "config_class", None)
    found: dict[str, Any] = config if made is None else made.from_dict(config).to_dict()
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise GraphFault(f"{file}: larger than {_LARGEST_BYTES} bytes: no configuration")
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GraphFault(f"{file}: cannot be read as JSON ({error}); download it again") from None
    if not isinstance(found, dict):
        raise GraphFault(f"{file}: holds no mapping; download it again")
    return found
