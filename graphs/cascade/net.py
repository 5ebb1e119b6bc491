"""What Stable Cascade's two denoisers have in common: levels down, levels up, and their step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from entracte.graphs.cascade.blocks import (
    AttnBlock,
    FeedForwardBlock,
    NormFirst,
    ResBlock,
    Resized,
    TimestepBlock,
    resized,
)
from entracte.graphs.checks import GraphFault

_POSITIONS = 10000
"""The step's sinusoids: of a number times this."""
_LETTERS = "CTAF"
Pair = Sequence[Sequence[int]]
_BLOCKS = (ResBlock, FeedForwardBlock, AttnBlock)


def sinusoids(number: Tensor, width: int) -> Tensor:
    """(b,) from 0 to 1 -> (b, width), sines before cosines."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=number.device)
    angles = (number * _POSITIONS)[:, None] * (steps * (-math.log(_POSITIONS) / (half - 1))).exp()
    made = torch.cat([angles.sin(), angles.cos()], 1)
    return nn.functional.pad(made, (0, width % 2))


class CascadeNet(nn.Module):
    """A UNet with attention whose levels may repeat their blocks.

    Args:
        c_in, c_out: channels of latents, in and out.
        c_r: width of the step's sinusoids.
        patch_size: pixels of a side that become one.
        c_cond: width of the condition's tokens.
        c_hidden, nhead: channels and heads of each level, largest pictures first.
        blocks: how often each level has its letters, going down and going up.
        block_repeat: how often each level runs its blocks; a convolution stands between.
        level_config: letters of each level: C ResBlock, T TimestepBlock, A AttnBlock, F
            FeedForwardBlock.
        kernel_size: of convolutions over neighbours.
        self_attn: whether pixels look at pixels; of all levels or of each.
        t_conds: names of numbers beside the step.
        switch_level: between levels, whether the size changes; None: by strided convolutions.
        residual_divisor: the residual stream is kept divided by this; then the checkpoint's
            numbers are read with `scales`.
    """

    unused: ClassVar[tuple[str, ...]] = ("dropout",)
    """It does nothing outside training."""

    def __init__(
        self, *, c_in: int, c_out: int, c_r: int, patch_size: int, c_cond: int,
        c_hidden: Sequence[int], nhead: Sequence[int], blocks: Pair, block_repeat: Pair,
        level_config: Sequence[str], kernel_size: int, self_attn: bool | Sequence[bool],
        t_conds: Sequence[str], switch_level: Sequence[bool] | None, residual_divisor: float,
    ) -> None:  # fmt: skip
        super().__init__()
        levels = {"nhead": nhead, "level_config": level_config}
        for name, pair in {"blocks": blocks, "block_repeat": block_repeat}.items():
            levels |= {f"{name}[{k}]": part for k, part in enumerate(pair)}
        if not isinstance(self_attn, bool):
            levels["self_attn"] = self_attn
        check(c_hidden, levels, level_config, len(blocks), len(block_repeat), switch_level)
        self.widths, self._conditions, self._width = tuple(c_hidden), tuple(t_conds), c_r
        self._by = float(residual_divisor)
        self._made: dict[str, Any] = {
            "nhead": nhead, "kernel": kernel_size, "cond": c_cond, "letters": level_config,
            "self": [self_attn] * len(nhead) if isinstance(self_attn, bool) else self_attn,
            "switch": switch_level,
        }  # fmt: skip
        self.embedding = nn.Sequential(
            nn.PixelUnshuffle(patch_size), nn.Conv2d(c_in * patch_size**2, c_hidden[0], 1),
            NormFirst(),
        )  # fmt: skip
        self._add_down(blocks[0], block_repeat[0])
        self._add_up(blocks[1], block_repeat[1])
        self.clf = nn.Sequential(
            NormFirst(self._by), nn.Conv2d(c_hidden[0], c_out * patch_size**2, 1),
            nn.PixelShuffle(patch_size),
        )  # fmt: skip

    def _add_down(self, counts: Sequence[int], repeats: Sequence[int]) -> None:
        down, scalers, repeated = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(len(self.widths)):
            scalers.append(self._between(level, level - 1) if level else nn.Identity())
            down.append(self._level(level, counts[level], skip=0))
            repeated.append(self._repeats(level, repeats[level]))
        self.down_blocks, self.down_downscalers = down, scalers
        self.down_repeat_mappers = repeated

    def _add_up(self, counts: Sequence[int], repeats: Sequence[int]) -> None:
        up, scalers, repeated = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        last = len(self.widths) - 1
        for place, level in enumerate(range(last, -1, -1)):
            skip = self.widths[level] if level < last else 0
            up.append(self._level(level, counts[place], skip=skip))
            scalers.append(self._between(level - 1, level) if level else nn.Identity())
            repeated.append(self._repeats(level, repeats[place]))
        self.up_blocks, self.up_upscalers, self.up_repeat_mappers = up, scalers, repeated

    def _between(self, to: int, of: int) -> nn.Sequential:
        """From one level to another."""
        read, wide, is_up = self.widths[of], self.widths[to], to < of
        switch = self._made["switch"]
        if switch is not None:
            step: nn.Module = Resized(read, wide, is_up=is_up, is_on=switch[min(to, of)])
        else:
            kind = nn.ConvTranspose2d if is_up else nn.Conv2d
            step = kind(read, wide, kernel_size=2, stride=2)
        return nn.Sequential(NormFirst(self._by), step)

    def _repeats(self, level: int, count: int) -> nn.ModuleList:
        wide = self.widths[level]
        return nn.ModuleList(nn.Conv2d(wide, wide, 1) for _ in range(count - 1))

    def _level(self, level: int, count: int, skip: int) -> nn.ModuleList:
        """Only the first block takes what was made going down."""
        letters = self._made["letters"][level] * count
        return nn.ModuleList(self._block(c, level, 0 if k else skip) for k, c in enumerate(letters))

    def _block(self, letter: str, level: int, skip: int) -> nn.Module:
        wide, made = self.widths[level], self._made
        if letter == "C":
            return ResBlock(wide, skip, made["kernel"], self._by)
        if letter == "T":
            return TimestepBlock(wide, self._width, self._conditions, self._by)
        if letter == "F":
            return FeedForwardBlock(wide, self._by)
        heads, with_itself = made["nhead"][level], made["self"][level]
        return AttnBlock(wide, made["cond"], heads, with_itself, self._by)

    # ------------------------------------------------------------------ what is computed

    @property
    def scales(self) -> tuple[tuple[str, float], ...]:
        """(parameter, factor for the checkpoint's numbers): of what is added to the stream."""
        if self._by == 1:
            return ()
        names = [f"{name}.{p}" for name, block in self.named_modules()
                 if isinstance(block, _BLOCKS) for p in block.written]  # fmt: skip
        for name, _ in self.named_parameters():
            is_step = name.startswith(("down_downscalers.", "up_upscalers."))
            if is_step or ("_repeat_mappers." in name and name.endswith(".bias")):
                names.append(name)
        return tuple((name, 1 / self._by) for name in names)

    def step_embedding(self, r: Tensor, **conditions: Tensor | None) -> Tensor:
        """r (b,) and the numbers beside it, 0 where they are not given -> (b, c_r * numbers)."""
        given = [conditions.get(name) for name in self._conditions]
        numbers = [r, *(torch.zeros_like(r) if n is None else n for n in given)]
        return torch.cat([sinusoids(number, self._width) for number in numbers], 1)

    def through(self, x: Tensor, step: Tensor, tokens: Tensor) -> Tensor:
        """Embedded latents (b, c, h, w), `step_embedding`, the condition -> (b, c_out, H, W)."""
        x = x if self._by == 1 else x / self._by
        kept = []
        for blocks, scaler, repeats in zip(
            self.down_blocks, self.down_downscalers, self.down_repeat_mappers, strict=True
        ):
            x = self._passed(scaler(x), None, blocks, repeats, step, tokens)
            kept.append(x)
        for place, (blocks, scaler, repeats) in enumerate(
            zip(self.up_blocks, self.up_upscalers, self.up_repeat_mappers, strict=True)
        ):
            skip = kept[-1 - place] if place else None
            x = scaler(self._passed(x, skip, blocks, repeats, step, tokens))
        made: Tensor = self.clf(x)
        return made

    def _passed(
        self, x: Tensor, skip: Tensor | None, blocks: Any, repeats: Any, step: Tensor,
        tokens: Tensor,
    ) -> Tensor:  # fmt: skip
        """One level, as often as it is to run."""
        for mapper in (None, *repeats):
            x = x if mapper is None else mapper(x)
            for k, block in enumerate(blocks):
                x = _applied(block, x, skip if k == 0 else None, step, tokens)
        return x


def _applied(
    block: nn.Module, x: Tensor, skip: Tensor | None, step: Tensor, tokens: Tensor
) -> Tensor:
    made: Tensor
    if isinstance(block, ResBlock):
        if skip is not None and x.shape[2:] != skip.shape[2:]:
            x = resized(x, list(skip.shape[2:]))
        made = block(x, skip)
    elif isinstance(block, TimestepBlock):
        made = block(x, step)
    else:
        made = block(x, tokens) if isinstance(block, AttnBlock) else block(x)
    return made


def check(
    c_hidden: Sequence[int], levels: dict[str, Sequence[Any]], letters: Sequence[str], ways: int,
    repeats: int, switch_level: Sequence[bool] | None,
) -> None:  # fmt: skip
    """Raises `GraphFault` for lists of other lengths, and for a letter that there is not."""
    if (ways, repeats) != (2, 2):
        raise GraphFault(
            f"blocks, block_repeat: lists of {ways} and {repeats}; give two lists in each, going "
            "down and going up"
        )
    wrong = {name: part for name, part in levels.items() if len(part) != len(c_hidden)}
    for name, part in wrong.items():
        raise GraphFault(
            f"{name}: {len(part)} values for {len(c_hidden)} levels of c_hidden; give one for each"
        )
    if switch_level is not None and len(switch_level) != len(c_hidden) - 1:
        raise GraphFault(
            f"switch_level: {len(switch_level)} values; give {len(c_hidden) - 1}, one between each "
            "two levels"
        )
    strange = sorted({c for level in letters for c in level} - set(_LETTERS))
    if strange:
        raise GraphFault(
            f"level_config: there is no block {', '.join(strange)}; there are {', '.join(_LETTERS)}"
        )
