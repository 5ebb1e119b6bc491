"""The peak of activations, by sums on paper: `decide.activations` on graphs written by hand."""

import pytest

from entracte.decide.activations import activation_peak
from entracte.ir import DType, Memory, Op, Order, Port


def op(name: str, size_bytes: int, *inputs: str, memory=Memory.OWN, order=Order.KEPT, **more) -> Op:
    workspace = more.pop("workspace_bytes", 0)
    return Op(
        name, "k", inputs, (), 1, size_bytes, workspace, False, memory=memory, order=order, **more
    )


def value(name: str, size_bytes: int) -> Port:
    return Port(name, (size_bytes // 2,), DType.FP16)


def peak(*ops: Op, given=(("x", 100),), returned=()) -> int:
    made = {o.name: o.output_bytes for o in ops}
    return activation_peak(
        ops,
        [value(name, size) for name, size in given],
        [value(name, made[name]) for name in returned or (ops[-1].name,)],
    )


def transposed(name: str, source: str) -> Op:
    return op(name, 0, source, memory=Memory.SHARED, order=Order.LOST)


def reshaped(name: str, size_bytes: int, source: str) -> Op:
    return op(name, size_bytes, source, memory=Memory.RESHAPED, order=Order.MADE)


def test_a_reshape_of_what_lies_in_order_is_a_view():
    # x 100, a 40; b is a's memory, c 40 more; then a goes with its last view and d comes.
    ops = op("a", 40, "x"), reshaped("b", 40, "a"), op("c", 40, "b"), op("d", 30, "c")
    assert peak(*ops) == 100 + 40 + 40


def test_a_reshape_of_a_transpose_is_a_copy_beside_what_it_was_made_from():
    # t is a's memory; r is a copy (40) or t's memory: both stay (80) until c (40) is made of them.
    ops = op("a", 40, "x"), transposed("t", "a"), reshaped("r", 40, "t"), op("c", 40, "r")
    assert peak(*ops) == 100 + 40 + 40 + 40


def test_copies_pile_up_over_reshapes():
    # a (40), r copied (40), s copied (40): all three are held by s, when c (10) is made.
    ops = (
        op("a", 40, "x"), transposed("t", "a"), reshaped("r", 40, "t"),
        transposed("u", "r"), reshaped("s", 40, "u"), op("c", 10, "s"),
    )  # fmt: skip
    assert peak(*ops) == 100 + 3 * 40 + 10


def test_order_is_lost_and_kept_by_operations_between():
    """A sum of what does not lie in order does not either: the reshape after it copies."""
    kept = op("a", 40, "x"), op("b", 40, "a"), reshaped("r", 40, "b"), op("c", 1, "r")
    assert peak(*kept) == 100 + 2 * 40  # a and b, while b is made
    lost = (
        op("a", 40, "x", order=Order.LOST), op("b", 40, "a"), reshaped("r", 40, "b"),
        op("c", 1, "r"),
    )  # fmt: skip
    assert peak(*lost) == 100 + 2 * 40 + 1  # b and its copy, while c is made


def test_what_enters_a_chunk_lies_in_order():
    # The same transpose before the cut: what comes in is x, and r is a view of it.
    assert peak(reshaped("r", 100, "x"), op("c", 7, "r")) == 100 + 7


def test_a_slice_keeps_all_of_what_it_was_cut_from():
    # a (80) stays under its slice s (20), though only s is read, until d (5) is made.
    ops = (
        op("a", 80, "x"), op("s", 20, "a", memory=Memory.EITHER, order=Order.LOST),
        op("d", 5, "s"), op("e", 90, "d"),
    )  # fmt: skip
    assert peak(*ops) == 100 + 80 + 20 + 5
    # then all of it is gone: 100 + 5 + 90


def test_what_is_written_as_two_counts_twice():
    # d is 30 and the 30 that it may be a view of; then e.
    ops = op("d", 30, "x", memory=Memory.DOUBLE), op("e", 10, "d")
    assert peak(*ops) == 100 + 30 + 30 + 10


def test_a_norm_in_fp32():
    """x in fp16 (100 bytes) is read as fp32 (200) by the square and by the product; what that gives
    (200) is rounded (100)."""
    square = op("p", 200, "x", casts=(("x", 200),))
    mean = op("m", 4, "p")
    product = op("y", 100, "x", "m", casts=(("x", 200),), unrounded_bytes=200)
    # the square alone: x, its copy and p, then the copy is gone
    assert peak(square, mean) == 100 + 200 + 200
    # x, its copy, p and m while m is made; x, its copy, m and the product while that is made
    assert peak(square, mean, product) == 100 + 200 + 200 + 4
    # without the square before: the copy, the product, then the product beside its rounding
    alone = op("y", 100, "x", casts=(("x", 200),), unrounded_bytes=200)
    assert peak(alone) == 100 + 200 + 200
    assert peak(alone, op("z", 350, "y")) == 100 + 100 + 350  # the unrounded one is gone


def test_what_is_rounded_is_beside_its_rounding():
    # nothing is cast: x goes only with its last reader, so rounding is 100 + 200 + 100
    assert peak(op("y", 100, "x", unrounded_bytes=200)) == 100 + 200 + 100


def test_a_copy_of_another_type_is_made_once_and_ends_with_its_last_reader():
    ops = (
        op("a", 10, "x", casts=(("x", 200),)), op("b", 10, "a"), op("c", 10, "x", "b",
        casts=(("x", 200),)), op("d", 120, "c"),
    )  # fmt: skip
    # x, copy, a, b and at c: x, copy, b, c; at d: x, c, d
    assert peak(*ops) == 100 + 200 + 10 + 10
    late = (*ops[:3], op("d", 230, "c"))
    assert peak(*late) == 100 + 10 + 230


@pytest.mark.parametrize(("in_order", "copied"), [(True, 0), (False, 40)])
def test_a_group_norm_by_its_parts(in_order, copied):
    """a (40) is reshaped, copied only if it does not lie in order, and centred (40). Then a is
    gone; the norm ends with the quotient, its copy and the result."""
    a = op("a", 40, "x", order=Order.KEPT if in_order else Order.LOST)
    norm = op("n", 40, "a", order=Order.MADE, opening_bytes=40, workspace_bytes=2 * 40)
    begun, ended = 40 + copied + 40, 40 + 2 * 40
    assert peak(a, norm) == 100 + max(begun, ended)
    # read again behind it, as a residual, a is there at the end too
    assert peak(a, norm, op("r", 1, "n", "a")) == 100 + 40 + ended


def test_a_group_norm_of_what_must_be_copied_begins_with_its_peak():
    a = op("a", 40, "x", order=Order.LOST)
    norm = op("n", 40, "a", order=Order.MADE, opening_bytes=40, workspace_bytes=40)
    assert peak(a, norm) == 100 + 40 + 40 + 40  # a, its copy, centred; then 40 and 40


def test_what_nothing_reads_is_freed_at_once():
    ops = op("a", 70, "x"), op("b", 60, "x"), op("c", 5, "b")
    assert peak(*ops) == 100 + 70
