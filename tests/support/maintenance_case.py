"""Lakes with many small files, and what must stay the same while they are maintained."""

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from lake_builder import LakeBuilder

from lake import Claim, Lake, connect
from lake.maintenance.maintainer import Maintainer, Rewritten, Swept
from lake.storage.folder import FolderStorage
from lake.table import TABLES

__all__ = [
    "DAY",
    "KEEP_READABLE_MS",
    "Killed",
    "add_predictions",
    "changes",
    "content",
    "files_by_day",
    "fill",
    "kill_at_call",
    "maintain",
    "make_older",
    "moment",
    "now_ms",
    "scored",
    "sweep",
]

DAY = date(2026, 3, 2)
"""The day on which most rows are recorded."""

KEEP_READABLE_MS = 2 * 86_400_000

CALLS = ("put_if_absent", "stage", "delete")
"""Everything by which maintenance changes a table's folder."""


class Killed(BaseException):
    """The process ends here."""


def moment(day: date = DAY, hour: float = 12.0) -> int:
    """Return a time of a day, ms UTC."""
    return round((datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour)).timestamp() * 1000)


def add_predictions(builder: LakeBuilder, count: int, *, day: date = DAY, rows: int = 2, first: int = 0) -> None:
    """Append `count` commits of predictions, recorded on a day; keys are not in the order of time."""
    lake = builder.lake
    for number in range(first, first + count):
        offset = number * rows
        frame = builder.frame("predictions", [_prediction(offset + at) for at in range(rows)])
        recorded_at = datetime.fromtimestamp(moment(day, 1) / 1000 + number - first, UTC)
        app = "builder"
        position = lake.applied("predictions", app)
        assert lake.append("predictions", frame, [Claim(app, position, position + rows)], recorded_at=recorded_at)


def _prediction(offset: int) -> dict[str, object]:
    at = datetime(2026, 3, 1, 8, tzinfo=UTC) + timedelta(minutes=offset * 7)
    return {
        "partition": offset % 2,
        "offset": offset,
        "source": "f" * 64,
        "source_row": offset + 1,
        "key": f"k{offset * 7919 % 1000:03d}",
        "id": f"p{offset}",
        "predicted_at": at,
        "version": "v1",
        "eligible": True,
        "weight": 1.0 + offset / 3,
        "digest": offset,
        "flags": ["late"] if offset % 5 == 0 else [],
    }


def fill(path: Path, commits: int = 70) -> LakeBuilder:
    """Return a lake with many commits of predictions, and some labels and outcomes."""
    builder = LakeBuilder(path)
    add_predictions(builder, commits)
    for number in range(5):
        builder.label(f"k{number}", number, number)
        builder.outcome(f"k{number}", "joined", number, number, value=1.0)
    return builder


def maintain(path: Path, now_ms: int | None = None) -> list[Rewritten]:
    """Rewrite everything that is due, in a new maintainer."""
    return list(Maintainer(path, KEEP_READABLE_MS).steps(lambda: moment() if now_ms is None else now_ms))


def now_ms() -> int:
    """Return the wall clock, which the Delta library's commits have."""
    return int(time.time() * 1000)


def make_older(path: Path, days: float) -> None:
    """Move all commits and files of a lake back in time."""
    back_ms = round(days * 86_400_000)
    for file in (one for one in path.rglob("*") if one.is_file()):
        found = file.stat()
        if file.suffix == ".json" and file.parent.name == "_delta_log":
            text = file.read_text()
            file.write_text(re.sub(r'(?<="timestamp":)\d+', lambda at: str(int(at[0]) - back_ms), text, count=1))
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns - back_ms * 1_000_000))


def sweep(path: Path, at_ms: int | None = None) -> list[Swept]:
    """Delete everything that may go, in a new maintainer."""
    return list(Maintainer(path, KEEP_READABLE_MS).sweep(now_ms() if at_ms is None else at_ms))


def content(lake: Lake) -> dict[str, pl.DataFrame]:
    """Return all rows of all tables, in an order that does not depend on files."""
    found = {}
    for table in TABLES:
        rows = lake.scan(table).collect()
        flat = rows.with_columns(pl.col(pl.List(pl.String)).list.join("|"))
        found[table] = flat.sort(flat.columns, nulls_last=True)
    return found


def scored(path: Path) -> list[tuple[object, ...]]:
    """Return the view `scored`, through DuckDB alone."""
    with connect(path) as session:
        return session.sql("SELECT * FROM scored ORDER BY ALL").fetchall()


def files_by_day(lake: Lake, table: str) -> dict[str, int]:
    """Return how many active files each day of a table has."""
    actions = pl.DataFrame(DeltaTable(str(lake.path / table)).get_add_actions(flatten=True))
    counts = actions.group_by(pl.col("partition.recorded_on").cast(pl.String)).len().sort("partition.recorded_on")
    return dict(counts.iter_rows())


def changes(lake: Lake, table: str, since: int = 0) -> int:
    """Return how many rows the change feed shows from a version on."""
    return pl.DataFrame(DeltaTable(str(lake.path / table)).load_cdf(starting_version=since)).height


def kill_at_call(patch: pytest.MonkeyPatch, number: int, *, is_after: bool) -> Iterator[str]:
    """End the process at the n-th change of a folder, before or after it; gives the calls that were reached."""
    reached: list[str] = []
    for name in CALLS:
        patch.setattr(FolderStorage, name, _killing(name, reached, number, is_after=is_after))
    return iter(reached)


def _killing(name: str, reached: list[str], number: int, *, is_after: bool) -> object:
    original = getattr(FolderStorage, name)

    def call(self: FolderStorage, *arguments: object) -> object:
        reached.append(name)
        is_last = len(reached) == number
        if is_last and not is_after:
            raise Killed
        result = original(self, *arguments)
        if is_last:
            raise Killed
        return result

    return call
