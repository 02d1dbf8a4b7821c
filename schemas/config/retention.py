"""How long records stay in the lake, and rejects of what never became one."""

from collections.abc import Iterator, Mapping

from pydantic import Field

from schemas.base.duration import format_duration
from schemas.base.duration_field import DurationMs
from schemas.base.model import StrictModel
from schemas.base.problem import Problem
from schemas.config.label import LabelConfig

__all__ = ["RetentionConfig", "retention_problems"]

_RETAINS = 3
_LAG_MS = 7 * 86_400_000
"""A lake may lag for so long: topics keep records for a week."""


class RetentionConfig(StrictModel):
    """How long records stay."""

    lake: DurationMs | None = Field(
        default=None,
        description="How long a prediction stays in the lake with its labels, outcomes and rejects, by its own time. "
        "At least three times the greatest `retain`, and a week; left out: for ever. What was counted stays.",
    )
    rejects: DurationMs | None = Field(
        default=None,
        ge=86_400_000,
        description="How long what the mapping has rejected stays in the lake, from its recording. At least a day; "
        "left out: like records. Rejects of the join always stay as long as the record that they are about.",
    )


def retention_problems(retention: RetentionConfig, labels: Mapping[str, LabelConfig]) -> Iterator[Problem]:
    """Find a retention that the join, a lake that lags, or the counting of outcomes would outlive."""
    least_ms = _RETAINS * max(label.retain for label in labels.values()) + _LAG_MS
    if retention.lake is not None and retention.lake < least_ms:
        message = (
            f"{format_duration(retention.lake)} is too short: three times the greatest retain, and a week for a lake "
            f"that lags, are {format_duration(least_ms)}"
        )
        yield Problem(("retention", "lake"), message)
