"""An inspection as lines for a person, and as one document for programs.

Must not judge, and must not show what is personal.
"""

from collections.abc import Iterator
from typing import Any, Final

from schemas.base.duration import format_duration
from schemas.config.loop import LoopConfig
from truthloop.config.timeline import draw_timeline
from truthloop.onboarding.check.clocks import lag_of_source
from truthloop.onboarding.check.examples import examples_of
from truthloop.onboarding.check.forecast import DAY_MS, ENTRY_BYTES, TopicFlow
from truthloop.onboarding.check.inspection import Inspection
from truthloop.onboarding.check.issue import Issue, Severity, is_good
from truthloop.onboarding.check.mapping import reject_shares
from truthloop.onboarding.profiles.describe import percent
from truthloop.onboarding.trial.delays import Delays, about
from truthloop.onboarding.trial.mapped import MappedTopic

__all__ = ["report_document", "report_lines", "verdict_lines"]

_NAMES: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.REMARK: "remark"}
KILO: Final = 1_000
YEAR: Final = 365
PATH_WIDTH: Final = 70


def report_lines(found: Inspection, config: LoopConfig, width: int) -> Iterator[str]:
    """Give everything but the verdict."""
    for topic in found.topics:
        yield from _topic(topic, found.flows[topic.topic], config)
        yield ""
    for kind, label in config.labels.items():
        yield f"Kind {kind}, definition {label.definition}"
        yield from (f"  {line}" for line in _keys(found, kind))
        seen = {} if kind not in found.delays else _seen(found.delays[kind])
        drawing = draw_timeline(label, config.cohorts.ages, width - 2, seen)
        yield from (f"  {line}".rstrip() for line in drawing)
        if seen:
            yield "  p10, p50, p90: ages at which a tenth, half and nine tenths of the met labels were known"
        yield ""
    yield from _forecast(found, config)


def _topic(topic: MappedTopic, flow: TopicFlow, config: LoopConfig) -> Iterator[str]:
    sample, read = topic.sample, len(topic.sample.messages)
    roles = " and ".join(dict.fromkeys(source.role for source in topic.sources))
    whole = "all" if sample.is_whole else f"{read:,}"
    early = {"time": ", as time ran out", "size": ", as they are large"}.get(sample.stopped, "")
    yield f"{topic.topic} -> {roles}"
    yield f"  {sample.facts.partitions} partitions, about {sample.records:,} records; {whole} were looked at{early}"
    if not read:
        return
    mapped = read - len(topic.refused) - topic.filtered
    yield (
        f"  mapped {percent(mapped / read)}, rejected {percent(len(topic.refused) / read)}, "
        f"left out {percent(topic.filtered / read)}"
    )
    for one in reject_shares(topic):
        place = f"partition {one.example.partition}, offset {one.example.offset}"
        yield f"    {one.reason}: {percent(one.share)}, for instance {place} ({one.example.detail})"
    for source in topic.sources:
        if (lag := lag_of_source(source)) is not None:
            said = f"half within {about(lag.p50)}, 90 % within {about(lag.p90)}"
            yield f"  {source.role} came to Kafka after their time: {said}"
    rate = "too short a time to see a rate" if flow.per_day is None else f"about {_number(flow.per_day)} a day"
    yield f"  {rate}, {flow.bytes_each:,.0f} bytes each, over {about(flow.span_ms)} of their own time"
    for source in topic.sources:
        for example in examples_of(topic, source, config):
            yield f"  partition {example.partition}, offset {example.offset}"
            names = max(len(target) for target, *_ in example.fields)
            paths = min(max(len(origin) for _, origin, _ in example.fields), PATH_WIDTH)
            for target, origin, value in example.fields:
                yield f"    {target.ljust(names)}  <- {origin.ljust(paths)}  {value}"


def _keys(found: Inspection, kind: str) -> Iterator[str]:
    overlap, delays = found.overlaps.get(kind), found.delays.get(kind)
    if overlap is None:
        yield "No keys to compare: one side has none in the sample."
    elif overlap.ripe:
        yield (
            f"Of {overlap.ripe:,} keys of labels that can have their prediction in the topics, "
            f"{percent(overlap.share)} have it."
        )
    else:
        yield (
            f"Of {overlap.labels:,} keys of labels, {overlap.common:,} are among the sampled predictions; "
            f"{overlap.expected:,.0f} could be expected."
        )
    if delays is not None:
        yield (
            f"{delays.pairs:,} labels met their prediction: half within {about(delays.p50)}, 90 % within "
            f"{about(delays.p90)}, 99 % within {about(delays.p99)}; the topics reach {about(delays.window_ms)} back."
        )


def _seen(delays: Delays) -> dict[str, int]:
    found = {"p10": delays.p10, "p50": delays.p50, "p90": delays.p90}
    return {name: _rounded(ms) for name, ms in found.items()}


def _rounded(ms: int) -> int:
    """Leave out what nobody would read: a drawing has no room for milliseconds."""
    size = next(
        (step for limit, step in ((DAY_MS, 3_600_000), (3_600_000, 60_000), (60_000, 1_000)) if abs(ms) >= limit), 1
    )
    return round(ms / size) * size


def _forecast(found: Inspection, config: LoopConfig) -> Iterator[str]:
    forecast = found.forecast
    retain = max(label.retain for label in config.labels.values())
    yield "Forecast, if it goes on like this"
    if forecast.entries is None or forecast.state_bytes is None or forecast.lake_bytes_per_day is None:
        yield "  The sampled records span too little time to tell a rate."
        return
    low, high = forecast.state_bytes
    yield (
        f"  {_number(forecast.predictions_per_day or 0)} predictions a day and "
        f"{_number(forecast.labels_per_day or 0)} labels a day"
    )
    yield (
        f"  state: {_size(low)} to {_size(high)} on disk ({_number(forecast.entries)} records within retain "
        f"{format_duration(retain)}, {ENTRY_BYTES[0]} to {ENTRY_BYTES[1]:,} bytes each)"
    )
    per_day = forecast.lake_bytes_per_day
    yield f"  lake: {_size(per_day)} a day, {_size(YEAR * per_day)} a year (the sampled records as compressed columns)"


def verdict_lines(findings: list[Issue], *, is_started: bool) -> Iterator[tuple[Severity | None, str]]:
    """Give findings as lines, and the verdict as the last; without a severity a line belongs to the one before it."""
    for one in findings:
        yield one.severity, f"{_NAMES[one.severity]}: {one.where}: {one.what}"
        if one.do:
            yield None, f"  {one.do}"
    counts = {name: sum(one.severity is severity for one in findings) for severity, name in _NAMES.items()}
    said = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count)
    if not is_good(findings):
        yield None, f"Not yet: {said}."
    else:
        following = "" if is_started else " Next: truthloop start"
        yield None, f"Nothing speaks against it{f' ({said})' if said else ''}.{following}"


def report_document(found: Inspection, config: LoopConfig) -> dict[str, Any]:
    """Return what was found as one document."""
    forecast = found.forecast
    return {
        "findings": [
            {"severity": _NAMES[one.severity], "code": one.code, "where": one.where, "what": one.what, "do": one.do}
            for one in found.findings
        ],
        "topics": [_topic_document(topic, found.flows[topic.topic], config) for topic in found.topics],
        "kinds": {kind: _kind_document(found, kind) for kind in config.labels},
        "forecast": {
            "predictions_per_day": _whole(forecast.predictions_per_day),
            "labels_per_day": _whole(forecast.labels_per_day),
            "state_records": _whole(forecast.entries),
            "state_bytes": None if forecast.state_bytes is None else [round(size) for size in forecast.state_bytes],
            "lake_bytes_per_day": _whole(forecast.lake_bytes_per_day),
        },
    }


def _topic_document(topic: MappedTopic, flow: TopicFlow, config: LoopConfig) -> dict[str, Any]:
    lags = {source.role: lag_of_source(source) for source in topic.sources}
    return {
        "topic": topic.topic,
        "as": list(dict.fromkeys(source.role for source in topic.sources)),
        "partitions": topic.sample.facts.partitions,
        "records": topic.sample.records,
        "sampled": len(topic.sample.messages),
        "is_whole": topic.sample.is_whole,
        "filtered": topic.filtered,
        "rejected": [
            {
                "reason": one.reason,
                "count": one.count,
                "share": round(one.share, 6),
                "detail": one.example.detail,
                "example": {"topic": topic.topic, "partition": one.example.partition, "offset": one.example.offset},
            }
            for one in reject_shares(topic)
        ],
        "records_per_day": _whole(flow.per_day),
        "bytes_each": round(flow.bytes_each),
        "lag_ms": {
            role: {"p10": lag.p10, "p50": lag.p50, "p90": lag.p90} for role, lag in lags.items() if lag is not None
        },
        "examples": [
            {
                "partition": example.partition,
                "offset": example.offset,
                "fields": [{"field": name, "from": origin, "value": value} for name, origin, value in example.fields],
            }
            for source in topic.sources
            for example in examples_of(topic, source, config)
        ],
    }


def _kind_document(found: Inspection, kind: str) -> dict[str, Any]:
    overlap, delays = found.overlaps.get(kind), found.delays.get(kind)
    return {
        "keys": None
        if overlap is None
        else {
            "labels": overlap.labels,
            "common": overlap.common,
            "expected": round(overlap.expected, 1),
            "share": round(overlap.share, 4),
        },
        "delays_ms": None
        if delays is None
        else {
            "pairs": delays.pairs,
            "p10": delays.p10,
            "p50": delays.p50,
            "p90": delays.p90,
            "p99": delays.p99,
            "window": delays.window_ms,
        },
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _number(value: float) -> str:
    """Write a number with two digits that count.

    >>> _number(1234567), _number(12.3)
    ('1,200,000', '12')
    """
    digits = len(f"{value:.0f}")
    return f"{round(value, 2 - digits):,.0f}"


def _size(value: float) -> str:
    """Write bytes.

    >>> _size(1_234_567), _size(12)
    ('1.2 MB', '12 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if value < KILO:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"  # noqa: PLR2004 - two digits
        value /= KILO
    return f"{value:,.1f} TB"
