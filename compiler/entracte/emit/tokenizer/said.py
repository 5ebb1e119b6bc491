"""What stands beside a tokenizer's vocabulary: its class, its marks, its settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entracte.codec import parse_json
from entracte.declare.host_ops.encoder import MAX_TOKENIZER_BYTES
from entracte.emit.tokenizer.families import FAMILIES, MODEL_TYPES, Family
from entracte.errors import ConfigError
from entracte.store.tensor_file import LFS_POINTER

CONFIG = "tokenizer_config.json"
_SPECIAL, _ADDED, _MODEL = "special_tokens_map.json", "added_tokens.json", "config.json"

Reader = Callable[[str], Path | None]
"""The name of a file -> the file, where the folder has it; raises for one that must not be read."""


@dataclass(frozen=True, slots=True)
class Said:
    """What stands beside the vocabulary."""

    config: Mapping[str, Any]
    special: Mapping[str, Any]
    added: Mapping[str, int]
    family_name: str | None

    @property
    def family(self) -> Family | None:
        """What its class does, where it is known."""
        return FAMILIES.get(self.family_name or "")

    def token(self, role: str) -> str | None:
        """Which token has a role: as the folder says it, else as its class does."""
        for said in (self.config, self.special):
            if role in said:
                return content_of(said[role])
        return self.family.tokens.get(role) if self.family is not None else None


def said_of(find: Reader) -> Said:
    """Raises `ConfigError` for files that are no JSON."""
    config, special, added, model = (_optional(find, n) for n in (CONFIG, _SPECIAL, _ADDED, _MODEL))
    given = config.get("tokenizer_class") or model.get("tokenizer_class")
    name = given if isinstance(given, str) else MODEL_TYPES.get(str(model.get("model_type")))
    ids = {t: i for t, i in added.items() if isinstance(i, int)}
    return Said(config, special, ids, None if name is None else name.removesuffix("Fast"))


def _optional(find: Reader, name: str) -> dict[str, Any]:
    path = find(name)
    return {} if path is None else json_of(bytes_of(path), path)


def json_of(data: bytes, path: Path) -> dict[str, Any]:
    """An object. Raises `ConfigError`."""
    try:
        body = parse_json(data)
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON ({error})") from None
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: no JSON object")
    return body


def content_of(token: object) -> str | None:
    """A token's text: it is spelled alone, or with flags."""
    found = token.get("content") if isinstance(token, Mapping) else token
    return found if isinstance(found, str) else None


def text_of(path: Path) -> str:
    """Raises `ConfigError` for what is no UTF-8."""
    try:
        return bytes_of(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no text in UTF-8 ({error.reason})") from None


def bytes_of(path: Path) -> bytes:
    """Raises `ConfigError` for a file that is too large, or stands for one that is not there."""
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_TOKENIZER_BYTES} bytes, which no tokenizer is")
    data = path.read_bytes()
    if data.startswith(LFS_POINTER):
        raise ConfigError(f"{path}: a Git LFS pointer, the file is not there; run `git lfs pull`")
    return data
