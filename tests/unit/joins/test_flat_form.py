"""The flat form holds what it takes, exactly, and takes the common states."""

from typing import Any

import msgspec
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from joins.flat_form import FLAT, FlatForm
from joins.state import STATE_FORMAT, Chain, CountedAs, KeyState, LabelState, PredictionState, chain_name
from schemas.base.status import Status

CLICK, SALE = chain_name("click", "c1"), chain_name("sale", "s1")
OTHER = chain_name("click", "c2")
FORM = FlatForm([CLICK, SALE])

IDS = st.sampled_from(["key", "v1", "v2", "ü\0"])
INTEGERS = st.sampled_from([0, 1, 7, -(1 << 63), (1 << 63) - 1])
VALUES = st.sampled_from([0.0, 1.0, -2.5, 1e300, "class", ""])


def joined(label: LabelState) -> Chain:
    """Return a chain that has joined a label."""
    return Chain(Status.JOINED, label.value, label.known_at_ms, label.time_ms, label.offset)


def prediction(**chains: Chain) -> PredictionState:
    """Return a prediction with some chains."""
    names = {"click": CLICK, "sale": SALE, "other": OTHER}
    return PredictionState(
        5, 6, 7, eligible=True, projection=["v", 0.5], chains={names[n]: c for n, c in chains.items()}
    )


@st.composite
def fitting(draw: st.DrawFn) -> KeyState:
    """Draw a state that fits."""
    labels = {
        name: LabelState(draw(INTEGERS), draw(INTEGERS), draw(VALUES), draw(INTEGERS), joined=draw(st.booleans()))
        for name in (CLICK, SALE)
    }
    kept = {name: [label] for name, label in labels.items() if draw(st.booleans())}
    predictions = {}
    for id_ in draw(st.lists(IDS, max_size=2, unique=True)):
        chains = {}
        for name, label in labels.items():
            ended = Chain(Status.EXPIRED, None, draw(INTEGERS))
            implied = Chain(Status.IMPLIED, draw(VALUES), draw(INTEGERS))
            chain = draw(st.sampled_from([None, joined(label), ended, implied]))
            if chain is not None:
                chains[name] = chain
        fixed = (draw(INTEGERS), draw(INTEGERS), draw(INTEGERS), draw(st.booleans()))
        predictions[id_] = PredictionState(*fixed, ["v", None, "slice"], chains)
    for [label] in kept.values():
        label.out_of_reach = draw(st.booleans())
    if not (predictions or kept):
        kept = {CLICK: [labels[CLICK]]}
    return KeyState(predictions, kept)


@given(state=fitting())
@settings(max_examples=examples(1_000), deadline=None)
def test_a_state_that_fits_comes_back_as_it_was(state: KeyState) -> None:
    """With its ids, its projections and whatever type its values are of."""
    raw = FORM.encode("key", state)
    assert raw is not None
    assert raw[0] == FLAT
    assert FORM.decode("key", raw) == state


LABEL = LabelState(1, 2, 1.0, 3)
UNFIT: dict[str, KeyState] = {
    "nothing": KeyState({}, {}),
    "three predictions": KeyState({str(at): prediction() for at in range(3)}, {}),
    "a correction": KeyState({}, {CLICK: [LABEL, LabelState(2, 3, 0.0, 4)]}),
    "a retraction": KeyState({}, {CLICK: [LabelState(1, 2, None, 3)]}),
    "no number": KeyState({}, {CLICK: [LabelState(1, 2, float("nan"), 3)]}),
    "a superseded label": KeyState({}, {CLICK: [LabelState(1, 2, 1.0, 3, CountedAs.SUPERSEDED, superseded_by=9)]}),
    "a stale label": KeyState({}, {CLICK: [LabelState(1, 2, 1.0, 3, CountedAs.STALE)]}),
    "a withdrawn label": KeyState({}, {CLICK: [LabelState(1, 2, 1.0, 3, CountedAs.WITHDRAWN)]}),
    "another definition's label": KeyState({}, {OTHER: [LABEL]}),
    "another definition's outcome": KeyState({"a": prediction(other=joined(LABEL))}, {}),
    "a retracted outcome": KeyState({"a": prediction(click=Chain(Status.RETRACTED, None, 3, 1, 2))}, {}),
    "a label beside the joined one": KeyState(
        {"a": prediction(click=joined(LABEL))}, {CLICK: [LabelState(1, 9, 1.0, 3)]}
    ),
    "two joined labels": KeyState(
        {"a": prediction(click=joined(LABEL)), "b": prediction(click=joined(LabelState(1, 9, 1.0, 3)))}, {}
    ),
    "a time beyond 64 bits": KeyState({}, {CLICK: [LabelState(1 << 63, 2, 1.0, 3)]}),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_is_left_to_the_other_form(name: str) -> None:
    """It is never stored with less than it says."""
    assert FORM.encode("key", UNFIT[name]) is None


def test_the_stored_form_is_pinned_to_the_format_of_states() -> None:
    """A change of the form needs a new `STATE_FORMAT`, and its bytes pinned here."""
    label = LabelState(1, 2, "class", 3, joined=True)
    first, second = prediction(click=joined(label)), prediction(sale=Chain(Status.EXPIRED, None, 9))
    raw = FORM.encode("key", KeyState({"key": first, "b": second}, {CLICK: [label]}))
    nan, zero = "000000000000f87f", "00" * 8

    def numbers(*values: int) -> str:
        return "".join(value.to_bytes(8, "little").hex() for value in values)

    head = "c10201" + "0d000000" + "0300" + numbers(1, 0, 2, 0, 3, 0) + nan + zero
    one = numbers(5, 6, 7) + "01" + "0100" + numbers(0, 0) + zero + zero
    other = numbers(5, 6, 7) + "01" + "0003" + numbers(0, 9) + zero + nan
    tail = msgspec.msgpack.encode([None, "b", ["v", 0.5], ["v", 0.5]])
    texts: list[Any] = [["class", None], [None, None], [None, None]]
    expected = bytes.fromhex(head.replace("0d000000", len(tail).to_bytes(4, "little").hex()) + one + other)
    assert (STATE_FORMAT, raw) == (3, expected + tail + msgspec.msgpack.encode(texts))
