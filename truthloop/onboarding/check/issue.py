"""Issues that `truthloop check --live` reports, and the table of all of them: severity and hint by code."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

__all__ = ["Issue", "Severity", "by_severity", "has_errors", "issue"]


class Severity(IntEnum):
    """Severity of an issue; lower is worse."""

    ERROR = 0
    """The loop would not work, or its numbers would silently be wrong."""
    WARNING = 1
    """Something would be lost, or could not be checked."""
    NOTE = 2
    """Good to know."""


_ERROR, _WARNING, _NOTE = Severity

_TABLE: Final[dict[str, tuple[Severity, str]]] = {
    # existence and settings of topics
    "missing_topic": (_ERROR, "It is named in `ingest`."),
    "no_records": (_ERROR, "Check again once there are records."),
    "empty_topic": (_WARNING, "Check again once it has records."),
    "settings_unknown": (_NOTE, "Grant DescribeConfigs on the topics."),
    "compacted": (_WARNING, "Use delete, or make sure that ingest never lags by more than min.compaction.lag.ms."),
    "retention": (
        _WARNING,
        "Records must stay until the lake has them, also through outages. The labels' delays do not matter.",
    ),
    "partition_count": (
        _ERROR,
        "Correct `partitions` before the first start, or recreate the topic; adding partitions misplaces old keys.",
    ),
    "message_size": (_ERROR, "Raise max.message.bytes, or set message.max.bytes under kafka.client to the same size."),
    "copies": (_NOTE, "For production: 3 replicas and min.insync.replicas=2; else records are lost with a machine."),
    # mapping
    "all_filtered": (_ERROR, "Compare `where` with the spellings above: the type of its value decides what it equals."),
    "rejects": (_WARNING, ""),
    "schema_change": (_WARNING, "Change the map together with the producer; `otherwise` reads a second path."),
    "tombstones": (_NOTE, "Where they delete labels, `tombstone: retract` retracts the label of their key."),
    "output_invalid": (_WARNING, "Are the path and the task right?"),
    "output_missing": (_WARNING, "Is the path right?"),
    "slice_missing": (_WARNING, "Are the paths right?"),
    "feature_missing": (_WARNING, "Are the paths right?"),
    "feature_invalid": (_WARNING, "Their text is kept in `extras`, not as a feature."),
    "feature_out_of_range": (_NOTE, "They are kept and flagged. Widen min and max?"),
    "feature_unseen": (_NOTE, "They are kept and flagged. Add them to `categories`?"),
    "conflicts": (_WARNING, "Map `id` to a field that tells them apart, for instance id: [key, version]."),
    "one_class": (_WARNING, "If the other class has no records, on_timeout: {imply: 0} assigns it at the horizon."),
    "eligible_invalid": (_WARNING, "They count as eligible. Compare `eligible` with the spellings above."),
    "number_as_text": (_WARNING, "Let the producer write codes as text, in quotes."),
    "other_classes": (
        _WARNING,
        "Map them to the same names with `values`, or set `type: int` if they are whole numbers.",
    ),
    # times
    "time_zone": (_ERROR, "Their UTC offset is wrong: the producer must write UTC, or the right offset."),
    "future": (_WARNING, "Check the producers' clocks."),
    "history": (_WARNING, "With clock: arrival, labels are known when they arrive; clock: event uses their own times."),
    # keys
    "like_a_float": (
        _WARNING,
        "If they are whole numbers, write key: {path: ..., type: int}: 101.0 is no 101 as text.",
    ),
    "few_common_keys": (
        _WARNING,
        "Leave out labels of other models with `where`; else they expire as `unknown_prediction`.",
    ),
    "no_common_keys": (_ERROR, "Compare map.key of both sides with the records."),
    "overlap_unknown": (_WARNING, "Raise --sample, unless labels come after their predictions have left the topic."),
    "kafka_key": (_ERROR, "The Kafka key must be the UTF-8 of `key`: it decides where predictions and labels meet."),
    "partitioner": (
        _ERROR,
        (
            "Set partitioner=murmur2_random in librdkafka producers (Python, Go, .NET, C++, Rust). Old records stay in "
            "the wrong partitions: recreate the topic, or write to another one and name it in `ingest`, which re-keys."
        ),
    ),
    # ages
    "labels_before_predictions": (
        _WARNING,
        "Check the topics' roles and times; in a data set such labels would be leaks.",
    ),
    "retain_too_short": (_WARNING, "Raise `retain`."),
    "horizon_too_short": (_WARNING, "Raise `horizon`."),
    "slower_than_expected": (_NOTE, "Raise `expected_delay`; it is only shown to people."),
    "window_too_short": (_NOTE, "Take horizon and retain from somebody who knows the labels."),
}


@dataclass(frozen=True)
class Issue:
    """One issue.

    Attributes:
        code: its kind, for programs.
        where: topic, kind or field.
        hint: how to solve it; may be empty.
    """

    severity: Severity
    code: str
    where: str
    text: str
    hint: str


def issue(code: str, where: str, text: str, *, severity: Severity | None = None, hint: str | None = None) -> Issue:
    """Return an issue with the severity and hint of its code in the table, unless others are given."""
    usual_severity, usual_hint = _TABLE[code]
    return Issue(
        usual_severity if severity is None else severity, code, where, text, usual_hint if hint is None else hint
    )


def by_severity(issues: Iterable[Issue]) -> list[Issue]:
    """Return issues with the worst first; those of one severity keep their order."""
    return sorted(issues, key=lambda one: one.severity)


def has_errors(issues: Iterable[Issue]) -> bool:
    """Return whether any issue is an error."""
    return any(one.severity is Severity.ERROR for one in issues)
