"""A large lake for `reads.py`, made of columns: as a live loop and its maintenance would have left it.

Every prediction is a function of its number, so each day of recording is made on its own, of any size. Eight of ten
predictions get a label, within 30 days; the others expire then. A hundredth of the labels is corrected two days later.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from lake import Claim, Lake
from lake.append import TableWriter
from lake.closed_days import close_days
from lake.maintenance.commit import Replacement, commit_replacement
from lake.maintenance.plan import Group
from lake.maintenance.rewrite import write_sorted
from lake.maintenance.table_state import TableState
from lake.storage.folder import FolderStorage
from lake.table import TABLES
from schemas.config.loop import LoopConfig

__all__ = ["CONFIG", "key_of", "lake_to_read"]

PARTITIONS = 8
FIRST_DAY = date(2023, 1, 1)
HORIZON_DAYS = 30
RETAIN_DAYS = 60
CORRECTED_AFTER_DAYS = 2
STEPS_PER_DAY = 288
"""Of each partition: one in five minutes."""

CONFIG = LoopConfig.model_validate(
    {
        "version": 1,
        "loop": "reads",
        "clock": "event",
        "partitions": PARTITIONS,
        "predictions": {
            "outputs": {"fraud": {"task": "binary"}},
            "slices": ["country"],
            "features": {"amount": {"type": "float"}, "device": {"type": "string"}},
        },
        "labels": {
            "fraud": {
                "definition": "chargeback-1",
                "horizon": f"{HORIZON_DAYS}d",
                "retain": f"{RETAIN_DAYS}d",
                "early": "1d",
            }
        },
        "cohorts": {"by": ["version"], "ages": ["1d", "7d", "14d"]},
    }
)

_DELAYS = [0, 200, 330, 410, 470, 520, 560, 590, 615, 635, 650, *range(657, 800, 7), 800]
"""Of a thousand predictions, how many have their label within so many days; the others never get one."""

_DAY_MS = 86_400_000
_PARTS = ("predictions", "labels", "outcomes")
_SEED = 7


@contextmanager
def lake_to_read(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.Namespace, Path]]:
    """Add the options of the lake to a parser; give what was parsed, and a folder for results.

    `lake` is a lake then: one that is there, or a new one, which is kept where the options name a folder for it.
    """
    parser.add_argument("--outcomes", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=120, help="on which they were recorded")
    parser.add_argument("--behind", type=int, default=0, help="days that were recorded since maintenance, too")
    parser.add_argument("--lake", type=Path, help="folder of the lake")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-") as folder:
        arguments.lake = arguments.lake or Path(folder) / "lake"
        if not arguments.lake.exists():
            make_lake(arguments.lake, arguments.outcomes, arguments.days, arguments.behind)
        yield arguments, Path(folder)


def key_of(number: int) -> str:
    """Return the key of a prediction."""
    return str(pl.select(_key(pl.lit(number, pl.Int64))).item())


def make_lake(path: Path, outcomes: int, days: int, behind: int = 0) -> Lake:
    """Make a lake with about so many outcomes, recorded on so many days, each of which is one file of each table.

    Days that are over are closed or drafts, as maintenance leaves them; then it was `behind` days more not called.
    """
    lake = Lake.create(path, CONFIG)
    writers = {table: TableWriter(path / table) for table in TABLES}
    per_day = outcomes // days // 1000 * 1000
    for day in range(days):
        _record(lake, writers, day, per_day)
    for writer in writers.values():
        writer.checkpoint()
    for _ in close_days(path, _start_of(days)):
        pass
    for day in range(days, days + behind):
        _record(lake, writers, day, per_day)
    return lake


def _start_of(day: int) -> datetime:
    return datetime(FIRST_DAY.year, 1, 1, tzinfo=UTC) + timedelta(days=day)


def _record(lake: Lake, writers: Mapping[str, TableWriter], day: int, per_day: int) -> None:
    """Append what is recorded on a day, at its end."""
    at = _start_of(day + 1) - timedelta(minutes=1)
    for table, rows in _recorded_on(day, per_day):
        known = {name: dtype for name, dtype in lake.schema(table).items() if name in rows.columns}
        frame = rows.select(pl.col(name).cast(dtype) for name, dtype in known.items())
        lake.append(table, frame, [Claim("bench", day, day + 1)], recorded_at=at)
        _rewrite(lake.path / table, writers[table], at.date())


def _rewrite(folder: Path, writer: TableWriter, day: date) -> None:
    """Rewrite the file of a day, if there is one, as maintenance does once it has ended."""
    table = folder.name
    state = TableState.of(writer.handle, table)
    group = Group(day, tuple(file for file in state.files if file.day == day))
    if not group.files:
        return
    storage = FolderStorage(folder)
    added = write_sorted(storage, table, group, state.statistics)
    commit_replacement(storage, Replacement(table, state.version, state.position, group, [added]), added.modified_ms)


def _recorded_on(day: int, per_day: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """Give the rows of each table that are recorded on a day."""
    made = _predictions(day, 0, 1000, per_day)
    yield "predictions", made
    known = [
        _predictions(day - delay, least, greatest, per_day).with_columns(delay=pl.lit(delay))
        for delay, (least, greatest) in enumerate(itertools.pairwise(_DELAYS))
        if day >= delay
    ]
    labelled = pl.concat(known)
    corrected = [_predictions(day - CORRECTED_AFTER_DAYS, 0, 10, per_day)] if day >= CORRECTED_AFTER_DAYS else []
    again = [frame.with_columns(delay=pl.lit(CORRECTED_AFTER_DAYS)) for frame in corrected]
    yield "labels", pl.concat([_labels(labelled, 0), *(_labels(frame, 1) for frame in again)])
    ends = [_expired(_predictions(day - HORIZON_DAYS, 800, 1000, per_day), day)] if day >= HORIZON_DAYS else []
    joined = [_joined(labelled, day, 0), *(_joined(frame, day, 1) for frame in again)]
    yield "outcomes", pl.concat([*joined, *ends])
    yield (
        "rejects",
        made.filter(pl.col("number") % 1000 == 1).select(
            pl.lit("predictions").alias("input"),
            pl.lit("join").alias("stage"),
            pl.lit("duplicate").alias("reason"),
            "partition",
            pl.col("offset") + per_day * 10_000,
            pl.lit(_last_step(day)).alias("sequence"),
        ),
    )
    yield "ledger", _ledger(day, per_day)


def _key(number: pl.Expr) -> pl.Expr:
    return pl.format("tx-{}", number.hash(_SEED))


def _predictions(day: int, least: int, greatest: int, per_day: int) -> pl.DataFrame:
    """Return the predictions of a day whose number, modulo 1,000, is in a range."""
    number = pl.col("number")
    within = pl.select(pl.int_range(day * per_day, (day + 1) * per_day, dtype=pl.Int64).alias("number")).filter(
        (number % 1000).is_between(least, greatest, closed="left")
    )
    chance = (number.hash(_SEED + 1) % 1000).cast(pl.Float64) / 1000
    return within.select(
        "number",
        (number % PARTITIONS).cast(pl.Int32).alias("partition"),
        (number // PARTITIONS).alias("offset"),
        pl.lit("f" * 64).alias("source"),
        number.alias("source_row"),
        _key(number).alias("key"),
        _key(number).alias("id"),
        _time(pl.lit(day * _DAY_MS) + (number % per_day) * _DAY_MS // per_day).alias("predicted_at"),
        pl.when(number % 3 == 0).then(pl.lit("v2")).otherwise(pl.lit("v1")).alias("version"),
        pl.lit(value=True).alias("eligible"),
        pl.lit(1.0).alias("weight"),
        number.alias("digest"),
        pl.lit([], dtype=pl.List(pl.String)).alias("flags"),
        chance.alias("output_fraud"),
        pl.format("C{}", number % 40).alias("slice_country"),
        (chance * 100).alias("feature_amount"),
        pl.format("d{}", number % 5).alias("feature_device"),
    )


def _time(since_first_ms: pl.Expr) -> pl.Expr:
    first_ms = round(datetime(FIRST_DAY.year, 1, 1, tzinfo=UTC).timestamp() * 1000)
    return ((since_first_ms + first_ms) * 1000).cast(pl.Datetime("us", "UTC"))


def _known() -> pl.Expr:
    """Return when a label is known: at the same time of another day, but a minute later."""
    return pl.col("predicted_at") + pl.duration(days=pl.col("delay"), minutes=1)


def _value(correction: int) -> pl.Expr:
    return ((pl.col("number") // 11 + correction) % 2).cast(pl.Float64)


def _labels(made: pl.DataFrame, correction: int) -> pl.DataFrame:
    return made.select(
        *("partition", "source", "source_row", "key", "flags"),
        (pl.col("offset") * 2 + correction).alias("offset"),
        *(pl.lit(text).alias(name) for name, text in _LABEL.items()),
        _value(correction).alias("value"),
        *(_known().alias(name) for name in ("label_time", "known_at", "arrived_at")),
    )


_LABEL = {"kind": "fraud", "definition": "chargeback-1", "op": "upsert", "origin": "live"}
_REVISION = {"kind": "fraud", "definition": "chargeback-1"}


def _joined(made: pl.DataFrame, day: int, correction: int) -> pl.DataFrame:
    return (
        _revisions(made)
        .with_columns(
            status=pl.lit("joined"),
            reason=pl.lit("correction" if correction else "first"),
            previous_status=pl.lit("joined" if correction else "pending"),
            value=_value(correction),
            known_at=_known(),
            revision=pl.col("offset") * 4 + 1 + correction,
            label_offset=pl.col("offset") * 2 + correction,
            label_time=_known(),
            sequence=pl.lit(_last_step(day), pl.Int64),
        )
        .select(_OUTCOME)
    )


def _expired(made: pl.DataFrame, day: int) -> pl.DataFrame:
    return (
        _revisions(made)
        .with_columns(
            status=pl.lit("expired"),
            reason=pl.lit("timeout"),
            previous_status=pl.lit("pending"),
            value=pl.lit(None, pl.Float64),
            known_at=pl.col("predicted_at") + pl.duration(days=HORIZON_DAYS),
            revision=pl.col("offset") * 4,
            label_offset=pl.lit(None, pl.Int64),
            label_time=pl.lit(None, pl.Datetime("us", "UTC")),
            sequence=pl.lit(_last_step(day), pl.Int64),
        )
        .select(_OUTCOME)
    )


_OUTCOME = (
    *("partition", "key", "id", "kind", "definition", "status", "reason", "value", "previous_status", "predicted_at"),
    *("known_at", "revision", "prediction_offset", "label_offset", "label_time", "version", "eligible", "weight"),
    *("output", "slice_country", "sequence"),
)


def _revisions(made: pl.DataFrame) -> pl.DataFrame:
    return made.with_columns(
        *(pl.lit(text).alias(name) for name, text in _REVISION.items()),
        prediction_offset="offset",
        output="output_fraud",
    )


def _last_step(day: int) -> int:
    """Return the last step that was recorded on a day: that of all its rows."""
    return (day + 1) * STEPS_PER_DAY - 1


def _ledger(day: int, per_day: int) -> pl.DataFrame:
    """Return the steps of a day; the joins have read all of it at the end of the day's last one."""
    rows = []
    for step in range(STEPS_PER_DAY):
        at = datetime(FIRST_DAY.year, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=5 * (step + 1))
        at_ms = round(at.timestamp() * 1000)
        consumed = (day * per_day + per_day * (step + 1) // STEPS_PER_DAY) // PARTITIONS
        documents: Mapping[str, Any] = {
            "marks": {"predictions": at_ms, "fraud": at_ms},
            "cursors": {"fraud": [at_ms - HORIZON_DAYS * _DAY_MS, consumed]},
            "counters": {"predictions": {"consumed": consumed, "duplicate": 0}},
        }
        texts = {name: json.dumps(document) for name, document in documents.items()}
        floor = at - timedelta(days=RETAIN_DAYS)
        row = {"sequence": day * STEPS_PER_DAY + step, "now": at, "floor": floor, "predictions_next": consumed, **texts}
        rows += [{**row, "partition": partition} for partition in range(PARTITIONS)]
    empty = {name: pl.lit("{}").alias(name) for name in ("policy", "point", "run")}
    zeros = ("predictions_first", "labels_first", "labels_next", "fingerprint")
    return pl.DataFrame(rows).with_columns(*empty.values(), *(pl.lit(0).alias(name) for name in zeros))
