"""What is proposed for one topic: the lines of its map, with what was seen beside each.

The key is chosen by who knows both topics. Must not write YAML.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.base.duration import format_duration
from schemas.config.mapping import Scalar
from truthloop.onboarding.draft.suggestions import CLEAR_WEIGHT, LabelSuggestion, OutputSuggestion, Role, suggest_outputs, suggest_times, suggest_versions
from truthloop.onboarding.draft.contract import Contract, suggest_contract
from truthloop.onboarding.draft.config_draft import MapLine, SourceDraft
from truthloop.onboarding.profiles.describe import percent, range_text, values_text
from truthloop.onboarding.profiles.field import FieldProfile
from truthloop.onboarding.profiles.names import IDENTITY_HINTS, last_name_parts, words
from truthloop.onboarding.profiles.time_format import HOUR_MS, zone_with_offset
from truthloop.onboarding.profiles.topic import KEY, WHOLE, TopicProfile

__all__ = ["ChosenKey", "draft_label_source", "draft_prediction_source", "time_path", "topic_notes"]

REPEATED: Final = 0.01
"""Of keys that carry several different predictions: fewer are slips."""

SNAPSHOT: Final = 0.5
DECIDED: Final = frozenset({"action", "decision", "eligible", "approved"})
_NEAR_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True)
class ChosenKey:
    """What records are joined on.

    Attributes:
        path: of the field.
        remark: why.
    """

    path: str
    remark: str


def time_path(topic: TopicProfile, role: Role) -> str | None:
    """Return the field that is the time of predictions or labels; None where there is none."""
    found = suggest_times(topic, role)
    return found[0].path if found else None


def draft_prediction_source(topic: TopicProfile, key: ChosenKey, said: Mapping[str, OutputSuggestion]) -> tuple[SourceDraft, Contract]:
    """Return what is proposed for a topic of predictions.

    Args:
        topic: the topic.
        key: of its records.
        said: by kind of label, what the model says of it.
    """
    draft = SourceDraft(topic.topic, "predictions")
    time = time_path(topic, "predictions")
    version = next(iter(suggest_versions(topic)), None)
    draft.lines += [MapLine("key", key.path, remark=key.remark)]
    draft.lines += _id(topic, key.path, version)
    draft.lines += [_time(topic, time), _version(topic, version)]
    scores = [one.field.path for one in suggest_outputs(topic) if one.weight >= CLEAR_WEIGHT]
    draft.lines += _outputs(topic, said, scores)
    taken = {line.path for line in draft.lines}.union(scores)
    contract = suggest_contract(topic, {path for path in taken if isinstance(path, str)})
    draft.lines += contract.lines
    draft.where = _where(topic, [path for path in (key.path, time, version.path if version else None) if path])
    draft.notes += topic_notes(topic)
    draft.notes += [
        f"If no label can be expected of some, say so: eligible: {{path: {one.path}, in: [...]}}"
        for one in topic.own()
        if last_name_parts(one.path) & DECIDED and (one.categories or one.kind == "true or false")
    ][:1]
    return draft, contract


def draft_label_source(topic: TopicProfile, key: ChosenKey, kind: str, value: LabelSuggestion | None) -> SourceDraft:
    """Return what is proposed for a topic of labels."""
    draft = SourceDraft(topic.topic, "labels", kind=kind)
    envelope = topic.envelope
    time = time_path(topic, "labels")
    other = f"{envelope.before}{key.path.removeprefix(envelope.inner)}"
    is_kept = bool(envelope.before) and key.path.startswith(envelope.inner)
    draft.lines.append(MapLine("key", key.path, {"otherwise": other} if is_kept else {}, key.remark))
    draft.lines.append(_value(value))
    draft.lines.append(_time(topic, time))
    if envelope.op:
        draft.lines.append(MapLine("retract", envelope.op, {"in": list(envelope.deleted)}, "a row that was deleted"))
    needed = [path for path in (key.path, time, value.field.path if value else None) if path]
    draft.where = _where(topic, needed)
    draft.notes += topic_notes(topic)
    if envelope.op and _snapshot_share(topic) > SNAPSHOT:
        draft.notes.append("DECIDE: most records are of a snapshot, whose time is when it was taken, not when labels")
        draft.notes.append("became known. A time in the row would be better for these.")
    return draft


def topic_notes(topic: TopicProfile) -> list[str]:
    """Say what was read of a topic."""
    sample, read = topic.sample, len(topic.sample.messages)
    size = f"{sample.facts.partitions} partitions with {sample.offsets:,} offsets"
    notes = [f"{size}; {read:,} records were looked at, {len(topic.objects):,} of them JSON objects."]
    if topic.envelope.name:
        notes.append(f"Envelope: {topic.envelope.name}.")
    notes += [f"{percent(count / read)}: {what}." for what, count in topic.unreadable.items()]
    if topic.tombstones:
        notes.append(f"{percent(topic.tombstones / read)} have no value (tombstones); they are left out.")
    lists = [one.path for one in topic.own() if set(one.types) == {"list"}]
    if lists:
        notes.append(f"Lists: {', '.join(lists[:5])}. `each: PATH` makes a record of every element.")
    return notes


def _time(topic: TopicProfile, path: str | None) -> MapLine:
    if path is None:
        remark = "DECIDE: no field is a time that fits; this is when Kafka got it"
        return MapLine("time", "$timestamp", {"unit": "ms"}, remark)
    form, lag = topic.moments[path], topic.lag(path)
    options: dict[str, object] = {"unit": form.unit} if form.unit else {}
    minutes = None if lag is None else lag.zone_minutes()
    if form.is_naive:
        options["zone"] = zone_with_offset(minutes or 0) or "UTC"
    if minutes is not None:
        ahead = f"{abs(minutes) / 60:g} h {'ahead of' if minutes > 0 else 'behind'} Kafka's clock"
        if form.is_naive:
            return MapLine("time", path, options, f"DECIDE: name the zone; without one it is {ahead}")
        return MapLine("time", path, options, f"DECIDE: {ahead}: a local time that is written as UTC?")
    if lag is None or abs(lag.p50) > _NEAR_MS:
        remark = "DECIDE: the zone; " if form.is_naive else ""
        return MapLine("time", path, options, remark + "Kafka's suggest_times are others: history?")
    remark = "DECIDE: the zone; " if form.is_naive and abs(lag.p50) > HOUR_MS // 2 else ""
    came = format_duration(max(round(abs(lag.p50), -3 if abs(lag.p50) >= 1_000 else 0), 0))  # noqa: PLR2004 - a second
    return MapLine("time", path, options, f"{remark}half came within {came}")


def _version(topic: TopicProfile, field: FieldProfile | None) -> MapLine:
    if field is None:
        return MapLine("version", None, {"constant": "v1"}, "DECIDE: no field names the model's version")
    return MapLine("version", field.path, remark=values_text(field, topic.share(field)))


def _outputs(topic: TopicProfile, said: Mapping[str, OutputSuggestion], scores: list[str]) -> Iterable[MapLine]:
    used = {one.field.path for one in said.values()}
    others = [path for path in scores if path not in used]
    for kind, one in said.items():
        field = one.field
        options: dict[str, object] = {} if one.scale is None else {"scale": one.scale}
        remark = range_text(*field.limits) if field.is_number else values_text(field, topic.share(field))
        more = f"; DECIDE: or {', '.join(others[:3])}" if others else ""
        yield MapLine(f"suggest_outputs.{kind}", field.path, options, f"{remark}{more}")


def _id(topic: TopicProfile, key: str, version: FieldProfile | None) -> Iterable[MapLine]:
    """Tell the predictions of one key apart, where there are several that differ."""
    by_key: dict[Any, list[int]] = defaultdict(list)
    for index, value in enumerate(topic.filled(topic.fields[key]).values):
        if value is not None:
            by_key[value].append(index)
    several = [indexes for indexes in by_key.values() if len(indexes) > 1]
    repeated = [indexes for indexes in several if len({_frozen(topic.objects[at]) for at in indexes}) > 1]
    if len(repeated) <= REPEATED * len(by_key):
        return
    remark = f"{percent(len(repeated) / len(by_key))} of the keys carry several predictions"
    unique = [
        one.path
        for one in topic.own()
        if one.kind in ("text", "whole number") and one.path != key and one.distinct == len(topic.objects)
        if last_name_parts(one.path) & IDENTITY_HINTS
    ]
    if unique:
        yield MapLine("id", unique[0], remark=remark)
    elif version is not None and _tells_apart(version, repeated):
        yield MapLine("id", (key, version.path), remark=remark)
    else:
        yield MapLine("id", key, remark=f"DECIDE: {remark}, and no field tells them apart: the first of each stands")


def _tells_apart(field: FieldProfile, groups: Iterable[list[int]]) -> bool:
    return all(len({field.values[at] for at in indexes}) == len(indexes) for indexes in groups)


def _frozen(value: object) -> object:
    if isinstance(value, dict):
        return frozenset((name, _frozen(inner)) for name, inner in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _value(value: LabelSuggestion | None) -> MapLine:
    if value is None:
        return MapLine("value", None, {"constant": 1}, "DECIDE: no field says a result, so a record itself is a yes")
    field = value.field
    if value.values is None:
        yes = field.counts[1]
        remark = f"{percent(yes / field.present)} are {'true' if field.kind == 'true or false' else '1'}"
        return MapLine("value", field.path, {}, remark if value.task == "binary" else values_text(field, 1.0))
    counts = {str(name): count for name, count in field.counts.items()}
    yes = sum(count for name, count in counts.items() if value.values.get(name.removesuffix(".0"), 0) == 1)
    remark = f"{percent(yes / field.present)} are 1"
    return MapLine(
        "value", field.path, {"values": value.values}, remark if value.is_sure else f"DECIDE which is 1: now {remark}"
    )


def _where(topic: TopicProfile, needed: list[str]) -> dict[str, Scalar | list[Scalar]]:
    """Return a condition that leaves out the records that lack what is needed, if one field tells them all."""
    if topic.envelope.before:
        return {topic.envelope.op: ["c", "r", "u", "d"]}
    columns = [topic.fields[path].values for path in needed if path in topic.fields]
    whole = [all(value is not None for value in row) for row in zip(*columns, strict=True)] if columns else []
    if not whole or sum(whole) >= WHOLE * len(whole):
        return {}
    best: tuple[int, str, list[Scalar]] | None = None
    for field in topic.fields.values():
        if field.path in needed or field.path == KEY or not field.categories or field.share < WHOLE:
            continue  # what the others lack, too, tells nothing, and would leave out what comes with a new value
        pairs = set(zip(field.values, whole, strict=True))
        taken = sorted(value for value, ok in pairs if ok and value is not None and (value, False) not in pairs)
        count = sum(field.counts[value] for value in taken)
        if taken and count >= WHOLE * sum(whole) and (best is None or len(taken) < best[0]):
            best = (len(taken), field.path, list(taken))
    return {} if best is None else {best[1]: best[2][0] if len(best[2]) == 1 else best[2]}


def _snapshot_share(topic: TopicProfile) -> float:
    field = topic.fields.get(topic.envelope.op)
    return 0.0 if field is None or "op" not in words(field.path) else field.counts["r"] / max(field.present, 1)
