"""Draft of one source: the lines of its map with their comments, its condition, and notes on the topic.

`draft.builder` chooses the key, because it knows both topics.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from schemas.base.duration import format_duration
from schemas.base.figures import share as as_share
from schemas.config.mapping import Scalar
from schemas.config.record_metadata import KeyFormat, is_key_path
from streams.columns.schema import Role
from truthloop.onboarding.draft.config_draft import MapLine, SourceDraft
from truthloop.onboarding.draft.contract import Contract, suggest_contract
from truthloop.onboarding.draft.suggestions import (
    CLEAR_WEIGHT,
    LabelSuggestion,
    OutputSuggestion,
    suggest_outputs,
    suggest_times,
    suggest_versions,
)
from truthloop.onboarding.profiles.describe import range_text, values_text
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import IDENTITY_HINTS, last_name_parts, name_parts
from truthloop.onboarding.profiles.time_format import HOUR_MS, zone_with_offset
from truthloop.onboarding.profiles.topic import NEARLY_ALL, TopicProfile

__all__ = ["ChosenKey", "draft_label_source", "draft_prediction_source", "time_path", "topic_notes"]

REPEATED: Final = 0.01
"""Share of the keys that have several different predictions, from which on it is not by mistake."""

SNAPSHOT: Final = 0.5
ELIGIBLE_HINTS: Final = frozenset({"action", "decision", "eligible", "approved"})
_DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True)
class ChosenKey:
    """The key of a topic."""

    path: str
    comment: str


def time_path(topic: TopicProfile, role: Role) -> str | None:
    """Return the path of the most likely time of predictions or labels; None if there is none."""
    found = suggest_times(topic, role)
    return found[0].path if found else None


def draft_prediction_source(
    topic: TopicProfile, key: ChosenKey, outputs: Mapping[str, OutputSuggestion]
) -> tuple[SourceDraft, Contract]:
    """Return the source and the contract for a topic of predictions; `outputs` are by kind."""
    draft = SourceDraft(topic.topic, "predictions", topic_notes(topic))
    time = time_path(topic, "predictions")
    version = next(iter(suggest_versions(topic)), None)
    clear = [one.field.path for one in suggest_outputs(topic) if one.weight >= CLEAR_WEIGHT]
    draft.lines = [
        MapLine("key", key.path, comment=key.comment),
        *_id(topic, key.path, version),
        _time(topic, time),
        _version(topic, version),
        *_outputs(topic, outputs, clear),
    ]
    draft.where = _where(topic, [path for path in (key.path, time, version.path if version else None) if path])
    draft.key_format = _key_format(topic, draft)
    used = {line.path for line in draft.lines if isinstance(line.path, str)}
    # a field that says which records are taken is (nearly) the same for all that are
    contract = suggest_contract(topic, used.union(clear, draft.where))
    draft.lines += contract.lines
    draft.notes += [
        f"If no label is expected for some predictions, add to the map: eligible: {{path: {one.path}, in: [...]}}"
        for one in topic.record_fields()
        if last_name_parts(one.path) & ELIGIBLE_HINTS and (one.categories or one.kind == "true or false")
    ][:1]
    return draft, contract


def draft_label_source(
    topic: TopicProfile, key: ChosenKey, kind: str, value: LabelSuggestion | None, doubt: str = ""
) -> SourceDraft:
    """Return the source for a topic of labels; `doubt` is what a person has to decide about their meaning."""
    time = time_path(topic, "labels")
    before = topic.path_before(key.path)
    lines = [
        MapLine("key", key.path, {} if before is None else {"otherwise": before}, key.comment),
        _value(value, doubt),
        _time(topic, time),
    ]
    op = topic.envelope.op
    if op:
        lines.append(MapLine("retract", op, {"in": list(topic.envelope.deleted)}, "the row was deleted"))
    where = _where(topic, [path for path in (key.path, time, value.field.path if value else None) if path])
    notes = topic_notes(topic)
    if op and _snapshot_share(topic) > SNAPSHOT:
        notes.append(
            "DECIDE: most records come from a snapshot, so their time is when it was taken, not when the label became "
            "known. A time in the row would be better."
        )
    draft = SourceDraft(topic.topic, "labels", notes, lines, kind, where)
    draft.key_format = _key_format(topic, draft)
    return draft


def topic_notes(topic: TopicProfile) -> list[str]:
    """Return notes on the sample: size, envelope, unreadable records."""
    sample, read = topic.sample, len(topic.sample.messages)
    size = f"{sample.facts.partitions} partitions with {sample.offsets:,} offsets"
    notes = [f"{size}; {read:,} records were read, {len(topic.objects):,} of them are JSON objects."]
    if topic.envelope.name:
        notes.append(f"Envelope: {topic.envelope.name}.")
    notes += [f"{as_share(count / read)}: {what}." for what, count in topic.unreadable.items()]
    if topic.tombstones:
        notes.append(f"{as_share(topic.tombstones / read)} have no value (tombstones); they are ignored.")
    lists = [one.path for one in topic.record_fields() if set(one.types) == {"list"}]
    if lists:
        notes.append(f"Lists: {', '.join(lists[:5])}. `each: PATH` makes a record of every element.")
    return notes


def _key_format(topic: TopicProfile, draft: SourceDraft) -> KeyFormat:
    """Return the form of Kafka's keys if the map reads them."""
    return (
        topic.key_format
        if any(isinstance(line.path, str) and is_key_path(line.path) for line in draft.lines)
        else "text"
    )


def _id(topic: TopicProfile, key: str, version: FieldProfile | None) -> Iterator[MapLine]:
    """Yield the line that tells the predictions of one key apart, if there are several that differ.

    A record that was sent again says nothing about that: the join takes it for a duplicate.
    """
    by_key: dict[Any, dict[object, int]] = defaultdict(dict)
    for index, value in enumerate(topic.filled(topic.fields[key]).values):
        if value is not None:
            content = _frozen(topic.objects[index]), None if version is None else version.values[index]
            by_key[value].setdefault(content, index)
    first_sent = [list(contents.values()) for contents in by_key.values()]
    repeated = [indexes for indexes in first_sent if len(indexes) > 1]
    if len(repeated) <= REPEATED * len(by_key):
        return
    sent = [index for indexes in first_sent for index in indexes]
    comment = f"{as_share(len(repeated) / len(by_key))} of the keys have several predictions"
    unique = [
        one.path
        for one in topic.record_fields()
        if one.kind in ("text", "whole number") and one.path != key and _tells_apart(one, [sent])
        if last_name_parts(one.path) & IDENTITY_HINTS
    ]
    if unique:
        yield MapLine("id", unique[0], comment=comment)
    elif version is not None and _tells_apart(version, repeated):
        yield MapLine("id", (key, version.path), comment=comment)
    else:
        comment = f"DECIDE: {comment}, and no field tells them apart: only the first counts"
        yield MapLine("id", key, comment=comment)


def _tells_apart(field: FieldProfile, groups: Iterable[list[int]]) -> bool:
    values = ([field.values[index] for index in indexes] for indexes in groups)
    return all(None not in group and len(set(group)) == len(group) for group in values)


def _frozen(value: object) -> object:
    """Return decoded JSON as a hashable value."""
    if isinstance(value, dict):
        return frozenset((name, _frozen(inner)) for name, inner in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _time(topic: TopicProfile, path: str | None) -> MapLine:
    if path is None:
        comment = "DECIDE: no field is a suitable time; this is Kafka's timestamp"
        return MapLine("time", "$timestamp", {"unit": "ms"}, comment)
    time_format, lag = topic.time_formats[path], topic.lag(path)
    options: dict[str, object] = {"unit": time_format.unit} if time_format.unit else {}
    minutes = None if lag is None else lag.zone_minutes()
    if time_format.is_naive:
        options["zone"] = zone_with_offset(minutes or 0) or "UTC"
    if minutes is not None:
        offset = f"{abs(minutes) / 60:g} h {'ahead of' if minutes > 0 else 'behind'} Kafka's clock"
        if time_format.is_naive:
            return MapLine("time", path, options, f"DECIDE: name the zone; as UTC it would be {offset}")
        return MapLine("time", path, options, f"DECIDE: {offset}; is it a local time that is written as UTC?")
    if lag is None or abs(lag.p50) > _DAY_MS:
        comment = "DECIDE: the zone; " if time_format.is_naive else ""
        return MapLine("time", path, options, comment + "far from Kafka's timestamps: is it history?")
    comment = "DECIDE: the zone; " if time_format.is_naive and abs(lag.p50) > HOUR_MS // 2 else ""
    half = format_duration(max(round(abs(lag.p50), -3 if abs(lag.p50) >= 1_000 else 0), 0))  # noqa: PLR2004 - a second
    return MapLine("time", path, options, f"{comment}half arrived within {half}")


def _version(topic: TopicProfile, field: FieldProfile | None) -> MapLine:
    if field is None:
        return MapLine("version", None, {"constant": "v1"}, "DECIDE: no field is named like the model's version")
    return MapLine("version", field.path, comment=values_text(field, topic.share(field)))


def _outputs(topic: TopicProfile, outputs: Mapping[str, OutputSuggestion], clear: list[str]) -> Iterator[MapLine]:
    """Yield the lines of the outputs by kind; `clear` are the paths of all clear suggestions."""
    used = {one.field.path for one in outputs.values()}
    others = [path for path in clear if path not in used]
    for kind, one in outputs.items():
        field = one.field
        options: dict[str, object] = {} if one.scale is None else {"scale": one.scale}
        comment = range_text(*field.limits) if field.is_number else values_text(field, topic.share(field))
        rivals = f"; DECIDE: or {', '.join(others[:3])}" if others else ""
        yield MapLine(f"outputs.{kind}", field.path, options, f"{comment}{rivals}")


def _value(value: LabelSuggestion | None, doubt: str) -> MapLine:
    line = _value_alone(value)
    if not doubt:
        return line
    return replace(line, comment=f"DECIDE: {doubt}; {line.comment.removeprefix('DECIDE: ')}")


def _value_alone(value: LabelSuggestion | None) -> MapLine:
    if value is None:
        comment = "DECIDE: no field looks like a label value, so every record is a positive label"
        return MapLine("value", None, {"constant": 1}, comment)
    field = value.field
    if value.values is None:
        share = as_share(field.counts[1] / field.present)
        comment = f"{share} are {'true' if field.kind == 'true or false' else '1'}"
        return MapLine("value", field.path, {}, comment if value.task == "binary" else values_text(field, 1.0))
    counts = {str(name): count for name, count in field.counts.items()}
    positive = sum(count for name, count in counts.items() if value.values.get(name.removesuffix(".0"), 0) == 1)
    comment = f"{as_share(positive / field.present)} are 1"
    if not value.is_sure:
        comment = f"DECIDE: which values are 1? As it is, {comment}"
    return MapLine("value", field.path, {"values": value.values}, comment)


def _where(topic: TopicProfile, needed: list[str]) -> dict[str, Scalar | list[Scalar]]:
    """Return a condition on one field that leaves out records without the needed fields; empty if none does it."""
    if topic.envelope.before:
        return {topic.envelope.op: ["c", "r", "u", "d"]}
    columns = [topic.fields[path].values for path in needed if path in topic.fields]
    complete = [all(value is not None for value in row) for row in zip(*columns, strict=True)] if columns else []
    if not complete or sum(complete) >= NEARLY_ALL * len(complete):
        return {}
    best: tuple[int, str, list[Scalar]] | None = None
    for field in topic.fields.values():
        if field.path in needed or is_key_path(field.path) or not field.categories or field.share < NEARLY_ALL:
            continue  # a field that incomplete records lack, too, would leave out records with a new value
        pairs = set(zip(field.values, complete, strict=True))
        selected = sorted(value for value, ok in pairs if ok and value is not None and (value, False) not in pairs)
        count = sum(field.counts[value] for value in selected)
        if selected and count >= NEARLY_ALL * sum(complete) and (best is None or len(selected) < best[0]):
            best = (len(selected), field.path, list(selected))
    return {} if best is None else {best[1]: best[2][0] if len(best[2]) == 1 else best[2]}


def _snapshot_share(topic: TopicProfile) -> float:
    """Return the share of a Debezium topic's records that come from a snapshot."""
    field = topic.fields.get(topic.envelope.op)
    return 0.0 if field is None or "op" not in name_parts(field.path) else field.counts["r"] / max(field.present, 1)
