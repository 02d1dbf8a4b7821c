"""Profile of one topic: its JSON objects, their envelope, fields and time formats.

Interprets nothing: `truthloop.onboarding.draft` decides what the topic and its fields are for.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from typing import Any, Final

from schemas.config.record_metadata import KEY_PATH, KEY_PREFIX, KeyFormat
from streams.columns.scalar import NON_SCALAR
from streams.kafka.sample import TopicSample
from streams.readers.declared_field import DeclaredField
from streams.readers.format import ValueFormat
from streams.readers.json_lines import no_cycle_search, parse_lines
from streams.readers.schema_id import has_schema_id
from truthloop.onboarding.profiles.envelope import Envelope, envelope_of
from truthloop.onboarding.profiles.field import FieldProfile, fields_of
from truthloop.onboarding.profiles.time_format import ClockLag, TimeFormat, clock_lag, find_time_format

__all__ = ["NEARLY_ALL", "TopicProfile", "profile_topic"]

HEADERS_MAX: Final = 30
RECORD_TYPES_MAX: Final = 5

NEARLY_ALL: Final = 0.995
"""Share of the records that counts as all: a few may be broken."""

_KEY_FORMATS: Final[Mapping[int, KeyFormat]] = {4: "int32", 8: "int64", 16: "uuid"}
_FEATURE_PARENTS: Final = frozenset({"features", "feature", "f", "inputs", "input", "attributes", "attrs", "x"})


@dataclass(frozen=True)
class TopicProfile:
    """Profile of a sampled topic.

    Attributes:
        objects: the sampled records that are JSON objects.
        fields: all fields by path, with `$key` and headers; each has one value per object.
        time_formats: formats of the fields that are times, by path.
        kafka_ms: Kafka's timestamp of each object; None where there is none.
        unreadable: number of records that are not JSON objects, by what they are.
        tombstones: number of records without a value.
        key_format: form of the records' keys, as `key_format` of a source names it.
    """

    sample: TopicSample
    objects: list[dict[str, Any]]
    envelope: Envelope
    fields: Mapping[str, FieldProfile]
    time_formats: Mapping[str, TimeFormat]
    kafka_ms: list[int | None]
    unreadable: Mapping[str, int]
    tombstones: int
    key_format: KeyFormat = "text"
    _shares: dict[str, float] = dataclass_field(default_factory=dict)

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.sample.topic

    def record_fields(self) -> Iterator[FieldProfile]:
        """Yield the fields of the records themselves, without those of the envelope, the headers and the key."""
        return (field for field in self.fields.values() if self.is_record_field(field.path))

    def is_record_field(self, path: str) -> bool:
        """Return whether a path is a field of the records themselves."""
        return not path.startswith("$") and self.envelope.is_record_path(path)

    def inner_path(self, path: str) -> str:
        """Return a path relative to the record inside the envelope."""
        return path.removeprefix(self.envelope.inner)

    def is_feature(self, path: str) -> bool:
        """Return whether a field lies in an object whose name suggests features."""
        parents = self.inner_path(path).split(".")[:-1]
        return any(part.lower() in _FEATURE_PARENTS for part in parents)

    @cached_property
    def record_types(self) -> list[FieldProfile]:
        """Fields that may name the type of a record, such as `eventType`: categories that all records have."""
        found = [field for field in self.fields.values() if field.categories and field.share >= NEARLY_ALL]
        return sorted(found, key=lambda field: field.distinct)[:RECORD_TYPES_MAX]

    def share(self, field: FieldProfile) -> float:
        """Return the share of the records with a field, among those that can have it.

        A deletion has no row after it, and records of another type have other fields.
        """
        if field.path not in self._shares:
            share = self._share_of_rows(field)
            if share < NEARLY_ALL:
                share = max([share, *(_share_by_type(field, record_type) for record_type in self.record_types)])
            self._shares[field.path] = share
        return self._shares[field.path]

    def _share_of_rows(self, field: FieldProfile) -> float:
        if not self.envelope.before or not field.path.startswith(self.envelope.inner):
            return field.share
        names = self.envelope.inner.removesuffix(".").split(".")
        rows = sum(1 for one in self.objects if type(_value_at(one, names)) is dict)
        return field.present / rows if rows else 0.0

    def filled(self, field: FieldProfile) -> FieldProfile:
        """Return a field with the missing values of deletions taken from the row before."""
        before = self.fields.get(self.path_before(field.path) or "")
        if before is None:
            return field
        pairs = zip(field.values, before.values, strict=True)
        return FieldProfile(field.path, [old if new is None else new for new, old in pairs])

    def path_before(self, path: str) -> str | None:
        """Return the path of a field's value before a change; None if the envelope has none."""
        if not self.envelope.before or not path.startswith(self.envelope.inner):
            return None
        return f"{self.envelope.before}{self.inner_path(path)}"

    def lag(self, path: str) -> ClockLag | None:
        """Return the lag between a field's times and Kafka's; None if the field is not a time."""
        time_format = self.time_formats.get(path)
        return None if time_format is None else clock_lag(time_format.ms, self.kafka_ms)


def profile_topic(sample: TopicSample, now_ms: int, form: ValueFormat) -> TopicProfile:
    """Return the profile of a sample.

    Args:
        now_ms: present.
        form: how values are read; with a registry it also says what their schemas declare.

    Raises:
        RegistryAway: a schema cannot be read now.
    """
    messages = sample.messages
    values = messages.values
    with no_cycle_search():
        texts, unusable = form.texts(values, headers=messages.headers)
        parsed = parse_lines(texts, 0)
    unreadable = Counter(one.detail for one in unusable.values())
    for reject in parsed.rejects:
        binary = form.foreign(values[reject.row] or b"")
        unreadable[binary.detail if binary else "no JSON object"] += 1
    envelope = envelope_of(parsed.objects)
    key_format = key_format_of(messages.keys, form)
    metadata = _metadata_fields(sample, parsed.positions, key_format, form)
    fields = {
        field.path: field
        for field in (*_declared_fields(fields_of(parsed.objects), form.declared(values, messages.headers)), *metadata)
        if not (envelope.inner.startswith("payload.") and field.path.startswith("schema."))
    }
    time_formats = {
        path: time_format
        for path, field in fields.items()
        if field.kind in ("text", "number", "whole number")
        and (time_format := find_time_format(field.values, now_ms)) is not None
    }
    kafka_ms = [ms if ms > 0 else None for ms in (messages.timestamps[index] for index in parsed.positions)]
    return TopicProfile(
        sample,
        parsed.objects,
        envelope,
        fields,
        time_formats,
        kafka_ms,
        unreadable,
        values.count(None),
        key_format,
    )


def _declared_fields(fields: Iterable[FieldProfile], declared: Mapping[str, DeclaredField]) -> Iterator[FieldProfile]:
    for field in fields:
        yield replace(field, declared=declared[field.path]) if field.path in declared else field


def key_format_of(keys: Sequence[bytes | None], form: ValueFormat) -> KeyFormat:
    """Return the form of Kafka's keys: JSON objects, or of the size of an integer or a UUID and no printable text.

    Args:
        form: with a registry: keys are of its schemas if it can read all of them; eight bytes of a small integer begin
            as the id of a schema does.

    >>> key_format_of([(7).to_bytes(8, "big"), None], ValueFormat())
    'int64'
    >>> key_format_of([b"a-000001", b"a-000002"], ValueFormat())
    'text'
    """
    given = [key for key in keys if key is not None]
    if given and all(key[:1] == b"{" for key in given):
        return "json"
    if form.has_registry and given and all(map(has_schema_id, given)) and not form.texts(given, part="key")[1]:
        return "registry"
    sizes = set(map(len, given))
    found = _KEY_FORMATS.get(next(iter(sizes))) if len(sizes) == 1 else None
    return found if found is not None and not any(map(_is_printable, given)) else "text"


def _is_printable(key: bytes) -> bool:
    try:
        return key.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _metadata_fields(
    sample: TopicSample, indexes: list[int], key_format: KeyFormat, form: ValueFormat
) -> Iterator[FieldProfile]:
    """Yield the Kafka key and the headers of the messages at these indexes as fields."""
    messages = sample.messages
    headers = Counter(name for pairs in messages.headers for name, _ in pairs or ())
    paths = [KEY_PATH, *(f"$headers.{name}" for name, _ in headers.most_common(HEADERS_MAX) if name.isprintable())]
    for path, column in messages.metadata(paths, key_format, form).items():
        values = [None if column[index] == NON_SCALAR else column[index] for index in indexes]
        if path == KEY_PATH and any(type(value) is dict for value in values):
            keys = [value if type(value) is dict else {} for value in values]
            yield from (FieldProfile(f"{KEY_PREFIX}{field.path}", field.values) for field in fields_of(keys))
        elif any(value is not None for value in values):
            yield FieldProfile(path, values)


def _share_by_type(field: FieldProfile, record_type: FieldProfile) -> float:
    """Return the share of records with a field, among the types of record that have it; 0 if types do not decide it."""
    total = Counter(record_type.values)
    pairs = zip(record_type.values, field.values, strict=True)
    having = Counter(name for name, value in pairs if value is not None)
    with_it = [name for name, count in total.items() if name is not None and having[name] > count / 2]
    if not with_it or sum(having[name] for name in with_it) < NEARLY_ALL * field.present:
        return 0.0
    return sum(having[name] for name in with_it) / sum(total[name] for name in with_it)


def _value_at(value: Any, names: list[str]) -> Any:  # noqa: ANN401 - decoded JSON
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value
