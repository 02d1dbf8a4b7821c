"""One topic as its sampled records show it: what could be read, its envelope, its fields, and which of them are times.

Must not judge what the topic is for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from typing import Any, Final

from streams.columns.scalar import MARK
from streams.kafka.sample import TopicSample
from streams.readers.format import foreign_binary, json_text_in
from streams.readers.json_lines import no_cycle_search, parse_lines
from truthloop.onboarding.profiles.envelope import Envelope, envelope_of
from truthloop.onboarding.profiles.field import FieldProfile, fields_of
from truthloop.onboarding.profiles.time_format import ClockLag, TimeFormat, lag_of, moment_form

__all__ = ["KEY", "WHOLE", "SeenTopic", "see_topic"]

HEADERS_MAX: Final = 30
KINDS_MAX: Final = 5

WHOLE: Final = 0.995
"""Of the records: all but a few that may be broken."""

KEY: Final = "$key"
_FEATURE_PARENTS: Final = frozenset({"features", "feature", "f", "inputs", "input", "attributes", "attrs", "x"})


@dataclass(frozen=True)
class SeenTopic:
    """See the module.

    Attributes:
        sample: what was read.
        objects: the records that are JSON objects.
        envelope: around them.
        fields: all of them by path, `$key` and headers included; one value an object each.
        moments: those that are times.
        kafka_ms: Kafka's time of each object; None where there is none.
        unreadable: how many records are no JSON objects, by what they are.
        tombstones: records without a value.
    """

    sample: TopicSample
    objects: list[dict[str, Any]]
    envelope: Envelope
    fields: Mapping[str, FieldProfile]
    moments: Mapping[str, TimeFormat]
    kafka_ms: list[int | None]
    unreadable: Mapping[str, int]
    tombstones: int
    _shares: dict[str, float] = dataclass_field(default_factory=dict)

    @property
    def topic(self) -> str:
        """Its name."""
        return self.sample.topic

    def own(self) -> Iterator[FieldProfile]:
        """Give the fields of the records themselves, not those of envelopes, headers and keys."""
        return (field for field in self.fields.values() if self.holds(field.path))

    def holds(self, path: str) -> bool:
        """Tell whether a path is a field of the records themselves."""
        return not path.startswith("$") and self.envelope.holds(path)

    def short(self, path: str) -> str:
        """Return a path as seen from inside the envelope."""
        return path.removeprefix(self.envelope.inner)

    def is_feature(self, path: str) -> bool:
        """Tell whether a field lies in an object that is named like one of features."""
        parents = self.short(path).split(".")[:-1]
        return any(part.lower() in _FEATURE_PARENTS for part in parents)

    @cached_property
    def kinds_of_record(self) -> list[FieldProfile]:
        """Fields that all records have and that may say which kind of record each is, such as eventType."""
        found = [field for field in self.fields.values() if field.categories and field.share >= WHOLE]
        return sorted(found, key=lambda field: field.distinct)[:KINDS_MAX]

    def share(self, field: FieldProfile) -> float:
        """Return the share of records that have a field, of those that can have it.

        A deletion has nothing after it, and a record of another kind has other fields.
        """
        if field.path not in self._shares:
            share = self._plain_share(field)
            if share < WHOLE:
                share = max([share, *(_share_by_kind(field, kind) for kind in self.kinds_of_record)])
            self._shares[field.path] = share
        return self._shares[field.path]

    def _plain_share(self, field: FieldProfile) -> float:
        if not self.envelope.before or not field.path.startswith(self.envelope.inner):
            return field.share
        inner = self.envelope.inner.removesuffix(".").split(".")
        whole = sum(1 for one in self.objects if type(_at(one, inner)) is dict)
        return field.present / whole if whole else 0.0

    def filled(self, field: FieldProfile) -> FieldProfile:
        """Return a field whose values, where a deletion took them away, are those of before."""
        other = self.before(field.path)
        if other is None:
            return field
        pairs = zip(field.values, other.values, strict=True)
        return FieldProfile(field.path, [after if after is not None else before for after, before in pairs])

    def before(self, path: str) -> FieldProfile | None:
        """Return the field that has what a value was before it was deleted."""
        if not self.envelope.before or not path.startswith(self.envelope.inner):
            return None
        return self.fields.get(f"{self.envelope.before}{path.removeprefix(self.envelope.inner)}")

    def lag(self, path: str) -> ClockLag | None:
        """Return how long after the times of a field Kafka got the records."""
        form = self.moments.get(path)
        return None if form is None else lag_of(form.ms, self.kafka_ms)


def see_topic(sample: TopicSample, now_ms: int) -> SeenTopic:
    """Look into a sample.

    Args:
        sample: of the topic.
        now_ms: the present.
    """
    messages = sample.messages
    values = messages.values
    texts = [b"" if value is None else json_text_in(value) for value in values]
    with no_cycle_search():
        parsed = parse_lines(texts, 0)
    unreadable: Counter[str] = Counter()
    for reject in parsed.rejects:
        binary = foreign_binary(values[reject.row] or b"")
        unreadable[binary.detail if binary else "no JSON object"] += 1
    kafka_ms = [ms if ms > 0 else None for ms in (messages.timestamps[place] for place in parsed.positions)]
    envelope = envelope_of(parsed.objects)
    schema = "schema." if envelope.inner.startswith("payload.") else None
    fields = {
        field.path: field for field in fields_of(parsed.objects) if schema is None or not field.path.startswith(schema)
    }
    fields |= {field.path: field for field in _beside(sample, parsed.positions)}
    moments = {}
    for path, field in fields.items():
        if field.kind in ("text", "number", "whole number") and (form := moment_form(field.values, now_ms)):
            moments[path] = form
    return SeenTopic(
        sample,
        parsed.objects,
        envelope,
        fields,
        moments,
        kafka_ms,
        unreadable,
        values.count(None),
    )


def _beside(sample: TopicSample, places: list[int]) -> Iterator[FieldProfile]:
    """Give the Kafka key and the headers as fields."""
    messages = sample.messages
    seen = Counter(name for headers in messages.headers for name, _ in headers or ())
    paths = [KEY, *(f"$headers.{name}" for name, _ in seen.most_common(HEADERS_MAX) if name.isprintable())]
    for path, column in messages.beside(paths).items():
        values = [None if column[place] == MARK else column[place] for place in places]
        if any(value is not None for value in values):
            yield FieldProfile(path, values)


def _share_by_kind(field: FieldProfile, kind: FieldProfile) -> float:
    """Return the share of records that have a field, of the kinds of record that have it; 0 where kinds do not tell."""
    total, having = (
        Counter(kind.values),
        Counter(name for name, value in zip(kind.values, field.values, strict=True) if value is not None),
    )
    with_it = [name for name, count in total.items() if name is not None and having[name] > count / 2]
    if not with_it or sum(having[name] for name in with_it) < WHOLE * field.present:
        return 0.0
    return sum(having[name] for name in with_it) / sum(total[name] for name in with_it)


def _at(value: Any, names: list[str]) -> Any:  # noqa: ANN401 - decoded JSON
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value
