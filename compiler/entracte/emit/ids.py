"""Ids that a tokenizer gives, against the rows of the tables that graphs look them up in: a
tokenizer of another family gives ids that the model does not have."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from entracte.errors import ConfigError
from entracte.ir import Memory
from entracte.trace.traced import Traced

_LOG = logging.getLogger("entracte")
_LOOK_UP = "embedding"
_SAME = (Memory.SHARED, Memory.EITHER, Memory.RESHAPED)
"""Where an operation's result is when it has the numbers that it reads."""


@dataclass(frozen=True, slots=True)
class Ids:
    """The largest ids of a tokenizer."""

    always: int
    """Of what every text may have: its vocabulary, the marks around it, what pads."""
    added: int
    """Of tokens that were added; few texts have them."""

    @classmethod
    def of(cls, encoder: Any, pad_id: int) -> "Ids":
        """Of a `tokenizers.Tokenizer`."""
        own = encoder.get_vocab(with_added_tokens=False).values()
        marks = encoder.encode("", add_special_tokens=True).ids
        added = encoder.get_vocab(with_added_tokens=True).values()
        return cls(max((*own, *marks, pad_id)), max(added, default=0))


def check_ids(stages: Mapping[str, Traced], tokenizers: Mapping[str, Ids]) -> None:
    """Every id has a row where it is looked up.

    Args:
        tokenizers: host stage -> its ids.

    Raises:
        ConfigError: ordinary ids have none. Where only added tokens have none, that is said.
    """
    for traced in stages.values():
        for port, source in traced.stage.inputs:
            name, _, made = source.partition(".")
            if made == "input_ids" and name in tokenizers:
                for weight, rows in _tables(traced, port):
                    _check(traced, name, tokenizers[name], weight, rows)


def _check(traced: Traced, tokenizer: str, ids: Ids, weight: str, rows: int) -> None:
    where = f"pipeline.stages.{tokenizer}"
    table = f"{weight} of the stage {traced.stage.name} has {rows} rows"
    if ids.always >= rows:
        raise ConfigError(
            f"{where}: gives ids up to {ids.always}, and {table}; give the tokenizer of this model"
        )
    if ids.added >= rows:
        _LOG.warning(
            "%s: tokens that were added have ids up to %d, and %s: a text with such a token has no "
            "right result", where, ids.added, table,
        )  # fmt: skip


def _tables(traced: Traced, port: str) -> Iterator[tuple[str, int]]:
    """(weight, rows) of the tables that the numbers of an input are looked up in as they came."""
    for part in traced.parts:
        same = {port}
        for op in part.ops:
            if op.kind == _LOOK_UP and op.weights and same & set(op.inputs):
                yield op.weights[0], traced.shapes[op.weights[0]][0]
            elif op.memory in _SAME and same & set(op.inputs):
                same.add(op.name)
