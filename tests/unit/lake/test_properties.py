"""Statistics in the log: of columns that exist, for every table, and of no text that readers do not filter by."""

import pytest
from lake_builder import loop_config

from lake.properties import table_properties
from lake.table import TABLES, schemas_of

LONG_TEXTS = {"document", "point", "policy", "marks", "cursors", "counters", "run", "text", "detail", "extras", "plan"}


@pytest.mark.parametrize("table", TABLES)
def test_statistics_are_of_columns_that_the_table_has(table: str) -> None:
    """Delta ignores a name that does not exist, and then nothing is left out."""
    columns = table_properties(table, 172_800_000)["delta.dataSkippingStatsColumns"].split(",")
    assert set(columns) <= set(schemas_of(loop_config())[table])
    assert "recorded_at" in columns
    assert not LONG_TEXTS & set(columns)
