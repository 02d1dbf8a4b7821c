"""`scored_at(t)`: what could be known at a time, from the labels themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lake_builder import LakeBuilder, hour

from lake.session import connect

FAR = 10_000.0
COMMON = "key, id, kind, status, value, known_at"


def at(builder: LakeBuilder, hours: float) -> list[dict[str, Any]]:
    """Return `scored_at` of an hour, ordered by key."""
    with connect(builder.lake.path) as connection:
        query = "FROM scored_at(?) ORDER BY key, id"
        return connection.sql(query, params=[hour(hours)]).to_arrow_table().to_pylist()


def status_at(builder: LakeBuilder, hours: float) -> tuple[str, float | None]:
    """Return status and value of the only row."""
    (row,) = at(builder, hours)
    return row["status"], row["value"]


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return a lake with one prediction, made in the morning."""
    return LakeBuilder(tmp_path / "lake").predict("a", 0, 0, output_fraud=0.5)


def test_a_prediction_exists_from_its_own_time_on(builder: LakeBuilder) -> None:
    """Not a microsecond before."""
    assert at(builder, -0.001) == []
    assert status_at(builder, 0) == ("pending", None)


def test_a_label_shows_once_it_could_be_known(builder: LakeBuilder) -> None:
    """By known_at, not by its own time nor by when the lake recorded it."""
    builder.label("a", 1, 0, value=1.0, known_at=hour(3))
    assert status_at(builder, 2.999) == ("pending", None)
    assert status_at(builder, 3) == ("joined", 1.0)
    (row,) = at(builder, 3)
    assert (row["known_at"], row["label_age_ms"], row["output"]) == (hour(3), 10_800_000, 0.5)


def test_the_greatest_time_and_offset_among_the_known_is_of_record(builder: LakeBuilder) -> None:
    """A correction counts once it is known; an older one that arrives later changes nothing."""
    builder.label("a", 4, 0, value=0.0).label("a", 6, 1, value=1.0)
    builder.label("a", 5, 2, value=0.5, known_at=hour(8)).reject("labels", 2, "stale")
    builder.label("a", 6, 3, value=0.25, known_at=hour(9))
    assert [status_at(builder, t)[1] for t in (4, 5, 6, 8, 9)] == [0.0, 0.0, 1.0, 1.0, 0.25]
    (row,) = at(builder, 9)
    assert row["first_known_at"] == hour(4)


def test_a_deletion_retracts_once_it_is_known(builder: LakeBuilder) -> None:
    """One that found nothing to retract, or that came twice, changes nothing."""
    builder.label("a", 1, 0, op="delete").reject("labels", 0, "nothing_to_retract")
    builder.label("a", 2, 1, value=1.0).label("a", 4, 2, op="delete")
    builder.label("a", 5, 3, op="delete").reject("labels", 3, "duplicate")
    found = [status_at(builder, t) for t in (1, 2, 4, 5)]
    assert found == [("pending", None), ("joined", 1.0), ("retracted", None), ("retracted", None)]


def test_a_stale_label_was_of_record_before_the_newer_one_was_known(builder: LakeBuilder) -> None:
    """It was read second but known first."""
    builder.label("a", 5, 0, value=1.0, known_at=hour(9))
    builder.label("a", 4, 1, value=0.0).reject("labels", 1, "stale")
    assert status_at(builder, 4) == ("joined", 0.0)
    assert status_at(builder, 9) == ("joined", 1.0)


@pytest.mark.parametrize("reason", ["stale", "unknown_prediction", "too_late", "waiting_limit"])
def test_labels_that_the_join_dropped_still_take_part(builder: LakeBuilder, reason: str) -> None:
    """What could be known does not depend on the join's limits."""
    builder.label("a", 1, 0, value=1.0).reject("labels", 0, reason)
    assert status_at(builder, 2) == ("joined", 1.0)


@pytest.mark.parametrize("reason", ["duplicate", "future", "bad_value"])
def test_duplicate_and_invalid_labels_do_not(builder: LakeBuilder, reason: str) -> None:
    """A duplicate adds nothing, and an impossible time is not evidence."""
    builder.label("a", 1, 0, value=1.0).reject("labels", 0, reason)
    assert status_at(builder, 2) == ("pending", None)


def test_a_retraction_removes_the_value_until_a_newer_label(builder: LakeBuilder) -> None:
    """The label's age then counts from the new label."""
    builder.label("a", 1, 0, value=1.0).label("a", 2, 1, op="retract").label("a", 3, 2, value=0.0)
    assert [status_at(builder, t) for t in (1, 2, 3)] == [
        ("joined", 1.0),
        ("retracted", None),
        ("joined", 0.0),
    ]
    assert at(builder, 2)[0]["first_known_at"] is None
    assert at(builder, 3)[0]["first_known_at"] == hour(3)


@pytest.mark.parametrize(("known", "status"), [(20, "joined"), (20.001, "pending")])
def test_a_label_reaches_as_far_as_retain(builder: LakeBuilder, known: float, status: str) -> None:
    """Up to and including that age."""
    builder.label("a", 1, 0, value=1.0, known_at=hour(known))
    assert status_at(builder, FAR)[0] == status


@pytest.mark.parametrize(("known", "status"), [(-20, "joined"), (-20.001, "pending")])
def test_a_label_known_long_before_its_prediction_does_not_reach_it(
    builder: LakeBuilder, known: float, status: str
) -> None:
    """The join lets it wait no longer than that."""
    builder.label("a", known, 0, value=1.0)
    assert status_at(builder, FAR)[0] == status


def test_labels_of_another_key_kind_or_definition_are_ignored(builder: LakeBuilder) -> None:
    """So are heartbeats."""
    builder.label("b", 1, 0, value=1.0).label("a", 1, 1, value=1.0, definition="other")
    builder.label("a", 1, 2, value=1.0, kind="click").label(None, 1, 3, op="heartbeat")
    assert status_at(builder, 5) == ("pending", None)


@pytest.mark.parametrize(("status", "value"), [("expired", None), ("implied", 0.0)])
def test_a_timeout_counts_from_the_deadline_until_a_label(
    builder: LakeBuilder, status: str, value: float | None
) -> None:
    """Before the deadline the outcome was pending; a late label replaces the timeout."""
    builder.outcome("a", status, 10, 5, reason="timeout", value=value)
    assert status_at(builder, 9.999) == ("pending", None)
    assert status_at(builder, 10) == (status, value)
    builder.label("a", 12, 0, value=1.0)
    builder.outcome("a", "joined", 12, 6, reason="late", value=1.0, label_offset=0, previous_status=status)
    assert status_at(builder, 11) == (status, value)
    assert status_at(builder, 12) == ("joined", 1.0)


def test_maturity_is_not_known_before_the_deadline(builder: LakeBuilder) -> None:
    """Today's cursor does not apply to an earlier time."""
    builder.label("a", 1, 0, value=1.0).entry(1, 50, cursors=f'{{"fraud": [{round(hour(5).timestamp() * 1000)}, 0]}}')
    assert [at(builder, t)[0]["is_mature"] for t in (9.999, 10)] == [False, True]


def test_a_pending_outcome_is_not_mature(builder: LakeBuilder) -> None:
    """Also if the cursor is ahead of the outcomes."""
    builder.entry(1, 50, cursors=f'{{"fraud": [{round(hour(5).timestamp() * 1000)}, 0]}}')
    assert [(row["status"], row["is_mature"]) for row in at(builder, 11)] == [("pending", False)]
    builder.outcome("a", "expired", 10, 1, reason="timeout")
    assert [(row["status"], row["is_mature"]) for row in at(builder, 11)] == [("expired", True)]


def test_a_rejected_prediction_is_left_out(builder: LakeBuilder) -> None:
    """At any time."""
    builder.predict("b", 0, 1).reject("predictions", 1, "duplicate")
    assert [row["key"] for row in at(builder, FAR)] == ["a"]


Story = Callable[[LakeBuilder], object]


def _story(builder: LakeBuilder) -> None:
    builder.predict("b", 0, 1).predict("c", 0, 2).predict("d", 0, 3).predict("e", 0, 4).predict("a", 1, 5, id="a2")
    builder.label("a", 2, 0, value=1.0).outcome("a", "joined", 2, 6, value=1.0, label_offset=0)
    second = {"id": "a2", "prediction_offset": 5, "predicted_at": hour(1), "label_offset": 0}
    builder.outcome("a", "joined", 2, 7, value=1.0, **second)
    builder.label("b", 3, 1, value=0.0).outcome("b", "joined", 3, 8, value=0.0, prediction_offset=1)
    builder.label("b", 4, 2, op="retract").outcome("b", "retracted", 4, 9, prediction_offset=1)
    builder.outcome("c", "expired", 10, 10, reason="timeout", prediction_offset=2)
    builder.outcome("d", "implied", 10, 11, reason="timeout", value=0.0, prediction_offset=3)
    builder.label("d", 15, 3, value=1.0).outcome("d", "joined", 15, 12, value=1.0, prediction_offset=3)
    builder.label("d", 14, 4, value=0.0, known_at=hour(16)).reject("labels", 4, "stale")
    builder.label("d", 15, 5, value=1.0, known_at=hour(17)).reject("labels", 5, "duplicate")


def test_far_in_the_future_it_equals_scored(builder: LakeBuilder) -> None:
    """Two derivations of the same rows: from the join's revisions, and from the labels."""
    _story(builder)
    with connect(builder.lake.path) as connection:
        query = f"SELECT {COMMON} FROM scored_at(?)"  # noqa: S608 - fixed columns
        then = connection.sql(query, params=[hour(FAR)]).to_arrow_table().to_pylist()
        now = connection.sql(f"SELECT {COMMON} FROM scored").to_arrow_table().to_pylist()  # noqa: S608 - the same

    def order(row: dict[str, Any]) -> tuple[str, str]:
        return row["key"], row["id"]

    assert sorted(then, key=order) == sorted(now, key=order)
    assert [row["status"] for row in sorted(now, key=order)] == [
        *("joined", "joined", "retracted", "expired", "joined", "pending")
    ]


def test_it_has_the_columns_of_scored_but_those_of_the_join(builder: LakeBuilder) -> None:
    """Reason and revision are left out, because the join's revisions are not used."""
    with connect(builder.lake.path) as connection:
        then = connection.sql("FROM scored_at('2026-01-01')").columns
        now = connection.sql("FROM scored").columns
    assert then == [name for name in now if name not in ("reason", "revision")]
