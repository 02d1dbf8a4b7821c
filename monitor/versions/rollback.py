"""Would the version before do better? Advice to go back, never an act.

Two versions that predicted the same things are compared pair by pair, which no change of the world can disturb. Where
the former one has fallen silent, all that can be said is that things got worse when the version changed. This
module must not judge what is not mature, and asks for nothing.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from scipy.special import stdtrit

from monitor.cells.versions import Reign
from monitor.drift.error import Detection
from monitor.drift.loss import judge_loss

__all__ = ["ADVICE_DAYS", "Rollback", "judge_rollback"]

ADVICE_DAYS = 14
"""What gets worse later than this after a deployment is not put down to it."""

_DAYS_MIN = 8
_LABELS_MIN = 100
_LEVEL = 0.95
_MARGIN = 0.02
_PAIRED_DAYS = 60
"""What two versions did long ago says little of today."""


@dataclass(frozen=True)
class Rollback:
    """Why one would go back.

    Attributes:
        reason: `paired`: the former version loses less on the same predictions; `loss`: the loss has grown since the
            version changed; `errors`: errors have.
        before: mean loss (`errors`: share of errors) of the former version, or of the time before.
        after: the same of the version that runs.
        low: lower end of the interval of after - before; None where there is none.
        days: that were compared; 0 for `errors`.
        n: labels that were compared; 0 for `errors`.
    """

    reason: Literal["paired", "loss", "errors"]
    before: float
    after: float
    low: float | None
    days: int
    n: int


def judge_rollback(
    reign: Reign, running: pl.DataFrame, former: pl.DataFrame, judged: date, drift: Detection | None
) -> Rollback | None:
    """Return why one would go back to the version before; None where nothing speaks for it.

    `paired`: on the mature days since the change, of the last 60, on which both have equally many labels of each class.
    Both losses are sums of the same rows then, and their clustered difference needs no more than these sums (as in
    `monitor.versions.compare`). At least 8 days and 100 labels; told if the lower end of the 95 % interval is above
    zero and the difference is at least 2 % of the former one's loss. If that many can be compared, nothing else is
    looked at.

    `loss`: the newest mature week of this version, within 14 days of the change, lost more than the four weeks before
    it, those of the former version included (`monitor.drift.loss`). `errors`: a drift for the worse began within 14
    days.

    Args:
        reign: of the version that runs.
        running: its `monitor.drift.loss.day_losses`.
        former: those of the version before.
        judged: the newest mature day; later rows are not looked at.
        drift: of the errors of the version that runs, if one is open.
    """
    if reign.former is None:
        return None
    since, last = reign.since, reign.since + timedelta(days=ADVICE_DAYS - 1)
    shared = _shared(running, former, max(since, judged - timedelta(days=_PAIRED_DAYS - 1)), judged)
    if shared.height >= _DAYS_MIN and int(shared["n"].sum()) >= _LABELS_MIN:
        return _paired(shared)
    is_worse = drift is not None and drift.direction == "worse"
    if drift is not None and is_worse and since <= drift.since <= last:
        return Rollback("errors", drift.error_before, drift.error_after, None, 0, 0)
    own = running.filter(pl.col("day").is_between(since, judged))
    joined = pl.concat([former.filter(pl.col("day") < since), own]).sort("day")
    if own.is_empty() or not since + timedelta(days=6) <= judged <= last:
        return None
    found = judge_loss(joined, judged)
    if found.state != "worse" or found.before is None or found.after is None:
        return None
    return Rollback("loss", found.before, found.after, found.low, own.height, found.n)


def _shared(running: pl.DataFrame, former: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Return the days on which both have the same labels: as many, and as many of each class."""
    days = running.filter(pl.col("day").is_between(first, last)).join(former, on="day", suffix="_former")
    same = (pl.col(name) == pl.col(f"{name}_former") for name in ("n", "positives", "negatives"))
    return days.filter(*same).sort("day")


def _paired(shared: pl.DataFrame) -> Rollback | None:
    n = shared["n"].to_numpy().astype(np.float64)
    before, after = (shared[name].to_numpy() for name in ("loss_former", "loss"))
    rows, days = n.sum(), len(n)
    mean = float((after - before).sum() / rows)
    residuals = after - before - mean * n
    error = float(np.sqrt(days / (days - 1) * (residuals @ residuals)) / rows)
    low = mean - float(stdtrit(days - 1, (1 + _LEVEL) / 2)) * error
    loss = float(before.sum() / rows)
    if low <= 0 or mean < _MARGIN * loss:
        return None
    return Rollback("paired", loss, float(after.sum() / rows), low, days, int(rows))
