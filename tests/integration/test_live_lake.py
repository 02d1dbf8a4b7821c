"""A live lake and a replayed one with the same records give the same answers; whatever state it is caught in."""

from pathlib import Path

import polars as pl
import pytest
from effort import some
from live_lake import (
    RECORDED_AT,
    VIEWS,
    LiveLake,
    assert_same,
    assert_same_rows,
    recounted_evidence,
    settings_of,
    view_rows,
)
from polars.testing import assert_frame_equal
from replay_case import CLOSE_MS, CONFIG, START_MS, Files, run, write_files

from joins import Checkpoint
from lake import Claim, Lake, connect
from lake.key_history import read_key_history
from schemas.errors import LakeError
from streams.ledger.lake_kind import is_live, is_replayed, refuse_live, refuse_replayed
from streams.ledger.row import LedgerRow, ledger_frame
from streams.ledger.table import newest_rows
from streams.replay import sorted_input
from truthloop.evidence.cells import read_evidence
from truthloop.evidence.conservation import check_conservation

HOUR_MS = 3_600_000
POSITIONS = ["partition", "prediction_offset", "label_offset", "revision"]
DEFINITIONS = {kind: label.definition for kind, label in CONFIG.labels.items()}


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many steps of few records."""
    monkeypatch.setattr(sorted_input, "ROWS_PER_SLICE", 12)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Predictions and labels."""
    return write_files(tmp_path, count=80)


@pytest.fixture
def live(tmp_path: Path, files: Files) -> LiveLake:
    """Return an empty live lake, to be filled with what a replayed one holds; that one is closed in the end."""
    run(tmp_path / "replayed", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    return LiveLake(tmp_path / "replayed", tmp_path / "live", CONFIG)


def answer(lake: Path, query: str) -> pl.DataFrame:
    """Ask the views, without what tells one numbering from another."""
    with connect(lake) as views:
        rows = views.sql(query).pl()
    return rows.drop(POSITIONS, strict=False)


@pytest.mark.parametrize("seed", some(0, 1, 2))
def test_the_same_records_give_the_same_answers(tmp_path: Path, seed: int) -> None:
    """Views, reads as of a time, cells, reach and both identities do not depend on how positions are numbered."""
    files = write_files(tmp_path, seed=seed, count=48)
    replayed = tmp_path / "replayed"
    run(replayed, files.prediction_files, files.label_files, close_at_ms=START_MS + 40 * HOUR_MS)
    live = LiveLake(replayed, tmp_path / "live", CONFIG).finish().lake
    queries = ["FROM scored", "FROM outcomes_arrived", "FROM coverage", "FROM metrics", "FROM unmatched"]
    queries += [f"FROM scored_at(make_timestamptz({1000 * (START_MS + hours * HOUR_MS)}))" for hours in (5, 30)]
    for query in queries:
        expected = answer(replayed, query)
        assert expected.height or query == "FROM unmatched"
        assert_frame_equal(answer(live.path, query), expected, check_row_order=False, rel_tol=1e-12)
    mine, theirs = read_evidence(settings_of(live.path)), read_evidence(settings_of(replayed))
    assert mine.cells.whole().height > 100
    assert None not in mine.reach.matured_until_ms.values()
    assert_same(mine, theirs)
    counted = mine.cells.whole().filter(pl.col("measure").is_in(["predictions", "ineligible"]), pl.col("slice") == "")
    places = check_conservation(live, DEFINITIONS).predictions["click"]
    assert places["duplicate"] > 0
    accepted = places["consumed"] - places["duplicate"] - places["conflict"] - places["rejected"]
    assert counted.filter(pl.col("kind") == "click")["amount"].sum() == accepted
    assert check_conservation(live, DEFINITIONS) == check_conservation(Lake.open(replayed), DEFINITIONS)
    assert check_conservation(live, DEFINITIONS).holds


def test_a_key_is_explained_alike(live: LiveLake, tmp_path: Path) -> None:
    """Predictions, labels and their fates, revisions and deadlines of every key."""

    def without_positions(value: object) -> object:
        if isinstance(value, dict):
            skipped = {*POSITIONS, "offset", "sequence", "recorded_at", "recorded_on", "source_row"}
            return {name: without_positions(inner) for name, inner in value.items() if name not in skipped}
        if isinstance(value, list | tuple):
            return [without_positions(inner) for inner in value]
        return without_positions(vars(value)) if hasattr(value, "__dict__") else value

    live.finish()
    keys = live.lake.scan("predictions").select("key").unique().sort("key").collect()["key"].to_list()
    with connect(live.lake.path) as mine, connect(tmp_path / "replayed") as theirs:
        for key in keys[::5]:
            told = [without_positions(read_key_history(views, key)) for views in (mine, theirs)]
            assert told[0] == told[1]


def test_what_is_behind_the_ledger_does_not_count_yet(live: LiveLake) -> None:
    """A writer that died before the ledger has promised nothing; what it left is counted once it is finished."""
    settings = settings_of(live.lake.path)
    live.advance({0: 6, 1: 4, 2: 5})
    before = read_evidence(settings)
    shown = view_rows(live.lake.path, VIEWS)
    for tables in range(1, 5):
        live.advance({0: 1, 1: 2}, tables=tables)
        assert_same(read_evidence(settings), before)
        assert_same(recounted_evidence(live.lake.path), before)
        assert check_conservation(live.lake, DEFINITIONS).violations == []
        assert_same_rows(view_rows(live.lake.path, VIEWS), shown)
    live.advance({0: 0, 1: 0})
    after = read_evidence(settings)
    now = view_rows(live.lake.path, VIEWS)
    assert all(now[view].height > shown[view].height for view in ("scored", "revisions", "ledger"))
    assert not after.cells.whole().equals(before.cells.whole())
    assert_same(after, recounted_evidence(live.lake.path))
    assert check_conservation(live.lake, DEFINITIONS).holds


def test_time_is_certain_where_every_partition_with_predictions_says_so(live: LiveLake) -> None:
    """Partitions stand at different steps; one that never had a row, or no prediction, holds nothing back."""
    settings = settings_of(live.lake.path)
    live.advance({0: live.left(0)})
    alone = read_evidence(settings).reach
    assert None not in alone.observed_until_ms.values()
    assert answer(live.lake.path, "SELECT count(*) FROM coverage WHERE due").item() > 0
    silent = LedgerRow(2, 0, START_MS, (0, 0), (0, 0), Checkpoint.start(list(DEFINITIONS)), "{}")
    live.lake.append("ledger", ledger_frame([silent]), [Claim("ledger:2", 0, 1)], recorded_at=RECORDED_AT)
    assert read_evidence(settings).reach == alone
    assert answer(live.lake.path, "SELECT count(*) FROM coverage WHERE due").item() > 0
    live.advance({1: 1})
    assert live.checkpoint(1).counters.predictions.consumed > 0
    observed = read_evidence(settings).reach.observed_until_ms
    assert observed["click"] is None
    assert observed["sale"] < alone.observed_until_ms["sale"]
    assert answer(live.lake.path, "SELECT count(*) FROM coverage WHERE due AND kind = 'click'").item() == 0
    live.advance({1: live.left(1)})
    least = min(
        live.checkpoint(number).watermarks[name].reached_ms for number in (0, 1) for name in ("predictions", "click")
    )
    assert read_evidence(settings).reach.observed_until_ms["click"] == least


def test_the_newest_row_of_each_partition_is_found(live: LiveLake) -> None:
    """With its point, ranges and rules."""
    assert newest_rows(live.lake) == {}
    live.advance({0: 3, 2: 1})
    live.advance({0: 1})
    found = newest_rows(live.lake)
    assert {number: row.sequence for number, row in found.items()} == {0: 3, 2: 0}
    assert found[0].checkpoint == live.checkpoint(0)
    assert found[0].predictions[1] == live.checkpoint(0).predictions_next
    assert (found[0].commands, found[0].run) == ((0, 0), None)
    assert found[0].idle == '{"inputs":[],"elapsed_ms":0}'


def test_a_live_lake_and_a_replayed_one_are_told_apart(live: LiveLake, tmp_path: Path, files: Files) -> None:
    """From the first row on, and neither is filled in the other's way."""
    replayed, empty = Lake.open(tmp_path / "replayed"), Lake.create(tmp_path / "empty", CONFIG)
    assert [is_replayed(lake) for lake in (replayed, live.lake, empty)] == [True, False, False]
    assert [is_live(lake) for lake in (replayed, live.lake, empty)] == [False, False, False]
    refuse_live(empty)
    refuse_replayed(empty)
    live.advance({0: 1}, tables=3)
    assert (is_live(live.lake), is_replayed(live.lake)) == (True, False)
    with pytest.raises(LakeError, match=r"live join fills this lake(.|\n)*lake\.uri"):
        run(live.lake.path, files.prediction_files, files.label_files)
    live.advance({0: 0})
    with pytest.raises(LakeError, match="live join fills"):
        run(live.lake.path, [], [], close_at_ms=CLOSE_MS)
    refuse_replayed(live.lake)
    with pytest.raises(LakeError, match=r"replays of files fill this lake(.|\n)*lake\.uri"):
        refuse_replayed(replayed)
