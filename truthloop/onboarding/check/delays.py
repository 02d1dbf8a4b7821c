"""Check of a kind's ages against the delays of its sampled labels."""

from collections.abc import Iterator
from typing import Final

from schemas.base.duration import format_duration
from schemas.base.figures import share as as_share
from schemas.config.label import LabelConfig
from truthloop.onboarding.check.issue import Issue, Severity, issue
from truthloop.onboarding.trial.delays import PAIRS_MIN, Delays, age_text

__all__ = ["check_delays"]

BEFORE: Final = 0.01
MOST_BEFORE: Final = 0.5
"""From this share on, the roles or times of the topics must be wrong."""

LATE: Final = 0.05
LOST: Final = 0.01


def check_delays(kind: str, label: LabelConfig, delays: Delays) -> Iterator[Issue]:
    """Yield the ages of a kind that do not fit the delays of its labels."""
    if delays.pairs < PAIRS_MIN:
        return
    where, p90, p99 = f"kind {kind}, ages", age_text(delays.p90), age_text(delays.p99)
    if delays.before >= BEFORE:
        severity = Severity.ERROR if delays.before >= MOST_BEFORE else Severity.WARNING
        text = f"{as_share(delays.before)} of the labels were known before their prediction was made; "
        text += f"the median delay is {age_text(delays.p50)}"
        yield issue("labels_before_predictions", where, text, severity=severity)
    if delays.beyond_retain >= LOST:
        text = f"{as_share(delays.beyond_retain)} of the labels came after retain ({format_duration(label.retain)}) "
        yield issue("retain_too_short", where, f"{text}and are lost as `too_late`; 99 % came within {p99}")
    elif delays.beyond_horizon >= LATE:
        text = f"{as_share(delays.beyond_horizon)} of the labels came after the horizon "
        text += f"({format_duration(label.horizon)}), when their prediction was final; 99 % came within {p99}"
        yield issue("horizon_too_short", where, text)
    if label.expected_delay is not None and delays.p90 > 2 * label.expected_delay:
        text = f"90 % of the labels came within {p90}; expected_delay is {format_duration(label.expected_delay)}"
        yield issue("slower_than_expected", where, text)
    if delays.is_truncated:
        text = f"the topics span only {age_text(delays.window_ms)}, so slower labels could not be seen"
        yield issue("window_too_short", where, text)
