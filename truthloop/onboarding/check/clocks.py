"""Whether records' own times can be true, compared with the times at which Kafka got them.

A time zone shifts all times by the same whole hours; a wrong unit sends them to 1970; a bad clock puts some into the
future. Must not read a clock.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from schemas.config.loop import LoopConfig
from truthloop.onboarding.check.issue import Issue, Severity
from truthloop.onboarding.profiles.describe import percent
from truthloop.onboarding.profiles.time_format import FIRST_MS, HOUR_MS, ClockLag, lag_of, zone_of
from truthloop.onboarding.trial.delays import about
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic

__all__ = ["lag_of_source", "look_at_clocks"]

AHEAD: Final = 0.001
MANY: Final = 0.2
DAY_MS: Final = 24 * HOUR_MS


def lag_of_source(source: MappedSource) -> ClockLag | None:
    """Return how long after their own times Kafka got the records of a source."""
    return lag_of(source.frame["time_ms"].to_list(), source.frame["came_ms"].to_list())


def look_at_clocks(topics: Sequence[MappedTopic], config: LoopConfig) -> Iterator[Issue]:
    """Find times that cannot be true."""
    pairs = [(topic, source, lag) for topic in topics for source in topic.sources if (lag := lag_of_source(source))]
    for topic, source, lag in pairs:
        where = f"topic {topic.topic}, time"
        minutes = lag.zone_minutes(from_a_zone=_zone_named(source) is not None)
        if _in_1970(source):
            yield Issue(
                Severity.ERROR,
                "unit",
                where,
                "the times lie before 2000, most probably because seconds are read as milliseconds",
                "Set `unit` to what the numbers are: s, ms, us or ns.",
            )
        elif minutes is not None:
            others = [other for _, one, other in pairs if one.role != source.role]
            yield _zone(where, source, lag, minutes, is_alone=any(other.zone_minutes() is None for other in others))
        elif lag.ahead >= AHEAD:
            yield Issue(
                Severity.ERROR if lag.ahead >= MANY else Severity.WARNING,
                "future",
                where,
                f"{percent(lag.ahead)} are more than an hour ahead of Kafka's clock; the join rejects them as `future`",
                "Look at the clocks of who writes them.",
            )
        elif lag.p50 > DAY_MS and config.clock == "arrival":
            yield Issue(
                Severity.WARNING,
                "history",
                where,
                f"half of the records came {about(lag.p50)} or more after their times, like history that was loaded",
                "With clock: arrival a label is known when it came: history is late. clock: event takes its own time.",
            )


def _in_1970(source: MappedSource) -> bool:
    median = source.frame["time_ms"].median()
    return isinstance(median, (int, float)) and median < FIRST_MS


def _zone(where: str, source: MappedSource, lag: ClockLag, minutes: int, *, is_alone: bool) -> Issue:
    hours = f"{abs(minutes) / 60:g} h"
    spread = about(max(lag.p90 - lag.p10, 1))
    said = f"all times are {hours} {'ahead of' if minutes > 0 else 'behind'} Kafka's clock, within {spread}"
    if (zone := _zone_named(source)) is not None:
        right = zone_of(_offset_minutes(zone, source) + minutes)
        fits = f" {right} fits these records; name the place's own zone, for summer time." if right else ""
        way = f"zone: {zone} is wrong.{fits}"
    else:
        way = "They say an offset that is not theirs: who writes them has to write UTC, or the right offset."
    if minutes > 0:
        return Issue(Severity.ERROR, "time_zone", where, f"{said}: a time zone; the join rejects them as `future`", way)
    if is_alone:
        said += ", and the other side's are not: a time zone; every label's age would be wrong by as much"
        return Issue(Severity.ERROR, "time_zone", where, said, way)
    return Issue(
        Severity.WARNING, "time_zone", where, f"{said}: a time zone, or records that are held back so long", way
    )


def _zone_named(source: MappedSource) -> str | None:
    field = None if source.source is None else source.source.map.get("time")
    return None if field is None else field.zone


def _offset_minutes(zone: str, source: MappedSource) -> int:
    """Return how far the zone that was taken is ahead of UTC, at the time of the records."""
    median = source.frame["time_ms"].median()
    moment = datetime.fromtimestamp((median if isinstance(median, (int, float)) else 0) / 1000, UTC)
    offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
    return round(offset.total_seconds() / 60) if offset else 0
