"""Backfills built from rows: predictions with their labels before and after, as frames and as folded cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    OWN,
    Prediction,
    Revision,
    config_of,
    outcomes_frame,
    predictions_frame,
)

from monitor.backfill.diff import COHORT_SCHEMA, PAIR_SCHEMA, diff_of
from monitor.cells.fold import fold
from monitor.cells.plan import CellPlan
from schemas.events.backfill import Cause, Episode
from schemas.events.backfill_diff import BackfillDiff

__all__ = ["FIRST_DAY", "PLAN", "Case", "Row", "cells_of", "diff", "episode_of", "frames", "random_rows"]

PLAN = CellPlan.from_config(config_of())
FIRST_DAY = date(2013, 3, 12)

Truth = float | str | None


@dataclass(frozen=True)
class Row:
    """One prediction; `before` and `after` are its labels before and after the backfill, None without one.

    `output` is a score, a number or a class, by kind. A row that is not `touched` is in cells and cohorts only.
    """

    before: Truth
    after: Truth
    output: Truth = 0.5
    day: int = 0
    version: str = "v1"
    touched: bool = True
    eligible: bool = True
    country: str | None = "DE"
    age_before_ms: int = HOUR_MS
    age_after_ms: int = HOUR_MS


@dataclass(frozen=True, eq=False)
class Case:
    """A backfill as the frames of `diff_of`, and the cells before it."""

    pairs: pl.DataFrame
    cohorts: pl.DataFrame
    before: pl.DataFrame


def episode_of(kind: str = "late", **changes: object) -> Episode:
    """Return an episode of corrections of the config's own definition."""
    plain = Episode(
        id=f"bf-{7:032x}",
        kind=kind,
        definition=OWN[kind],
        causes=[Cause.CORRECTED],
        since=EPOCH_MS + 40 * DAY_MS,
        until=EPOCH_MS + 40 * DAY_MS + HOUR_MS,
        labels=5,
        fingerprint=3,
    )
    return Episode.model_validate({**dict(plain), **changes})


def frames(rows: Sequence[Row], kind: str = "late", immature_days: Sequence[int] = ()) -> Case:
    """Return a backfill as frames and cells."""
    predictions = [_prediction(number, row, kind) for number, row in enumerate(rows)]
    pairs = [_pair(row, one, kind) for row, one in zip(rows, predictions, strict=True) if row.touched]
    schema = {**PAIR_SCHEMA, "slice_country": pl.String(), "slice_role": pl.String()}
    return Case(pl.DataFrame(pairs, schema), _cohorts(rows, kind, immature_days), cells_of(tuple(rows), kind, "before"))


@cache
def cells_of(rows: tuple[Row, ...], kind: str, side: str) -> pl.DataFrame:
    """Return the cells of all predictions with the labels of one side."""
    predictions = [_prediction(number, row, kind) for number, row in enumerate(rows)]
    revisions = [_revision(one, row, kind, side) for row, one in zip(rows, predictions, strict=True)]
    outcomes = outcomes_frame(one for one in revisions if one is not None)
    return fold(PLAN, predictions_frame(predictions), outcomes, outcomes_frame([]))


def diff(rows: Sequence[Row], kind: str = "late", **options: object) -> BackfillDiff:
    """Return the diff of a backfill, with the cells before it."""
    case = frames(rows, kind, options.pop("immature_days", ()))  # type: ignore[arg-type] # a test's option
    return diff_of(episode_of(kind), PLAN, case.pairs, case.cohorts, cells=case.before, **options)  # type: ignore[arg-type] # the same


def random_rows(kind: str, count: int, seed: int) -> list[Row]:
    """Return rows of all kinds: touched or not, with labels or not, of two versions and three days.

    Of a third version no row is touched.
    """
    rng = np.random.default_rng(seed)

    def truth() -> Truth:
        if rng.random() < 0.2:
            return None
        if kind == "late":
            return float(rng.integers(0, 2))
        return round(float(rng.normal(10, 3)), 3) if kind == "fare" else f"c{rng.integers(0, 6)}"

    rows = []
    for _ in range(count):
        before, touched, version = truth(), bool(rng.random() < 0.6), f"v{rng.integers(1, 4)}"
        touched = touched and version != "v3"
        after = truth() if touched and rng.random() < 0.5 else before
        outputs = {"late": float(rng.beta(2, 2)), "fare": float(rng.normal(10, 3)), "status": f"c{rng.integers(0, 6)}"}
        rows.append(
            Row(
                before,
                after,
                outputs[kind],
                day=int(rng.integers(0, 3)),
                version=version,
                touched=touched,
                eligible=bool(rng.random() < 0.9),
                country=[None, "DE", "FR"][rng.integers(0, 3)],
                age_before_ms=int(rng.integers(0, 3 * DAY_MS)),
                age_after_ms=int(rng.integers(0, 9 * DAY_MS)),
            )
        )
    # a label that does not change keeps its age
    return [row if row.before is None else replace(row, age_after_ms=row.age_before_ms) for row in rows]


def _prediction(number: int, row: Row, kind: str) -> Prediction:
    outputs = {"late": "output", "fare": "fare", "status": "predicted_class"}
    return replace(
        Prediction(f"k{number}"),
        predicted_at_ms=EPOCH_MS + row.day * DAY_MS,
        version=row.version,
        eligible=row.eligible,
        country=row.country,
        **{outputs[kind]: row.output},
    )


def _revision(one: Prediction, row: Row, kind: str, side: str) -> Revision | None:
    truth = row.before if side == "before" else row.after
    if truth is None:
        return None
    age_ms = row.age_before_ms if side == "before" else row.age_after_ms
    value, name = (None, truth) if isinstance(truth, str) else (truth, None)
    known_ms = one.predicted_at_ms + age_ms
    return Revision(one, "joined", value, known_ms, 1, kind, OWN[kind], name)


def _pair(row: Row, one: Prediction, kind: str) -> dict[str, object]:
    sides: dict[str, object] = {}
    for side, truth, age_ms in (("before", row.before, row.age_before_ms), ("after", row.after, row.age_after_ms)):
        known = None if truth is None else datetime.fromtimestamp((one.predicted_at_ms + age_ms) / 1000, UTC)
        sides |= {
            f"{side}_status": "pending" if truth is None else "joined",
            f"{side}_value": truth if kind != "status" else None,
            f"{side}_class": truth if kind == "status" else None,
            f"{side}_known_at": known,
            f"{side}_first_known_at": known,
        }
    return {
        "key": one.key,
        "id": one.key,
        "version": row.version,
        "day": FIRST_DAY + timedelta(days=row.day),
        "predicted_at": datetime.fromtimestamp(one.predicted_at_ms / 1000, UTC),
        "eligible": row.eligible,
        "weight": 1.0,
        "output": row.output if kind != "status" else None,
        "output_class": row.output if kind == "status" else None,
        "slice_country": row.country,
        "slice_role": "champion",
        **sides,
    }


def _cohorts(rows: Sequence[Row], kind: str, immature_days: Sequence[int]) -> pl.DataFrame:
    found = []
    for version, day in sorted({(row.version, row.day) for row in rows}):
        mine = [row for row in rows if (row.version, row.day) == (version, day) and row.eligible]
        found.append(
            {
                "version": version,
                "day": FIRST_DAY + timedelta(days=day),
                "predictions": len(mine),
                "labelled": sum(row.before is not None for row in mine),
                "positives": sum(row.before == 1.0 for row in mine) if kind == "late" else None,
                "is_mature": day not in immature_days,
            }
        )
    return pl.DataFrame(found, COHORT_SCHEMA)
