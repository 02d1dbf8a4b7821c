"""Diff of a backfill episode: the same predictions with their labels before and after it.

The order of rows does not matter: the same rows give the same bytes, to whose digest a ruling is bound.
"""

from collections.abc import Iterable
from typing import Final

import polars as pl

from monitor.backfill.balance import Positives, distributions_of, labels_of
from monitor.backfill.flips import LabelPairs, asymmetry_of, matrix_of, pair_labels, slices_of
from monitor.backfill.restated_metrics import delays_of, metrics_of, random_flips_of
from monitor.backfill.restatement import restatement_of
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
"""Columns of `pairs`, followed by one `slice_NAME` for each slice. Key, id, weight and known_at are not used here."""

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
"""Characters of a definition or a batch that a sentence shows."""


def diff_of(
    episode: Episode,
    plan: CellPlan,
    pairs: pl.DataFrame,
    cohorts: pl.DataFrame,
    *,
    cells: pl.DataFrame | None = None,
    decisions: Iterable[AffectedDecision] = (),
) -> BackfillDiff:
    """Return the diff of an episode.

    Metrics count every prediction once, as cells do, whatever its weight.

    Args:
        episode: the labels that the diff is about.
        plan: of the loop; it has the episode's kind.
        pairs: one row per prediction that the episode touches, in the columns of `PAIR_SCHEMA`, and one `slice_NAME`
            for each slice. `day` is the cohort day. A status is one of pending, joined, implied, expired, retracted;
            where it is joined or implied, `value` (in multiclass kinds `class`) is the label, and `first_known_at`
            the time at which one was first known. An episode of predictions sent again has the same label before and
            after. Of rows that are not eligible, only the number is reported.
        cohorts: one row per version and day, in the columns of `COHORT_SCHEMA`: eligible predictions, those with a
            label before the episode, those of class 1 among these (null if the kind is not binary), and whether all
            outcomes of the day are final. Cohorts without a pair are left out.
        cells: merged cells before the episode, at least those of these cohorts. They count the predictions that the
            episode does not touch: without them metrics, means and classes are those of the episode's own predictions
            only, and so is the accuracy that random flips are compared with.
        decisions: retrains whose data sets hold predictions of the cohorts touched.

    Raises:
        ValueError: the plan does not have the kind, a labelled row has no label, the cohort of a pair is missing or
            duplicated, or cohorts or cells hold less than the pairs had before.
    """
    kind = _kind(plan, episode)
    labels = pair_labels(kind, pairs)
    by_cohort = _by_cohort(kind, labels, cohorts)
    changes = [_change(row) for row in by_cohort.iter_rows(named=True)]
    total = _change(_total(by_cohort))
    restatement = restatement_of(plan, kind, labels, cells)
    positives = _positives(by_cohort) if kind.task == "binary" else None
    metrics = metrics_of(restatement)
    touched = Touched(
        predictions=total.touched,
        **{name: int(by_cohort[name].sum()) for name in ("new", "identical", "taken_away", "unlabelled")},
        changed=total.flips,
        ineligible=labels.ineligible,
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
        matrix=matrix_of(kind, labels),
        asymmetry=asymmetry_of(kind, labels),
        mature_labels=mature_labels,
        mature_flips=mature_flips,
        flip_share_of_mature=mature_flips / mature_labels if mature_labels else None,
        flip_share=total.flips / total.labelled_before if total.labelled_before else None,
        total=total,
        cohorts_touched=len(changes),
        cohorts=sorted(changes, key=_severity)[:COHORTS_MAX],
        mature_coverage_fall=max([0.0, *(_fall(one) for one in mature)]),
        labels=labels_of(restatement, labels, positives),
        distributions=distributions_of(restatement, labels, positives),
        metrics=metrics,
        random_flips=random_flips_of(restatement, metrics, total.flips, total.labelled_before - touched.taken_away),
        delays=delays_of(restatement),
        slices=slices_of(labels),
        decisions=sorted(decisions, key=lambda one: (one.decision, one.dataset_uri or "")),
        approving=approving,
        rejecting=rejecting,
    )


def _kind(plan: CellPlan, episode: Episode) -> KindPlan:
    for kind in plan.kinds:
        if kind.name == episode.kind:
            return kind
    raise ValueError(f"the plan has no label kind {episode.kind!r}")


def _by_cohort(kind: KindPlan, labels: LabelPairs, cohorts: pl.DataFrame) -> pl.DataFrame:
    """Return the cohorts touched with counts before and after, sorted by version and day.

    Raises:
        ValueError: a cohort is missing or duplicated, or holds less than its pairs had before.
    """
    had, has, is_flip = pl.col("had_label"), pl.col("has_label"), pl.col("is_flip")
    is_binary = kind.task == "binary"
    ones = {
        f"ones_{side}": (pl.col(f"{side}_truth") == 1.0).sum() if is_binary else pl.lit(0)
        for side in ("before", "after")
    }
    counts = labels.rows.group_by("version", "day").agg(
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
        raise ValueError("cohorts must have one row for each version and day of the pairs")
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
        raise ValueError("cohorts hold less than the pairs had before: both must be read at the same time")
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
    """Return what approving will do, and what rejecting will do."""
    predictions = f"{touched.predictions:,} predictions"
    if set(episode.causes) == {Cause.RESENT}:
        first = "the content that was sent first"
        return (
            f"Approving accepts {predictions} on {days:,} days with {first}; nothing is restated.",
            f"Rejecting restates nothing either: {first} counts.",
        )
    labels = f"labels of definition {_short(episode.definition)}"
    if episode.batch is not None:
        labels = f"batch {_short(episode.batch)} of {labels}"
    approving = (
        f"Approving makes {labels} of record for {predictions}: {touched.changed:,} labels change, {touched.new:,} are "
        f"new and {touched.taken_away:,} are removed; cells, views and metrics of {cohorts:,} cohorts on {days:,} days "
        "are restated, and days that were final are marked revised."
    )
    rejecting = (
        f"Rejecting keeps {labels} out of the record: nothing is restated, no data set includes these labels, and the "
        "join withdraws them, so that every prediction falls back to what remains of its labels."
    )
    return approving, rejecting


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN_MAX else f"{name[: _SHOWN_MAX - 1]}…"
