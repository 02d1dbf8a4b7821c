"""Properties of the Delta tables: columns with statistics in the log, and how far back old versions reach. Pure."""

from collections.abc import Mapping
from typing import Final

__all__ = ["table_properties"]

_COMMON: Final[Mapping[str, str]] = {
    # lets readers follow new rows without reading the table again
    "delta.enableChangeDataFeed": "true",
    # how far back the change feed and old versions reach, instead of Delta's own defaults
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}
_STATISTICS: Final[Mapping[str, str]] = {
    "predictions": "partition,offset,key,predicted_at,recorded_at",
    "labels": "partition,offset,key,label_time,known_at,recorded_at",
    "outcomes": "partition,key,kind,predicted_at,known_at,revision,prediction_offset,sequence,recorded_at",
    "rejects": "input,reason,partition,offset,sequence,recorded_at",
    "ledger": "partition,sequence,recorded_at",
    "cells": "version,day,kind,recorded_at",
    "evidence": "evidence_at,day,kind,recorded_at",
    "diffs": "number,kind,episode,recorded_at",
    "decisions": "number,kind,evidence_at,event,recorded_at",
    "deliveries": "number,decision,attempted_at,recorded_at",
}
"""By table, the columns by which readers leave out files.

Delta's own choice is the first 32, which features may fill, and it repeats texts whole: with the ledger's JSON a commit
took 6.1 kB of the log and takes 1.6 (`benchmarks/look.py`).
"""


def table_properties(table: str) -> dict[str, str]:
    """Return the properties of a table, by Delta's names.

    >>> table_properties("ledger")["delta.dataSkippingStatsColumns"]
    'partition,sequence,recorded_at'
    """
    return {**_COMMON, "delta.dataSkippingStatsColumns": _STATISTICS[table]}
