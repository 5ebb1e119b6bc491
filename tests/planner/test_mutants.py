"""The list of faults does not rot: each can still be applied. (Running them is `tools.mutants`.)"""

from tools.mutant_list import MUTANTS
from tools.mutants import faults


def test_every_mutant_can_be_applied():
    assert faults() == []


def test_there_are_enough_and_few_are_excused():
    assert len(MUTANTS) >= 80
    assert sum(bool(m.survives) for m in MUTANTS) <= 5
    assert all(m.why for m in MUTANTS)
