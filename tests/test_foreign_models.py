"""Every model class of the installed diffusers has a row in the conversion table, or a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.foreign.absent import ABSENT
from tools.foreign.library import FOLDERS, models_of
from tools.foreign.rows import TINY, class_of

PAGE = Path(__file__).parents[1] / "docs" / "conversion-table.md"
OF_DIFFUSERS = {class_of(name) for name, tiny in TINY.items() if tiny.library == "diffusers"}


def test_no_class_of_the_library_is_left_out() -> None:
    known = {name for folder in FOLDERS for name in models_of(folder)}
    if not known:
        pytest.skip("without diffusers")
    assert {"AutoencoderKL", "Transformer2DModel", "UNet2DConditionModel"} <= known
    assert known == OF_DIFFUSERS | set(ABSENT)
    assert not OF_DIFFUSERS & set(ABSENT)


def test_the_page_has_every_row_and_every_reason() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE)
    assert set(rows) - {"class", "---"} == set(TINY) | set(ABSENT)


def test_what_does_not_convert_says_why() -> None:
    lines = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    refused = [cells for cells in lines if len(cells) == 6 and cells[1] == "no"]
    assert refused and all(len(cells[-1]) > len("reason |") for cells in refused)
    assert not [cells for cells in lines if "UNEXPECTED" in cells[-1]]
