"""Do a new version's first predictions keep the contract: outputs there and of the right shape, features available?

A version is judged by what is usual for the one before it, so that a sensor that was broken already is not held against
it. Values out of the contract are kept and flagged elsewhere; here they are weighed. This module must not reject
anything, nor judge how values are distributed otherwise.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
from scipy.stats import binom

from monitor.cells.histogram import ABOVE, BELOW, MISSING, NOT_FINITE, UNSEEN
from monitor.cells.inputs import LABEL, OUTPUT
from monitor.cells.versions import Reign
from schemas.base.metric_name import Task
from schemas.events.evidence import Finding, FindingKind, Level, Place

__all__ = ["CONTRACT_DAYS", "TALLY_SCHEMA", "ContractWatch", "Record", "cell_tally", "judge_contract"]

CONTRACT_DAYS = 7
"""So many days of a new version are looked at, and more until one of them keeps the contract."""

TALLY_SCHEMA = pl.Schema(
    {"input": pl.String(), "check": pl.String(), "bad": pl.Int64(), "n": pl.Int64(), "bad_day": pl.Float64()}
)
"""Of each input and check: how many of n predictions fail it, and the share of a day that nine in ten do not exceed."""

_ROWS_MIN = 50
_CHANCE = 1e-6
_RISE = 0.02
_ALARM_RISE = {Place.OUTPUT: 0.02, Place.FEATURES: 0.10}
"""An output that is not there makes a decision impossible; a model can live with some gaps in its inputs."""
_NEW_CLASS_SHARE = 0.5
"""A new model may say a class that the former one never said, but not nearly nothing else."""
_USUAL_QUANTILE = 0.9

_BINS = {"missing": [MISSING], "outside": [BELOW, ABOVE], "unseen": [UNSEEN], "not_finite": [NOT_FINITE]}
_TEXTS = {
    "missing": "has no value",
    "outside": "is outside the contract's range",
    "unseen": "is of a category that the contract does not have",
    "not_finite": "is not finite",
    "invalid": "cannot be read as the contract's type",
    "new_class": "is of classes that were never told before",
}


def cell_tally(
    counts: pl.DataFrame,
    predictions: pl.DataFrame,
    task: Task,
    days: tuple[date, date],
    known: Collection[int] | None = None,
) -> pl.DataFrame:
    """Return how a version's predictions of some days keep the contract, from what cells know.

    Of a binary output cells know only whether it is a probability: what is not, counts as `missing`. Values that could
    not be read are `missing` too.

    Args:
        counts: `monitor.cells.inputs.input_counts` of the version.
        predictions: `monitor.cells.versions.prediction_counts` of the version.
        task: of the label kind.
        days: the first and the last that count.
        known: of a multiclass kind, the bins of the output that the former version has filled; None: all are known.
    """
    own = counts.filter(pl.col("day").is_between(*days), pl.col("input") != LABEL)
    amount, bins, is_output = pl.col("amount"), pl.col("bin"), pl.col("input") == OUTPUT
    is_score = is_output & (pl.lit(task == "binary"))
    bad = {name: amount.filter(bins.is_in(special)).sum() for name, special in _BINS.items()}
    is_new = is_output & (bins >= 0) & ~bins.is_in(sorted(known or ()))
    bad["new_class"] = amount.filter(is_new & pl.lit(task == "multiclass" and known is not None)).sum()
    daily = own.filter(~is_score).group_by("input", "day").agg(n=amount.sum(), **bad)
    long = daily.unpivot(list(bad), index=["input", "day", "n"], variable_name="check", value_name="bad")
    parts = [long.select("input", "check", "day", "bad", "n")]
    if task == "binary":
        scored = own.filter(is_score).group_by("day").agg(scored=amount.sum())
        made = predictions.filter(pl.col("day").is_between(*days)).group_by("day").agg(n=amount.sum())
        unusable = (pl.col("n") - pl.col("scored").fill_null(0)).clip(0)
        joined = made.join(scored, on="day", how="left").with_columns(
            input=pl.lit(OUTPUT), check=pl.lit("missing"), bad=unusable
        )
        parts.append(joined.select(parts[0].columns).cast(parts[0].schema))
    return _summed(pl.concat(parts))


def judge_contract(new: pl.DataFrame, former: pl.DataFrame | None) -> list[Finding]:
    """Return how a new version's first predictions break the contract; none with fewer than 50 of them.

    A share is told if it is higher than usual beyond chance (binomial, 1e-6): usual is the former version's share, or
    that of a bad day of it; without one it is nothing. It is an alarm, which holds the deployment back, if an output's
    share has risen by 0.02, or a feature's by 0.1; a warning for smaller rises of outputs, and for features from 0.02.
    Classes that nobody ever told are an alarm only if they are more than half of all. A feature that is missing from a
    loop's first version is told only if it never comes, as a warning: there is nothing to compare it with.

    Args:
        new: tally of the new version.
        former: the same of the version before; None if there is none.
    """
    before = {} if former is None else {row[:2]: row[2:] for row in former.iter_rows()}
    found = []
    for name, check, bad, n, _ in new.sort("input", "check").iter_rows():
        if n < _ROWS_MIN or bad == 0:
            continue
        place: Place = Place.OUTPUT if name == OUTPUT else Place.FEATURES
        had_bad, had_n, bad_day = before.get((name, check), (0, 0, 0.0))
        usual = max(had_bad / had_n, bad_day) if had_n >= _ROWS_MIN else None
        if usual is None and place is Place.FEATURES and check == "missing":
            level = Level.WARN if bad == n else None
        else:
            chance = binom.sf(
                bad - 1, n, max(usual or 0.0, (had_bad + 0.5) / (had_n + 1)) if usual is not None else 0.0
            )
            rise = bad / n - (usual or 0.0)
            level = _level(place, check, rise) if chance < _CHANCE else None
        if level is not None:
            found.append(_finding(place, name, check, level, (bad / n, usual)))
    return found


def _summed(daily: pl.DataFrame) -> pl.DataFrame:
    is_whole = pl.col("n") >= _ROWS_MIN
    share = (pl.col("bad") / pl.col("n")).filter(is_whole)
    return (
        daily.group_by("input", "check")
        .agg(pl.col("bad", "n").sum(), bad_day=share.quantile(_USUAL_QUANTILE, "linear").fill_null(0.0))
        .select(TALLY_SCHEMA.names())
        .cast(TALLY_SCHEMA)
        .sort("input", "check")
    )


def _level(place: Place, check: str, rise: float) -> Level | None:
    if check == "new_class":
        return Level.ALARM if rise > _NEW_CLASS_SHARE else Level.WARN
    if rise >= _ALARM_RISE[place]:
        return Level.ALARM
    return Level.WARN if place is Place.OUTPUT or rise >= _RISE else None


def _finding(place: Place, name: str, check: str, level: Level, shares: tuple[float, float | None]) -> Finding:
    share, usual = shares
    what = "the model's output" if place is Place.OUTPUT else name
    said = f"of the version before, {usual:.1%}" if usual is not None else "there is no version before it"
    never = check == "missing" and share == 1
    text = f"{what} is never there" if never else f"{share:.1%} of {what} {_TEXTS[check]}"
    return Finding(
        kind=FindingKind.CONTRACT,
        place=place,
        subject=name,
        level=level,
        value=share,
        limit=usual,
        text=f"the new version's first predictions: {text} ({said})"[:1_000],
    )


_ROWS = 500
"""So many predictions make a day; where there are fewer, the days before count too."""
_FORMER_DAYS = timedelta(days=28)


@dataclass(frozen=True)
class Record:
    """What is known of one version's predictions.

    Attributes:
        counts: `monitor.cells.inputs.input_counts`.
        predictions: its rows of `monitor.cells.versions.prediction_counts`.
    """

    counts: pl.DataFrame
    predictions: pl.DataFrame


class ContractWatch:
    """Follows one version through its first days.

    Args:
        task: of the label kind.
    """

    def __init__(self, task: Task) -> None:
        self._task: Task = task
        self._looked: date | None = None
        self._kept: date | None = None

    def findings(self, reign: Reign, day: date, own: Record, former: Record | None) -> list[Finding]:
        """Return how the version breaks the contract as of a day; nothing once it has kept it and a week has passed.

        Args:
            reign: of the version, which runs.
            day: not before a day that was asked for already.
            own: of the version.
            former: of the version that ran before it, if there was one.
        """
        if self._kept is not None and day - reign.first >= timedelta(days=CONTRACT_DAYS):
            return []
        begin = reign.first if self._looked is None else self._looked + timedelta(days=1)
        while self._kept is None and begin < day:
            self._look(reign, begin, own, former)
            begin += timedelta(days=1)
        if self._kept is not None and day - reign.first >= timedelta(days=CONTRACT_DAYS):
            return []
        return self._look(reign, day, own, former)

    def _look(self, reign: Reign, day: date, own: Record, former: Record | None) -> list[Finding]:
        """Judge one day, and remember whether the contract was kept on it."""
        self._looked = day
        made = own.predictions.filter(pl.col("day").is_between(reign.first, day)).sort("day", descending=True)
        enough = made.filter(pl.col("amount").cum_sum() >= _ROWS)
        days = (reign.first if enough.is_empty() else enough["day"][0], day)
        before, known = None, None
        if former is not None:
            span = (day - _FORMER_DAYS, day)
            before, known = cell_tally(former.counts, former.predictions, self._task, span), _filled(former)
        found = judge_contract(cell_tally(own.counts, own.predictions, self._task, days, known), before)
        is_kept = not made.is_empty() and all(one.level is not Level.ALARM for one in found)
        if is_kept and self._kept is None:
            self._kept = day
        return found


def _filled(former: Record) -> Collection[int]:
    return former.counts.filter(pl.col("input") == OUTPUT)["bin"].unique().to_list()
