"""Columns of every table, to Delta and back."""

from pathlib import Path

import pytest
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType
from lake_builder import loop_config

from lake.delta_schema import fields_of, schema_of
from lake.table import TABLES, schemas_of
from schemas.errors import LakeError


@pytest.mark.parametrize("table", TABLES)
def test_columns_come_back_with_their_types(tmp_path: Path, table: str) -> None:
    """In order, lists included."""
    columns = schemas_of(loop_config())[table]
    handle = DeltaTable.create(str(tmp_path), schema=Schema(fields_of(columns.items())))
    assert schema_of(handle, table) == columns


def test_a_type_of_another_hand_is_refused_by_name(tmp_path: Path) -> None:
    """Somebody has added a column of their own."""
    handle = DeltaTable.create(str(tmp_path), schema=Schema([Field("price", PrimitiveType("decimal(9,2)"))]))
    with pytest.raises(LakeError, match="'price'"):
        schema_of(handle, "labels")
