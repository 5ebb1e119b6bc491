"""Names in a converted program: neutral while it is made, readable when it is done.

Chunks are converted with numbered inputs, outputs and weights, so that equal chunks give equal
programs; the last step gives the features and weights the names they have in the pipeline. The
same step serves a program that was converted and one that was stamped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["input_name", "output_name", "rename", "weight_name"]

_WEIGHT = re.compile(r"b_w(\d+)(?=_|\Z)")


def input_name(position: int) -> str:
    """Of an input while a chunk is converted: its name in the pipeline comes last."""
    return f"in{position}"


def output_name(position: int) -> str:
    """Of an output while a chunk is converted."""
    return f"out{position}"


def weight_name(slot: int) -> str:
    """The attribute a weight is registered under; coremltools calls its constant `b_w<slot>`."""
    return f"w{slot}"


def rename(
    spec: Any, features: Mapping[str, Mapping[str, str]], weights: Mapping[int, str]
) -> None:
    """Give a Model message its final names, in place.

    Args:
        features: function -> neutral name of an input or output -> its name in the pipeline. A
            model of one function is described as `main`.
        weights: slot -> the weight's name in the module.
    """
    for name, function in spec.mlProgram.functions.items():
        table = _table(function, features[name], weights)
        for value in function.inputs:
            value.name = table[value.name]
        for block in function.block_specializations.values():
            _rename_block(block, table)
    for function, feature in _features(spec):
        feature.name = features[function].get(feature.name, feature.name)


def _features(spec: Any) -> Iterator[tuple[str, Any]]:
    """(function, feature)"""
    for feature in (*spec.description.input, *spec.description.output):
        yield "main", feature
    for function in spec.description.functions:
        for feature in (*function.input, *function.output):
            yield function.name, feature


def _table(
    function: Any, features: Mapping[str, str], weights: Mapping[int, str]
) -> dict[str, str]:
    """Old name -> new name of every value; a value that is in a feature's way steps aside."""
    names = [value.name for value in function.inputs]
    for block in function.block_specializations.values():
        names += _made(block)
    table = {name: features[name] for name in names if name in features}
    taken = set(features.values())
    for name in names:
        if name in table:
            continue
        new = _WEIGHT.sub(lambda found: _spelled(weights[int(found[1])]), name)
        while new in taken:
            new += "_"
        taken.add(new)
        table[name] = new
    return table


def _spelled(weight: str) -> str:
    return re.sub(r"\W", "_", weight)


def _made(block: Any) -> list[str]:
    names = []
    for operation in block.operations:
        names += [value.name for value in operation.outputs]
        for inner in operation.blocks:
            names += [value.name for value in inner.inputs] + _made(inner)
    return names


def _rename_block(block: Any, table: Mapping[str, str]) -> None:
    def new(name: str) -> str:
        return table.get(name, name)

    for value in block.inputs:
        value.name = new(value.name)
    for operation in block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = new(binding.name)
        for value in operation.outputs:
            value.name = new(value.name)
        _rename_attribute(operation, new)
        for inner in operation.blocks:
            _rename_block(inner, table)
    block.outputs[:] = [new(name) for name in block.outputs]


def _rename_attribute(operation: Any, new: Callable[[str], str]) -> None:
    """An operation's own `name` follows its output where the two were the same."""
    if "name" not in operation.attributes:
        return
    strings = operation.attributes["name"].immediateValue.tensor.strings.values
    strings[:] = [new(text) for text in strings]
