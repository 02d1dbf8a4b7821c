"""The lake: Delta tables with exactly-once appends, and views that need only DuckDB. Imports `schemas` only."""

from lake.append import Claim
from lake.log import append_records
from lake.session import connect
from lake.store import Lake

__all__ = ["Claim", "Lake", "append_records", "connect"]
