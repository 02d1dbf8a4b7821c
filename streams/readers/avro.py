"""Decodes Avro records to JSON texts, which keep what the schema means.

Times, dates and UUIDs are ISO text, a decimal is a number, an enum its symbol, a union the value of its branch, and a
map an object.

https://avro.apache.org/docs/1.12.0/specification/
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final
from uuid import UUID

import fastavro
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException

from streams.columns.scalar import NON_SCALAR
from streams.readers.declared_field import FIELDS_MAX, DeclaredField, FieldKind, first_line
from streams.readers.format import UndecodableError
from streams.readers.json_text import json_text

__all__ = ["AvroDecoder", "AvroSchemaError"]

Schema = str | list[Any] | dict[str, Any]
"""An Avro schema as decoded JSON."""

_PREFIX: Final = "truthloop-"
"""Before the names of logical types: fastavro's own readers refuse a whole record for one value out of range."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the reader adds the zone as text
_WHOLE_MAX: Final = 1 << 63
_KINDS: Final[Mapping[str, FieldKind]] = {
    "string": "text",
    "bytes": "text",
    "fixed": "text",
    "int": "whole number",
    "long": "whole number",
    "float": "number",
    "double": "number",
    "boolean": "true or false",
}
_FLOATS: Final = frozenset({"float", "double"})


class AvroSchemaError(ValueError):
    """A schema is no valid Avro schema."""


class AvroDecoder:
    """Decodes the records of one schema.

    Args:
        schema: as JSON text.
        referenced: schemas that it names, in an order in which each names only those before it.

    Raises:
        AvroSchemaError: one of them is no valid schema.
    """

    def __init__(self, schema: str, referenced: Sequence[str] = ()) -> None:
        named: dict[str, dict[str, Any]] = {}
        try:
            for text in referenced:
                fastavro.parse_schema(_with_own_types(json.loads(text)), named_schemas=named)
            parsed = _with_own_types(json.loads(schema))
            self._schema = fastavro.parse_schema(parsed, named_schemas=named)
        except (ValueError, SchemaParseException, TypeError, KeyError, RecursionError) as error:
            raise AvroSchemaError(f"no Avro schema ({type(error).__name__})") from error
        self._named = named
        self._has_floats = any(f'"{name}"' in text for name in _FLOATS for text in (schema, *referenced))

    def json_text(self, payload: bytes) -> bytes:
        """Return a record as JSON text.

        Raises:
            UndecodableError: the bytes are not one whole record of the schema.
        """
        source = io.BytesIO(payload)
        try:
            value = fastavro.schemaless_reader(source, self._schema, None)
        except Exception as error:  # noqa: BLE001 - see below
            # it raises whatever its parts do: EOFError, IndexError, UnicodeDecodeError, OverflowError, ...
            raise UndecodableError(f"no record of its schema ({type(error).__name__})") from None
        if source.tell() != len(payload):
            raise UndecodableError(f"{len(payload) - source.tell():,} bytes follow the record of its schema")
        return json_text(value, has_floats=self._has_floats)

    def fields(self, _payload: bytes) -> dict[str, DeclaredField]:
        """Return the fields of the schema by path."""
        return dict(islice(_declared(self._schema, self._named, "", "", ()), FIELDS_MAX))


def _declared(
    schema: Schema, named: Mapping[str, Any], path: str, doc: str, above: tuple[str, ...]
) -> Iterator[tuple[str, DeclaredField]]:
    """Yield the fields of a type.

    Args:
        named: types by name.
        path: of the field that has the type; empty for the whole record.
        doc: of that field.
        above: names of the records that it lies in.
    """
    while isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        if len(branches) != 1:
            yield path, DeclaredField(None, (), doc)
            return
        schema = branches[0]
    schema = named.get(schema, schema) if isinstance(schema, str) else schema
    kind = schema if isinstance(schema, str) else schema["type"]
    if not isinstance(kind, str):
        yield from _declared(kind, named, path, doc, above)
    elif isinstance(schema, dict) and kind in ("record", "error"):
        for field in schema["fields"] if schema["name"] not in above else ():
            below = f"{path}.{field['name']}" if path else field["name"]
            yield from _declared(field["type"], named, below, first_line(field.get("doc")), (*above, schema["name"]))
    elif isinstance(schema, dict) and kind == "enum":
        yield path, DeclaredField("text", tuple(schema["symbols"]), doc or first_line(schema.get("doc")))
    elif kind in _KINDS:
        logical = schema.get("logicalType", "") if isinstance(schema, dict) else ""
        yield path, DeclaredField(_logical_kind(logical, schema) if logical else _KINDS[kind], (), doc)


def _logical_kind(logical: str, schema: Schema) -> FieldKind:
    if logical != f"{_PREFIX}decimal" or not isinstance(schema, dict):
        return "text"
    return "number" if schema.get("scale") else "whole number"


def _with_own_types(schema: Schema) -> Schema:
    """Return a schema with the logical types that this module reads under its own names."""
    if isinstance(schema, list):
        return [_with_own_types(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    logical, base = schema.get("logicalType"), schema.get("type")
    if isinstance(logical, str):
        del found["logicalType"]  # a type that is unknown is read as what it stands on
        if isinstance(base, str) and f"{base}-{_PREFIX}{logical}" in _READERS:
            found["logicalType"] = f"{_PREFIX}{logical}"
    for part in ("type", "items", "values"):
        if isinstance(schema.get(part), (list, dict)):
            found[part] = _with_own_types(schema[part])
    if isinstance(schema.get("fields"), list):
        found["fields"] = [_with_own_types(field) for field in schema["fields"]]
    return found


Reader = Callable[..., Any]


def _moment(units_per_s: int, end: str) -> Reader:
    """Return a reader of times since 1970 in fractions of a second; what is finer than microseconds is cut off."""

    def read(value: int, _writer: object = None, _reader: object = None) -> str:
        seconds, rest = divmod(value, units_per_s)
        try:
            moment = _EPOCH + timedelta(0, seconds, rest * 1_000_000 // units_per_s)
        except OverflowError:
            return f"{NON_SCALAR}{value}"
        return moment.isoformat() + end

    return read


def _day(value: int, _writer: object = None, _reader: object = None) -> str:
    try:
        return date.fromordinal(date(1970, 1, 1).toordinal() + value).isoformat()
    except (OverflowError, ValueError):
        return f"{NON_SCALAR}{value}"


def _time_of_day(units_per_s: int) -> Reader:
    def read(value: int, _writer: object = None, _reader: object = None) -> str:
        seconds, rest = divmod(value, units_per_s)
        minutes, second = divmod(seconds, 60)
        hour, minute = divmod(minutes, 60)
        try:
            return time(hour, minute, second, rest * 1_000_000 // units_per_s).isoformat()
        except ValueError:
            return f"{NON_SCALAR}{value}"

    return read


def _decimal(value: bytes, writer: Mapping[str, Any], _reader: object = None) -> int | float | str:
    """Return an unscaled integer of two's complement and its scale as the number that JSON would have."""
    unscaled, scale = int.from_bytes(value, "big", signed=True), int(writer.get("scale", 0))
    if len(str(abs(unscaled))) > int(writer["precision"]):
        return f"{NON_SCALAR}{unscaled}"
    if scale == 0 and -_WHOLE_MAX <= unscaled < _WHOLE_MAX:
        return unscaled
    return float(Decimal(unscaled).scaleb(-scale))


def _uuid(value: bytes, _writer: object = None, _reader: object = None) -> str:
    return str(UUID(bytes=value))


_READERS: Final[Mapping[str, Reader]] = {
    f"{base}-{_PREFIX}{logical}": reader
    for base, logical, reader in (
        ("long", "timestamp-millis", _moment(1_000, "Z")),
        ("long", "timestamp-micros", _moment(1_000_000, "Z")),
        ("long", "timestamp-nanos", _moment(1_000_000_000, "Z")),
        ("long", "local-timestamp-millis", _moment(1_000, "")),
        ("long", "local-timestamp-micros", _moment(1_000_000, "")),
        ("long", "local-timestamp-nanos", _moment(1_000_000_000, "")),
        ("int", "date", _day),
        ("int", "time-millis", _time_of_day(1_000)),
        ("long", "time-micros", _time_of_day(1_000_000)),
        ("bytes", "decimal", _decimal),
        ("fixed", "decimal", _decimal),
        ("fixed", "uuid", _uuid),
    )
}
"""By base and logical type, as fastavro looks them up."""

LOGICAL_READERS.update(_READERS)
