"""What becomes of sampled records under the config: rejects and their reasons, what is left out, what is flagged.

Must not map: it looks at what the mapping made.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from truthloop.onboarding.check.issue import Issue, Severity
from truthloop.onboarding.profiles.describe import percent
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic, Refused

__all__ = ["RejectShare", "look_at_mapping", "reject_shares"]

MANY: Final = 0.2
"""Of the records rejected: no poison among good ones, but a config that does not fit."""

NONE: Final = 0.99
FLAGGED: Final = 0.01
UNUSUAL: Final = 0.05
CONFLICTS: Final = 0.01
CLASSES_FROM: Final = 50
"""So many labels of one class alone are no chance."""

NAMES_SHOWN: Final = 5

_WAYS: Final = {
    RejectReason.NOT_JSON: "Look at the record; ingest keeps it in `rejects` and goes on.",
    RejectReason.NOT_AN_OBJECT: "Records must be JSON objects; for elements of a list name it in `each`.",
    RejectReason.AVRO_OR_PROTOBUF: "Only JSON is read by now: let a converter write JSON to another topic.",
    RejectReason.BAD_KEY: "Is `map.key` the right path? Records of another kind are left out with `where`.",
    RejectReason.BAD_ID: "Is `map.id` the right path?",
    RejectReason.BAD_TIME: "Is `map.time` the right path, and its `unit` the right one (s, ms, us, ns)?",
    RejectReason.NAIVE_TIME: "Name their zone: time: {path: ..., zone: Area/City}.",
    RejectReason.NONEXISTENT_TIME: "Clocks never showed these times in this `zone`: it is another one.",
    RejectReason.BAD_VERSION: "Is `map.version` the right path? {constant: v1} names a version where none is there.",
    RejectReason.BAD_VALUE: "Does `map.value` list every value in `values`? Others are left out with `where`.",
    RejectReason.UNKNOWN_KIND: "Every kind needs an entry in `labels` and `predictions.outputs`.",
    RejectReason.HOOK_FAILED: "The function under `python` raised an error for them.",
    RejectReason.TOO_LARGE: "Map fewer features: what is not mapped is not carried.",
}


@dataclass(frozen=True)
class RejectShare:
    """Records of a topic that are rejected for one reason.

    Attributes:
        reason: as in `rejects`.
        count: how many.
        share: of the records that a source takes.
        example: one of them.
    """

    reason: str
    count: int
    share: float
    example: Refused


def reject_shares(topic: MappedTopic) -> list[RejectShare]:
    """Return what would be rejected, by reason, the most frequent first."""
    counts = Counter(one.reason for one in topic.refused)
    first = {one.reason: one for one in reversed(topic.refused)}
    frequent = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [RejectShare(reason, count, count / max(topic.taken, 1), first[reason]) for reason, count in frequent]


def look_at_mapping(topic: MappedTopic, config: LoopConfig) -> Iterator[Issue]:
    """Find what is wrong with the mapping of a topic."""
    read = len(topic.sample.messages)
    if not read:
        return
    if topic.filtered == read:
        yield Issue(
            Severity.ERROR,
            "all_filtered",
            f"topic {topic.topic}",
            f"none of {read:,} sampled records is taken by a source",
            "Compare `where` with the records; values are compared as text.",
        )
    yield from _rejects(topic)
    for source in topic.sources:
        if source.role == "predictions":
            yield from _outputs(topic, source, config)
            yield from _slices(topic, source, config)
            yield from _features(topic, source)
            yield from _conflicts(topic, source)
        else:
            yield from _classes(topic, source, config)


def _rejects(topic: MappedTopic) -> Iterator[Issue]:
    total = len(topic.refused) / max(topic.taken, 1)
    for one in reject_shares(topic):
        place = f"partition {one.example.partition}, offset {one.example.offset}"
        yield Issue(
            Severity.ERROR if total >= MANY else Severity.WARNING,
            "rejects",
            f"topic {topic.topic}",
            f"{percent(one.share)} would be rejected: {one.reason}, for instance {place}: {one.example.detail}",
            _WAYS.get(RejectReason(one.reason), ""),
        )


def _flagged(source: MappedSource, flag: str) -> float:
    frame = source.frame
    return float(frame["flags"].list.contains(flag).sum()) / frame.height if frame.height else 0.0


def _outputs(topic: MappedTopic, source: MappedSource, config: LoopConfig) -> Iterator[Issue]:
    for kind, output in config.predictions.outputs.items():
        where = f"topic {topic.topic}, outputs.{kind}"
        invalid, missing = (_flagged(source, f"output_{kind}:{flag}") for flag in ("invalid", "missing"))
        if invalid >= FLAGGED:
            wanted = "a number from 0 to 1" if output.task == "binary" else "what its task needs"
            way = "Percentages need `scale: 0.01`." if output.task == "binary" else "Is it the right path, and task?"
            severity = Severity.ERROR if invalid >= MANY else Severity.WARNING
            yield Issue(severity, "output_invalid", where, f"{percent(invalid)} are not {wanted}", way)
        if missing >= FLAGGED:
            severity = Severity.ERROR if missing >= NONE else Severity.WARNING
            what = f"{percent(missing)} of the predictions have none, so nothing can be measured of them"
            yield Issue(severity, "output_missing", where, what, "Is the path right?")


def _slices(topic: MappedTopic, source: MappedSource, config: LoopConfig) -> Iterator[Issue]:
    names = [
        name for name in config.predictions.slices if source.frame[f"slice_{name}"].null_count() == source.frame.height
    ]
    if names and source.frame.height:
        what = f"no sampled record has a value: {', '.join(names)}"
        yield Issue(Severity.WARNING, "slice_missing", f"topic {topic.topic}, slices", what, "Are the paths right?")


def _features(topic: MappedTopic, source: MappedSource) -> Iterator[Issue]:
    frame = source.frame
    if not frame.height:
        return
    counts = frame["flags"].list.explode().drop_nulls().value_counts().rows()
    shares = {flag: count / frame.height for flag, count in counts if flag.startswith("feature_")}
    kinds = (
        ("missing", NONE, Severity.WARNING, "no sampled record has a value", "Are the paths right?"),
        ("invalid", FLAGGED, Severity.WARNING, "values do not fit the type", "Kept beside, not as features."),
        ("out_of_range", UNUSUAL, Severity.REMARK, "values are outside min and max", "Kept and flagged; widen them?"),
        ("unseen", UNUSUAL, Severity.REMARK, "values are not in `categories`", "Kept and flagged; add them?"),
    )
    for kind, least, severity, what, way in kinds:
        names = sorted(
            flag.removeprefix("feature_").removesuffix(f":{kind}")
            for flag, share in shares.items()
            if flag.endswith(f":{kind}") and share >= least
        )
        if names:
            listed = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
            yield Issue(severity, f"feature_{kind}", f"topic {topic.topic}, features", f"{what}: {listed}", way)


def _conflicts(topic: MappedTopic, source: MappedSource) -> Iterator[Issue]:
    keys = source.frame.group_by("key", "id").agg(pl.col("digest").n_unique())
    share = float((keys["digest"] > 1).sum()) / keys.height if keys.height else 0.0
    if share >= CONFLICTS:
        yield Issue(
            Severity.WARNING,
            "conflicts",
            f"topic {topic.topic}",
            f"{percent(share)} of the keys carry several predictions that differ; the first stands, the others are "
            "rejected as `conflict`",
            "Map `id` to what tells them apart, for instance id: [key, version].",
        )


def _classes(topic: MappedTopic, source: MappedSource, config: LoopConfig) -> Iterator[Issue]:
    for kind, label in config.labels.items():
        if config.predictions.outputs[kind].task != "binary":
            continue
        mine = source.frame.filter((pl.col("kind") == kind) & (pl.col("op") == "upsert"))["value"]
        if len(mine) >= CLASSES_FROM and mine.n_unique() == 1 and isinstance(label.on_timeout, str):
            yield Issue(
                Severity.WARNING,
                "one_class",
                f"topic {topic.topic}, kind {kind}",
                f"all {len(mine):,} sampled labels are {mine[0]:g}",
                "If the other class has no records, on_timeout: {imply: 0} gives it at the horizon.",
            )
