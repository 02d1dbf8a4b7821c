"""What a change of the config means for what was counted."""

from dataclasses import dataclass
from datetime import date

from lake import Lake
from streams.ledger.lake_kind import complete_rows
from truthloop.config.settings import Settings
from truthloop.evidence.cells import plan_of
from truthloop.evidence.lake_cells import read_cells

__all__ = ["CountChange", "count_change"]


@dataclass(frozen=True)
class CountChange:
    """A lake is to be counted anew.

    Attributes:
        records: predictions and labels that are read for it, of all steps.
        sealed_before: days before this one keep what was counted; None if there are no such days.
    """

    records: int
    sealed_before: date | None


def count_change(settings: Settings) -> CountChange | None:
    """Return what the config counts otherwise than the lake's cells; None if nothing, or if nothing was counted yet.

    Raises:
        LakeError: there is no lake, or it cannot be read.
    """
    lake = Lake.open(settings.lake)
    plan, newest = plan_of(lake, settings.config), complete_rows(lake)
    if not read_cells(lake, plan, newest).is_other_plan:
        return None
    records = sum(row.predictions[1] + row.labels[1] for row in newest.values())
    return CountChange(records, None if plan.since == date.min else plan.since)
