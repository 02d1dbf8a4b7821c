"""Properties of the Delta tables: columns with statistics in the log, and how far back old versions reach. Pure."""

from collections.abc import Mapping
from typing import Final

__all__ = ["table_properties"]

_STATISTICS: Final[Mapping[str, str]] = {
    "predictions": "partition,offset,key,predicted_at,recorded_at",
    "labels": "partition,offset,key,label_time,known_at,origin,recorded_at",
    "outcomes": "partition,key,kind,definition,predicted_at,known_at,revision,prediction_offset,sequence,recorded_at",
    "rejects": "input,reason,partition,offset,sequence,recorded_at",
    "ledger": "partition,sequence,recorded_at",
    "cells": "version,day,kind,recorded_at",
    "evidence": "evidence_at,day,kind,recorded_at",
    "diffs": "number,kind,episode,recorded_at",
    "decisions": "number,kind,evidence_at,event,recorded_at",
    "deliveries": "number,decision,attempted_at,recorded_at",
    "scored": "day,follows,recorded_at",
}
"""By table, the columns by which readers leave out files.

Delta's own choice is the first 32, which features may fill, and it repeats texts whole: with the ledger's JSON a commit
took 6.1 kB of the log and takes 1.6 (`benchmarks/look.py`).
"""


def table_properties(table: str, keep_readable_ms: int) -> dict[str, str]:
    """Return the properties of a table, by Delta's names.

    Only `lake.maintenance.sweep` deletes from a lake: a log that something else shortens no longer says which files are
    dead. The retention is there for other tools, and lets a Delta checkpoint leave out what was removed before it.
    `delta.setTransactionRetentionDuration` is never set: the positions of applications must not expire.

    Args:
        keep_readable_ms: for so long a reader may use what was current when it began.

    >>> table_properties("ledger", 172_800_000)["delta.dataSkippingStatsColumns"]
    'partition,sequence,recorded_at'
    """
    interval = f"interval {-(-keep_readable_ms // 1000)} seconds"
    return {
        # lets readers follow new rows without reading the table again
        "delta.enableChangeDataFeed": "true",
        "delta.enableExpiredLogCleanup": "false",
        "delta.logRetentionDuration": interval,
        "delta.deletedFileRetentionDuration": interval,
        "delta.dataSkippingStatsColumns": _STATISTICS[table],
    }
