"""The diff report of a backfill episode: the same predictions, with the labels of before and with those of after.

The order of rows changes nothing, and the same rows give the same bytes. This module must not rule on an episode, and
must not decide what belongs to one.
"""

from collections.abc import Iterable
from typing import Final

import polars as pl

from monitor.backfill.balance import Positives, distributions_of, labels_of
from monitor.backfill.flips import RelabelledRows, asymmetry_of, matrix_of, slices_of, told
from monitor.backfill.restated_metrics import delays_of, metrics_of, random_flips_of
from monitor.backfill.restatement import restated
from monitor.cells.plan import CellPlan, KindPlan
from schemas.events.backfill import Cause, Episode
from schemas.events.backfill_diff import (
    COHORTS_MAX,
    VERSIONS_MAX,
    AffectedDecision,
    BackfillDiff,
    CohortChange,
    Touched,
)

__all__ = ["COHORT_SCHEMA", "PAIR_SCHEMA", "diff_of"]

_INSTANT: Final = pl.Datetime("us", "UTC")
PAIR_SCHEMA: Final = pl.Schema(
    {
        "key": pl.String(),
        "id": pl.String(),
        "version": pl.String(),
        "day": pl.Date(),
        "predicted_at": _INSTANT,
        "eligible": pl.Boolean(),
        "weight": pl.Float64(),
        "output": pl.Float64(),
        "output_class": pl.String(),
        **{
            f"{side}_{name}": dtype
            for side in ("before", "after")
            for name, dtype in (
                ("status", pl.String()),
                ("value", pl.Float64()),
                ("class", pl.String()),
                ("known_at", _INSTANT),
                ("first_known_at", _INSTANT),
            )
        },
    }
)
"""Columns of `pairs`; slices follow as `slice_NAME`. Key, id, weight and known_at are carried, and counted nowhere."""

COHORT_SCHEMA: Final = pl.Schema(
    {
        "version": pl.String(),
        "day": pl.Date(),
        "predictions": pl.Int64(),
        "labelled": pl.Int64(),
        "positives": pl.Int64(),
        "is_mature": pl.Boolean(),
    }
)
"""Columns of `cohorts`."""

_SHOWN_MAX = 100
"""Characters of a definition or a batch in a sentence."""


def diff_of(
    episode: Episode,
    plan: CellPlan,
    pairs: pl.DataFrame,
    cohorts: pl.DataFrame,
    *,
    cells: pl.DataFrame | None = None,
    decisions: Iterable[AffectedDecision] = (),
) -> BackfillDiff:
    """Return the diff report of an episode.

    Metrics count every prediction once, as cells do, whatever its weight.

    Args:
        episode: which labels it is about.
        plan: of the loop; the episode's kind must be in it.
        pairs: one row per prediction that the episode touches, in the columns of `PAIR_SCHEMA`, and one `slice_NAME`
            for each slice. `day` is the cohort day. A status is one of pending, joined, implied, expired, retracted;
            where it is joined or implied, `value` (of multiclass kinds `class`) is the label, and `first_known_at`
            is when one was first known. An episode of predictions sent again has the same label before and after.
            Rows that are not eligible are counted, and nothing else is done with them.
        cohorts: one row per version and day, in the columns of `COHORT_SCHEMA`: eligible predictions, those with a
            label before the episode, those of class 1 among these (null if the kind is not binary), and whether
            all outcomes of the day are final. Cohorts that no pair is of are left out.
        cells: merged cells before the episode, of these cohorts at least. They hold what the episode does not touch:
            without them metrics, means and classes are those of the episode's own predictions only, and the check of
            the metric against chance knows the accuracy of these alone.
        decisions: retrains whose data sets hold predictions of the cohorts touched.

    Raises:
        ValueError: the kind is not the plan's, a labelled row has no label, a cohort of a pair is missing or twice,
            or cohorts or cells do not hold what the pairs have before.
    """
    kind = _kind(plan, episode)
    them = told(kind, pairs)
    by_cohort = _by_cohort(kind, them, cohorts)
    changes = [_change(row) for row in by_cohort.iter_rows(named=True)]
    total = _change(_total(by_cohort))
    restatement = restated(plan, kind, them, cells)
    positives = _positives(by_cohort) if kind.task == "binary" else None
    metrics = metrics_of(restatement)
    touched = Touched(
        predictions=total.touched,
        **{name: int(by_cohort[name].sum()) for name in ("new", "identical", "taken_away", "unlabelled")},
        changed=total.flips,
        ineligible=them.ineligible,
    )
    mature = [one for one in changes if one.is_mature]
    mature_labels, mature_flips = sum(one.labelled_before for one in mature), sum(one.flips for one in mature)
    days, versions = sorted({str(one.day) for one in changes}), sorted({str(one.version) for one in changes})
    approving, rejecting = _sentences(episode, touched, len(days), len(changes))
    return BackfillDiff(
        episode=episode,
        task=kind.task,
        definition=kind.definition,
        touched=touched,
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        days=len(days),
        versions=versions[:VERSIONS_MAX],
        versions_touched=len(versions),
        matrix=matrix_of(kind, them),
        asymmetry=asymmetry_of(kind, them),
        mature_labels=mature_labels,
        mature_flips=mature_flips,
        flip_share_of_mature=mature_flips / mature_labels if mature_labels else None,
        flip_share=total.flips / total.labelled_before if total.labelled_before else None,
        total=total,
        cohorts_touched=len(changes),
        cohorts=sorted(changes, key=_severity)[:COHORTS_MAX],
        mature_coverage_fall=max([0.0, *(_fall(one) for one in mature)]),
        labels=labels_of(restatement, them, positives),
        distributions=distributions_of(restatement, them, positives),
        metrics=metrics,
        random_flips=random_flips_of(restatement, metrics, total.flips, total.labelled_before - touched.taken_away),
        delays=delays_of(restatement),
        slices=slices_of(them),
        decisions=sorted(decisions, key=lambda one: (one.decision, one.dataset_uri or "")),
        approving=approving,
        rejecting=rejecting,
    )


def _kind(plan: CellPlan, episode: Episode) -> KindPlan:
    for kind in plan.kinds:
        if kind.name == episode.kind:
            return kind
    raise ValueError(f"the plan has no label kind {episode.kind!r}")


def _by_cohort(kind: KindPlan, episode: RelabelledRows, cohorts: pl.DataFrame) -> pl.DataFrame:
    """Return the cohorts touched with counts before and after, sorted by version and day.

    Raises:
        ValueError: a cohort is missing or twice, or holds less than the pairs say.
    """
    had, has, is_flip = pl.col("had"), pl.col("has"), pl.col("is_flip")
    is_binary = kind.task == "binary"
    ones = {
        f"ones_{side}": (pl.col(f"{side}_truth") == 1.0).sum() if is_binary else pl.lit(0)
        for side in ("before", "after")
    }
    counts = episode.rows.group_by("version", "day").agg(
        touched=pl.len(),
        had=had.sum(),
        new=(~had & has).sum(),
        taken_away=(had & ~has).sum(),
        flips=is_flip.sum(),
        identical=(had & has & ~is_flip).sum(),
        unlabelled=(~had & ~has).sum(),
        **ones,
    )
    counts = counts.with_columns(pl.exclude("version", "day").cast(pl.Int64))
    known = cohorts.select(COHORT_SCHEMA.names()).join(counts, on=["version", "day"], how="semi")
    if known.height != counts.height or known.select("version", "day").is_duplicated().any():
        raise ValueError("cohorts must have one row for each version and day that a pair is of")
    joined = known.join(counts, on=["version", "day"]).with_columns(
        after=pl.col("labelled") + pl.col("new") - pl.col("taken_away"),
        positives=pl.col("positives") if is_binary else pl.lit(0),
    )
    fits = [
        pl.col("touched") <= pl.col("predictions"),
        pl.col("had") <= pl.col("labelled"),
        pl.col("labelled").is_between(0, pl.col("predictions")),
        pl.col("after").is_between(0, pl.col("predictions")),
        pl.col("positives").is_between(pl.col("ones_before"), pl.col("labelled")),
    ]
    if not joined.select(pl.all_horizontal(fits).fill_null(value=False).all()).item():
        raise ValueError("cohorts do not hold what the pairs have before: they must be of the same moment")
    return joined.with_columns(positives_after=pl.col("positives") - pl.col("ones_before") + pl.col("ones_after")).sort(
        "version", "day"
    )


def _total(by_cohort: pl.DataFrame) -> dict[str, object]:
    numbers = by_cohort.select("predictions", "labelled", "after", "touched", "flips").sum().row(0, named=True)
    is_mature = bool(by_cohort["is_mature"].all()) and not by_cohort.is_empty()
    return {"version": None, "day": None, "is_mature": is_mature, **numbers}


def _change(row: dict[str, object]) -> CohortChange:
    predictions, before, after, touched, flips = (
        int(str(row[name])) for name in ("predictions", "labelled", "after", "touched", "flips")
    )
    return CohortChange(
        version=None if row["version"] is None else str(row["version"]),
        day=None if row["day"] is None else str(row["day"]),
        is_mature=bool(row["is_mature"]),
        predictions=predictions,
        touched=touched,
        labelled_before=before,
        labelled_after=after,
        coverage_before=before / predictions if predictions else None,
        coverage_after=after / predictions if predictions else None,
        flips=flips,
    )


def _positives(by_cohort: pl.DataFrame) -> tuple[Positives, Positives]:
    sums = by_cohort.select(pl.col("positives", "labelled", "positives_after", "after").sum()).row(0)
    return (sums[0], sums[1]), (sums[2], sums[3])


def _fall(cohort: CohortChange) -> float:
    return (cohort.labelled_before - cohort.labelled_after) / cohort.predictions


def _severity(cohort: CohortChange) -> tuple[float, int, str, str]:
    return (-_fall(cohort), -cohort.flips, str(cohort.day), str(cohort.version))


def _sentences(episode: Episode, touched: Touched, days: int, cohorts: int) -> tuple[str, str]:
    """Return what approving and what rejecting will do."""
    n = f"{touched.predictions:,} predictions"
    if set(episode.causes) == {Cause.RESENT}:
        approving = (
            f"Approving lets {n} of {days:,} days be trusted as they were first made: of each the first one stands, "
            "and nothing is restated."
        )
        return approving, "Rejecting changes nothing either: of each prediction the first one stands."
    what = f"labels of definition {_short(episode.definition)}"
    if episode.batch is not None:
        what = f"batch {_short(episode.batch)} of {what}"
    approving = (
        f"Approving makes {what} of record for {n}: {touched.changed:,} labels change, {touched.new:,} are new and "
        f"{touched.taken_away:,} go; cells, views and metrics of {cohorts:,} cohorts on {days:,} days are restated, "
        "and what was final is marked revised."
    )
    return (
        approving,
        f"Rejecting leaves {what} beside what is of record: nothing is restated, and no data set holds it.",
    )


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN_MAX else f"{name[: _SHOWN_MAX - 1]}…"
