"""What a table's current version holds, as planning and status need it: read from one handle, so of one version."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
from deltalake import DeltaTable

from lake.maintenance.commit import claim_of
from lake.maintenance.history import REJECTS, STEP, TIME_OF
from lake.maintenance.plan import ActiveFile
from lake.scan import files_of
from lake.table import PARTITION_COLUMN, RECORDED_AT

__all__ = ["TableState"]

_STATISTICS: Final = "delta.dataSkippingStatsColumns"
_NULLS: Final = "null_count."


@dataclass(frozen=True)
class TableState:
    """One version of a table.

    Attributes:
        version: its number.
        position: of the table's maintenance claim.
        files: its data files.
        statistics: columns that have statistics.
    """

    version: int
    position: int
    files: Sequence[ActiveFile]
    statistics: Sequence[str]

    @classmethod
    def of(cls, handle: DeltaTable, table: str) -> "TableState":
        """Read the version that a handle is at. A file whose number of rows the log does not give is left out."""
        actions = files_of(handle)
        files = []
        if actions.height:
            latest, without_step, recorded = f"max.{TIME_OF.get(table)}", f"{_NULLS}{STEP}", f"max.{RECORDED_AT}"
            unknown = pl.lit(None, pl.Int64)
            rows = actions.select(
                *("path", f"partition.{PARTITION_COLUMN}", "size_bytes", "num_records", "modification_time"),
                latest_ms=pl.col(latest).dt.epoch("ms") if latest in actions.columns else unknown,
                without_step=pl.col(without_step) if table == REJECTS and without_step in actions.columns else unknown,
                last_day=(pl.col(recorded) if recorded in actions.columns else unknown).cast(pl.Date),
            ).filter(pl.col("num_records").is_not_null())
            files = [ActiveFile(*row) for row in rows.iter_rows()]
        declared = (handle.metadata().configuration or {}).get(_STATISTICS)
        if declared is None:
            statistics = [name.removeprefix(_NULLS) for name in actions.columns if name.startswith(_NULLS)]
        else:
            statistics = [name.strip().strip("`") for name in declared.split(",")]
        return cls(handle.version(), handle.transaction_version(claim_of(table)) or 0, files, statistics)
