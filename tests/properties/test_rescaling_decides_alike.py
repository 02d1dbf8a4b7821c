"""A loop that begins with what another one accepted decides the same, whatever the partitions of either were.

Covers `streams.seed.accepted`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from effort import examples
from history import FAR_MS, History, cuts, play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joins import Effects, KindPolicy, LabelRecord, Op, Policy, PredictionRecord
from streams.seed import accepted
from streams.seed.accepted import accepted_by_day

EXAMPLES = settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
MOMENT = pl.Datetime("us", "UTC")
MS = 600_000
"""What a millisecond of a history becomes in the lake: its records lie on many days."""


Decided = dict[tuple[str, str, str, str], tuple[object, ...]]


@pytest.fixture(autouse=True, scope="module")
def few_at_once() -> Iterator[None]:
    """Look at few labels at once, as with more of them than are looked at together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accepted, "LABELS_AT_ONCE", 12)
        yield


@st.composite
def ambiguous_histories(draw: st.DrawFn) -> History:
    """Draw histories in which order settles much: ids come again with another content, label times are often equal.

    An id comes again within `retain` only: after that it is another prediction's.
    """
    horizon_ms, retain_ms, disorder_ms = draw(st.integers(1, 60)), draw(st.integers(60, 90)), draw(st.integers(20, 40))
    policy = Policy({"click": KindPolicy("c1", horizon_ms, retain_ms)}, disorder_ms=disorder_ms)
    keys, times = st.sampled_from("abc"), st.tuples(st.integers(0, 300), st.integers(0, disorder_ms))
    predictions = [
        PredictionRecord(offset, key, f"{key}{time_ms // retain_ms}", time_ms, offset, eligible, offset)
        for offset, (key, (time_ms, _), eligible) in enumerate(
            sorted(draw(st.lists(st.tuples(keys, times, st.booleans()), min_size=8, max_size=20)), key=arrival)
        )
    ]
    values = st.sampled_from([0.0, 1.0, None])
    labels = [
        LabelRecord(offset, key, "click", definition, *op_and_value(value), time_ms // 40 * 40, time_ms)
        for offset, (key, (time_ms, _), definition, value) in enumerate(
            sorted(
                draw(
                    st.lists(
                        st.tuples(keys, times, st.sampled_from(["c1", "c1", "c2"]), values), min_size=15, max_size=30
                    )
                ),
                key=arrival,
            )
        )
    ]
    return History(policy, predictions, labels)


def arrival(drawn: tuple[Any, ...]) -> int:
    """Return when a drawn record comes: at its time, or later by its delay."""
    time_ms, delay_ms = drawn[1]
    return time_ms + delay_ms


def op_and_value(value: float | None) -> tuple[Op, float | None]:
    """Return a label's operation with its value."""
    return (Op.RETRACT if value is None else Op.UPSERT), value


def split(history: History, partitions: int) -> list[History]:
    """Return each partition's part of a history."""
    parts = []
    for number in range(partitions):
        predictions = [one for one in history.predictions if place_of(one.key, partitions) == number]
        labels = [one for one in history.labels if one.op is Op.HEARTBEAT or place_of(one.key, partitions) == number]
        parts.append(replace(history, predictions=numbered(predictions), labels=numbered(labels)))
    return parts


def place_of(key: str, partitions: int) -> int:
    """Return a key's partition: other keys share one under another count."""
    return (ord(key) * 7 // 3) % partitions


def numbered(records: Sequence[PredictionRecord]) -> list[PredictionRecord]:
    """Return records with offsets from 0 on."""
    return [record._replace(offset=offset) for offset, record in enumerate(records)]


def decided(effects: list[Effects]) -> Decided:
    """Return each outcome's last revision, with the prediction that stands."""
    return {
        (row.key, row.id, row.kind, row.definition): (
            *(str(row.status), row.value, row.known_at_ms, row.label_time_ms),
            *(row.predicted_at_ms, row.eligible, row.projection),
        )
        for step in effects
        for row in step.outcomes
    }


def lake_of(parts: list[History], effects: list[list[Effects]]) -> dict[str, pl.LazyFrame]:
    """Return the rows that a lake has of these partitions."""
    predictions = [(number, *record) for number, part in enumerate(parts) for record in part.predictions]
    labels = [(number, *record) for number, part in enumerate(parts) for record in part.labels]
    rejects = [
        (number, row.input, row.offset, row.reason.value, "join")
        for number, steps in enumerate(effects)
        for step in steps
        for row in step.rejects
    ]
    place = {"partition": pl.Int32, "offset": pl.Int64}
    frames = {
        "predictions": pl.DataFrame(
            predictions,
            schema=place
            | {"key": pl.String, "id": pl.String, "predicted_at": pl.Int64, "digest": pl.Int64}
            | {"eligible": pl.Boolean, "projection": pl.Int64},
            orient="row",
        ),
        "labels": pl.DataFrame(
            labels,
            schema=place
            | {"key": pl.String, "kind": pl.String, "definition": pl.String, "op": pl.String}
            | {"value": pl.Float64, "label_time": pl.Int64, "known_at": pl.Int64},
            orient="row",
        ),
        "rejects": pl.DataFrame(
            rejects,
            schema={"partition": pl.Int32, "input": pl.String, "offset": pl.Int64}
            | {"reason": pl.String, "stage": pl.String},
            orient="row",
        ),
    }
    times = ("predicted_at", "label_time", "known_at")
    return {
        name: frame.lazy().with_columns(
            (pl.col(time) * MS * 1000).cast(MOMENT) for time in times if time in frame.columns
        )
        for name, frame in frames.items()
    }


def sent(lake: dict[str, pl.LazyFrame], policy: Policy) -> History:
    """Return what is sent of a lake, in its order."""
    predictions, labels = (
        pl.concat(
            [day.collect() for day in accepted_by_day(role, lake[role], lake["rejects"])] or [lake[role].collect()]
        )
        .with_columns(pl.selectors.datetime().dt.epoch("ms") // MS)
        .select(lake[role].collect_schema().names()[1:])
        for role in ("predictions", "labels")
    )
    return History(
        policy,
        [PredictionRecord(*row) for row in predictions.iter_rows()],
        [LabelRecord(*row)._replace(op=Op(row[4])) for row in labels.iter_rows()],
    )


@given(data=st.data(), history=ambiguous_histories(), before=st.integers(1, 3), after=st.integers(1, 4))
@EXAMPLES
def test_the_same_records_under_the_same_rules_have_the_same_outcomes(
    data: st.DataObject, history: History, before: int, after: int
) -> None:
    """From some partitions to others: the first prediction of an id, and the label of record, stay what they were."""
    old = split(history, before)
    ended = [play(part, data.draw(cuts(part)), close_at_ms=FAR_MS)[1] for part in old]
    new = split(sent(lake_of(old, ended), history.policy), after)
    again = [play(part, data.draw(cuts(part)), close_at_ms=FAR_MS)[1] for part in new]
    assert decided([step for steps in again for step in steps]) == decided([step for steps in ended for step in steps])
