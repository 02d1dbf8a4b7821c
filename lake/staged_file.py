"""A file of rows that is written and that no commit has named yet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from deltalake.transaction import AddAction

__all__ = ["StagedFile"]


@dataclass(frozen=True)
class StagedFile:
    """A file in a table's folder.

    Attributes:
        path: relative to the folder.
        size: in bytes.
        rows: number of its rows.
        partition: values of the partition columns.
        bounds: by column, the least and the greatest value as text, by which readers leave it out.
        written_at: becomes its time in the log.
    """

    path: str
    size: int
    rows: int
    partition: Mapping[str, str]
    bounds: Mapping[str, tuple[str, str]]
    written_at: datetime

    def action(self, *, is_change: bool) -> AddAction:
        """Return the entry of a commit that makes it a part of the table."""
        statistics = {
            "numRecords": self.rows,
            "minValues": {name: least for name, (least, _) in self.bounds.items()},
            "maxValues": {name: greatest for name, (_, greatest) in self.bounds.items()},
            "nullCount": dict.fromkeys(self.bounds, 0),
        }
        modified_ms = round(self.written_at.timestamp() * 1_000)
        return AddAction(self.path, self.size, self.partition, modified_ms, is_change, json.dumps(statistics))
