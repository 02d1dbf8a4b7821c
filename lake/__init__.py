"""The lake: Delta tables that remember how far they were written, and views that need only DuckDB.

Must not decide what a row says: the join and the evidence do. May import schemas only.
"""

from lake.append import Claim
from lake.log import append_records
from lake.session import connect
from lake.store import Lake

__all__ = ["Claim", "Lake", "append_records", "connect"]
