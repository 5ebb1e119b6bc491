"""docs/configuration.md is what its tool prints, and says of every key what OmegaConf takes."""

from dataclasses import dataclass, is_dataclass
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from entracte.declare import settings
from entracte.declare.keys import CHOICES, GROUPS, keys
from tools.configuration_reference import page

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"


def test_the_page_is_what_the_tool_prints():
    assert PAGE.read_text() == page(), "python -m tools.configuration_reference > " + str(PAGE)


def test_every_group_is_on_the_page():
    every = {v for v in vars(settings).values() if isinstance(v, type) and is_dataclass(v)}
    assert {group for _, group in GROUPS} == every


EVERY = [(place, group, key) for place, group in GROUPS for key in keys(place, group)]


@pytest.mark.parametrize(("place", "group", "key"), EVERY, ids=lambda x: getattr(x, "place", ""))
def test_an_example_is_one(place, group, key):
    """The schema itself takes it, and keeps it as it is written."""
    if key.default == "below":
        assert key.example.lstrip("+").startswith(f"{key.place}=")
        return
    value = yaml.safe_load(key.example)
    made = OmegaConf.merge(OmegaConf.structured(group), {key.place: value})
    kept = OmegaConf.to_container(made)[key.place]
    if isinstance(value, dict) and is_dataclass(type(OmegaConf.to_object(made[key.place]))):
        kept = {name: kept[name] for name in value}
    elif isinstance(value, dict) and all(isinstance(v, dict) for v in value.values()):
        kept = {n: {k: kept[n][k] for k in inner} for n, inner in value.items()}
    assert kept in (value, str(value))  # `off` is a truth value in yaml
    allowed = CHOICES.get(f"{place}.{key.place}" if place else key.place)
    assert allowed is None or key.example in allowed


@dataclass
class Silent:
    """A group with a key that has no example."""

    loud: int = 1
    """Says something, but shows none"""


def test_a_key_that_says_nothing_is_no_row():
    with pytest.raises(LookupError, match="silent.loud: write what it means"):
        keys("silent", Silent)
