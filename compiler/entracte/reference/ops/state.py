"""States (iOS18) and lists."""

from __future__ import annotations

import torch

from entracte.reference.allowance import check_elements
from entracte.reference.bind import Bind
from entracte.reference.dtypes import TORCH
from entracte.reference.registry import Compute, Kind, op, plain

plain("read_state", "input", lambda state: state.clone(), Kind.RAW)


@op("write_state coreml_update_state", "input data? value?", Kind.RAW)
def write_state(bind: Bind) -> Compute:
    """Overwrite a state by a tensor of its shape; `coreml_update_state` also returns that."""

    def run(
        state: torch.Tensor, data: torch.Tensor | None, value: torch.Tensor | None
    ) -> torch.Tensor:
        new = data if data is not None else value
        assert new is not None, "the builder checked that one of them is given"
        state.copy_(new)
        return new

    if not bind.has("data") and not bind.has("value"):
        raise bind.fail("writes nothing")
    return run


List = list[torch.Tensor | None]


@op("make_list", "#init_length?", Kind.RAW)
def make_list(bind: Bind) -> Compute:
    """A list of zeros in the element shape; unwritten where that is open."""
    shape = bind.const("elem_shape", [])
    shape = shape if isinstance(shape, list) else [shape]
    dtype = TORCH[bind.const("dtype", "fp32")]
    known = all(isinstance(s, int) and s >= 0 for s in shape)

    def run(length: int | list[int] | None) -> List:
        count = length[0] if isinstance(length, list) else 1 if length is None else length
        check_elements(4 * count, "the list")
        return [torch.zeros(shape, dtype=dtype) if known else None] * count

    return run


@op("list_length", "ls", Kind.RAW)
def list_length(bind: Bind) -> Compute:
    """Number of entries of a list, a scalar []."""
    return lambda ls: torch.tensor(len(ls), dtype=torch.int32)


def _grown(ls: List, count: int) -> List:
    # An entry takes a pointer, four times the two bytes that are counted.
    check_elements(4 * count, "the list")
    return list(ls) + [None] * (count - len(ls))


@op("list_write", "ls index value", Kind.RAW)
def list_write(bind: Bind) -> Compute:
    """A list with the entry at index [] replaced; it grows when that lies behind its end."""

    def run(ls: List, index: torch.Tensor, value: torch.Tensor) -> List:
        place = int(index)
        result = _grown(ls, place + 1)
        result[place] = value
        return result

    return run


def _entry(ls: List, index: int) -> torch.Tensor:
    found = ls[index]
    if found is not None:
        return found
    other = next((e for e in ls if e is not None), None)
    if other is None:
        raise ValueError("reads from a list that was never written")
    return torch.zeros_like(other)


@op("list_read", "ls index", Kind.RAW)
def list_read(bind: Bind) -> Compute:
    """The entry at index [], in its shape; one never written is zero."""
    return lambda ls, index: _entry(ls, int(index))


@op("list_gather", "ls indices", Kind.RAW)
def list_gather(bind: Bind) -> Compute:
    """Entries at indices [i], stacked along a new first axis: [i, *entry]."""
    return lambda ls, indices: torch.stack([_entry(ls, i) for i in indices.reshape(-1).tolist()])


@op("list_scatter", "ls indices value", Kind.RAW)
def list_scatter(bind: Bind) -> Compute:
    """A list with the entries at indices [i] replaced by the rows of value [i, *entry]."""

    def run(ls: List, indices: torch.Tensor, value: torch.Tensor) -> List:
        places = indices.reshape(-1).tolist()
        result = _grown(ls, max([len(ls), *(p + 1 for p in places)]))
        for place, row in zip(places, value, strict=True):
            result[place] = row
        return result

    return run
