"""Names as bytes, as static/store.mjs reads them."""

from hypothesis import given
from hypothesis import strategies as st

from hexviz.widgets.names import packed_names
from hexviz.widgets.text import clean_text

NAMES = st.lists(st.text(max_size=140) | st.integers(0, 999).map("node_{:03}".format), min_size=1, max_size=40)


def unpacked(pieces, before=b""):
    for piece in pieces:
        shared, length = piece[0], piece[1] | piece[2] << 8
        assert len(piece) == 3 + length
        before = before[:shared] + piece[3:]
        yield before


@given(NAMES, st.binary(max_size=300).map(lambda text: text.replace(b"\0", b"x")))
def test_what_is_unpacked_is_each_name_made_harmless(names, before):
    pieces, last = packed_names(names, before, None)
    wanted = [clean_text(name, 120).encode() for name in names]
    assert list(unpacked(pieces, before)) == wanted
    assert last == wanted[-1]


@given(NAMES, st.integers(1, 400))
def test_a_budget_takes_names_up_to_the_one_that_exceeds_it(names, budget):
    pieces, last = packed_names(names, b"", budget)
    assert last == list(unpacked(pieces))[-1]
    assert sum(map(len, pieces[:-1])) < budget
    assert len(pieces) == len(names) or sum(map(len, pieces)) >= budget


def test_a_name_repeats_only_what_differs_from_the_one_before():
    pieces, _ = packed_names(["extract_1", "extract_2", "load"], b"", None)
    assert [piece[0] for piece in pieces] == [0, 8, 0]
