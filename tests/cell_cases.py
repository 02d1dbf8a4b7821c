"""Small loops for the monitor's tests: config, lake-like frames, and a counter that does it the slow way."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from hashlib import blake2b
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from monitor import CellPlan, KindPlan
from schemas.config import LoopConfig

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
EPOCH_MS = 1_363_089_600_000
"""12 March 2013, 12:00 UTC: 08:00 in New York, two days into summer time."""

LOCATION = "America/New_York"
OWN = {"fare": "fare-1", "late": "late-15min", "status": "status-1"}


def config_of(**changes: object) -> LoopConfig:
    """Return a loop with a kind of each task, by version and country, in New York."""
    document: dict[str, Any] = {
        "version": 1,
        "loop": "flights",
        "timezone": LOCATION,
        "predictions": {
            "outputs": {
                "late": {"task": "binary", "threshold": 0.3},
                "fare": {"task": "regression"},
                "status": {"task": "multiclass"},
            },
            "slices": ["country", "role"],
        },
        "labels": {kind: {"definition": OWN[kind], "horizon": "3d", "retain": "10d"} for kind in OWN},
        "cohorts": {"by": ["version", "country"], "ages": ["1h", "1d"]},
        "coverage": [{"label": "late", "age": "1d", "min": 0.5}],
    }
    return LoopConfig.model_validate(document | changes)


@dataclass(frozen=True)
class Prediction:
    """One accepted prediction; `output` is that of the binary kind."""

    key: str
    predicted_at_ms: int = EPOCH_MS
    version: str = "v1"
    eligible: bool = True
    output: float | None = 0.5
    country: str | None = "DE"

    @property
    def offset(self) -> int:
        """Its position: some number that no other prediction of a test has."""
        return int.from_bytes(blake2b(f"{self.key} {self.predicted_at_ms}".encode(), digest_size=7).digest())


@dataclass(frozen=True)
class Revision:
    """One revision of one outcome."""

    prediction: Prediction
    status: str
    value: float | None
    known_at_ms: int
    revision: int
    kind: str = "late"
    definition: str = OWN["late"]

    @property
    def chain(self) -> tuple[int, str, str]:
        """What its revisions have in common."""
        return self.prediction.offset, self.kind, self.definition


PREDICTION_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    "key": pl.String(),
    "id": pl.String(),
    "predicted_at": pl.Datetime("us", "UTC"),
    "version": pl.String(),
    "eligible": pl.Boolean(),
    "output_late": pl.Float64(),
    "output_fare": pl.Float64(),
    "output_status": pl.String(),
    "slice_country": pl.String(),
    "slice_role": pl.String(),
}
OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "prediction_offset": pl.Int64(),
    "key": pl.String(),
    "id": pl.String(),
    "kind": pl.String(),
    "definition": pl.String(),
    "status": pl.String(),
    "value": pl.Float64(),
    "previous_status": pl.String(),
    "previous": pl.Float64(),
    "predicted_at": pl.Datetime("us", "UTC"),
    "known_at": pl.Datetime("us", "UTC"),
    "revision": pl.Int64(),
    "version": pl.String(),
    "eligible": pl.Boolean(),
    "output": pl.Float64(),
    "slice_country": pl.String(),
    "slice_role": pl.String(),
}


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def predictions_frame(predictions: Iterable[Prediction]) -> pl.DataFrame:
    """Return predictions in the lake's columns."""
    rows = [
        {
            "partition": 0,
            "offset": one.offset,
            "key": one.key,
            "id": one.key,
            "predicted_at": _instant(one.predicted_at_ms),
            "version": one.version,
            "eligible": one.eligible,
            "output_late": one.output,
            "output_fare": 1.5,
            "output_status": "landed",
            "slice_country": one.country,
            "slice_role": "champion",
        }
        for one in predictions
    ]
    return pl.DataFrame(rows, schema=PREDICTION_SCHEMA)


def outcomes_frame(revisions: Iterable[Revision]) -> pl.DataFrame:
    """Return revisions in the lake's columns; what they say of the revision before is wrong on purpose."""
    rows = [
        {
            "partition": 0,
            "prediction_offset": one.prediction.offset,
            "key": one.prediction.key,
            "id": one.prediction.key,
            "kind": one.kind,
            "definition": one.definition,
            "status": one.status,
            "value": one.value,
            "previous_status": "retracted",
            "previous": 17.0,
            "predicted_at": _instant(one.prediction.predicted_at_ms),
            "known_at": _instant(one.known_at_ms),
            "revision": one.revision,
            "version": one.prediction.version,
            "eligible": one.prediction.eligible,
            "output": one.prediction.output if one.kind == "late" else None,
            "slice_country": one.prediction.country,
            "slice_role": "champion",
        }
        for one in revisions
    ]
    return pl.DataFrame(rows, schema=OUTCOME_SCHEMA)


def as_counter(cells: pl.DataFrame) -> dict[tuple[Any, ...], int]:
    """Return cells as {(version, slice, day, kind, definition, measure, bin): amount}."""
    return {row[:-1]: row[-1] for row in cells.iter_rows()}


def amounts(cells: pl.DataFrame, measure: str, *, slice_: str = "") -> dict[int, int]:
    """Return {bin: amount} of one measure in one slice, over all versions, days, kinds and definitions."""
    rows = cells.filter(pl.col("measure") == measure, pl.col("slice") == slice_)
    return dict(rows.group_by("bin").agg(pl.col("amount").sum()).iter_rows())


def newest(revisions: Iterable[Revision]) -> list[tuple[Revision, int]]:
    """Return the newest revision of every chain, and when a label of it was first known."""
    found = []
    ordered = sorted(revisions, key=lambda one: (one.chain, one.revision))
    for _, chain in groupby(ordered, key=lambda one: one.chain):
        first_known, last = math.inf, None
        for one in chain:
            last = one
            if one.status == "retracted":
                first_known = math.inf
            elif one.status in ("joined", "implied"):
                first_known = min(first_known, one.known_at_ms)
        assert last is not None
        found.append((last, -1 if first_known == math.inf else int(first_known)))
    return found


def count_slowly(
    plan: CellPlan, predictions: Iterable[Prediction], revisions: Iterable[Revision]
) -> dict[tuple[Any, ...], int]:
    """Count all cells from what is known in the end, one row at a time, in plain Python."""
    cells: Counter[tuple[Any, ...]] = Counter()
    kinds = {kind.name: kind for kind in plan.kinds}
    for one in predictions:
        for kind in plan.kinds:
            found = [("predictions" if one.eligible else "ineligible", 0, 1)]
            if one.eligible and kind.task == "binary" and _usable(one.output):
                found.append(("score", _bin(one.output, kind.score_edges), 1))
            _add(cells, plan, one, (kind.name, kind.definition), found)
    for last, first_known_ms in newest(revisions):
        if last.prediction.eligible:
            found = _measures(kinds[last.kind], last, first_known_ms)
            _add(cells, plan, last.prediction, (last.kind, last.definition), found)
    return {place: amount for place, amount in cells.items() if amount}


def _measures(kind: KindPlan, last: Revision, first_known_ms: int) -> list[tuple[str, int, int]]:
    if last.status not in ("joined", "implied"):
        return [(last.status, 0, 1)]
    age_ms = first_known_ms - last.prediction.predicted_at_ms
    found = [("labels", min(edge for edge in kind.age_edges_ms if edge >= age_ms), 1)]
    if age_ms < 0:
        found.append(("early", 0, 1))
    if kind.task != "binary":
        return found
    score, label = last.prediction.output, last.value
    if not _usable(score) or label not in (0.0, 1.0):
        return [*found, ("no_output", 0, 1)]
    assert score is not None
    clipped = min(max(score, 1e-15), 1 - 1e-15)
    loss = -math.log(clipped) if label else -math.log(1 - clipped)
    return [
        *found,
        (f"score_{int(label)}", _bin(score, kind.score_edges), 1),
        ("labelled_scored", 0, 1),
        ("log_loss", 0, round(loss * 2**32)),
        ("brier", 0, round((score - label) ** 2 * 2**32)),
    ]


def _usable(output: float | None) -> bool:
    return output is not None and 0.0 <= output <= 1.0


def _bin(output: float | None, edges: tuple[float, ...]) -> int:
    assert output is not None
    return sum(edge <= output for edge in edges)


def _add(
    cells: Counter[tuple[Any, ...]],
    plan: CellPlan,
    prediction: Prediction,
    kind: tuple[str, str],
    found: list[tuple[str, int, int]],
) -> None:
    instant = datetime.fromtimestamp(prediction.predicted_at_ms / 1000, ZoneInfo(plan.timezone))
    day = date(instant.year, instant.month, instant.day)
    for slice_ in ("", f"country={'∅' if prediction.country is None else prediction.country}"):
        for measure, bin_, amount in found:
            cells[prediction.version, slice_, day, *kind, measure, bin_] += amount


def renumbered(revisions: Iterable[Revision]) -> list[Revision]:
    """Return the revisions numbered in the order in which they are given."""
    return [replace(one, revision=place) for place, one in enumerate(revisions)]
