"""Counts of a data set's rows: how many it has, and how many predictions are left out of it, by reason.

A prediction that is old enough for a data set is a training row, a holdout row, or left out for one reason.
"""

from typing import Annotated

from pydantic import Field

from schemas.base.model import LenientModel
from schemas.events.backfill import EPISODE_PATTERN
from schemas.events.messages import INT64_MAX

__all__ = ["BackfillRows", "Count", "DatasetRows", "Reason", "RowCounts"]

Count = Annotated[int, Field(ge=0, le=INT64_MAX)]
Reason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class RowCounts(LenientModel):
    """What has become of some predictions in a data set."""

    rows: Count = Field(description="Number of training rows.")
    holdout_rows: Count = Field(description="Number of holdout rows.")
    left_out: dict[Reason, Count] = Field(
        default_factory=dict, description="Number of predictions that are left out, by reason."
    )

    @property
    def predictions(self) -> int:
        """Number of all predictions, with those that are left out."""
        return self.rows + self.holdout_rows + sum(self.left_out.values())


class BackfillRows(RowCounts):
    """What has become of the predictions that a backfill has labelled; `not_mature`: they are too young yet."""

    episode: str = Field(pattern=EPISODE_PATTERN, description="Id of the backfill.")


class DatasetRows(RowCounts):
    """What has become of all predictions that are old enough for a data set.

    Attributes:
        holdout_left_out: those of `left_out` that were made in the time of the holdout.
        backfills: of each backfill that is of record.
    """

    holdout_left_out: dict[Reason, Count] = Field(default_factory=dict)
    backfills: list[BackfillRows] = Field(default_factory=list)
