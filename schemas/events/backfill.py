"""Backfills: which labels belong to an episode, and what was ruled about it.

An episode is a set of labels that tell the past anew. Until it passes, by rule or by a person, it stands beside what is
of record. Must not compute anything.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.base.instant import Moment
from schemas.base.validators import is_identifier

__all__ = ["EPISODE_PATTERN", "Cause", "Episode", "Ruling", "Verdict"]

EPISODE_PATTERN = r"^bf-[0-9a-f]{32}$"
BATCH_MAX = 200

Name = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(is_identifier)]


class Cause(StrEnum):
    """Why labels, or predictions, are taken for a past told anew."""

    STALE = "stale"
    CORRECTED = "corrected"
    REDEFINED = "redefined"
    DECLARED = "declared"
    RESENT = "resent"


class Verdict(StrEnum):
    """What was made of an episode: by rule the first three, by a person the last two."""

    PASSED = "passed"
    WARNED = "warned"
    QUARANTINED = "quarantined"
    APPROVED = "approved"
    REJECTED = "rejected"

    @property
    def is_of_record(self) -> bool:
        """Whether the episode's labels count."""
        return self in (Verdict.PASSED, Verdict.WARNED, Verdict.APPROVED)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Episode(_Model):
    """Labels of one kind that tell the past anew. A label belongs to it if kind and time fit, and its cause.

    - redefined: it is of this definition, which is not the config's.
    - declared: it says `origin: backfill`, and this batch.
    - stale: it came first for its prediction, older than `stale_after_ms`. corrected: it changed a value. Both
      only where it is live and of the config's definition.
    - resent: not labels but predictions that came again with other content; the first one stands, whatever is ruled.
    """

    id: str = Field(pattern=EPISODE_PATTERN, description="The same labels, read in any order, give the same id.")
    kind: Name = Field(description="Label kind.")
    definition: Name = Field(description="What its labels mean.")
    batch: str | None = Field(default=None, max_length=BATCH_MAX, description="Of a declared one: its batch id.")
    causes: list[Cause] = Field(min_length=1, description="Why it was opened.")
    since: Moment = Field(description="When its first label became known.")
    until: Moment = Field(description="When its last label became known.")
    stale_after_ms: int | None = Field(default=None, ge=0, description="The age from which a label is stale.")
    labels: int = Field(ge=0, description="How many labels it has; of resent ones: predictions.")
    fingerprint: int = Field(ge=0, description="Of their positions; changes when one is added.")


class Ruling(_Model):
    """An episode and what was ruled about it last."""

    episode: Episode
    verdict: Verdict
