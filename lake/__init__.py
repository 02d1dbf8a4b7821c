"""The lake: Delta tables with exactly-once appends, and views that need only DuckDB.

Writers append rows and the positions that they cover in one commit (`lake.store`, `lake.append`); readers scan tables,
or open the views (`lake.session`). Training data sets are copied out of it (`lake.dataset`). Imports `schemas` only.
"""

from lake.append import Claim
from lake.log import append_records
from lake.session import connect
from lake.store import Lake

__all__ = ["Claim", "Lake", "append_records", "connect"]
