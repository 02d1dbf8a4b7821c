"""Report of an inspection: lines for a person, or one JSON document. Shows no personal data."""

from collections.abc import Iterator
from typing import Any, Final

from schemas.base.duration import format_duration
from schemas.base.figures import about, size
from schemas.base.figures import share as as_share
from schemas.config.loop import LoopConfig
from truthloop.config.age_table import age_table
from truthloop.onboarding.check.clocks import lag_of_source
from truthloop.onboarding.check.examples import examples_of, shown_spellings
from truthloop.onboarding.check.forecast import ENTRY_BYTES, Forecast
from truthloop.onboarding.check.inspection import Inspection
from truthloop.onboarding.check.issue import Issue, Severity, has_errors
from truthloop.onboarding.check.keys import Overlap
from truthloop.onboarding.check.mapping import deletion_text, reject_shares
from truthloop.onboarding.check.schemas import schema_lines
from truthloop.onboarding.trial.delays import Delays, age_text, two_units
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic

__all__ = ["report_document", "report_lines", "verdict_lines"]

YEAR: Final = 365
PATH_WIDTH: Final = 70
SPELLINGS_MAX: Final = 8


def report_lines(found: Inspection, config: LoopConfig) -> Iterator[str]:
    """Yield the report as lines, without the issues and the verdict."""
    for topic in found.topics:
        yield from _topic_lines(topic, found, config)
        yield ""
    for kind, label in config.labels.items():
        yield f"Kind {kind}, definition {label.definition}"
        yield from (f"  {line}" for line in _kind_lines(found, kind))
    yield ""
    yield from age_table(config, {kind: _seen_ms(delays) for kind, delays in found.delays.items()})
    if found.delays:
        yield "seen p10, p50, p90: ages by which a tenth, half and nine tenths of the sampled labels were known"
    yield ""
    yield from _forecast_lines(found.forecast, config)


def _topic_lines(topic: MappedTopic, found: Inspection, config: LoopConfig) -> Iterator[str]:
    flow, sample, read = found.flows[topic.topic], topic.sample, len(topic.sample.messages)
    yield f"{topic.topic} -> {' and '.join(_roles(topic))}"
    sampled = "all" if sample.is_whole else f"{read:,}"
    stopped = {"time": ", then the time limit was reached", "size": ", then the size limit was reached"}
    yield (
        f"  {sample.facts.partitions} partitions, about {sample.records:,} records; {sampled} were read"
        f"{stopped.get(sample.stopped, '')}"
    )
    if not read:
        return
    rejected, filtered = len(topic.rejects) / read, topic.filtered / read
    mapped = (read - len(topic.rejects) - topic.filtered) / read
    yield f"  mapped {as_share(mapped)}, rejected {as_share(rejected)}, not selected {as_share(filtered)}"
    if topic.deletions:
        yield f"  without a value (tombstones): {topic.deletions:,}, {deletion_text(topic)}"
    for one in reject_shares(topic):
        position = f"partition {one.example.partition}, offset {one.example.offset}"
        yield f"    {one.reason}: {as_share(one.share)}, for instance {position} ({one.example.detail})"
    for source in topic.sources:
        if (lag := lag_of_source(source)) is not None:
            lags = f"half within {age_text(lag.p50)}, 90 % within {age_text(lag.p90)}"
            yield f"  {source.role} arrived in Kafka after their own time: {lags}"
        yield from _spelling_lines(source, config)
    yield from schema_lines(topic.topic, found.schemas.get(topic.topic, ()), config)
    rate = "too short a time span for a rate" if flow.per_day is None else f"about {about(flow.per_day)} a day"
    yield f"  {rate}, {flow.bytes_each:,.0f} bytes each, own times over {age_text(flow.span_ms)}"
    for source in topic.sources:
        for example in examples_of(topic, source, config):
            yield f"  partition {example.partition}, offset {example.offset}"
            names = max(len(target) for target, *_ in example.fields)
            paths = min(max(len(origin) for _, origin, _ in example.fields), PATH_WIDTH)
            for target, origin, value in example.fields:
                yield f"    {target.ljust(names)}  <- {origin.ljust(paths)}  {value}"


def _spelling_lines(source: MappedSource, config: LoopConfig) -> Iterator[str]:
    for field in shown_spellings(source, config):
        seen = ", ".join(f"{one.text} {one.count:,} ({one.becomes})" for one in field.seen[:SPELLINGS_MAX])
        more = f", and {len(field.seen) - SPELLINGS_MAX:,} more" if len(field.seen) > SPELLINGS_MAX else ""
        yield f"  {field.field} <- {field.path}: {seen or 'no value'}{more}"


def _roles(topic: MappedTopic) -> list[str]:
    return list(dict.fromkeys(source.role for source in topic.sources))


def _kind_lines(found: Inspection, kind: str) -> Iterator[str]:
    overlap, delays = found.overlaps.get(kind), found.delays.get(kind)
    if overlap is None:
        yield "No keys to compare: the sample has none of predictions, or none of labels."
    elif by_source := found.source_overlaps.get(kind):
        for title, one in by_source.items():
            yield _overlap_line(one, f" of {title}")
    else:
        yield _overlap_line(overlap, "")
    if delays is not None:
        yield (
            f"{delays.pairs:,} sampled labels have a sampled prediction: half came within {age_text(delays.p50)}, 90 % "
            f"within {age_text(delays.p90)}, 99 % within {age_text(delays.p99)}; the topics span "
            f"{age_text(delays.window_ms)}."
        )


def _overlap_line(overlap: Overlap, of_source: str) -> str:
    if overlap.ripe:
        return (
            f"{as_share(overlap.share)} of {overlap.ripe:,} label keys{of_source} have their prediction in the topic "
            "(labels whose prediction may be too old to be there are not counted)."
        )
    return (
        f"{overlap.common:,} of {overlap.labels:,} label keys{of_source} are among the sampled predictions; "
        f"{overlap.expected:,.0f} were expected."
    )


def _seen_ms(delays: Delays) -> dict[str, int]:
    """Return the delays of a kind by the titles of their columns in the table of ages."""
    return {f"seen {name}": two_units(ms) for name, ms in _quantiles(delays).items() if name != "p99"}


def _quantiles(delays: Delays) -> dict[str, int]:
    return {"p10": delays.p10, "p50": delays.p50, "p90": delays.p90, "p99": delays.p99}


def _forecast_lines(forecast: Forecast, config: LoopConfig) -> Iterator[str]:
    yield "Forecast for the present rates"
    if forecast.entries is None or forecast.state_bytes is None or forecast.lake_bytes_per_day is None:
        yield "  The sampled records span too short a time to estimate rates."
        return
    low, high = forecast.state_bytes
    retain = format_duration(config.greatest_retain_ms)
    per_day = forecast.lake_bytes_per_day
    predictions, labels = about(forecast.predictions_per_day or 0), about(forecast.labels_per_day or 0)
    yield f"  {predictions} predictions a day and {labels} labels a day"
    yield (
        f"  state: {size(low)} to {size(high)} on disk ({about(forecast.entries)} records within retain {retain}, "
        f"{ENTRY_BYTES[0]} to {ENTRY_BYTES[1]:,} bytes each)"
    )
    yield f"  lake: {size(per_day)} a day, {size(YEAR * per_day)} a year (from the sampled records, compressed)"


def verdict_lines(issues: list[Issue], *, is_started: bool) -> Iterator[tuple[Severity | None, str]]:
    """Yield the issues as lines with their severity, and the verdict last; lines without one continue an issue."""
    for one in issues:
        yield one.severity, f"{one.severity.name.lower()}: {one.where}: {one.text}"
        if one.hint:
            yield None, f"  {one.hint}"
    counts = {severity.name.lower(): sum(one.severity is severity for one in issues) for severity in Severity}
    text = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count)
    if has_errors(issues):
        yield None, f"Not ready: {text}."
    else:
        yield None, f"No errors{f' ({text})' if text else ''}.{'' if is_started else ' Next: truthloop start'}"


def report_document(found: Inspection, config: LoopConfig) -> dict[str, Any]:
    """Return the report as a JSON document, with the issues."""
    forecast = found.forecast
    return {
        "findings": [
            {
                "severity": one.severity.name.lower(),
                "code": one.code,
                "where": one.where,
                "what": one.text,
                "do": one.hint,
            }
            for one in found.issues
        ],
        "topics": [_topic_document(topic, found, config) for topic in found.topics],
        "kinds": {kind: _kind_document(found, kind) for kind in config.labels},
        "forecast": {
            "predictions_per_day": _whole(forecast.predictions_per_day),
            "labels_per_day": _whole(forecast.labels_per_day),
            "state_records": _whole(forecast.entries),
            "state_bytes": None if forecast.state_bytes is None else [round(size) for size in forecast.state_bytes],
            "lake_bytes_per_day": _whole(forecast.lake_bytes_per_day),
        },
    }


def _topic_document(topic: MappedTopic, found: Inspection, config: LoopConfig) -> dict[str, Any]:
    flow = found.flows[topic.topic]
    lags = {source.role: lag_of_source(source) for source in topic.sources}
    return {
        "topic": topic.topic,
        "as": _roles(topic),
        "partitions": topic.sample.facts.partitions,
        "records": topic.sample.records,
        "sampled": len(topic.sample.messages),
        "is_whole": topic.sample.is_whole,
        "filtered": topic.filtered,
        "tombstones": topic.deletions,
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
        "schemas": [
            {
                "id": use.number,
                "records": use.records,
                "names": [{"subject": one.subject, "version": one.version} for one in use.names],
            }
            for use in found.schemas.get(topic.topic, ())
        ],
        "records_per_day": _whole(flow.per_day),
        "bytes_each": round(flow.bytes_each),
        "lag_ms": {role: {"p10": lag.p10, "p50": lag.p50, "p90": lag.p90} for role, lag in lags.items() if lag},
        "spellings": [
            {
                "field": field.field,
                "path": field.path,
                "values": [
                    {"value": one.text, "count": one.count, "becomes": one.becomes}
                    for one in field.seen[:SPELLINGS_MAX]
                ],
                "different": len(field.seen),
            }
            for source in topic.sources
            for field in shown_spellings(source, config)
        ],
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
    quantiles = None if delays is None else {"pairs": delays.pairs, **_quantiles(delays), "window": delays.window_ms}
    return {
        "keys": None if overlap is None else _overlap_document(overlap),
        "sources": {title: _overlap_document(one) for title, one in found.source_overlaps.get(kind, {}).items()},
        "delays_ms": quantiles,
    }


def _overlap_document(overlap: Overlap) -> dict[str, Any]:
    counts = {"labels": overlap.labels, "common": overlap.common}
    return counts | {"expected": round(overlap.expected, 1), "share": round(overlap.share, 4)}


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
