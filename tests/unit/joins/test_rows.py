"""Rows come back as they were stored, and keep their places until they are stored."""

import numpy as np
import pytest

from joins.flat_form import FlatForm
from joins.rows import NO_ROW, KeyRows
from joins.state import KeyState, LabelState, PredictionState, chain_name

CLICK = chain_name("click", "c1")
FORM = FlatForm([CLICK])


def state(number: int) -> KeyState:
    """Return a state with none, one or two predictions, and a label that is a number or a text."""
    predictions = {
        ("key", "b")[at] if number % 2 else f"id {at}": PredictionState(
            number, at, 1, eligible=True, projection=["v", number], chains={}
        )
        for at in range(number % 3)
    }
    value = f"class {number}" if number % 5 == 0 else float(number)
    return KeyState(predictions, {CLICK: [LabelState(number, number, value, number)]})


def test_rows_are_stored_as_they_were_loaded() -> None:
    """Opened or not; beyond the first places, too."""
    count = 3_000
    keys = [f"key {number}" for number in range(count)]
    raws = [FORM.encode(key, state(number)) or b"" for number, key in enumerate(keys)]
    rows = KeyRows([CLICK])
    places = rows.take(keys)
    rows.load(places, raws)
    assert rows.state(int(places[7])) == state(7)
    rows.open(places[::2])
    assert rows.stored(places) == raws
    assert [rows.state(place) for place in places.tolist()] == [state(number) for number in range(count)]


def test_what_is_kept_of_the_stored_rows_is_clean_and_all_else_is_forgotten() -> None:
    """The rows taken last are kept; what was only read or holds nothing is not."""
    rows = KeyRows([CLICK])
    keys = [f"key {number}" for number in range(6)]
    places = rows.take(keys)
    rows.load(places[:5], [FORM.encode(key, state(1)) or b"" for key in keys[:5]])
    rows.is_changed[places[[0, 1, 2, 4, 5]]] = True
    rows.release(int(places[4]))
    changed, emptied = rows.to_store()
    assert (changed.tolist(), emptied.tolist()) == (places[:3].tolist(), [])
    assert rows.keep(2)
    assert rows.places() == {"key 1": NO_ROW + 1, "key 2": NO_ROW + 2}
    assert not rows.is_changed.any()
    again = rows.take(["new"])
    assert rows.state(int(again[0])) is None
    assert rows.is_flat(np.array([NO_ROW, NO_ROW + 1, again[0]])).tolist() == [False, True, True]
    assert rows.state(NO_ROW + 2) == state(1)


def test_rows_with_nothing_in_them_are_forgotten_unless_something_is_stored() -> None:
    """The others keep their order and whether they were changed."""
    rows = KeyRows([CLICK])
    keys = [f"key {number}" for number in range(5)]
    places = rows.take(keys)
    rows.load(places[[1, 3]], [FORM.encode(key, state(1)) or b"" for key in (keys[1], keys[3])])
    rows.drop_prediction(0, places[[3]])
    rows.head["flags"][places[3]] = 0
    rows.is_changed[places[[3, 4]]] = True
    assert rows.forget_empty().tolist() == places[[1, 3]].tolist()
    assert rows.places() == {"key 1": NO_ROW + 1, "key 3": NO_ROW + 2}
    assert rows.is_changed[: rows.used].tolist() == [False, False, True]
    assert rows.state(NO_ROW + 1) == state(1)
    assert [of.tolist() for of in rows.to_store()] == [[], [NO_ROW + 2]]
    [new] = rows.take(["new"]).tolist()
    assert (rows.state(new), rows.is_changed[new]) == (None, False)


def test_few_rows_stay_where_they_are() -> None:
    """So a flush of few keys does not move many."""
    rows = KeyRows([CLICK])
    places = rows.take(["full", "emptied", "read"])
    rows.load(places, [FORM.encode("key", state(3)) or b""] * 3)
    rows.head["flags"][places[1]] = 0
    rows.is_changed[places[:2]] = True
    assert not rows.keep(2)
    assert rows.is_stored[places].tolist() == [True, False, True]
    assert not rows.is_changed.any()
    assert rows.keep(1)
    assert rows.places() == {"full": NO_ROW + 1}


def test_a_row_that_lost_all_it_had_is_removed() -> None:
    """Only if something is stored of its key."""
    rows = KeyRows([CLICK])
    places = rows.take(["stored", "new"])
    rows.load(places[:1], [FORM.encode("stored", state(3)) or b""])
    rows.head["flags"][places] = 0
    rows.is_changed[places] = True
    changed, emptied = rows.to_store()
    assert (changed.tolist(), emptied.tolist()) == ([], places[:1].tolist())


@pytest.mark.parametrize("number", [0, 1])
def test_the_second_prediction_takes_the_place_of_the_first(number: int) -> None:
    """Whichever leaves."""
    rows = KeyRows([CLICK])
    places = rows.take(["key"])
    rows.load(places, [FORM.encode("key", state(2)) or b""])
    rows.drop_prediction(number, places)
    left = rows.state(int(places[0]))
    assert left is not None
    assert list(left.predictions) == [f"id {1 - number}"]
    assert left.predictions[f"id {1 - number}"].offset == 1 - number
    [raw] = rows.stored(places)
    assert FORM.decode("key", raw) == left
