"""Judgement of a candidate: whether a new model version is non-inferior to the running one.

Both are compared on the same predictions and labels, pair by pair, with days as independent observations. The verdict
holds for one model file, not for another one trained again "in the same way".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import bdtrc, stdtr, stdtrit

from monitor.cells.scoring import LEAST_PROBABILITY, is_probability
from monitor.drift.loss import LOSS_NAME
from monitor.metrics.calibration import expected_calibration_error
from monitor.versions.compare import Comparison, compare
from schemas.base import figures
from schemas.base.metric_name import Task
from schemas.events.candidate import CandidateCheck, CandidateJudgement, CandidateVerdict

__all__ = ["CandidateLimits", "judge_candidate"]

_LEVEL = 0.95
_TWO_SIDED = 2 * _LEVEL - 1
"""The ends of a 90 % interval are one-sided bounds of 95 % each."""
_UNKNOWN = (-np.inf, np.inf)
_CALIBRATION_BINS = 10
_WEEK_DAYS = 7
_WEEK_DAYS_MIN, _SEGMENT_DAYS_MIN = 5, 8
_WEEKS_MIN = 5
"""With fewer, even a version that loses in every one of them does so by chance in more than one case of twenty."""

_Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CandidateLimits:
    """Data that a judgement needs, and its margins.

    Attributes:
        margin: share of the running version's mean loss that the candidate may lose more.
        part_margin: the same for a segment or a week, which vary more.
        calibration_margin: growth of the expected calibration error that is allowed, 0 to 1.
        days: least number of days; two weeks have every day of the week twice.
        labels: least number of labels.
        rarer_class: least number of labels of the rarer class (binary).
        segment_labels: least number of labels of a segment to be judged.
    """

    margin: float = 0.02
    part_margin: float = 0.05
    calibration_margin: float = 0.01
    days: int = 14
    labels: int = 1_000
    rarer_class: int = 100
    segment_labels: int = 200


_DEFAULT = CandidateLimits()


def judge_candidate(
    rows: pl.DataFrame, task: Task, slices: Sequence[str] = (), limits: CandidateLimits = _DEFAULT
) -> CandidateJudgement:
    """Judge a new version against the running one on the labels that they share.

    The verdict follows from the mean loss alone: `non_inferior` if the upper one-sided 95 % bound of candidate minus
    running is below the margin; else `inferior` if the lower one is above zero; else, or with too little data,
    `undecided`. Checks are made in addition, as a version may be as good on the whole and worse for one country:

    - `segments`: number of slice values with enough labels that lose more than `part_margin`; each that does has a
      check of its own. One-sided t tests over days at 5 % for all segments together (Holm, 1979).
    - `calibration` (binary): growth of the expected calibration error over ten bins of equal size. It fails if the
      growth exceeds its margin and its lower 95 % bound, by the jackknife over days (Efron and Stein, 1981), zero.
    - `weeks`: share of weeks in which the candidate loses more; a sign test at 5 %. `worst_week`: its greatest relative
      increase of loss in a week; it fails if that exceeds `part_margin`, by the same test as segments.

    Args:
        rows: one per shared prediction and label: `day` (Date), `truth`, `running` and `candidate` (outputs of the two
            versions). Binary: truth is 0 or 1, outputs are probabilities; multiclass: texts; regression: numbers. Rows
            without a truth or without two usable outputs are left out. One `slice_NAME` for each name in `slices`.

    >>> days = pl.date_range(pl.date(2013, 3, 4), pl.date(2013, 3, 23), eager=True)
    >>> rows = pl.DataFrame({"day": days.append(days), "truth": 1.0, "running": 2.0, "candidate": [1.5, 1.25] * 20})
    >>> found = judge_candidate(rows, "regression", limits=CandidateLimits(labels=40))
    >>> found.verdict, found.running_loss, found.candidate_loss
    ('non_inferior', 1.0, 0.375)
    """
    losses = _losses(rows, task, slices)
    found = compare(losses, _TWO_SIDED)
    lacking = _lacking(losses, found, task, limits)
    verdict = "undecided" if lacking else _verdict(found, limits)
    checks = [] if lacking else [*_segments(losses, slices, limits), *_weeks(losses, limits)]
    if task == "binary" and not lacking:
        checks.append(_calibration(losses, limits))
    low, high = found.interval or (None, None)
    margin = None if found.loss_a is None else limits.margin * found.loss_a
    other = None if found.loss_a is None or found.difference is None else found.loss_a + found.difference
    return CandidateJudgement(
        verdict=verdict,
        text=f"too little data: {lacking}" if lacking else _sentence(verdict, found, limits),
        loss=LOSS_NAME[task],
        labels=found.n,
        days=found.days,
        running_loss=found.loss_a,
        candidate_loss=other,
        difference=found.difference,
        lower=low,
        upper=high,
        margin=margin,
        checks=checks,
    )


def _losses(rows: pl.DataFrame, task: Task, slices: Sequence[str]) -> pl.DataFrame:
    """Return the usable rows, with `loss_a` of the running version and `loss_b` of the candidate."""
    truth, outputs = pl.col("truth"), {"loss_a": pl.col("running"), "loss_b": pl.col("candidate")}
    if task == "multiclass":
        usable = [truth.is_not_null(), *(output.is_not_null() for output in outputs.values())]
        loss = {name: (output != truth).cast(pl.Float64) for name, output in outputs.items()}
    elif task == "regression":
        usable = [value.is_finite().fill_null(value=False) for value in (truth, *outputs.values())]
        loss = {name: (truth - output).abs() for name, output in outputs.items()}
    else:
        usable = [truth.is_in([0.0, 1.0]).fill_null(value=False), *map(is_probability, outputs.values())]
        clipped = {name: output.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY) for name, output in outputs.items()}
        loss = {name: -pl.when(truth == 1).then(score).otherwise(1 - score).log() for name, score in clipped.items()}
    columns = ["day", "truth", "running", "candidate", *(f"slice_{name}" for name in slices)]
    return rows.select(columns).filter(pl.col("day").is_not_null(), *usable).with_columns(**loss)


def _lacking(losses: pl.DataFrame, found: Comparison, task: Task, limits: CandidateLimits) -> str:
    """Return a text of the data that is lacking; empty if none is."""
    needs = [("days", found.days, max(limits.days, _SEGMENT_DAYS_MIN)), ("labels", found.n, limits.labels)]
    if task == "binary":
        positives = losses.filter(pl.col("truth") == 1).height
        needs.append(("labels of the rarer class", min(positives, found.n - positives), limits.rarer_class))
    return ", ".join(f"{value:,} of {needed:,} {name}" for name, value, needed in needs if value < needed)


def _verdict(found: Comparison, limits: CandidateLimits) -> CandidateVerdict:
    low, high = found.interval or _UNKNOWN
    if high < limits.margin * (found.loss_a or 0.0) or high <= 0:  # two versions without any loss have a margin of zero
        return "non_inferior"
    return "inferior" if low > 0 else "undecided"


def _sentence(verdict: CandidateVerdict, found: Comparison, limits: CandidateLimits) -> str:
    low, high = found.interval or _UNKNOWN
    change, margin = found.difference or 0.0, figures.share(limits.margin)
    text = f"loses {figures.number(abs(change))} {'more' if change > 0 else 'less'} on {found.n:,} labels"
    if verdict == "non_inferior":
        return f"{text}; at most {figures.signed(high)}, less than {margin} of the running version's loss"
    if verdict == "inferior":
        return f"{text}; at least {figures.signed(low)}, so it is worse"
    interval = f"from {figures.signed(low)} to {figures.signed(high)}"
    return f"{text}; {interval}: neither worse nor within {margin}; more days are needed"


@dataclass(frozen=True)
class _Part:
    """A segment or a week: relative increase of loss, and its p-value if the true increase were `part_margin`."""

    name: str
    increase: float
    p_value: float


def _part(name: str, losses: pl.DataFrame, margin: float, days_min: int) -> _Part | None:
    """Compare a part of the rows; None where it has too few days or the running version loses nothing."""
    found = compare(losses)
    if found.days < days_min or found.difference is None or not found.loss_a or found.standard_error is None:
        return None
    excess = found.difference - margin * found.loss_a
    if found.standard_error == 0:
        p_value = 0.0 if excess > 0 else 1.0
    else:
        p_value = float(stdtr(found.days - 1, -excess / found.standard_error))
    return _Part(name, found.difference / found.loss_a, p_value)


def _worse(parts: Sequence[_Part]) -> list[_Part]:
    """Return the parts that are worse, at 5 % for all together (step-down of Holm, 1979)."""
    ranked = sorted(parts, key=lambda part: (part.p_value, part.name))
    found = []
    for rank, part in enumerate(ranked):
        if part.p_value * (len(ranked) - rank) > 1 - _LEVEL:
            break
        found.append(part)
    return found


def _segments(losses: pl.DataFrame, slices: Sequence[str], limits: CandidateLimits) -> list[CandidateCheck]:
    parts = []
    for name in slices:
        column = f"slice_{name}"
        for (value,), own in losses.filter(pl.col(column).is_not_null()).group_by(column, maintain_order=True):
            if own.height >= limits.segment_labels:
                part = _part(f"{name}={value}", own, limits.part_margin, _SEGMENT_DAYS_MIN)
                parts += [] if part is None else [part]
    if not parts:
        return []
    worse = _worse(parts)
    text = f"{len(worse)} of {len(parts)} segments lose more than {figures.share(limits.part_margin)}"
    summary = CandidateCheck(name="segments", value=len(worse), limit=0.0, passed=not worse, text=text)
    return [summary, *(_failed(f"segment {part.name}"[:1_000], part, limits.part_margin) for part in worse)]


def _failed(name: str, part: _Part, margin: float) -> CandidateCheck:
    text = f"{part.name} loses {figures.share(part.increase)} more; the limit is {figures.share(margin)}"
    return CandidateCheck(name=name, value=part.increase, limit=margin, passed=False, text=text[:1_000])


def _weeks(losses: pl.DataFrame, limits: CandidateLimits) -> list[CandidateCheck]:
    """Check spans of seven days from the first day on; the last one may be shorter."""
    weeks = losses.with_columns(week=(pl.col("day") - pl.col("day").min()).dt.total_days() // _WEEK_DAYS)
    parts = []
    for (week,), own in weeks.sort("week").group_by("week", maintain_order=True):
        part = _part(f"week {int(str(week)) + 1}", own, limits.part_margin, _WEEK_DAYS_MIN)
        parts += [] if part is None else [part]
    if not parts:
        return []
    lost = sum(part.increase > 0 for part in parts)
    is_worse = float(bdtrc(lost - 1, len(parts), 0.5)) < 1 - _LEVEL
    text = f"the candidate loses more in {lost} of {len(parts)} weeks"
    share = CandidateCheck(
        name="weeks",
        value=lost / len(parts),
        limit=0.5,
        passed=None if len(parts) < _WEEKS_MIN else not is_worse,
        text=text,
    )
    worst = max(parts, key=lambda part: part.increase)
    if failing := _worse(parts):
        return [share, _failed("worst_week", max(failing, key=lambda part: part.increase), limits.part_margin)]
    text = f"in its worst week ({worst.name}) the candidate's loss changes by {figures.share(worst.increase)}"
    limit = limits.part_margin
    return [share, CandidateCheck(name="worst_week", value=worst.increase, limit=limit, passed=True, text=text)]


def _calibration(losses: pl.DataFrame, limits: CandidateLimits) -> CandidateCheck:
    days = np.unique(losses["day"].to_numpy(), return_inverse=True)[1]
    truth = losses["truth"].cast(pl.Float64).to_numpy()
    binned = [_binned(losses[name].cast(pl.Float64).to_numpy(), truth, days) for name in ("running", "candidate")]

    def growth(without: int | None) -> float:
        before, after = (_error(counts, without) for counts in binned)
        return after - before

    whole, count = growth(None), int(days.max()) + 1
    left_out = np.array([growth(day) for day in range(count)])
    error = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    low = whole - float(stdtrit(count - 1, _LEVEL)) * error
    is_worse = low > 0 and whole > limits.calibration_margin
    before = _error(binned[0], None)
    text = f"the calibration error goes from {figures.number(before)} to {figures.number(before + whole)}"
    limit = limits.calibration_margin
    return CandidateCheck(name="calibration", value=whole, limit=limit, passed=not is_worse, text=text)


def _binned(score: _Counts, truth: _Counts, days: npt.NDArray[np.int64]) -> _Counts:
    """Return negatives, positives and sum of scores by day and bin of equal size: shape (3, days, bins)."""
    edges = np.quantile(score, np.linspace(0, 1, _CALIBRATION_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, score, side="right")
    found = np.zeros((3, int(days.max()) + 1, _CALIBRATION_BINS))
    for part, amount in enumerate((1 - truth, truth, score)):
        np.add.at(found[part], (days, bins), amount)
    return found


def _error(counts: _Counts, without: int | None) -> float:
    """Return the expected calibration error of all days, or of all but one."""
    n0, n1, scores = counts.sum(axis=1) - (0 if without is None else counts[:, without])
    rows = n0 + n1
    mean_score = np.clip(np.divide(scores, rows, out=np.zeros_like(scores), where=rows > 0), 0, 1)
    error = expected_calibration_error(n0.round().astype(np.int64), n1.round().astype(np.int64), mean_score)
    return 0.0 if error is None else error
