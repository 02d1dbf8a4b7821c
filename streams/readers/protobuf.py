"""Decodes Protobuf messages to JSON texts, which keep what the schema means.

Fields have the names of the schema. An enum is its name, a 64-bit integer a number, a map an object, a wrapper its
value, a `Timestamp` ISO text. A field without presence that is not on the wire has its default, such as 0: a producer
leaves out a label of 0. One with presence that is not set is left out.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from streams.columns.scalar import NON_SCALAR
from streams.readers.declared_field import FIELDS_MAX, DeclaredField, FieldKind, first_line
from streams.readers.format import UndecodableError
from streams.readers.json_text import json_text

__all__ = ["MessageDecoder", "ProtobufDecoder", "ProtobufSchemaError"]

Reader = Callable[[Any], Any]
"""Returns what JSON has of a value."""

_WELL_KNOWN: Final = "google.protobuf."
_WRAPPERS: Final = frozenset(
    f"{_WELL_KNOWN}{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_OWN_TEXT: Final = frozenset(f"{_WELL_KNOWN}{name}" for name in ("Timestamp", "Duration", "FieldMask"))
_JSON_VALUES: Final = frozenset(f"{_WELL_KNOWN}{name}" for name in ("Struct", "Value", "ListValue"))
_ANY: Final = f"{_WELL_KNOWN}Any"

_KINDS: Final[Mapping[int, FieldKind]] = {
    FieldDescriptor.CPPTYPE_STRING: "text",
    FieldDescriptor.CPPTYPE_ENUM: "text",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_INT32: "whole number",
    FieldDescriptor.CPPTYPE_INT64: "whole number",
    FieldDescriptor.CPPTYPE_UINT32: "whole number",
    FieldDescriptor.CPPTYPE_UINT64: "whole number",
    FieldDescriptor.CPPTYPE_FLOAT: "number",
    FieldDescriptor.CPPTYPE_DOUBLE: "number",
}
_FILE_MESSAGE: Final = 4
"""Number of the field that has a file's messages; locations in its source are paths of such numbers and indexes."""
_MESSAGE_FIELD: Final = 2
_MESSAGE_NESTED: Final = 3

_INDEXES_MAX: Final = 32
"""Levels of nested message types: compilers allow no more."""
_VARINT_BYTES_MAX: Final = 10
_LOW_BITS: Final = 0x7F


class ProtobufSchemaError(ValueError):
    """A schema is no valid Protobuf schema."""


class ProtobufDecoder:
    """Decodes the messages of one schema.

    Args:
        files: a serialized `FileDescriptorSet` with all imports, each file after those that it imports.
        name: of the file whose messages are decoded.

    Raises:
        ProtobufSchemaError: the files are no whole schema.
    """

    def __init__(self, files: bytes, name: str) -> None:
        self._pool = DescriptorPool()
        self._docs: dict[str, str] = {}
        try:
            for file in FileDescriptorSet.FromString(files).file:
                self._docs.update(_docs(file))
                self._pool.Add(file)
            self._file = self._pool.FindFileByName(name)
        except (DecodeError, KeyError, TypeError) as error:
            raise ProtobufSchemaError(f"no Protobuf schema ({type(error).__name__})") from error
        self._messages = list(self._file.message_types_by_name.values())
        self._readers: dict[str, Reader] = {}
        self._by_indexes: dict[tuple[int, ...], tuple[type[Message], Reader]] = {}

    def json_text(self, payload: bytes) -> bytes:
        """Return a message as JSON text.

        Args:
            payload: the indexes of its type, as Confluent's serializer writes them, and the message.

        Raises:
            UndecodableError: the bytes are no message of the schema.
        """
        size, indexes = _indexes(payload)
        return self.message_text(indexes, payload[size:])

    def message_text(self, indexes: tuple[int, ...], content: bytes) -> bytes:
        """Return a message of a type as JSON text; see `json_text`."""
        found = self._by_indexes.get(indexes)
        if found is None:
            descriptor = self._message_type(indexes)
            found = self._by_indexes[indexes] = GetMessageClass(descriptor), self._reader(descriptor)
        message_type, read = found
        try:
            value = read(message_type.FromString(content))
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UndecodableError(f"no message of its schema ({type(error).__name__})") from None
        return json_text(value, has_floats=True)

    def fields(self, payload: bytes) -> dict[str, DeclaredField]:
        """Return the fields of a message's type by path.

        Args:
            payload: as of `json_text`; the indexes in front of it are read.
        """
        return self.message_fields(_indexes(payload)[1])

    def message_fields(self, indexes: tuple[int, ...]) -> dict[str, DeclaredField]:
        """Return the fields of a type by path."""
        return dict(islice(self._declared(self._message_type(indexes), "", ()), FIELDS_MAX))

    def _declared(
        self, descriptor: Descriptor, prefix: str, above: tuple[str, ...]
    ) -> Iterator[tuple[str, DeclaredField]]:
        """Yield the fields of a type; `above` are the names of those that it lies in."""
        for field in descriptor.fields if descriptor.full_name not in above else ():
            path, doc = prefix + field.name, self._docs.get(field.full_name, "")
            if field.is_repeated:
                continue
            if field.message_type is None:
                symbols = () if field.enum_type is None else tuple(one.name for one in field.enum_type.values)
                yield path, DeclaredField("text" if symbols else _KINDS[field.cpp_type], symbols, doc)
            elif field.message_type.full_name in _OWN_TEXT:
                yield path, DeclaredField("text", (), doc)
            elif field.message_type.full_name in _WRAPPERS:
                yield path, DeclaredField(_KINDS[field.message_type.fields_by_name["value"].cpp_type], (), doc)
            elif not field.message_type.full_name.startswith(_WELL_KNOWN):
                yield from self._declared(field.message_type, f"{path}.", (*above, descriptor.full_name))

    def _message_type(self, indexes: tuple[int, ...]) -> Descriptor:
        """Return the type that indexes name: the first of the file's, then of the nested types."""
        descriptors = self._messages
        for level, index in enumerate(indexes, 1):
            if not 0 <= index < len(descriptors):
                break
            if level == len(indexes):
                return descriptors[index]
            descriptors = list(descriptors[index].nested_types)
        raise UndecodableError(f"its schema has no message with the indexes {list(indexes)}")

    def _reader(self, descriptor: Descriptor) -> Reader:
        """Return the reader of a message type; a type may contain itself."""
        name = descriptor.full_name
        if name not in self._readers:
            if name in _OWN_TEXT:
                self._readers[name] = _own_text
            elif name in _JSON_VALUES:
                self._readers[name] = MessageToDict
            elif name == _ANY:
                self._readers[name] = self._any
            elif name in _WRAPPERS:
                self._readers[name] = _wrapped
            else:
                parts: list[tuple[str, bool, Reader]] = []
                plain: list[str] = []
                self._readers[name] = _object_reader(plain, parts)
                for field in descriptor.fields:
                    self._add(field, plain, parts)
        return self._readers[name]

    def _add(self, field: FieldDescriptor, plain: list[str], parts: list[tuple[str, bool, Reader]]) -> None:
        """Add a field to those that are taken as they are, or to those that are converted or may be left out."""
        is_optional = field.has_presence and not field.has_default_value
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            convert = _map_reader(self._value_reader(field.message_type.fields_by_name["value"]))
        elif field.is_repeated:
            convert = _list_reader(self._value_reader(field))
        else:
            convert = self._value_reader(field)
        if is_optional or convert is not _same:
            parts.append((field.name, is_optional, convert))
        else:
            plain.append(field.name)

    def _value_reader(self, field: FieldDescriptor) -> Reader:
        if field.message_type is not None:
            return self._reader(field.message_type)
        if field.enum_type is not None:
            return _enum_reader({value.number: value.name for value in field.enum_type.values})
        return _same

    def _any(self, message: Any) -> dict[str, Any]:  # noqa: ANN401 - no static type has its fields
        """Return a message of any type: its fields where the schema has the type, else its bytes."""
        found: dict[str, Any] = {"@type": message.type_url}
        try:
            descriptor = self._pool.FindMessageTypeByName(message.type_url.rpartition("/")[2])
        except KeyError:
            return {**found, "value": message.value}
        value = self._reader(descriptor)(GetMessageClass(descriptor).FromString(message.value))
        return {**found, **value} if isinstance(value, dict) else {**found, "value": value}


def _docs(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Yield the full names of documented fields, and the first lines of the comments above or behind them."""
    for location in file.source_code_info.location:
        path = list(location.path)
        doc = first_line(location.leading_comments or location.trailing_comments)
        if not doc or len(path) % 2 or path[:1] != [_FILE_MESSAGE] or path[-2] != _MESSAGE_FIELD:
            continue
        names, message = [file.package] if file.package else [], file.message_type[path[1]]
        names.append(message.name)
        for part, index in zip(path[2:-2:2], path[3:-2:2], strict=True):
            if part != _MESSAGE_NESTED:
                break
            message = message.nested_type[index]
            names.append(message.name)
        else:
            yield ".".join([*names, message.field[path[-1]].name]), doc


class MessageDecoder:
    """Decodes messages of one type, with nothing in front of them.

    Args:
        files: as of `ProtobufDecoder`.
        message: full name of the type.

    Raises:
        ProtobufSchemaError: the files are no whole schema, or have no such message.
    """

    def __init__(self, files: bytes, message: str) -> None:
        try:
            found = FileDescriptorSet.FromString(files).file
        except DecodeError:
            raise ProtobufSchemaError("no descriptors of Protobuf") from None
        for file in found:
            for indexes, name in _message_names(file.message_type, f"{file.package}." if file.package else ""):
                if name == message:
                    self._decoder, self._indexes = ProtobufDecoder(files, file.name), indexes
                    return
        raise ProtobufSchemaError(f"has no message {message!r:.100}")

    def json_text(self, payload: bytes) -> bytes:
        """Return a message as JSON text; the errors are those of `ProtobufDecoder`."""
        return self._decoder.message_text(self._indexes, payload)

    def fields(self, _payload: bytes) -> dict[str, DeclaredField]:
        """Return the fields of the type by path."""
        return self._decoder.message_fields(self._indexes)


def _message_names(types: Iterable[DescriptorProto], prefix: str) -> Iterator[tuple[tuple[int, ...], str]]:
    for index, one in enumerate(types):
        yield (index,), f"{prefix}{one.name}"
        for indexes, name in _message_names(one.nested_type, f"{prefix}{one.name}."):
            yield (index, *indexes), name


def _object_reader(plain: list[str], parts: list[tuple[str, bool, Reader]]) -> Reader:
    """Return a reader of messages; both lists are still filled, since a type may contain itself."""

    def read(message: Any) -> dict[str, Any]:  # noqa: ANN401 - no static type has its fields
        found = {name: getattr(message, name) for name in plain}
        for name, is_optional, convert in parts:
            if not is_optional or message.HasField(name):
                found[name] = convert(getattr(message, name))
        return found

    return read


def _same(value: object) -> object:
    return value


def _list_reader(convert: Reader) -> Reader:
    return lambda values: [convert(value) for value in values]


def _map_reader(convert: Reader) -> Reader:
    """Return a reader of maps; keys are written as in the JSON form of Protobuf."""
    return lambda values: {_key(key): convert(value) for key, value in values.items()}


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _enum_reader(names: Mapping[int, str]) -> Reader:
    """Return a reader of enums; a number that the schema does not name stays a number."""
    return lambda number: names.get(number, number)


def _own_text(message: Any) -> str:  # noqa: ANN401 - well-known types have the method
    try:
        return str(message.ToJsonString())
    except ValueError:  # a time out of range spoils its own field
        return f"{NON_SCALAR}{type(message).__name__}"


def _wrapped(message: Any) -> Any:  # noqa: ANN401 - of the type that it wraps
    return message.value


def _indexes(payload: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the indexes in front of a message, and their size in bytes; a single zero stands for the first type."""
    count, at = _varint(payload, 0)
    if not 0 <= count <= _INDEXES_MAX:
        raise UndecodableError(f"{count:,} indexes of its message type")
    indexes = []
    for _ in range(count):
        index, at = _varint(payload, at)
        indexes.append(index)
    return at, tuple(indexes) or (0,)


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """Return the zigzag integer at a position, and the position behind it."""
    number = 0
    for place, byte in enumerate(payload[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & _LOW_BITS) << (7 * place)
        if byte <= _LOW_BITS:
            return (number >> 1) ^ -(number & 1), at + place + 1
    raise UndecodableError("the indexes of its message type are torn")
