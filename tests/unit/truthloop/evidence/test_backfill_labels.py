"""Backfill labels are read once each, and are the same however far the log was read in between."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import product
from pathlib import Path
from random import Random

import polars as pl
import pytest
from lake_builder import MORNING, LakeBuilder, hour
from opened_files import opened_files

from lake import Lake
from truthloop.evidence.backfill_labels import BackfillLabelReader

KIND, OWN = "fraud", "chargeback-1"
DAYS = [MORNING.date()]
"""On which all labels of these tests became known."""
SCHEMA = {
    "known_at": pl.Datetime("us", "UTC"),
    "definition": pl.String(),
    "is_declared": pl.Boolean(),
    "batch_id": pl.String(),
    "partition": pl.Int32(),
    "offset": pl.Int64(),
}
Row = Mapping[str, object]
OTHER: Row = {"definition": "chargeback-2"}
DECLARED: Row = {"origin": "backfill", "batch_id": "b1"}


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake")


def reader_of(builder: LakeBuilder) -> BackfillLabelReader:
    """Return the reader as a new process starts it."""
    return BackfillLabelReader(Lake.open(builder.lake.path), KIND, OWN, "UTC")


def step(builder: LakeBuilder, rows: Sequence[Row], number: int, first: int = 0, partition: int = 0) -> int:
    """Append a step of labels, with its entry in the ledger, and return where the next one begins."""
    for offset, row in enumerate(rows, first):
        builder.label("k", 1 + offset / 100, offset, partition=partition, **row)
    following = first + len(rows)
    builder.entry(number, 9, partition=partition, labels_first=first, labels_next=following)
    return following


def positions(found: pl.DataFrame) -> list[tuple[int, int]]:
    """Return partition and offset of the labels that were read, sorted."""
    return sorted(found.select("partition", "offset").rows())


def test_nothing_is_read_of_an_empty_lake(builder: LakeBuilder) -> None:
    """The frame has the columns that episodes are opened from."""
    for steps in ({}, {0: 0}, {0: 0, 1: 0}):
        found = reader_of(builder).read(steps, DAYS)
        assert (found.height, dict(found.schema)) == (0, SCHEMA)


def test_labels_of_another_definition_and_declared_ones_are_read(builder: LakeBuilder) -> None:
    """With all the columns that episodes need; a live label of the config's definition is not read."""
    step(builder, [{}, OTHER, DECLARED, {**OTHER, **DECLARED}, {}], 0)
    found = reader_of(builder).read({0: 1}, DAYS).sort("offset")
    assert dict(found.schema) == SCHEMA
    assert found.rows() == [
        (hour(1.01), "chargeback-2", False, None, 0, 1),
        (hour(1.02), OWN, True, "b1", 0, 2),
        (hour(1.03), "chargeback-2", True, "b1", 0, 3),
    ]


def test_labels_of_another_kind_and_heartbeats_are_left_out(builder: LakeBuilder) -> None:
    """Whatever definition they name."""
    step(builder, [{**OTHER, "kind": "chargeback"}, {**OTHER, "op": "heartbeat"}, {**OTHER, "op": "retract"}], 0)
    assert positions(reader_of(builder).read({0: 1}, DAYS)) == [(0, 2)]


@pytest.mark.parametrize(
    ("reason", "other", "is_read"),
    [
        ("future", {}, False),
        ("duplicate", {}, False),
        ("stale", {}, False),
        ("unknown_prediction", {}, True),
        ("waiting_limit", {}, True),
        ("duplicate", {"stage": "ingest"}, True),
        ("duplicate", {"partition": 1}, True),
        ("duplicate", {"input": "predictions"}, True),
    ],
)
def test_a_label_that_was_refused_when_it_was_read_is_left_out(
    builder: LakeBuilder, reason: str, other: dict[str, object], *, is_read: bool
) -> None:
    """A label that is rejected later is kept: otherwise the result would depend on the time of the scan."""
    step(builder, [OTHER, OTHER], 0)
    builder.reject(str(other.pop("input", "labels")), 1, reason, **other)
    assert positions(reader_of(builder).read({0: 1}, DAYS)) == [(0, 0), *([(0, 1)] if is_read else [])]


def test_only_the_given_steps_are_read(builder: LakeBuilder) -> None:
    """The lake may have more, of this partition and of others."""
    following = step(builder, [OTHER, OTHER], 0)
    following = step(builder, [], 1, following)
    following = step(builder, [OTHER], 2, following)
    step(builder, [OTHER], 0, partition=1)
    builder.label("k", 5, following, **OTHER)  # of a step that is not in the ledger yet
    for steps, expected in (
        ({0: 1}, [(0, 0), (0, 1)]),
        ({0: 2, 1: 0}, [(0, 0), (0, 1)]),
        ({0: 3}, [(0, 0), (0, 1), (0, 2)]),
        ({1: 1}, [(1, 0)]),
        ({0: 1, 1: 1}, [(0, 0), (0, 1), (1, 0)]),
        ({0: 3, 1: 1}, [(0, 0), (0, 1), (0, 2), (1, 0)]),
    ):
        assert positions(reader_of(builder).read(steps, DAYS)) == expected, steps


def test_labels_of_other_days_are_not_looked_for(builder: LakeBuilder) -> None:
    """Each run of days is a scan of its own, in the days of the zone, to the last microsecond."""
    at = [hour(0), hour(15.9999999), hour(16), hour(40), hour(64), hour(100), hour(124)]
    step(builder, [{**OTHER, "known_at": one} for one in at], 0)
    reader = BackfillLabelReader(Lake.open(builder.lake.path), KIND, OWN, "UTC")
    days = [date(2026, 3, day) for day in (1, 3, 4, 6)]
    assert positions(reader.read({0: 1}, days)) == [(0, 0), (0, 1), (0, 3), (0, 4), (0, 6)]
    with opened_files() as opened:
        found = BackfillLabelReader(Lake.open(builder.lake.path), KIND, OWN, "Asia/Tokyo").read({0: 1}, days[:1])
    assert positions(found) == [(0, 0)]
    assert opened["labels"] == 1


def test_each_label_is_read_once_across_calls(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result grows by the new labels, and the table is not scanned again if there are none."""
    reader = reader_of(builder)
    following = step(builder, [OTHER, {}], 0)
    assert positions(reader.read({0: 1}, DAYS)) == [(0, 0)]
    scanned: list[str] = []
    monkeypatch.setattr(Lake, "scan", _recording(Lake.scan, scanned))
    for _ in range(2):
        assert positions(reader.read({0: 1}, DAYS)) == [(0, 0)]
    assert "labels" not in scanned
    step(builder, [OTHER], 1, following)
    step(builder, [OTHER], 0, partition=1)
    assert positions(reader.read({0: 2}, DAYS)) == [(0, 0), (0, 2)]
    assert positions(reader.read({0: 2, 1: 1}, DAYS)) == [(0, 0), (0, 2), (1, 0)]
    assert scanned.count("labels") == 2


def _recording(real: Callable[..., pl.LazyFrame], scanned: list[str]) -> Callable[..., pl.LazyFrame]:
    def recorded(lake: Lake, table: str, *args: object, **kwargs: object) -> pl.LazyFrame:
        scanned.append(table)
        return real(lake, table, *args, **kwargs)

    return recorded


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_steps_in_between_the_same_labels_are_known(builder: LakeBuilder, seed: int) -> None:
    """Read at once, step by step, or one partition ahead of the other."""
    rng = Random(seed)
    following = {0: 0, 1: 0}
    for number, partition in product(range(4), (0, 1)):
        rows = [rng.choice([{}, OTHER, DECLARED, {"op": "heartbeat", **OTHER}]) for _ in range(rng.randrange(4))]
        first = following[partition]
        following[partition] = step(builder, rows, number, first, partition)
        if rows:
            reason = rng.choice(["duplicate", "unknown_prediction"])
            builder.reject("labels", rng.randrange(first, following[partition]), reason, partition=partition)
    whole = reader_of(builder).read({0: 4, 1: 4}, DAYS).sort("partition", "offset")
    assert not whole.is_empty()
    for _ in range(3):
        reader, steps = reader_of(builder), {0: 0, 1: 0}
        while steps != {0: 4, 1: 4}:
            steps = {number: min(4, count + rng.randrange(3)) for number, count in steps.items()}
            found = reader.read(steps, DAYS)
        assert found.sort("partition", "offset").equals(whole)
