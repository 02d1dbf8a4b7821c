"""Columns of a Delta table in Polars' types and back."""

from collections.abc import Iterable

import polars as pl
from deltalake import DeltaTable, Field
from deltalake.schema import ArrayType, PrimitiveType

from lake.table import ColumnType, column_type_of, column_type_of_delta
from schemas.errors import LakeError

__all__ = ["fields_of", "schema_of"]


def fields_of(columns: Iterable[tuple[str, pl.DataType]]) -> list[Field]:
    """Return columns as Delta's fields; all may be null."""
    return [Field(name, _delta_type(column_type_of(dtype)), nullable=True) for name, dtype in columns]


def _delta_type(column_type: ColumnType) -> PrimitiveType | ArrayType:
    element = PrimitiveType(column_type.delta)
    return ArrayType(element, contains_null=True) if column_type.is_list else element


def schema_of(handle: DeltaTable, table: str) -> pl.Schema:
    """Return the columns of a table, in order.

    Raises:
        LakeError: one has a type that Truthloop does not use.
    """
    columns = {}
    for field in handle.schema().fields:
        is_list = isinstance(field.type, ArrayType)
        element = field.type.element_type if isinstance(field.type, ArrayType) else field.type
        try:
            columns[field.name] = column_type_of_delta(getattr(element, "type", ""), is_list=is_list).polars
        except KeyError:
            raise LakeError(f"column {field.name!r} has a type that Truthloop does not use", where=table) from None
    return pl.Schema(columns)
