"""Check of the records' own times against Kafka's: wrong time zones, clocks that are ahead, old history.

A wrong zone shifts all times by the same offset, a bad clock puts some in the future. A wrong unit moves them to 1970
or past 9999, which the mapping rejects.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from schemas.base.figures import share as as_share
from schemas.config.loop import LoopConfig
from truthloop.onboarding.check.issue import Issue, Severity, issue
from truthloop.onboarding.profiles.time_format import HOUR_MS, ClockLag, clock_lag, zone_with_offset
from truthloop.onboarding.trial.delays import age_text
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic

__all__ = ["check_clocks", "lag_of_source"]

AHEAD: Final = 0.001
MOSTLY_AHEAD: Final = 0.2
DAY_MS: Final = 24 * HOUR_MS


def lag_of_source(source: MappedSource) -> ClockLag | None:
    """Return the lag between the times of a source's records and Kafka's; None if no record has both."""
    return clock_lag(source.frame["time_ms"].to_list(), source.frame["kafka_ms"].to_list())


def check_clocks(topics: Sequence[MappedTopic], config: LoopConfig) -> Iterator[Issue]:
    """Yield times that cannot be true, for each source."""
    found = [(topic, source, lag) for topic in topics for source in topic.sources if (lag := lag_of_source(source))]
    for topic, source, lag in found:
        where = f"topic {topic.topic}, time"
        minutes = lag.zone_minutes(from_a_zone=_zone(source) is not None)
        if minutes is not None:
            others = [other for _, one, other in found if one.role != source.role]
            yield _zone_issue(where, source, lag, is_alone=any(other.zone_minutes() is None for other in others))
        elif lag.ahead >= AHEAD:
            text = f"{as_share(lag.ahead)} are over an hour ahead of Kafka's clock; the join rejects them as `future`"
            severity = Severity.ERROR if lag.ahead >= MOSTLY_AHEAD else Severity.WARNING
            yield issue("future", where, text, severity=severity)
        elif lag.p50 > DAY_MS and config.clock == "arrival":
            text = f"half of the records arrived {age_text(lag.p50)} or more after their times, like loaded history"
            yield issue("history", where, text)


def _zone_issue(where: str, source: MappedSource, lag: ClockLag, *, is_alone: bool) -> Issue:
    """Return the issue of times that are off by a zone's offset.

    Args:
        is_alone: the times of the other role are not off.
    """
    zone = _zone(source)
    minutes = lag.zone_minutes(from_a_zone=zone is not None) or 0
    hours, spread = f"{abs(minutes) / 60:g} h", age_text(max(lag.p90 - lag.p10, 1))
    text = f"all times are {hours} {'ahead of' if minutes > 0 else 'behind'} Kafka's clock (spread {spread})"
    hint = None
    if zone is not None:
        right = zone_with_offset(_offset_minutes(zone, source) + minutes)
        fits = f" {right} fits these records; name the place's Area/City, for daylight saving time." if right else ""
        hint = f"zone: {zone} is wrong.{fits}"
    if minutes > 0:
        return issue("time_zone", where, f"{text}: a wrong time zone; the join rejects them as `future`", hint=hint)
    if is_alone:
        text += f", and the other side's are not: a wrong time zone; the age of every label would be off by {hours}"
        return issue("time_zone", where, text, hint=hint)
    text += ": a wrong time zone, or records that are delayed that long"
    return issue("time_zone", where, text, severity=Severity.WARNING, hint=hint)


def _zone(source: MappedSource) -> str | None:
    """Return the zone that the config names for the times of a source."""
    field = None if source.source is None else source.source.map.get("time")
    return None if field is None else field.zone


def _offset_minutes(zone: str, source: MappedSource) -> int:
    """Return how far a zone is ahead of UTC at the time of the records."""
    offset = datetime.fromtimestamp(_median_ms(source) / 1000, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    return round(offset.total_seconds() / 60) if offset else 0


def _median_ms(source: MappedSource) -> float:
    median = source.frame["time_ms"].median()
    return median if isinstance(median, (int, float)) else 0.0
