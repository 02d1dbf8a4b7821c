"""Outcome messages: valid by the published model, and decoded the same rows that a replay writes."""

from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from joins import Effects, OutcomeRow
from schemas.base.status import Reason, Status
from schemas.config.loop import LoopConfig
from schemas.events.messages import Outcome
from streams.messages.lake_rows import outcome_rows
from streams.messages.outcome import NoOutcomeError, OutcomeWire
from streams.messages.records import Projection

NUMBERS = {"click": {"task": "binary"}, "sale": {"task": "regression"}}
CLASSES = NUMBERS | {"animal": {"task": "multiclass"}}
DAY_MS = 86_400_000


def projection(outputs: dict[str, Any], slices: list[str]) -> Projection:
    """Return the projection of a loop with these outputs and slices."""
    labels = {kind: {"definition": "d", "horizon": "1h", "retain": "2h"} for kind in outputs}
    predictions = {"outputs": outputs, "slices": slices}
    return Projection.of(
        LoopConfig.model_validate({"version": 1, "loop": "t", "predictions": predictions, "labels": labels})
    )


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
TIMES = st.integers(0, 253_402_300_799_999)
OFFSETS = st.integers(0, (1 << 63) - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ANSWERS = {"binary": st.sampled_from([0.0, 1.0]), "regression": FLOATS, "multiclass": TEXTS}
STATES = [
    (Status.JOINED, Reason.FIRST),
    (Status.IMPLIED, Reason.TIMEOUT),
    (Status.EXPIRED, Reason.TIMEOUT),
    (Status.RETRACTED, Reason.RETRACTION),
]


@st.composite
def revisions(draw: st.DrawFn, of: Projection) -> OutcomeRow:
    """Draw a revision of the join."""
    kind = draw(st.sampled_from(sorted(of.kinds)))
    status, reason = draw(st.sampled_from(STATES))
    answer = ANSWERS[of.kinds[kind]]
    seen = [draw(TEXTS), draw(st.floats(0, 1e9))]
    seen += [draw(st.none() | ANSWERS[task]) for task in of.kinds.values()]
    seen += [draw(st.none() | TEXTS) for name in of.columns if name.startswith("slice_")]
    value = draw(answer) if status in (Status.JOINED, Status.IMPLIED) else None
    is_labelled = draw(st.booleans())
    label = (draw(OFFSETS), draw(TIMES)) if is_labelled else (None, None)
    return OutcomeRow(
        *(draw(TEXTS), draw(TEXTS), kind, draw(TEXTS), status, reason, value, draw(st.none() | answer)),
        *(draw(st.sampled_from(Status)), draw(TIMES), draw(TIMES), draw(OFFSETS), draw(OFFSETS)),
        *(*label, draw(st.booleans()), tuple(seen)),
    )


PROJECTIONS = [
    projection(NUMBERS, ["country", "__init__"]),
    projection(CLASSES, ["country"]),
    projection(NUMBERS, []),
]


@settings(deadline=None)
@given(st.data(), st.sampled_from(PROJECTIONS), st.integers(0, 1000), OFFSETS)
def test_a_message_is_the_row_that_a_replay_writes(
    data: st.DataObject, of: Projection, partition: int, sequence: int
) -> None:
    """For all kinds of texts and numbers, with and without a label, value or slice."""
    rows = data.draw(st.lists(revisions(of), max_size=6))
    wire = OutcomeWire(of)
    found = wire.frame(wire.encode(partition, sequence, rows))
    wanted = outcome_rows([(partition, Effects(rows, []))], of).with_columns(
        pl.lit(sequence, dtype=pl.Int64).alias("sequence")
    )
    assert_frame_equal(found, wanted, check_column_order=False)


@settings(deadline=None)
@given(st.data(), st.sampled_from(PROJECTIONS))
def test_a_message_is_valid_by_the_published_model(data: st.DataObject, of: Projection) -> None:
    """Consumers may read the topic by its schema."""
    row = data.draw(revisions(of))
    (message,) = OutcomeWire(of).encode(3, 7, [row])
    found = Outcome.model_validate_json(message)
    assert (found.partition, found.key, found.value, found.output) == (3, row.key, row.value, _output_of(row, of))
    assert msgspec.json.decode(message)["sequence"] == 7


@settings(deadline=None)
@given(st.data())
def test_both_ways_of_reading_give_the_same_frame(data: st.DataObject) -> None:
    """All at once, which is fast, and one by one, which finds the message that is wrong."""
    of = PROJECTIONS[0]
    wire = OutcomeWire(of)
    values = wire.encode(0, 1, data.draw(st.lists(revisions(of), min_size=1, max_size=5)))
    fast = wire._read_at_once(values)
    assert fast is not None
    assert_frame_equal(fast, wire._read_one_by_one(values), check_column_order=False)


GOOD = OutcomeRow(
    *("k", "k", "click", "d", Status.JOINED, Reason.FIRST, 1.0, None, Status.PENDING, DAY_MS, DAY_MS, 1, 0, 5, DAY_MS),
    *(True, ("v1", 1.0, 0.5, None, "DE", None)),
)


def _broken(**changes: Any) -> bytes:
    (good,) = OutcomeWire(PROJECTIONS[0]).encode(0, 0, [GOOD])
    return msgspec.json.encode(msgspec.json.decode(good) | changes)


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"5", b"\xff", b"{}\n{}", _broken(v=2), _broken(key=None), _broken(revision="x")],
)
@pytest.mark.parametrize("of", PROJECTIONS[:2], ids=["numbers", "classes"])
def test_the_error_names_the_message_that_is_no_outcome(value: bytes, of: Projection) -> None:
    """A message of a later version is no outcome either: its fields may have another meaning."""
    wire = OutcomeWire(of)
    (good,) = wire.encode(0, 0, [GOOD._replace(projection=("v1", 1.0, *(None,) * (len(of.columns) - 2)))])
    with pytest.raises(NoOutcomeError, match="is no outcome") as caught:
        wire.frame([good, value])
    assert caught.value.index == 1


def test_keys_are_the_join_keys() -> None:
    """Kafka's clients then send them to the partitions of the join."""
    assert OutcomeWire.keys([GOOD, GOOD._replace(key="ä")]) == [b"k", "ä".encode()]


def _output_of(row: OutcomeRow, of: Projection) -> object:
    return row.projection[of.columns.index(f"output_{row.kind}")]
