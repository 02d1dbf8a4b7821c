"""Check of the mapping: rejects and their reasons, records that no source selects, missing and invalid values."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.figures import share as as_share
from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from streams.mapping.values import LIKE_A_FLOAT
from truthloop.onboarding.check.issue import Issue, Severity, issue
from truthloop.onboarding.profiles.describe import list_text
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic, SampleReject

__all__ = ["RejectShare", "check_mapping", "deletion_text", "reject_shares"]

MANY: Final = 0.2
"""If more are rejected or invalid, it is not a few bad records but a config that does not fit."""

NEARLY_ALL: Final = 0.99
FLAGGED: Final = 0.01
UNUSUAL: Final = 0.05
CONFLICTS: Final = 0.01
LABELS_MIN: Final = 50
"""If so many labels are all of one class, it is not by chance."""

NAMES_SHOWN: Final = 5

_REJECT_HINTS: Final = {
    RejectReason.NOT_JSON: "Look at the record; ingest keeps it in `rejects` and goes on.",
    RejectReason.NOT_AN_OBJECT: "Records must be JSON objects; to map the elements of a list, name it in `each`.",
    RejectReason.AVRO_OR_PROTOBUF: "Give `schema_registry`, if they have a schema id; else let a converter write JSON.",
    RejectReason.UNSUPPORTED_VERSION: "Is `v` the version of the message format? It is 1, or left out.",
    RejectReason.BAD_KEY: "Is `map.key` the right path? Leave out records of another type with `where`.",
    RejectReason.BAD_ID: "Is `map.id` the right path?",
    RejectReason.BAD_TIME: "Is `map.time` the right path, and its `unit` the right one (s, ms, us, ns)?",
    RejectReason.NAIVE_TIME: "Name their zone: time: {path: ..., zone: Area/City}.",
    RejectReason.NONEXISTENT_TIME: "Clocks in this `zone` skipped these times, so it is the wrong zone.",
    RejectReason.BAD_VERSION: "Is `map.version` the right path? If no field has it, {constant: v1} sets a version.",
    RejectReason.BAD_VALUE: "Does `map.value` list every value in `values`? Leave out others with `where`.",
    RejectReason.BAD_OP: "Compare `retract` and `heartbeat` with the spellings above.",
    RejectReason.UNKNOWN_KIND: "Every kind needs an entry in `labels` and `predictions.outputs`.",
    RejectReason.HOOK_FAILED: "The function under `python` raised an error for them.",
    RejectReason.TOO_LARGE: "Map fewer features: fields that are not mapped are not sent.",
}


@dataclass(frozen=True)
class RejectShare:
    """Sampled records of a topic that would be rejected for one reason.

    Attributes:
        share: among the records that a source selects.
        example: the first of them.
    """

    reason: str
    count: int
    share: float
    example: SampleReject


def reject_shares(topic: MappedTopic) -> list[RejectShare]:
    """Return the rejects of a topic by reason, most frequent first."""
    counts = Counter(one.reason for one in topic.rejects)
    first = {one.reason: one for one in reversed(topic.rejects)}
    frequent = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [RejectShare(reason, count, count / max(topic.selected, 1), first[reason]) for reason, count in frequent]


def deletion_text(topic: MappedTopic) -> str:
    """Return what becomes of a topic's records without a value."""
    ways = {source.source.tombstone for source in topic.sources if source.source is not None} - {"skip"}
    if "retract" in ways:
        return "which retract the labels of their keys"
    return "which the function is given" if ways else "which are left out"


def check_mapping(topic: MappedTopic, config: LoopConfig) -> Iterator[Issue]:
    """Yield the issues of a topic's mapping."""
    read, where = len(topic.sample.messages), f"topic {topic.topic}"
    if not read:
        return
    if topic.filtered == read:
        yield issue("all_filtered", where, f"no source selects any of {read:,} sampled records")
    is_skipped = all(source.source is not None and source.source.tombstone == "skip" for source in topic.sources)
    if topic.deletions and is_skipped and any(source.role == "labels" for source in topic.sources):
        yield issue("tombstones", where, f"{topic.deletions:,} sampled records have no value, and are left out")
    severity = Severity.ERROR if len(topic.rejects) / max(topic.selected, 1) >= MANY else Severity.WARNING
    for one in reject_shares(topic):
        position = f"partition {one.example.partition}, offset {one.example.offset}"
        text = f"{as_share(one.share)} would be rejected: {one.reason}, for instance {position}: {one.example.detail}"
        yield issue("rejects", where, text, severity=severity, hint=_REJECT_HINTS.get(RejectReason(one.reason)))
    for source in topic.sources:
        if not source.frame.height:
            continue
        yield from _spelled(where, source)
        if source.role == "predictions":
            yield from _outputs(where, source, config)
            yield from _slices(where, source, config)
            yield from _features(where, source)
            yield from _conflicts(where, source)
        else:
            yield from _classes(where, source, config)


def _spelled(where: str, source: MappedSource) -> Iterator[Issue]:
    """Find keys like floats, answers that cannot be read, and codes that are numbers and have lost trailing zeros."""
    share = float(source.frame["flags"].list.contains(f"key:{LIKE_A_FLOAT}").sum()) / source.frame.height
    if share >= FLAGGED:
        yield issue("like_a_float", f"{where}, key", f"{as_share(share)} are text like 101.0")
    if source.role == "predictions":
        unread = float(source.frame["flags"].list.contains("eligible:invalid").sum()) / source.frame.height
        if unread:
            yield issue(
                "eligible_invalid", f"{where}, eligible", f"{as_share(unread)} read neither as true nor as false"
            )
    for target, count in source.fractions.items():
        if count:
            text = f"{count:,} are JSON numbers with a fraction: 10.40 is 10.4 there, for every reader"
            yield issue("number_as_text", f"{where}, {target}", text)


def _outputs(where: str, source: MappedSource, config: LoopConfig) -> Iterator[Issue]:
    flags = source.frame["flags"].list
    for kind, output in config.predictions.outputs.items():
        invalid = float(flags.contains(f"output_{kind}:invalid").sum()) / source.frame.height
        missing = float(flags.contains(f"output_{kind}:missing").sum()) / source.frame.height
        if invalid >= FLAGGED:
            wanted, hint = "what the task needs", None
            if output.task == "binary":
                wanted, hint = "a number from 0 to 1", "Percentages need `scale: 0.01`."
            severity = Severity.ERROR if invalid >= MANY else Severity.WARNING
            text = f"{as_share(invalid)} are not {wanted}"
            yield issue("output_invalid", f"{where}, outputs.{kind}", text, severity=severity, hint=hint)
        if missing >= FLAGGED:
            severity = Severity.ERROR if missing >= NEARLY_ALL else Severity.WARNING
            text = f"{as_share(missing)} of the predictions have none, so they cannot be evaluated"
            yield issue("output_missing", f"{where}, outputs.{kind}", text, severity=severity)


def _slices(where: str, source: MappedSource, config: LoopConfig) -> Iterator[Issue]:
    empty = [name for name in config.predictions.slices if source.frame[f"slice_{name}"].is_null().all()]
    if empty:
        yield issue("slice_missing", f"{where}, slices", f"no sampled record has a value: {', '.join(empty)}")


def _features(where: str, source: MappedSource) -> Iterator[Issue]:
    counts = source.frame["flags"].list.explode().drop_nulls().value_counts().rows()
    for kind, share_min, text in (
        ("missing", NEARLY_ALL, "no sampled record has a value"),
        ("invalid", FLAGGED, "values do not fit the type"),
        ("out_of_range", UNUSUAL, "values are outside min and max"),
        ("unseen", UNUSUAL, "values are not in `categories`"),
    ):
        names = sorted(
            flag.removeprefix("feature_").removesuffix(f":{kind}")
            for flag, count in counts
            if flag.startswith("feature_") and flag.endswith(f":{kind}") and count / source.frame.height >= share_min
        )
        if names:
            yield issue(f"feature_{kind}", f"{where}, features", f"{text}: {list_text(names, NAMES_SHOWN)}")


def _conflicts(where: str, source: MappedSource) -> Iterator[Issue]:
    keys = source.frame.group_by("key", "id").agg(pl.col("digest").n_unique())
    share = float((keys["digest"] > 1).sum()) / keys.height
    if share >= CONFLICTS:
        text = f"{as_share(share)} of the keys have several predictions that differ; the first counts, the others are "
        yield issue("conflicts", where, f"{text}rejected as `conflict`")


def _classes(where: str, source: MappedSource, config: LoopConfig) -> Iterator[Issue]:
    for kind, label in config.labels.items():
        if config.predictions.outputs[kind].task == "binary":
            values = source.frame.filter((pl.col("kind") == kind) & (pl.col("op") == "upsert"))["value"]
            if len(values) >= LABELS_MIN and values.n_unique() == 1 and isinstance(label.on_timeout, str):
                text = f"all {len(values):,} sampled labels are {values[0]:g}"
                yield issue("one_class", f"{where}, kind {kind}", text)
