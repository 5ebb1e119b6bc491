"""Overrides, as the command line takes them -> a composed configuration, without the command."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from entracte.declare.overrides import with_plus
from entracte.declare.refused import refusal
from entracte.declare.settings import register
from entracte.declare.strays import explained
from entracte.errors import ConfigError, EntracteError

CONF = "entracte.conf"
PRIMARY = "compile"


def compose(overrides: Sequence[str], config_dir: Path | str | None = None) -> DictConfig:
    """Compose the configuration of `compile` with the words that the command would get.

    Args:
        overrides: e.g. `["target=host", "target.memory=24MiB"]`.
        config_dir: a folder of yaml files of your own, like the command's `--config-dir`.

    Raises `ConfigError`. Hydra keeps its state in one place for the whole process: not in several
    threads at once.
    """
    words = with_plus(overrides)
    if config_dir is not None:
        folder = Path(config_dir).expanduser().absolute()
        if not folder.is_dir():
            raise ConfigError(f"config_dir: there is no folder {folder}")
        words.insert(0, f"hydra.searchpath=['file://{folder}']")
    register()
    with composing(), _aside(), initialize_config_module(CONF, version_base="1.3"):
        return hydra_compose(PRIMARY, words)


_FAULTS = (
    HydraException,
    OmegaConfBaseException,
    YAMLError,
    # Of files that are no text, numbers of thousands of digits, and nesting without end.
    ValueError,
    RecursionError,
)
_KEY = re.compile(r"^\s*full_key: (.+)$", re.MULTILINE)
"""In OmegaConf's messages."""
_SHOWN = 1000
"""Characters of a message: values are told in full, and a value may be a book."""


@contextmanager
def composing() -> Iterator[None]:
    """Words and files that cannot be composed are a `ConfigError`."""
    try:
        yield
    except EntracteError:
        raise
    except (*_FAULTS, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's; the others are OmegaConf's word for a file that is no table
        if (told := refusal(error)) is not None:
            raise ConfigError(f"configuration: {_shown(told)}") from None
        text = _shown(explained(_on_one_line(error)))
        raise ConfigError(f"configuration: {text}; see `compile --help`") from None
    except TypeError as error:
        # Hydra's `~list.0`.
        if not str(error).startswith("list indices"):
            raise
        raise ConfigError(
            "configuration: one item of a list cannot be removed; give the whole list without it"
        ) from None
    except AttributeError as error:
        # OmegaConf's, which tells the key: part of a value was given where there is none.
        key = _KEY.search(str(error))
        if key is None:
            raise
        raise ConfigError(
            f"configuration: {_shown(key[1])}: is null, so nothing in it can be set; see "
            "`compile --help`"
        ) from None


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _on_one_line(error: Exception) -> str:
    """Hydra's message; where it wraps OmegaConf's, that one's first line too: it has the value."""
    text = str(error).partition("\nConfig search path")[0] or type(error).__name__
    lines = text.splitlines()
    if error.__cause__ is not None:
        lines += str(error.__cause__).splitlines()[:1]
    told = "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))
    return told.replace(":; ", ": ")


@contextmanager
def _aside() -> Iterator[None]:
    """Whoever calls may be a Hydra application: its state is put aside and comes back."""
    hydra = GlobalHydra.instance()
    before = hydra.hydra
    hydra.clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before
