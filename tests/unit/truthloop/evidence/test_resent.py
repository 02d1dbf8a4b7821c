"""Predictions that were sent again with other content: the first copies of those of an episode."""

from pathlib import Path

import polars as pl
import pytest
from again_case import send_again
from lake_builder import LakeBuilder, hour, ms

from schemas.events.backfill import Cause, Episode
from truthloop.evidence.resent import resent_predictions

FOUND = {"partition": pl.Int32(), "prediction_offset": pl.Int64(), "kind": pl.String()}


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake")


def episode(since: float, until: float, kind: str = "fraud") -> Episode:
    """Return an episode of resent predictions between two hours."""
    return Episode(
        id=f"bf-{1:032x}",
        kind=kind,
        definition="chargeback-1",
        causes=[Cause.RESENT],
        since=ms(since),
        until=ms(until),
        labels=1,
        fingerprint=1,
    )


def resent(builder: LakeBuilder, since: float, until: float) -> list[tuple[int, int, str]]:
    """Return what an episode sent again, sorted."""
    return sorted(resent_predictions(builder.lake, episode(since, until)).rows())


def test_a_lake_without_conflicts_has_none(builder: LakeBuilder) -> None:
    """Neither an empty one, nor one whose predictions came once."""
    assert resent(builder, -99, 99) == []
    builder.predict("a", 0, 0).predict("b", 0, 1)
    found = resent_predictions(builder.lake, episode(-99, 99))
    assert (found.height, dict(found.schema)) == (0, FOUND)


def test_the_same_content_again_is_no_conflict(builder: LakeBuilder) -> None:
    """Nor is a record rejected for another reason, by another stage, or a label with the same offset."""
    for offset, (input_, reason, stage) in enumerate(
        [
            ("predictions", "duplicate", "join"),
            ("predictions", "future", "join"),
            ("predictions", "too_old", "join"),
            ("predictions", "conflict", "ingest"),
            ("labels", "conflict", "join"),
        ],
        1,
    ):
        builder.predict("a", 0, offset, arrived_at=hour(5)).reject(input_, offset, reason, stage=stage, sequence=0)
    assert resent(builder, -99, 99) == []


def test_a_conflict_counts_in_its_own_partition_only(builder: LakeBuilder) -> None:
    """The same offset of another partition is another prediction."""
    builder.predict("a", 0, 0).predict("b", 0, 1, partition=1)
    send_again(builder, "a", 5, 1)
    assert resent(builder, 0, 9) == [(0, 0, "fraud")]


def test_the_first_copies_are_found_once(builder: LakeBuilder) -> None:
    """However often they were sent again; the later copies are not among them."""
    for offset, key in enumerate("abc"):
        builder.predict(key, 0, offset, arrived_at=hour(0))
    builder.predict("d", 0, 3, partition=1, arrived_at=hour(0))
    for offset, key in enumerate("aab", 10):
        send_again(builder, key, 5, offset)
    send_again(builder, "d", 5, 10, partition=1)
    builder.predict("c", 0, 20, arrived_at=hour(5)).reject("predictions", 20, "duplicate")
    assert resent(builder, 5, 6) == [(0, 0, "fraud"), (0, 1, "fraud"), (1, 3, "fraud")]
    found = resent_predictions(builder.lake, episode(5, 6, "chargeback"))
    assert (dict(found.schema), set(found["kind"])) == (FOUND, {"chargeback"})


def test_only_predictions_resent_within_the_episode_belong_to_it(builder: LakeBuilder) -> None:
    """Both ends are included."""
    for offset, key in enumerate("abcd"):
        builder.predict(key, 0, offset, arrived_at=hour(0))
        send_again(builder, key, 5 + offset, 10 + offset)
    assert resent(builder, 6, 7) == [(0, 1, "fraud"), (0, 2, "fraud")]
    assert resent(builder, 6.001, 7.001) == [(0, 2, "fraud")]


def test_another_prediction_of_the_same_key_was_not_sent_again(builder: LakeBuilder) -> None:
    """A shadow version's prediction has the same key and its own id."""
    builder.predict("a", 0, 0, id="v1").predict("a", 0, 1, id="v2", version="v2")
    send_again(builder, "a", 5, 2, id="v2", version="v2")
    assert resent(builder, 0, 9) == [(0, 1, "fraud")]
