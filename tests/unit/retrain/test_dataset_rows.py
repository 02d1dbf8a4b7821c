"""Row counts in the log: what was written is read back, and text names what is left out of an approved backfill."""

from retrain.dataset_rows import approved_rows, approved_texts, lack_text, rows_from_detail, rows_to_detail
from schemas.events.dataset_rows import BackfillRows, DatasetRows
from schemas.events.retrain_request import APPROVED_MAX


def backfill(number: int, rows: int, **left_out: int) -> BackfillRows:
    """Return the counts of a backfill without holdout rows."""
    return BackfillRows(episode=f"bf-{number:032x}", rows=rows, holdout_rows=0, left_out=left_out)


def test_counts_are_read_back_from_the_detail_of_an_entry() -> None:
    """With the backfills in their order; a detail of an older version has none."""
    own = [backfill(1, 4, pending=3, purged_at_the_split=2), backfill(2, 0)]
    counts = DatasetRows(rows=9, holdout_rows=0, left_out={"pending": 3, "quarantined": 7}, backfills=own)
    detail = {"dataset": "file:///d", **rows_to_detail(counts, own)}
    assert rows_from_detail(detail) == (counts.left_out, own)
    assert (detail["rows"], detail["holdout_rows"]) == (9, 0)
    assert rows_from_detail({"dataset": "file:///d", "rows": 5}) == ({}, [])


def test_only_what_was_approved_is_named_with_the_most_left_out_first() -> None:
    """At most so many; of the others the manifest has the counts."""
    backfills = [backfill(number, 1, pending=number) for number in range(30)]
    counts = DatasetRows(rows=30, holdout_rows=5, backfills=backfills)
    approved = [one.episode for one in backfills[5:]]
    found = approved_rows(counts, approved)
    assert found == backfills[: -APPROVED_MAX - 1 : -1]
    texts = approved_texts(found)
    assert texts[0] == (
        f"of 30 predictions that backfill {backfills[29].episode} has labelled, 1 are training rows and 0 are holdout "
        "rows; left out: 29 pending"
    )
    assert (len(texts), texts[-1]) == (4, "7 more backfills are in the manifest")
    assert approved_rows(counts, ["bf-" + "f" * 32]) == []


def test_a_data_set_needs_training_rows_and_a_holdout_if_the_config_has_one() -> None:
    """Without a holdout in the config none is missed."""
    day_ms = 86_400_000
    assert lack_text(DatasetRows(rows=5, holdout_rows=1), day_ms) == ""
    assert lack_text(DatasetRows(rows=5, holdout_rows=0), 0) == ""
    assert lack_text(DatasetRows(rows=5, holdout_rows=0), day_ms) == "no holdout rows"
    assert lack_text(DatasetRows(rows=0, holdout_rows=3, left_out={"pending": 2}), 0).startswith(
        "no training rows; left"
    )
