"""Whether a kind's ages fit the delays of its labels in the sample.

A sample sees no delay longer than what the topics hold; what it does see must have room. Must not measure delays.
"""

from collections.abc import Iterator
from typing import Final

from schemas.base.duration import format_duration
from schemas.config.loop import LabelConfig
from truthloop.onboarding.check.issue import Issue, Severity
from truthloop.onboarding.profiles.describe import percent
from truthloop.onboarding.trial.delays import PAIRS_MIN, Delays, about

__all__ = ["look_at_delays"]

BEFORE: Final = 0.01
SWAPPED: Final = 0.5
LATE: Final = 0.05
LOST: Final = 0.01


def look_at_delays(kind: str, label: LabelConfig, delays: Delays) -> Iterator[Issue]:
    """Find ages that do not fit what was seen."""
    where, horizon, retain = f"kind {kind}, ages", format_duration(label.horizon), format_duration(label.retain)
    if delays.pairs < PAIRS_MIN:
        return
    if delays.before >= BEFORE:
        yield Issue(
            Severity.ERROR if delays.before >= SWAPPED else Severity.WARNING,
            "labels_before_predictions",
            where,
            f"{percent(delays.before)} of the labels were known before their prediction was made, half of all labels "
            f"{about(delays.p50)} after it",
            "Are the topics' roles and the times right? Such labels are `early`: in a data set they would be leaks.",
        )
    if delays.beyond_retain >= LOST:
        yield Issue(
            Severity.WARNING,
            "retain_too_short",
            where,
            f"{percent(delays.beyond_retain)} of the labels came after retain ({retain}) and are lost as `too_late`",
            f"Raise `retain`: 99 % came within {about(delays.p99)}.",
        )
    elif delays.beyond_horizon >= LATE:
        yield Issue(
            Severity.WARNING,
            "horizon_too_short",
            where,
            f"{percent(delays.beyond_horizon)} of the labels came after the horizon ({horizon}), when their prediction "
            "was final already",
            f"Raise `horizon`: 99 % came within {about(delays.p99)}.",
        )
    if label.expected_delay is not None and delays.p90 > 2 * label.expected_delay:
        yield Issue(
            Severity.REMARK,
            "slower_than_expected",
            where,
            f"90 % of the labels came within {about(delays.p90)}, and expected_delay is "
            f"{format_duration(label.expected_delay)}",
            "Raise `expected_delay`; it is for the time line only.",
        )
    if delays.is_cut:
        yield Issue(
            Severity.REMARK,
            "window_too_short",
            where,
            f"the topics reach {about(delays.window_ms)} back, so slower labels could not be seen",
            "Take horizon and retain from who knows the labels.",
        )
