"""The kinds of input, and how many of all cases each gets."""

from tests.fuzz import configs, media, onnx_files, packages, plans, records, weights
from tests.fuzz.case import Kind

KINDS = (
    Kind("plan", 38, 42, plans.doors, follows_links=False),
    Kind("run", 17, 17, records.doors),
    Kind("package", 14, 14, packages.doors, follows_links=False),
    Kind("media", 11, 11, media.doors),
    Kind("weights", 10, 10, weights.doors),
    # What is sound may trace every stage anew.
    Kind("config", 6, 3, configs.doors, cpu_s=40.0),
    Kind("onnx", 4, 3, onnx_files.doors),
)


def kind_of(name: str) -> Kind:
    """By its name."""
    return next(k for k in KINDS if k.name == name)


def spread(count: int, *, short: bool = False) -> list[tuple[str, int]]:
    """(kind, index) of `count` cases, kinds mixed by their shares."""
    shares = {k.name: k.ci_share if short else k.share for k in KINDS}
    made: list[tuple[str, int]] = []
    given = dict.fromkeys(shares, 0)
    for n in range(1, count + 1):
        name = max(shares, key=lambda k: shares[k] * n / 100 - given[k])
        made.append((name, given[name]))
        given[name] += 1
    return made
