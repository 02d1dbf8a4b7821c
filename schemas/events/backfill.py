"""Backfill episodes, and rulings about them.

An episode is a set of labels that restate the past. They are not of record until the episode passes, by rule or by a
person; live corrections and stale labels of the config's own definition are of record until it is quarantined.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.base.instant import Moment
from schemas.base.model import StrictModel
from schemas.base.validators import is_identifier

__all__ = ["EPISODE_PATTERN", "Cause", "Episode", "Name", "Ruling", "Verdict"]

EPISODE_PATTERN = r"^bf-[0-9a-f]{32}$"
BATCH_MAX = 200

Name = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(is_identifier)]


class Cause(StrEnum):
    """Why labels, or predictions, count as a restatement of the past."""

    STALE = "stale"
    CORRECTED = "corrected"
    RETIMED = "retimed"
    REDEFINED = "redefined"
    DECLARED = "declared"
    RESENT = "resent"


class Verdict(StrEnum):
    """Verdict on an episode: the first three by rule, the last two by a person."""

    PASSED = "passed"
    WARNED = "warned"
    QUARANTINED = "quarantined"
    APPROVED = "approved"
    REJECTED = "rejected"

    @property
    def is_of_record(self) -> bool:
        """Whether the episode's labels count."""
        return self in (Verdict.PASSED, Verdict.WARNED, Verdict.APPROVED)


class Episode(StrictModel):
    """Labels of one kind that restate the past. A label belongs to it if its kind, time and cause fit.

    - redefined: it has this definition, which is not the config's.
    - declared: it has `origin: backfill`, and this batch.
    - stale: it was the first of its prediction, and older than `stale_after_ms`. corrected: it changed a value.
      retimed: it told a known label again with another time, a later one (a correction, mostly to the same value) or an
      earlier one (the join refused it as stale). All three only if it is live and has the config's definition.
    - resent: not labels but predictions that were sent again with other content; the first ones count, whatever is
      ruled.
    """

    id: str = Field(pattern=EPISODE_PATTERN, description="The same labels, read in any order, give the same id.")
    kind: Name = Field(description="Label kind.")
    definition: Name = Field(description="Definition of its labels.")
    batch: str | None = Field(default=None, max_length=BATCH_MAX, description="Batch id of a declared one.")
    causes: list[Cause] = Field(min_length=1, description="Why it was opened.")
    since: Moment = Field(description="When its first label became known.")
    until: Moment = Field(description="When its last label became known.")
    stale_after_ms: int | None = Field(default=None, ge=0, description="The age from which a label is stale.")
    labels: int = Field(ge=0, description="Number of its labels; of a resent one, of predictions.")
    fingerprint: int = Field(ge=0, description="Fingerprint of their positions; changes when one is added.")


class Ruling(StrictModel):
    """An episode and its latest verdict."""

    episode: Episode
    verdict: Verdict
