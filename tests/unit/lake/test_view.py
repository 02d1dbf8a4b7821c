"""The views of `views.sql` in a plain DuckDB: rows, order, refresh, unusual folders, compaction."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import RECORDED_AT, LakeBuilder, hour, loop_config, ms

import truthloop
from lake.append import COMMITS_PER_CHECKPOINT, Claim
from lake.key_history import read_key_history
from lake.session import connect
from lake.store import Lake
from lake.view import quote_name, quote_text
from schemas.errors import LakeError

HOUR_MS = 3_600_000
OFFSET_MAX = (1 << 62) - 1


def ask(builder: LakeBuilder, query: str) -> list[dict[str, Any]]:
    """Query a DuckDB with nothing but `views.sql`, as an analyst does."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute((builder.lake.path / "views.sql").read_text("utf-8"))
        return connection.sql(query).to_arrow_table().to_pylist()


def one(builder: LakeBuilder, query: str = "FROM scored") -> dict[str, Any]:
    """Return the only row."""
    (row,) = ask(builder, query)
    return row


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake")


def test_the_views_of_an_empty_lake_are_empty(builder: LakeBuilder) -> None:
    """No table has a file yet, and every view can be queried."""
    for view in ("scored", "outcomes_arrived", "revisions", "rejects", "ledger", "unmatched"):
        assert ask(builder, f"FROM {view}") == []
    assert ask(builder, "FROM scored_at('2030-01-01')") == []


def test_the_views_are_listed_in_reading_order(builder: LakeBuilder) -> None:
    """`scored` is first, and each has a one-line comment."""
    query = "SELECT view_name, comment FROM duckdb_views() WHERE comment IS NOT NULL ORDER BY view_oid"
    rows = ask(builder, query)
    assert [row["view_name"] for row in rows] == [
        *("scored", "outcomes_arrived", "revisions", "counts", "coverage", "metrics", "rejects", "ledger"),
        *("unmatched", "evidence", "decisions", "deliveries", "backfills", "diffs", "closed_until"),
    ]
    assert all(row["comment"] for row in rows)


def test_scored_has_its_columns_in_order(tmp_path: Path) -> None:
    """The contract of the first view, with slices and features in their positions."""
    predictions = {
        "outputs": {"fraud": {"task": "binary"}},
        "slices": ["country"],
        "features": {"amount": {"type": "float"}},
    }
    builder = LakeBuilder(tmp_path, loop_config(predictions=predictions))
    builder.predict("a", 0, 0, slice_country="DE", feature_amount=2.5)
    row = one(builder)
    assert list(row) == [
        *("key", "id", "kind", "definition", "version", "predicted_at", "status", "reason"),
        *("value", "value_class", "output", "output_class", "known_at", "first_known_at"),
        *("age_ms", "label_age_ms", "value_age_ms", "is_mature", "eligible", "weight", "day", "revision"),
        *("slice_country", "feature_amount", "partition", "prediction_offset"),
    ]
    assert (row["slice_country"], row["feature_amount"]) == ("DE", 2.5)


def test_a_prediction_without_an_outcome_is_pending(builder: LakeBuilder) -> None:
    """A young prediction has a row."""
    row = one(builder.predict("a", 0, 3, output_fraud=0.25, weight=2.0))
    assert (row["status"], row["reason"], row["value"], row["known_at"]) == ("pending", None, None, None)
    assert (row["age_ms"], row["label_age_ms"], row["revision"]) == (None, None, None)
    assert (row["output"], row["weight"], row["is_mature"], row["prediction_offset"]) == (0.25, 2.0, False, 3)


def test_the_newest_revision_counts_also_if_its_value_is_null(builder: LakeBuilder) -> None:
    """A retraction has no value; that of the revision before must not show."""
    builder.predict("a", 0, 0)
    builder.outcome("a", "joined", 2, 5, value=1.0)
    builder.outcome("a", "retracted", 3, 9, reason="retraction", previous=1.0, previous_status="joined")
    row = one(builder)
    assert (row["status"], row["reason"], row["value"], row["revision"]) == (
        "retracted",
        "retraction",
        None,
        9,
    )
    assert (row["first_known_at"], row["label_age_ms"]) == (None, None)
    assert row["age_ms"] == 3 * HOUR_MS


def test_the_label_age_counts_from_the_first_label_since_the_last_retraction(builder: LakeBuilder) -> None:
    """A correction does not make a label younger, a retraction resets its age, and a timeout is not a label."""
    builder.predict("a", 0, 0)
    builder.outcome("a", "joined", 2, 5, value=1.0).outcome("a", "joined", 4, 6, value=0.0)
    row = one(builder)
    assert (row["first_known_at"], row["known_at"], row["value"]) == (hour(2), hour(4), 0.0)
    assert (row["label_age_ms"], row["age_ms"]) == (2 * HOUR_MS, 4 * HOUR_MS)
    builder.outcome("a", "retracted", 5, 7).outcome("a", "joined", 6, 8, value=1.0)
    builder.outcome("a", "joined", 7, 9, value=0.0)
    assert one(builder)["label_age_ms"] == 6 * HOUR_MS
    late = LakeBuilder(builder.lake.path.parent / "late").predict("a", 0, 0)
    late.outcome("a", "implied", 10, 5, reason="timeout", value=0.0)
    assert (one(late)["label_age_ms"], one(late)["value_age_ms"]) == (None, 10 * HOUR_MS)
    late.outcome("a", "joined", 12, 6, reason="late", value=1.0)
    assert (one(late)["label_age_ms"], one(late)["value_age_ms"]) == (12 * HOUR_MS, 10 * HOUR_MS)


def test_a_label_known_before_its_prediction_has_age_zero(builder: LakeBuilder) -> None:
    """Coverage counts it at age 0; its own age stays negative."""
    builder.predict("a", 0, 0).outcome("a", "joined", -2, 5, reason="early", value=1.0)
    row = one(builder)
    assert (row["label_age_ms"], row["age_ms"]) == (0, -2 * HOUR_MS)


def test_another_definition_is_in_revisions_and_not_in_scored(builder: LakeBuilder) -> None:
    """`scored` has the loop's own definition; `revisions` has all."""
    builder.predict("a", 0, 0)
    builder.outcome("a", "joined", 2, 5, value=1.0, definition="chargeback-2")
    assert one(builder)["status"] == "pending"
    assert one(builder, "FROM revisions")["definition"] == "chargeback-2"


def test_rejected_predictions_are_not_scored(builder: LakeBuilder) -> None:
    """Only a rejection of a prediction counts, and only at the same partition and offset."""
    builder.predict("a", 0, 0).predict("a", 0, 1).predict("b", 0, 2, id="b2").predict("c", 0, 1, partition=1)
    builder.reject("predictions", 1, "duplicate").reject("labels", 2, "stale")
    builder.reject("predictions", None, "bad_key", partition=None, stage="mapping")  # type: ignore[arg-type]
    rows = ask(builder, 'SELECT key, id, "partition" AS p FROM scored ORDER BY key')
    assert [(row["key"], row["id"], row["p"]) for row in rows] == [
        ("a", "a", 0),
        ("b", "b2", 0),
        ("c", "c", 1),
    ]


def test_every_kind_has_its_row_and_its_own_output(tmp_path: Path) -> None:
    """Numbers in `output`, classes in `output_class`."""
    kinds = {kind: {"definition": "x", "horizon": "1h", "retain": "2h"} for kind in ("Fraud", "cause", "loss")}
    outputs = {"Fraud": {"task": "binary"}, "cause": {"task": "multiclass"}, "loss": {"task": "regression"}}
    builder = LakeBuilder(tmp_path, loop_config(labels=kinds, predictions={"outputs": outputs}))
    builder.predict("a", 0, 0, output_Fraud=0.5, output_cause="theft", output_loss=10.0)
    builder.outcome("a", "joined", 1, 2, kind="cause", definition="x", value_class="fire")
    rows = ask(builder, "SELECT kind, output, output_class, value_class FROM scored ORDER BY kind")
    assert [tuple(row.values()) for row in rows] == [
        ("Fraud", 0.5, None, None),
        ("cause", None, "theft", "fire"),
        ("loss", 10.0, None, None),
    ]


@pytest.mark.parametrize(
    ("at", "offset", "is_mature"),
    [(0, 5, True), (0, 6, False), (-1, 9, True), (0.001, 0, False)],
)
def test_a_row_is_mature_up_to_the_cursor_and_not_beyond(
    builder: LakeBuilder, at: float, offset: int, *, is_mature: bool
) -> None:
    """Compared as (time, offset) with the newest ledger entry of the row's partition."""
    builder.predict("a", at, offset).outcome("a", "expired", 10, 1, prediction_offset=offset, predicted_at=hour(at))
    builder.entry(1, 20, cursors=json.dumps({"fraud": [ms(-9), 0]}))
    builder.entry(2, 20, cursors=json.dumps({"fraud": [ms(0), 5]}))
    builder.entry(3, 20, partition=1, cursors=json.dumps({"fraud": [ms(99), OFFSET_MAX]}))
    assert one(builder)["is_mature"] is is_mature


def test_a_pending_row_is_not_mature_even_behind_the_cursor(builder: LakeBuilder) -> None:
    """The ledger is written before the outcomes, which may still be missing."""
    builder.predict("a", 0, 0).entry(1, 20, cursors=json.dumps({"fraud": [ms(9), 0]}))
    assert one(builder)["is_mature"] is False


@pytest.mark.parametrize("cursors", ["{}", '{"fraud": null}', '{"click": [1, 2]}'])
def test_nothing_is_mature_without_a_cursor(builder: LakeBuilder, cursors: str) -> None:
    """Silence is never success."""
    builder.predict("a", -10_000, 0).outcome("a", "expired", 0, 1).entry(1, 20, cursors=cursors)
    assert one(builder)["is_mature"] is False


def test_the_day_is_that_of_the_loops_time_zone(tmp_path: Path) -> None:
    """Seven in the evening of the day before, in New York."""
    builder = LakeBuilder(tmp_path, loop_config(timezone="America/New_York")).predict("a", 16, 0)
    assert one(builder)["predicted_at"] == hour(16)
    assert one(builder)["day"] == date(2026, 3, 1)


def test_only_rows_with_a_label_have_arrived(builder: LakeBuilder) -> None:
    """Implied and retracted outcomes have no label."""
    for offset, status in enumerate(["joined", "implied", "expired", "retracted"]):
        builder.predict(status, 0, offset).outcome(status, status, 2, offset, prediction_offset=offset)
    builder.predict("pending", 0, 9)
    assert [row["key"] for row in ask(builder, "FROM outcomes_arrived")] == ["joined"]


def test_revisions_are_in_order(builder: LakeBuilder) -> None:
    """By key, then by revision."""
    builder.outcome("b", "joined", 1, 9).outcome("a", "joined", 2, 8).outcome("a", "joined", 1, 3)
    rows = ask(builder, "SELECT key, revision FROM revisions")
    assert [tuple(row.values()) for row in rows] == [("a", 3), ("a", 8), ("b", 9)]


def test_revisions_of_equal_number_have_an_order_in_a_keys_history(builder: LakeBuilder) -> None:
    """A label that joins two predictions of its key makes one revision of each."""
    builder.predict("a", 0, 0, id="a2").predict("a", 0, 1, id="a1").label("a", 1, 0, value=1.0)
    builder.outcome("a", "joined", 1, 5, id="a2").outcome("a", "joined", 1, 5, id="a1", prediction_offset=1)
    with connect(builder.lake.path) as connection:
        history = read_key_history(connection, "a")
    assert history is not None
    assert [row["id"] for row in history.revisions] == ["a1", "a2"]


def test_unmatched_labels_are_those_of_record_that_wait_longer_than_usual(builder: LakeBuilder) -> None:
    """Not young, joined, rejected or superseded ones; measured by the predictions' watermark."""
    builder.predict("joined", 0, 0).predict("refused", 0, 1).reject("predictions", 1, "too_old")
    builder.label("joined", 1, 0).label("refused", 1, 1)
    builder.label("old", 1, 2, value=0.0).label("old", 2, 3, value=1.0)
    builder.label("young", 9, 4).label("gone", 1, 5).reject("labels", 5, "unknown_prediction")
    builder.label(None, 1, 6, op="heartbeat")
    builder.entry(1, 99, marks=json.dumps({"predictions": ms(5), "fraud": None}))
    builder.entry(2, 99, marks=json.dumps({"predictions": ms(10), "fraud": None}))
    rows = ask(builder, "SELECT key, value, waiting_ms FROM unmatched ORDER BY key")
    assert [tuple(row.values()) for row in rows] == [
        ("old", 1.0, 8 * HOUR_MS),
        ("refused", None, 9 * HOUR_MS),
    ]


def test_the_views_are_a_snapshot_until_they_are_loaded_again(builder: LakeBuilder) -> None:
    """All queries of a session see the same rows."""
    text = (builder.lake.path / "views.sql").read_text("utf-8")
    with duckdb.connect() as connection:
        connection.execute(text)
        builder.predict("a", 0, 0)
        assert connection.sql("FROM scored").to_arrow_table().num_rows == 0
        connection.execute(text)
        assert connection.sql("FROM scored").to_arrow_table().num_rows == 1


def test_rows_are_read_from_a_delta_checkpoint_and_the_commits_after_it(builder: LakeBuilder) -> None:
    """Also if older log entries are gone, and if there are no later commits."""
    for offset in range(COMMITS_PER_CHECKPOINT):
        builder.predict(f"k{offset}", 0, offset)
    log = builder.lake.path / "predictions" / "_delta_log"
    for file in sorted(log.glob("*.json"))[:-1]:
        file.unlink()
    count = "SELECT count(DISTINCT key) AS k, count(*) AS n FROM scored"
    assert one(builder, count) == {"k": COMMITS_PER_CHECKPOINT, "n": COMMITS_PER_CHECKPOINT}
    builder.predict("later", 0, COMMITS_PER_CHECKPOINT)
    assert one(builder, count) == {"k": COMMITS_PER_CHECKPOINT + 1, "n": COMMITS_PER_CHECKPOINT + 1}


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("vacuumed", [False, True])
def test_compaction_doubles_no_row(builder: LakeBuilder, *, checkpointed: bool, vacuumed: bool) -> None:
    """The folder holds old and new files; the log lists the current ones."""
    for offset in range(5):
        builder.predict(f"k{offset}", 0, offset).outcome(f"k{offset}", "joined", 1, 1, prediction_offset=offset)
    for table in ("predictions", "outcomes"):
        handle = DeltaTable(str(builder.lake.path / table))
        handle.optimize.compact()
        if checkpointed:
            handle.create_checkpoint()
        if vacuumed:
            handle.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert Lake.open(builder.lake.path).scan("predictions").collect().height == 5
    builder.predict("later", 0, 5)
    assert one(builder, "SELECT count(*) AS n, count(known_at) AS known FROM scored") == {"n": 6, "known": 5}


def test_paths_are_read_from_the_log_as_urls(builder: LakeBuilder) -> None:
    """Delta percent-encodes them; another writer's file may have a space in its name."""
    builder.predict("a", 0, 0)
    (file,) = (builder.lake.path / "predictions").glob("recorded_on=*/*.parquet")
    log = builder.lake.path / "predictions" / "_delta_log" / f"{1:020d}.json"
    log.write_text(log.read_text("utf-8").replace(file.name, "another%20name.parquet"), "utf-8")
    file.rename(file.with_name("another name.parquet"))
    assert one(builder)["key"] == "a"
    assert Lake.open(builder.lake.path).scan("predictions").collect()["key"].to_list() == ["a"]


def test_a_replaced_table_shows_only_its_new_rows(builder: LakeBuilder) -> None:
    """An overwrite removes files from the log, not from the folder."""
    builder.reject("labels", 0, "stale").reject("labels", 1, "stale")
    frame = builder.lake.scan("rejects").drop("recorded_on", "recorded_at").collect().head(1)
    builder.lake.replace("rejects", frame, [Claim("builder", 2, 3)], recorded_at=RECORDED_AT)
    assert one(builder, "SELECT count(*) AS n FROM rejects") == {"n": 1}


def test_rows_from_before_a_column_was_added_have_null_in_it(tmp_path: Path) -> None:
    """Files of different ages are read together."""
    LakeBuilder(tmp_path).predict("a", 0, 0)
    outputs = {"fraud": {"task": "binary"}}
    grown = LakeBuilder(tmp_path, loop_config(predictions={"outputs": outputs, "slices": ["country"]}))
    grown._written["predictions"] = 1
    grown.predict("b", 1, 1, slice_country="DE")
    rows = ask(grown, "SELECT key, slice_country FROM scored ORDER BY key")
    assert [tuple(row.values()) for row in rows] == [("a", None), ("b", "DE")]


@pytest.mark.parametrize(
    "name",
    ["a lake", "o'brien", 'say "hi"', "süß-湖", "#1", "100% ours", "a*b?", "a;b--c", "$path", "{x}", "~"],
)
def test_the_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """It is written, read by Polars, and read by DuckDB from the path at the top of the file."""
    for neighbour in ("aXbY", "azbz") if "*" in name else ():  # what the pattern would also find
        LakeBuilder(tmp_path / neighbour).predict("wrong", 0, 0)
    builder = LakeBuilder(tmp_path / name).predict("a", 0, 0).outcome("a", "joined", 1, 1)
    assert builder.lake.scan("predictions").collect()["key"].to_list() == ["a"]
    assert (one(builder)["key"], one(builder)["status"]) == ("a", "joined")
    assert connect(builder.lake.path).sql("FROM scored").to_arrow_table().num_rows == 1
    text = (builder.lake.path / "views.sql").read_text("utf-8")
    assert text.count(str(builder.lake.path).replace("'", "''")) == 1


@pytest.mark.parametrize("name", ["a%41", "a[b]", "back\\slash", "new\nline"])
def test_a_folder_name_that_the_delta_library_reads_as_another_is_refused(tmp_path: Path, name: str) -> None:
    """Before anything is written there, or somewhere else."""
    with pytest.raises(LakeError, match="in its path"):
        LakeBuilder(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_lake_that_has_moved_is_found_by_connect_and_by_its_first_line(builder: LakeBuilder) -> None:
    """The path is in one line of the file; `connect` sets the actual one."""
    builder.predict("a", 0, 0)
    moved = builder.lake.path.parent / "it's moved"
    shutil.move(builder.lake.path, moved)
    assert connect(moved).sql("FROM scored").to_arrow_table().num_rows == 1
    text = (moved / "views.sql").read_text("utf-8")
    text = text.replace(f"'{builder.lake.path}'", quote_text(str(moved)))
    with duckdb.connect() as connection:
        connection.execute(text)
        assert connection.sql("FROM scored").to_arrow_table().num_rows == 1


def test_a_definition_with_quotes_stays_a_definition(tmp_path: Path) -> None:
    """Text from the config never becomes SQL."""
    definition = "it's '); DROP VIEW scored; -- $path"
    labels = {"fraud": {"definition": definition, "horizon": "10h", "retain": "20h"}}
    builder = LakeBuilder(tmp_path, loop_config(labels=labels)).predict("a", 0, 0)
    builder.outcome("a", "joined", 1, 1, definition=definition)
    assert (one(builder)["definition"], one(builder)["status"]) == (definition, "joined")


def test_names_and_text_are_quoted() -> None:
    """These two functions put all names and values into SQL."""
    assert quote_name('a"b') == '"a""b"'
    assert quote_text("a'b") == "'a''b'"
    with pytest.raises(ValueError, match="NUL"):
        quote_text("a\x00b")


def test_a_notebook_opens_the_lake_and_polars_reads_the_first_view(builder: LakeBuilder) -> None:
    """Every column of `scored` has a type that Polars knows; the session's time zone is UTC."""
    builder.predict("a", 0, 0).outcome("a", "joined", 2, 1, value=1.0)
    with truthloop.open(str(builder.lake.path)) as connection:
        frame = connection.sql("FROM scored").pl()
        (zone,) = connection.sql("SELECT current_setting('TimeZone') AS zone").to_arrow_table().to_pylist()
    assert frame["known_at"].to_list() == [hour(2)]
    assert frame.schema["label_age_ms"] == pl.Int64
    assert zone == {"zone": "UTC"}


def test_connecting_to_a_missing_lake_is_a_lake_error(tmp_path: Path) -> None:
    """With the same message as everywhere."""
    with pytest.raises(LakeError, match="no lake here"):
        connect(tmp_path)


def test_missing_views_or_files_are_a_lake_error(builder: LakeBuilder) -> None:
    """No exception of DuckDB reaches the command line."""
    shutil.rmtree(builder.lake.path / "views")
    with pytest.raises(LakeError, match="views cannot be loaded"):
        connect(builder.lake.path)
    (builder.lake.path / "views.sql").unlink()
    with pytest.raises(LakeError, match=r"no readable views\.sql"):
        connect(builder.lake.path)
