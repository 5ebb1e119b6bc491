"""A configuration that reads nothing but itself.

What it says lands in a plan, and plans travel: a value of the environment, a date or a path of
this machine has no place in one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from entracte.declare.refused import refusal
from entracte.errors import ConfigError, EntracteError

INNER = ("oc.create", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select")
"""Resolvers that only look at the configuration itself."""
_SHOWN = 1000
"""Characters of a message: a value that it tells may be a book."""


@contextmanager
def sealed() -> Iterator[None]:
    """Inside, every other resolver refuses. They are one table for the whole process, which may be
    another Hydra application: it comes back as it was.

    What OmegaConf refuses inside is a `ConfigError` (a stray key is an `AttributeError`).
    """
    table = BaseContainer._resolvers
    before = dict(table)
    for name in before.keys() - set(INNER):
        table[name] = _refusing(name)
    try:
        yield
    except EntracteError:
        raise
    except (AttributeError, OmegaConfBaseException, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InterpolationKeyError) and (told := refusal(error)) is not None:
            raise ConfigError(f"configuration: {told[:_SHOWN]}") from None
        # The others are of values that are no values: numbers without end, texts that are no text.
        message = (str(error) or type(error).__name__).splitlines()[0][:_SHOWN]
        if message.startswith(_Refused.__name__):  # OmegaConf's words for what a resolver raised
            message = f"{getattr(error, 'full_key', '')}: {message.partition(': ')[2]}"
        raise ConfigError(f"configuration: {message}; see `compile --cfg job`") from None
    finally:
        table.clear()
        table.update(before)


class _Refused(ValueError):
    """A resolver that looks elsewhere."""


def _refusing(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise _Refused(
            f"${{{name}:...}} reads what is outside the configuration, which a plan must not hold; "
            "write the value itself"
        )

    return refuse
