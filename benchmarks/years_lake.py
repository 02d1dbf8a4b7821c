"""What a simulated lake holds: its size, and its counts beside those of what was fed."""

from pathlib import Path

from deltalake import DeltaTable
from years_traffic import World, day_start_ms

from lake.scan import files_of
from lake.session import connect
from lake.table import TABLES
from truthloop.config.settings import Settings
from truthloop.evidence.cells import read_evidence

__all__ = ["check_counts", "sizes"]

_COUNTS = """
SELECT CAST(predicted_at AT TIME ZONE 'UTC' AS DATE) AS made_on, count(*) AS predictions,
  count(*) FILTER (status = 'joined') AS joined,
  CAST(coalesce(sum(value) FILTER (status = 'joined'), 0) AS BIGINT) AS ones,
  count(*) FILTER (status = 'pending') AS pending
FROM scored GROUP BY made_on ORDER BY made_on
"""


def check_counts(world: World, lake: Path, day: int) -> None:
    """Compare what the views count of every day up to `day` with what was fed.

    Raises:
        AssertionError: they differ, an outcome is pending that must be final, or a record was rejected.
    """
    with connect(lake) as connection:
        found = connection.sql(_COUNTS).pl()
        rejects = connection.sql("SELECT count(*) FROM all_rejects").fetchall()[0][0]
    assert rejects == 0, f"{rejects} records were rejected"
    assert found.height == day, f"{found.height} of {day} days are there"
    end_ms = day_start_ms(day + 1)
    for made_on, row in enumerate(found.iter_rows(named=True), 1):
        counts = world.expected(made_on, end_ms)
        wanted = (counts.predictions, counts.joined, counts.ones)
        assert (row["predictions"], row["joined"], row["ones"]) == wanted, f"day {made_on}: {row}, and fed: {wanted}"
        assert made_on > day - 3 or row["pending"] == 0, f"day {made_on} is final, and has {row['pending']} pending"


def sizes(settings: Settings) -> dict[str, float]:
    """Return the size of a lake and its state."""
    files = log_files = log_bytes = dead_bytes = 0
    for table in TABLES:
        folder = settings.lake / table
        log = [one.stat().st_size for one in (folder / "_delta_log").iterdir()]
        log_files += len(log)
        log_bytes += sum(log)
        data = {one: one.stat().st_size for one in folder.glob("*/*.parquet") if one.parent.name != "_delta_log"}
        active = files_of(DeltaTable(str(folder)))
        files += active.height
        dead_bytes += sum(data.values()) - active["size_bytes"].sum()
    evidence = read_evidence(settings)
    state = sum(one.stat().st_size for one in settings.state.rglob("*") if one.is_file())
    return {
        "files": files,
        "log files": log_files,
        "log MB": log_bytes / 1e6,
        "dead MB": dead_bytes / 1e6,
        "cells": evidence.cells.whole().height,
        "cell rows": sum(one.rows for one in evidence.cells.state.files),
        "state MB": state / 1e6,
    }
