"""Labels of an episode: which ones, the shift of those told again, and whose outcomes they tell."""

from pathlib import Path

import polars as pl
import pytest
from again_case import labelled_lake, tell_again
from lake_builder import LakeBuilder, hour, ms

from schemas.events.backfill import Cause, Episode
from truthloop.evidence.episode_labels import labels_of, outcomes_told_again, time_shift_of

STEPS = {0: 9, 1: 9}


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return a lake with one prediction and its label of hour 2, at offset 0."""
    return labelled_lake(tmp_path / "lake")


def episode(*causes: Cause, since: float = 30, until: float = 31, **changes: object) -> Episode:
    """Return an episode of labels that became known between two hours."""
    plain = {"id": f"bf-{1:032x}", "kind": "fraud", "definition": "chargeback-1", "labels": 1, "fingerprint": 1}
    return Episode.model_validate({**plain, "causes": [*causes], "since": ms(since), "until": ms(until), **changes})


def test_the_shift_is_from_the_newest_label_before(builder: LakeBuilder) -> None:
    """Of the same key: the greatest in time that was read before; one label of three has another value."""
    tell_again(builder, 7, 30, 1, later=True)
    tell_again(builder, -3, 30.1, 2, later=False, value=0.0)
    builder.label("b", 4, 3, value=1.0).label("b", 9, 4, known_at=hour(30.2), value=1.0)
    builder.reject("labels", 4, "stale", kind="fraud", sequence=1)
    found = time_shift_of(builder.lake, episode(Cause.RETIMED), STEPS)
    assert found is not None
    assert (found.labels, found.same_value, found.median_ms) == (3, 2, 5 * 3_600_000)
    assert (found.at_median, found.least_ms, found.greatest_ms) == (2, -5 * 3_600_000, 5 * 3_600_000)
    assert time_shift_of(builder.lake, episode(Cause.CORRECTED), STEPS) is None
    assert time_shift_of(builder.lake, episode(Cause.RETIMED, since=40, until=41), STEPS) is None


def test_an_episodes_labels_are_its_own(builder: LakeBuilder) -> None:
    """Retimed: the corrections of its hours and the stale ones; corrected: no stale ones; declared: all of a batch."""
    tell_again(builder, 7, 30, 1, later=True)
    tell_again(builder, 1, 30.5, 2, later=False)
    tell_again(builder, 8, 32, 3, later=True)
    for offset, batch in ((4, "b1"), (5, "b2"), (6, "b1"), (7, "b1")):
        builder.label("a", 1, offset, known_at=hour(30), value=1.0, origin="backfill", batch_id=batch)
    builder.reject("labels", 6, "stale", kind="fraud", sequence=0)
    builder.reject("labels", 7, "duplicate", kind="fraud", sequence=0)
    by_cause = {Cause.RETIMED: [1, 2], Cause.CORRECTED: [1], Cause.DECLARED: [4, 6], Cause.REDEFINED: []}
    for cause, offsets in by_cause.items():
        other = {"batch": "b1"} if cause is Cause.DECLARED else {}
        other |= {"definition": "chargeback-2"} if cause is Cause.REDEFINED else {}
        found = labels_of(builder.lake, episode(cause, **other), STEPS)
        assert found["offset"].to_list() == offsets
        assert set(found["key"]) <= {"a"}


def test_stale_labels_tell_the_outcomes_of_their_keys_again(builder: LakeBuilder) -> None:
    """A correction does that by its own revision."""
    tell_again(builder, 7, 30, 1, later=True)
    assert outcomes_told_again(builder.lake, episode(Cause.RETIMED), STEPS).is_empty()
    tell_again(builder, 1, 30, 2, later=False)
    assert outcomes_told_again(builder.lake, episode(Cause.RETIMED), STEPS).rows() == [(0, 0, "fraud")]
    assert outcomes_told_again(builder.lake, episode(Cause.CORRECTED), STEPS).is_empty()
    assert outcomes_told_again(builder.lake, episode(Cause.RETIMED, since=40, until=41), STEPS).is_empty()
    assert dict(outcomes_told_again(builder.lake, episode(Cause.RETIMED), STEPS).schema)["partition"] == pl.Int32()
