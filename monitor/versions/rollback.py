"""Rollback advice: whether the version before would do better than the running one. People decide.

Where both versions predicted the same things they are compared pair by pair, which no change of the world can distort.
Where the former one no longer predicts, all that can be reported is that loss or errors grew after the version changed.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from scipy.special import stdtrit

from monitor.cells.versions import Rollout
from monitor.drift.detection import Detection
from monitor.drift.loss import judge_loss

__all__ = ["Rollback", "judge_rollback"]

_ADVICE_DAYS = 14
"""What gets worse later than this after a deployment is not attributed to it."""

_DAYS_MIN = 8
_LABELS_MIN = 100
_LEVEL = 0.95
_MARGIN = 0.02
_PAIRED_DAYS = 60
"""Older days say little about the two versions today."""


@dataclass(frozen=True)
class Rollback:
    """Reason to roll back.

    Attributes:
        reason: `paired`: the former version loses less on the same predictions; `loss`: the loss has grown since the
            version changed; `errors`: errors have.
        before: mean loss (`errors`: share of errors) of the former version, or of the time before.
        after: the same of the running version.
        low: lower end of the interval of after - before; None where there is none.
        days: number of days compared; 0 for `errors`.
        n: number of labels compared; 0 for `errors`.
    """

    reason: Literal["paired", "loss", "errors"]
    before: float
    after: float
    low: float | None
    days: int
    n: int


def judge_rollback(
    rollout: Rollout, running: pl.DataFrame, former: pl.DataFrame, judged: date, drift: Detection | None
) -> Rollback | None:
    """Return the reason to roll back to the version before, or None.

    `paired`: on the mature days since the change, of the last 60, on which both have equally many labels of each class.
    Both losses are sums over the same rows then, and their clustered difference needs only these sums (as in
    `monitor.versions.compare`). With at least 8 days and 100 labels, it is the only test; it needs the lower end of the
    95 % interval above zero and a difference of at least 2 % of the former version's loss.

    `loss`: the newest mature week of this version, within 14 days of the change, lost more than the four weeks before
    it, those of the former version included (`monitor.drift.loss`). `errors`: a drift for the worse began within 14
    days.

    Args:
        running: its `monitor.drift.loss.day_losses`.
        former: those of the version before.
        judged: the newest mature day; later rows are ignored.
        drift: of the running version's errors, if one is open.

    >>> days = [date(2013, 3, 1) + timedelta(days=number) for number in range(10)]
    >>> losses = {"day": days, "n": 100, "positives": 40, "negatives": 60}
    >>> former, running = (pl.DataFrame({**losses, "loss": loss}) for loss in ([50.0] * 10, [59.0, 61.0] * 5))
    >>> judge_rollback(Rollout("v2", days[0], days[0], "v1"), running, former, days[-1], None).reason
    'paired'
    """
    if rollout.former is None:
        return None
    since, last = rollout.since, rollout.since + timedelta(days=_ADVICE_DAYS - 1)
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
    """Return the days on which both versions have the same number of labels, in all and of each class."""
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
