"""Plans that no other one beats, among more combinations than there is time for.

Where all combinations are no more than the trials, all are tried. Otherwise Optuna proposes them, a
generation at a time, by ask and tell: a generation is asked as a whole before any of it is told, so
what is tried depends on the seed alone, and not on how many run at once or which ends first.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from entracte.errors import ConfigError

Knob = tuple[str, ...]
"""What one thing may be, e.g. `("compression=none", "compression=int8")`."""
Point = tuple[str, ...]
"""One of each knob."""

_FEWEST, _MOST = 4, 20
"""Points of a generation."""
_GENERATIONS = 4
"""At least, where there are trials enough."""
_ASKS = 5
"""For each point of a generation: what is proposed again and again says nothing new."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a point."""

    values: tuple[float, ...] | None
    """One for each objective; None where there is no plan."""
    failed: bool = False
    """By a fault; otherwise it does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is looked for, and how long."""

    knobs: tuple[Knob, ...]
    maximized: tuple[bool, ...]
    """For each objective, whether more is better."""
    trials: int
    """Different points to try, at most."""
    seed: int = 0
    method: str
    """One of `SEARCH_METHODS`."""

    @property
    def points(self) -> int:
        """Of the whole grid."""
        return prod(len(k) for k in self.knobs)

    @property
    def is_grid(self) -> bool:
        """All points are tried: there are no more than trials."""
        return self.points <= self.trials

    @property
    def generation(self) -> int:
        """Points that are tried before the next ones are chosen."""
        return max(_FEWEST, min(_MOST, self.trials // _GENERATIONS))


def grid(knobs: Sequence[Knob]) -> Iterator[Point]:
    """All points; the last knob changes first."""
    yield from product(*knobs)


def run_search(
    search: Search, evaluate: Callable[[Sequence[Point]], Sequence[Result]]
) -> dict[Point, Result]:
    """Try points until there are as many as trials: each once, in the order of the answer.

    Args:
        evaluate: tries several points, no one twice in all.

    The same search with the same results tries the same points. Raises `ConfigError` where Optuna
    is needed and missing.
    """
    if search.is_grid:
        points = list(grid(search.knobs))
        return dict(zip(points, evaluate(points), strict=True))
    study, found = _Study(search), dict[Point, Result]()
    while len(found) < search.trials:
        asked = study.ask(found, min(search.generation, search.trials - len(found)))
        new = [p for p in dict.fromkeys(p for _, p in asked) if p not in found]
        found |= dict(zip(new, evaluate(new), strict=True))
        study.tell(asked, found)
    return found


class _Study:
    """Optuna's study of a search."""

    def __init__(self, search: Search) -> None:
        optuna = _optuna()
        samplers = optuna.samplers
        self._states = optuna.trial.TrialState
        self._search, self._random = search, random.Random(search.seed)
        if search.method == "tpe":
            sampler = samplers.TPESampler(
                seed=search.seed, n_startup_trials=search.generation, constant_liar=True
            )
        else:
            sampler = samplers.NSGAIISampler(seed=search.seed, population_size=search.generation)
        ways = ["maximize" if m else "minimize" for m in search.maximized]
        self._study = optuna.create_study(directions=ways, sampler=sampler)

    def ask(self, found: dict[Point, Result], count: int) -> list[tuple[Any, Point]]:
        """Proposals, of which so many are new; those that are known count for the next ones too."""
        asked: list[tuple[Any, Point]] = []
        new: dict[Point, None] = {}
        while len(new) < count:
            if len(asked) >= _ASKS * count:
                point = self._unseen({**found, **dict.fromkeys(new)})
                self._study.enqueue_trial({str(k): word for k, word in enumerate(point)})
            trial = self._study.ask()
            asked.append((trial, self._point(trial)))
            if asked[-1][1] not in found:
                new[asked[-1][1]] = None
        return asked

    def tell(self, asked: Sequence[tuple[Any, Point]], found: dict[Point, Result]) -> None:
        """What became of them: no plan is no end."""
        for trial, point in asked:
            result = found[point]
            if result.values is not None:
                self._study.tell(trial, list(result.values))
            else:
                state = self._states.FAIL if result.failed else self._states.PRUNED
                self._study.tell(trial, state=state)

    def _point(self, trial: Any) -> Point:
        knobs = enumerate(self._search.knobs)
        return tuple(trial.suggest_categorical(str(k), list(words)) for k, words in knobs)

    def _unseen(self, seen: dict[Point, Any]) -> Point:
        """Drawn; there is one, since there are more points than trials."""
        while True:
            point = tuple(self._random.choice(words) for words in self._search.knobs)
            if point not in seen:
                return point


def _optuna() -> Any:
    """The library, silent."""
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "search: Optuna is missing; install it with `pip install entracte[search]`, or give as "
            "many trials as there are combinations"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
