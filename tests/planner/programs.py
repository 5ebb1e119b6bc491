"""Small programs made of numbers: what the planner's tests plan. No torch, no graphs."""

from random import Random

from hypothesis import strategies as st

from entracte.ir import Chunk, ChunkFacts, FunctionPorts, Package, Policy, Program
from tests.planner.chain import Chain, Part, port, whole
from tests.planner.constructs import CONSTRUCTS
from tests.planner.lives import with_lives

__all__ = ["Part", "drawn_parts", "make_program", "parts", "port", "whole"]

SEQUENTIAL = Policy("sequential", 0, False)
DOUBLE_BUFFER = Policy("double_buffer", 1, True)
STREAM = Policy("stream", 1, False)
DEEP = Policy("deep", 3, True)
CI_DL = Policy("ci_dl", 1, True, "published", margin=2)
STRIDED = Policy("strided", 1_000_000, True, "strided")
OPTIMAL = Policy("optimal", 1_000_000, True, "searched", "best")
ONLINE = Policy("online", 1_000_000, True, "searched", "online")
POLICIES = (SEQUENTIAL, DOUBLE_BUFFER, STREAM, DEEP, CI_DL, STRIDED, OPTIMAL)


def make_program(
    parts: tuple[Part, ...],
) -> tuple[Program, tuple[Chunk, ...], tuple[ChunkFacts, ...]]:
    """A chain: each chunk reads what the one before it made; loops carry a state."""
    chain = Chain()
    for p, part in enumerate(parts):
        special = next((CONSTRUCTS[x] for x in part.also if x in CONSTRUCTS), None)
        if special is not None:
            special(chain, p, part)
        else:
            (chain.loop if part.count > 1 else chain.straight)(p, part)
    if chain.gone:
        chain.leaves(*chain.gone)
    if chain.collected:
        chain.leaves(*chain.collected)
    program = Program(
        inputs=tuple(chain.inputs),
        constants=(port("x"),),
        tensors=tuple(chain.tensors),
        segments=tuple(chain.segments),
        outputs=(*chain.outputs, whole(chain.current)),
    )
    return with_lives(program), tuple(chain.chunks), tuple(chain.facts)


def packages(chunks: tuple[Chunk, ...]) -> tuple[Package, ...]:
    return tuple(
        Package(
            chunk=c.id,
            path=f"packages/{c.id}.mlpackage",
            digest="d" * 64,
            file_bytes=c.weight_bytes,
            weight_bytes=c.weight_bytes,
            activation_bytes=max([c.activation_bytes, *(v.activation_bytes for v in c.variants)]),
            precision="fp16",
            compression="none",
            inputs=c.inputs,
            outputs=c.outputs,
            functions=("main", *(v.name for v in c.variants)),
            own_ports=tuple(FunctionPorts(v.name, v.inputs, v.outputs) for v in c.others),
        )
        for c in chunks
    )


weights = st.integers(min_value=0, max_value=200)
ALSO = (
    (), (), (), ("collect",), ("stream",), ("cast",), ("rest",), ("irregular",),
    ("collect", "stream", "rest"), ("cast", "collect", "irregular"),
    ("slices",), ("groups",), ("tiles",), ("shared",), ("slices", "stream"), ("groups", "stream"),
    ("tiles", "stream"), ("given", "cast"),
)  # fmt: skip
"""Beside a chain or loop as it is: each construct, and some together."""


def chains(also) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(
        st.builds(
            Part,
            count=st.sampled_from((1, 1, 2, 3, 4, 7)),
            weights=st.lists(weights, min_size=1, max_size=5).map(tuple),
            repeat=st.sampled_from((1, 1, 3)),
            until=st.booleans(),
            switch=st.sampled_from((0, 0, 2, 9)),
            also=st.sampled_from(also),
        ),
        min_size=1,
        max_size=4,
    ).map(tuple)


parts = chains(
    (*ALSO, ("ask",), ("ask", "cast", "collect"), ("ask within",), ("ask within", "collect"))
)


def drawn_parts(rng: Random) -> tuple[Part, ...]:
    """As `parts` draws them, without hypothesis: for runs that are long or kept in a file."""
    return tuple(
        Part(
            count=rng.choice((1, 1, 2, 3, 4, 7)),
            weights=tuple(rng.randint(0, 200) for _ in range(rng.randint(1, 5))),
            repeat=rng.choice((1, 1, 3)),
            until=rng.random() < 0.5,
            switch=rng.choice((0, 0, 2, 9)),
            also=rng.choice(ALSO),
        )
        for _ in range(rng.randint(1, 4))
    )


"""Chains of straight parts and loops with chunks of any size, empty ones included; some loops
may end early, some change their chunks' function; and all that `constructs.py` has."""
plain = chains(((),))
"""Without those: what closed forms are about."""
