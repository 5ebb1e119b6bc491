"""What other packages contribute by entry points."""

from importlib.metadata import entry_points

from entracte.graphs.checks import GraphFault


def contributed_names(group: str) -> set[str]:
    """The names of a group's entry points."""
    return {p.name for p in entry_points(group=group)}


def contributed(group: str, name: str, differ: str) -> str:
    """`MODULE:ATTRIBUTE` of the entry point `name`; empty where there is none.

    Raises `GraphFault` where there are several that `differ`: the middle of its message.
    """
    places = sorted({p.value for p in entry_points(group=group) if p.name == name})
    if len(places) > 1:
        raise GraphFault(
            f"packages that are installed {differ}: {', '.join(places)}; remove one of the packages"
        )
    return places[0] if places else ""
