"""What loading `views.sql` and asking for a key or a time opens and reads: files are left out by Delta's statistics."""

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import LABEL, LEDGER, OUTCOME, PREDICTION, RECORDED_AT, LakeBuilder, hour, ms

from lake.append import Claim
from lake.heads import HEADS
from lake.session import connect

DAYS = 8
KEYS = 50_000


def data_files(lake: Path, table: str) -> list[Path]:
    """Return the files of a table's current version, the oldest first."""
    actions = pl.DataFrame(DeltaTable(str(lake / table)).get_add_actions(flatten=True))
    return [lake / table / path for path in actions.sort("modification_time", "path")["path"]]


def empty(files: Iterable[Path]) -> None:
    """Empty files that the log names: whoever opens one fails."""
    for file in files:
        file.write_bytes(b"")


@pytest.fixture
def builder(tmp_path: Path) -> LakeBuilder:
    """Return an empty lake."""
    return LakeBuilder(tmp_path / "lake")


def append_steps(builder: LakeBuilder, app: str = "builder") -> None:
    """Append steps of both partitions, each recorded an hour after the one before; partition 1 has only the first."""
    for step in range(4):
        rows = [{**LEDGER, "partition": 0, "sequence": step, "now": hour(step), "cursors": cursor(step)}]
        if step == 0:
            rows.append({**rows[0], "partition": 1})
        at = RECORDED_AT + timedelta(hours=step)
        builder.lake.append("ledger", builder.frame("ledger", rows), [Claim(app, step, step + 1)], recorded_at=at)


def cursor(step: int) -> str:
    """Return the cursors after a step."""
    return json.dumps({"fraud": [ms(step), 5]})


STAND = 'SELECT "partition", cursors FROM truthloop_stand ORDER BY ALL'


def stand(builder: LakeBuilder) -> list[tuple[int, dict[str, list[int]]]]:
    """Return what the views take for the newest cursors."""
    with connect(builder.lake.path) as connection:
        return connection.execute(STAND).fetchall()


def test_the_newest_steps_are_read_from_the_files_that_hold_a_head(builder: LakeBuilder) -> None:
    """However long the ledger is, and however long a partition has been idle."""
    append_steps(builder)
    _, *between, _ = data_files(builder.lake.path, "ledger")
    assert len(between) == 2
    empty(between)
    assert stand(builder) == [(0, {"fraud": [ms(3), 5]}), (1, {"fraud": [ms(0), 5]})]


def test_without_heads_the_whole_ledger_is_read(builder: LakeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older Truthloop may have written it."""
    monkeypatch.setattr("lake.store.head_claims", lambda *_: [])
    append_steps(builder)
    assert not builder.lake.applied("ledger", HEADS)
    assert stand(builder) == [(0, {"fraud": [ms(3), 5]}), (1, {"fraud": [ms(0), 5]})]


def test_a_replay_that_was_stopped_shows_its_last_complete_step(builder: LakeBuilder) -> None:
    """The head is of a step that some tables do not hold, and the one before it is in another file."""
    append_steps(builder, "replay")
    for table in ("outcomes", "predictions", "labels", "rejects"):
        builder.lake.append(table, builder.frame(table, []), [Claim("replay", 0, 3)], recorded_at=RECORDED_AT)
    assert stand(builder) == [(0, {"fraud": [ms(2), 5]}), (1, {"fraud": [ms(0), 5]})]


def test_loading_opens_no_label_that_came_live_and_no_rejection_but_withdrawals(builder: LakeBuilder) -> None:
    """What is declared or withdrawn is looked for in the files that may hold it."""
    builder.label("a", 1, 0).label("b", 1, 1, origin="backfill").reject("labels", 0, "stale")
    live, _ = data_files(builder.lake.path, "labels")
    empty([live, *data_files(builder.lake.path, "rejects")])
    with connect(builder.lake.path) as connection:
        assert connection.execute("SELECT label_offset FROM truthloop_declared").fetchall() == [(1,)]
    builder.reject("labels", 1, "withdrawn")
    with connect(builder.lake.path) as connection:
        assert connection.execute('SELECT "offset" FROM truthloop_withdrawn').fetchall() == [(1,)]


def test_loading_opens_the_outcomes_of_the_time_of_an_episode(builder: LakeBuilder) -> None:
    """A ruling costs what its episode has, not what the lake has."""
    builder.outcome("a", "joined", 1, 1, label_offset=1).outcome("a", "joined", 30, 2, label_offset=2)
    builder.label("a", 1, 1).label("a", 30, 2, origin="backfill")
    episode = {"id": "e", "definition": "chargeback-1", "since": ms(20), "until": ms(40), "causes": ["declared"]}
    document = json.dumps({"verdict": "approved", "episode": episode})
    ruling = {"number": 0, "kind": "fraud", "evidence_at": hour(60), "event": "approved", "state": "watching"}
    builder.add("decisions", {**ruling, "reason": "A test.", "document": document})
    empty(data_files(builder.lake.path, "outcomes")[:1])
    with connect(builder.lake.path) as connection:
        members = "SELECT label_offset FROM truthloop_members_at('infinity'::TIMESTAMPTZ)"
        assert connection.execute(members).fetchall() == [(2,)]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake with a day of predictions in each file, sorted by key, and an outcome of each."""
    builder = LakeBuilder(tmp_path_factory.mktemp("pruned") / "lake")
    number = pl.col("number")
    for day in range(DAYS):
        made = hour(24 * day)
        numbers = pl.select(number=pl.int_range(day * KEYS, (day + 1) * KEYS, dtype=pl.Int64))
        key = {name: pl.format("k{}", number + 1_000_000) for name in ("key", "id")}
        common = {**key, "predicted_at": pl.lit(made), "version": pl.lit("v1")}
        offsets = {"offset": number, "source_row": number}
        joined = {"status": "joined", "reason": "first", "known_at": made, "value": 1.0, "partition": 0}
        revision = dict.fromkeys(("prediction_offset", "label_offset", "revision"), number)
        for table, row, columns in (
            ("predictions", {**PREDICTION, "partition": 0}, common | offsets),
            ("outcomes", {**OUTCOME, **joined}, common | revision),
            ("labels", {**LABEL, "partition": 0, "label_time": made, "known_at": made}, key | offsets),
        ):
            schema = builder.frame(table, []).schema
            rows = numbers.join(builder.frame(table, [row]), how="cross").with_columns(
                value.cast(schema[name]).alias(name) for name, value in columns.items() if name in schema
            )
            builder.lake.append(
                table, rows.select(schema.names()).sort("key"), [Claim("many", day, day + 1)], recorded_at=RECORDED_AT
            )
    return builder.lake.path


def bytes_read(lake: Path, where: str) -> int:
    """Return how many bytes of Parquet are read for the rows of `scored` that a condition leaves."""
    with connect(lake) as connection:
        connection.execute("SET threads = 1")
        connection.execute("SET enable_external_file_cache = false")
        connection.execute("CALL enable_logging('FileSystem')")
        assert connection.sql("FROM scored").filter(where).aggregate("max(known_at), max(key)").fetchall()
        read = "SELECT sum(bytes) FROM duckdb_logs_parsed('FileSystem') WHERE op = 'READ' AND path LIKE '%.parquet'"
        ((found,),) = connection.execute(read).fetchall()
    return int(found)


def test_one_time_reads_the_rows_of_that_time(many: Path) -> None:
    """From outcomes, too, though they are joined to predictions by their positions."""
    assert bytes_read(many, f"predicted_at = '{hour(24 * 3)}'") < bytes_read(many, "true") / 2


def test_one_key_reads_the_rows_that_are_sorted_beside_it(many: Path) -> None:
    """Of all other rows only the statistics of the keys, in each file's footer."""
    one = "key = 'k1016000'"
    assert bytes_read(many, one) < bytes_read(many, "true") / 3
    with connect(many) as connection:
        assert connection.sql("FROM scored").filter(one).project("status").fetchall() == [("joined",)]
