"""What came again: which labels and predictions are counted, each once, and in which files they are looked for."""

from pathlib import Path

import polars as pl
import pytest
from again_case import labelled_lake, send_again, tell_again
from lake_builder import LakeBuilder, hour, ms
from opened_files import opened_files

from lake import Lake
from monitor.cells.count_again import AGAIN, RESTATED, SENT_AGAIN, TOLD_AGAIN
from monitor.cells.plan import CellPlan
from truthloop.evidence.spans import Span, read_new_rows

EVERY = (0, 1_000)


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return a lake with one prediction and its label of hour 2, at offset 0."""
    return labelled_lake(tmp_path / "lake")


def again(
    builder: LakeBuilder, steps: tuple[int, int] = EVERY, labels: tuple[int, int] = EVERY
) -> list[tuple[str, str | None, int]]:
    """Return what came again in some steps, and in labels of some offsets: measure, kind and ms, sorted."""
    lake = Lake.open(builder.lake.path)
    spans = [Span(number, steps, EVERY, labels) for number in (0, 1)]
    found = read_new_rows(lake, spans, CellPlan.from_config(builder.config), []).again
    assert found.schema == AGAIN
    rows = found.select("measure", "kind", pl.col("predicted_at").dt.epoch("ms")).rows()
    return sorted(rows, key=lambda row: (row[0], row[2]))


def test_a_first_label_and_a_changed_value_are_not_told_again(builder: LakeBuilder) -> None:
    """Nor a duplicate, a declared label, or one of another definition or kind."""
    tell_again(builder, 7, 30, 1, later=True, value=0.0)
    tell_again(builder, 7, 30, 2, later=True, origin="backfill")
    tell_again(builder, 7, 30, 3, later=True, definition="chargeback-2")
    tell_again(builder, 1, 30, 4, later=False, origin="backfill")
    tell_again(builder, 1, 30, 5, later=False, definition="chargeback-2")
    builder.label("a", 2, 6, known_at=hour(30)).reject("labels", 6, "duplicate", kind="fraud", sequence=0)
    builder.label("a", 2, 7, kind="other").reject("labels", 7, "stale", kind="other", sequence=0)
    assert [row for row in again(builder) if row[0] != RESTATED] == []


def test_declared_labels_and_those_of_another_definition_restate_the_past(builder: LakeBuilder) -> None:
    """Whatever the join made of them, and of its own kind only; heartbeats do not."""
    builder.label("a", 3, 1, known_at=hour(30), origin="backfill").reject(
        "labels", 1, "stale", kind="fraud", sequence=0
    )
    builder.label("b", 3, 2, known_at=hour(31), definition="chargeback-2")
    builder.label("a", 3, 3, known_at=hour(32), kind="other", origin="backfill")
    builder.label("a", 3, 4, known_at=hour(33), op="heartbeat", origin="backfill")
    assert again(builder) == [(RESTATED, "fraud", ms(30)), (RESTATED, "fraud", ms(31))]
    assert again(builder, labels=(2, 9)) == [(RESTATED, "fraud", ms(31))]


def test_later_and_stale_labels_are_told_again_when_they_became_known(builder: LakeBuilder) -> None:
    """Each once, though it revises two predictions; a stale one whatever its value."""
    tell_again(builder, 7, 30, 1, later=True)
    revision = {"reason": "correction", "label_offset": 1, "value": 1.0, "previous": 1.0, "prediction_offset": 1}
    builder.outcome("a", "joined", 30, 12, previous_status="joined", **revision)
    tell_again(builder, 1, 31, 2, later=False)
    tell_again(builder, 1.5, 32, 3, later=False, value=0.0)
    assert again(builder) == [(TOLD_AGAIN, "fraud", ms(at)) for at in (30, 31, 32)]


def test_conflicts_belong_to_when_they_arrived_and_in_a_file_to_when_they_were_made(builder: LakeBuilder) -> None:
    """They are of all kinds; the same offset of another partition is another prediction."""
    builder.predict("b", 0, 1, partition=1)
    send_again(builder, "a", 30.5, 10)
    send_again(builder, "a", None, 11)
    send_again(builder, "b", 5, 11, partition=1)
    assert again(builder) == [(SENT_AGAIN, None, ms(at)) for at in (0, 5, 30.5)]


def test_the_same_content_again_is_no_conflict(builder: LakeBuilder) -> None:
    """Nor is a record rejected for another reason, by another stage, or a label with the same offset."""
    for offset, (input_, reason, stage) in enumerate(
        [
            ("predictions", "duplicate", "join"),
            ("predictions", "future", "join"),
            ("predictions", "conflict", "ingest"),
            ("labels", "conflict", "join"),
            ("predictions", "stale", "join"),
        ],
        1,
    ):
        builder.predict("a", 0, offset, arrived_at=hour(5)).reject(input_, offset, reason, stage=stage, sequence=0)
    assert again(builder) == []


def test_what_came_again_is_read_of_the_steps_that_told_it_and_in_few_files(builder: LakeBuilder) -> None:
    """Step by step as at once."""
    for step in range(3):
        tell_again(builder, 1 + step / 10, 30 + step, 1 + step, later=False, sequence=step)
        send_again(builder, "a", 30 + step, 20 + step, sequence=step)
    found = [again(builder, (step, step + 1)) for step in range(3)]
    assert found == [[(TOLD_AGAIN, "fraud", ms(30 + step)), (SENT_AGAIN, None, ms(30 + step))] for step in range(3)]
    assert sorted(again(builder), key=lambda row: row[2]) == [row for rows in found for row in rows]
    with opened_files() as opened:
        again(builder, (2, 3), (3, 4))
    assert opened["labels"] == 1
