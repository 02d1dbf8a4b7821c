"""Contract of a new version: whether its first predictions have valid outputs and available features.

A version is compared with the one before it, so that a sensor that was broken already is not held against it. Values
that break the contract stay in the lake, flagged; other changes of their distribution are judged by
`monitor.drift.shift`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl
from scipy.special import bdtrc

from monitor.cells.histogram import ABOVE, BELOW, MISSING, NOT_FINITE, UNSEEN
from monitor.cells.inputs import LABEL, OUTPUT
from monitor.cells.versions import Rollout
from schemas.base import figures
from schemas.base.metric_name import Task
from schemas.events.evidence import Finding, FindingKind, Level, Place

__all__ = ["CONTRACT_LOOKBACK", "TALLY_SCHEMA", "ContractWatch", "VersionCounts", "contract_tally", "judge_contract"]

_CONTRACT_DAYS = 7
"""Days for which a new version is checked at least; it is checked for longer until one of them keeps the contract."""

TALLY_SCHEMA = pl.Schema(
    {"input": pl.String(), "check": pl.String(), "bad": pl.Int64(), "n": pl.Int64(), "bad_day": pl.Float64()}
)
"""By input and check: how many of n predictions fail it, and the share that nine in ten days do not exceed."""

_DAY_ROWS = 500
"""Predictions that a day is judged by; where it has fewer, the days before it count as well."""
_FORMER_DAYS = timedelta(days=28)
CONTRACT_LOOKBACK: Final = timedelta(days=84)
"""How far back predictions count, if a day has too few. A class that the former version has not predicted is new."""
_ROWS_MIN = 50
_CHANCE = 1e-6
_RISE = 0.02
_ALARM_RISE = {Place.OUTPUT: 0.02, Place.FEATURES: 0.10}
"""A missing output makes a decision impossible; a model can live with some gaps in its features."""
_NEW_CLASS_SHARE = 0.5
"""A new model may predict a class that the former one never did, but not almost nothing else."""
_USUAL_QUANTILE = 0.9

_BINS = {"missing": [MISSING], "outside": [BELOW, ABOVE], "unseen": [UNSEEN], "not_finite": [NOT_FINITE]}
_TEXTS = {
    "missing": "has no value",
    "outside": "is outside the contract's range",
    "unseen": "is of a category that the contract does not have",
    "not_finite": "is not finite",
    "new_class": "is of classes that were never predicted before",
}


@dataclass(frozen=True)
class VersionCounts:
    """Counts of one version's predictions.

    Attributes:
        inputs: `monitor.cells.inputs.input_counts`.
        predictions: its rows of `monitor.cells.versions.prediction_counts`.
    """

    inputs: pl.DataFrame
    predictions: pl.DataFrame


class ContractWatch:
    """Follows a new version through its first days.

    Args:
        checked_until: the last day that was checked before; None: none was.
        kept_on: the first of these days on which the contract was kept; None if it was on none.

    Attributes:
        kept_on: the same as of now.
    """

    def __init__(self, task: Task, checked_until: date | None = None, kept_on: date | None = None) -> None:
        self._task: Task = task
        self._checked_until = checked_until
        self.kept_on = kept_on

    def findings(self, rollout: Rollout, day: date, own: VersionCounts, former: VersionCounts | None) -> list[Finding]:
        """Return how the version breaks the contract as of a day; nothing after a week if it has kept it on some day.

        Args:
            day: not before the day of an earlier call.
            former: of the version that ran before it, if there was one.
        """
        if self._is_over(rollout, day):
            return []
        begin = rollout.first if self._checked_until is None else self._checked_until + timedelta(days=1)
        while self.kept_on is None and begin < day:
            self._check(rollout, begin, own, former)
            begin += timedelta(days=1)
        return [] if self._is_over(rollout, day) else self._check(rollout, day, own, former)

    def _is_over(self, rollout: Rollout, day: date) -> bool:
        return self.kept_on is not None and day - rollout.first >= timedelta(days=_CONTRACT_DAYS)

    def _check(self, rollout: Rollout, day: date, own: VersionCounts, former: VersionCounts | None) -> list[Finding]:
        """Judge one day, and record whether the contract was kept on it."""
        self._checked_until = day
        made = own.predictions.filter(pl.col("day").is_between(rollout.first, day)).sort("day", descending=True)
        enough = made.filter(pl.col("amount").cum_sum() >= _DAY_ROWS)
        first = rollout.first if enough.is_empty() else enough["day"][0]
        days = (max(first, day - CONTRACT_LOOKBACK), day)
        before, known_bins = None, None
        if former is not None:
            before = contract_tally(former, self._task, (day - _FORMER_DAYS, day))
            known = former.inputs.filter(pl.col("input") == OUTPUT, pl.col("day") >= day - CONTRACT_LOOKBACK)
            known_bins = known["bin"].unique().to_list()
        found = judge_contract(contract_tally(own, self._task, days, known_bins), before)
        is_kept = not made.is_empty() and all(one.level is not Level.ALARM for one in found)
        if is_kept and self.kept_on is None:
            self.kept_on = day
        return found


def contract_tally(
    counts: VersionCounts, task: Task, days: tuple[date, date], known_bins: Collection[int] | None = None
) -> pl.DataFrame:
    """Count how many of a version's predictions fail each check of the contract.

    For a binary output cells hold only whether it is a probability: any other value counts as `missing`, and so do
    values that could not be read.

    Args:
        days: the first and the last day that count.
        known_bins: of a multiclass kind, the bins of the output that the former version has filled; None: all.

    Returns:
        Rows of `TALLY_SCHEMA`, sorted by input and check.

    >>> day = date(2013, 3, 4)
    >>> rows = [("amount", day, bin_, amount) for bin_, amount in ((5, 60), (MISSING, 40))]
    >>> inputs = pl.DataFrame(rows, ["input", "day", "bin", "amount"], orient="row")
    >>> tally = contract_tally(VersionCounts(inputs, pl.DataFrame()), "regression", (day, day))
    >>> tally.filter(check="missing").rows()
    [('amount', 'missing', 40, 100, 0.4)]
    """
    own = counts.inputs.filter(pl.col("day").is_between(*days), pl.col("input") != LABEL)
    amount, bins, is_output = pl.col("amount"), pl.col("bin"), pl.col("input") == OUTPUT
    is_score = is_output & (pl.lit(task == "binary"))
    bad = {name: amount.filter(bins.is_in(special)).sum() for name, special in _BINS.items()}
    is_new = is_output & (bins >= 0) & ~bins.is_in(sorted(known_bins or ()))
    bad["new_class"] = amount.filter(is_new & pl.lit(task == "multiclass" and known_bins is not None)).sum()
    daily = own.filter(~is_score).group_by("input", "day").agg(n=amount.sum(), **bad)
    long = daily.unpivot(list(bad), index=["input", "day", "n"], variable_name="check", value_name="bad")
    parts = [long.select("input", "check", "day", "bad", "n")]
    if task == "binary":
        scored = own.filter(is_score).group_by("day").agg(scored=amount.sum())
        made = counts.predictions.filter(pl.col("day").is_between(*days)).group_by("day").agg(n=amount.sum())
        unusable = (pl.col("n") - pl.col("scored").fill_null(0)).clip(0)
        joined = made.join(scored, on="day", how="left").with_columns(
            input=pl.lit(OUTPUT), check=pl.lit("missing"), bad=unusable
        )
        parts.append(joined.select(parts[0].columns).cast(parts[0].schema))
    return _summed(pl.concat(parts))


def judge_contract(new: pl.DataFrame, former: pl.DataFrame | None) -> list[Finding]:
    """Return how a new version's first predictions break the contract; nothing for inputs with fewer than 50 of them.

    A share is reported if it is higher than usual beyond chance (binomial, 1e-6): usual is the former version's share,
    or that of a bad day of it; without a former version it is zero. It is an alarm, which holds the deployment back, if
    an output's share has risen by 0.02, or a feature's by 0.1; a warning for smaller rises of outputs, and for features
    from 0.02. New classes are an alarm only if they are more than half of all. In a loop's first version a missing
    feature has nothing to be compared with: it is a warning if it never comes, and else not reported.

    Args:
        new: tally of the new version, see `contract_tally`.
        former: the same of the version before; None if there is none.

    >>> rows = [("amount", "missing", bad, 500, 0.0) for bad in (200, 1)]
    >>> new, former = (pl.DataFrame([row], TALLY_SCHEMA, orient="row") for row in rows)
    >>> judge_contract(new, former)[0].text
    "the new version's first predictions: 40.0 % of amount has no value (the version before: 0.2 %)"
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
            bound = 0.0 if usual is None else max(usual, (had_bad + 0.5) / (had_n + 1))
            chance = bdtrc(bad - 1, n, bound)
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
    subject = "the model's output" if place is Place.OUTPUT else name
    before = f"the version before: {figures.share(usual)}" if usual is not None else "there is no version before it"
    is_absent = check == "missing" and share == 1
    text = f"{subject} is always missing" if is_absent else f"{figures.share(share)} of {subject} {_TEXTS[check]}"
    return Finding(
        kind=FindingKind.CONTRACT,
        place=place,
        subject=name,
        level=level,
        value=share,
        limit=usual,
        text=f"the new version's first predictions: {text} ({before})"[:1_000],
    )
