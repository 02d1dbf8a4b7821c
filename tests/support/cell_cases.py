"""Small loops for the monitor's tests: config, frames in the lake's columns, and an oracle that counts row by row."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from fractions import Fraction
from hashlib import blake2b
from itertools import groupby
from struct import pack
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from monitor.cells.histogram import Histogram
from monitor.cells.plan import CellPlan, KindPlan
from schemas.config.loop import LoopConfig

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
EPOCH_MS = 1_363_089_600_000
"""12 March 2013, 12:00 UTC: 08:00 in New York, two days into summer time."""

LOCATION = "America/New_York"
LABELLED = ("joined", "implied")
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
            "features": {
                "amount": {"type": "float", "min": 0, "max": 100},
                "device": {"type": "string", "categories": ["iOS", "Android"]},
                "card": {"type": "string", "pii": "hash"},
            },
        },
        "labels": {
            "fare": {"definition": OWN["fare"], "horizon": "3d", "retain": "10d"},
            "late": {"definition": OWN["late"], "horizon": "3d", "retain": "10d", "delay_by": "country"},
            "status": {"definition": OWN["status"], "horizon": "20d", "retain": "30d"},
        },
        "evaluate_at": ["6h", "1d", "final"],
        "cohorts": {"by": ["version", "country"], "ages": ["1h", "1d"]},
        "coverage": [{"label": "late", "age": "1d", "min": 0.5}],
    }
    return LoopConfig.model_validate(document | changes)


@dataclass(frozen=True)
class Prediction:
    """One accepted prediction, with outputs of the binary kind (`output`), of `fare` and of `status` (a class)."""

    key: str
    predicted_at_ms: int = EPOCH_MS
    version: str = "v1"
    eligible: bool = True
    output: float | None = 0.5
    country: str | None = "DE"
    fare: float | None = 1.5
    predicted_class: str | None = "landed"
    amount: float | None = 1.0
    weight: float | None = 1.0

    def output_of(self, kind: str) -> float | str | None:
        """Return the output for a kind."""
        return {"late": self.output, "fare": self.fare, "status": self.predicted_class}[kind]

    @property
    def offset(self) -> int:
        """Its position: a number that is unique within a test."""
        return int.from_bytes(blake2b(f"{self.key} {self.predicted_at_ms}".encode(), digest_size=7).digest())


@dataclass(frozen=True)
class Revision:
    """One revision of one outcome; without `label_offset` it was not made by a label."""

    prediction: Prediction
    status: str
    value: float | None
    known_at_ms: int
    revision: int
    kind: str = "late"
    definition: str = OWN["late"]
    value_class: str | None = None
    reason: str | None = None
    label_offset: int | None = None
    previous: tuple[str, float | None] = ("retracted", 17.0)

    @property
    def chain(self) -> tuple[int, str, str]:
        """The key of its chain of revisions."""
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
    "feature_amount": pl.Float64(),
    "feature_device": pl.String(),
    "feature_card": pl.String(),
}
OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Int32(),
    "prediction_offset": pl.Int64(),
    "key": pl.String(),
    "id": pl.String(),
    "kind": pl.String(),
    "definition": pl.String(),
    "status": pl.String(),
    "reason": pl.String(),
    "value": pl.Float64(),
    "value_class": pl.String(),
    "previous_status": pl.String(),
    "previous": pl.Float64(),
    "previous_class": pl.String(),
    "label_offset": pl.Int64(),
    "predicted_at": pl.Datetime("us", "UTC"),
    "known_at": pl.Datetime("us", "UTC"),
    "revision": pl.Int64(),
    "version": pl.String(),
    "eligible": pl.Boolean(),
    "output": pl.Float64(),
    "output_class": pl.String(),
    "weight": pl.Float64(),
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
            "output_fare": one.fare,
            "output_status": one.predicted_class,
            "slice_country": one.country,
            "slice_role": "champion",
            "feature_amount": one.amount,
            "feature_device": "iOS",
            "feature_card": "0f",
        }
        for one in predictions
    ]
    return pl.DataFrame(rows, schema=PREDICTION_SCHEMA)


def outcomes_frame(revisions: Iterable[Revision]) -> pl.DataFrame:
    """Return revisions in the lake's columns; what they repeat of the previous one is wrong on purpose by default."""
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
            "value_class": one.value_class,
            "previous_status": one.previous[0],
            "previous": one.previous[1],
            "previous_class": None,
            "reason": one.reason,
            "label_offset": one.label_offset,
            "predicted_at": _instant(one.prediction.predicted_at_ms),
            "known_at": _instant(one.known_at_ms),
            "revision": one.revision,
            "version": one.prediction.version,
            "eligible": one.prediction.eligible,
            "output": {"late": one.prediction.output, "fare": one.prediction.fare}.get(one.kind),
            "output_class": one.prediction.predicted_class if one.kind == "status" else None,
            "weight": one.prediction.weight,
            "slice_country": one.prediction.country,
            "slice_role": "champion",
        }
        for one in revisions
    ]
    return pl.DataFrame(rows, schema=OUTCOME_SCHEMA)


def as_counter(cells: pl.DataFrame) -> dict[tuple[Any, ...], int]:
    """Return cells as {(version, slice, day, kind, definition, measure, bin): amount}."""
    return {row[:-1]: row[-1] for row in cells.iter_rows()}


def bins_of(histogram: Histogram, values: pl.Series) -> pl.Series:
    """Return the bin of each value."""
    return values.alias("x").to_frame().select(histogram.bin_expr("x")).to_series()


def amounts(cells: pl.DataFrame, measure: str, *, slice_: str = "") -> dict[int, int]:
    """Return {bin: amount} of one measure in one slice, over all versions, days, kinds and definitions."""
    rows = cells.filter(pl.col("measure") == measure, pl.col("slice") == slice_)
    return dict(rows.group_by("bin").agg(pl.col("amount").sum()).iter_rows())


@dataclass(frozen=True)
class Last:
    """The newest revision of a chain.

    Attributes:
        first_known_ms: when a label was first known since the last retraction; None without a label.
        revised: how often the truth that metrics use changed after the horizon (key None) and after each fixed age.
        at: by age, the newest of the revisions known by then; at None, of all.
    """

    revision: Revision
    first_known_ms: int | None
    revised: Counter[int | None]
    at: dict[int | None, Revision]


def newest(plan: CellPlan, revisions: Iterable[Revision]) -> list[Last]:
    """Return the newest revision of every prediction and kind, of whatever definition."""
    kinds = {kind.name: kind for kind in plan.kinds}
    found = []
    ordered = sorted(revisions, key=lambda one: (one.chain[:2], one.revision))
    for (_, name), rows in groupby(ordered, key=lambda one: one.chain[:2]):
        chain = list(rows)
        first_known: int | None = None
        last: Revision | None = None
        revised: Counter[int | None] = Counter()
        for one in chain:
            age_ms = one.known_at_ms - one.prediction.predicted_at_ms
            if last is not None and _truth(last) != _truth(one):
                revised[None] += age_ms > kinds[name].horizon_ms
                for cut in kinds[name].evaluate_at_ms:
                    known = first_known is not None and first_known - one.prediction.predicted_at_ms <= cut
                    revised[cut] += known and age_ms > cut
            last = one
            if one.status == "retracted":
                first_known = None
            elif one.status in LABELLED:
                first_known = one.known_at_ms if first_known is None else min(first_known, one.known_at_ms)
        assert last is not None
        at: dict[int | None, Revision] = {None: last}
        for cut in kinds[name].evaluate_at_ms:
            for one in chain:
                if one.known_at_ms - one.prediction.predicted_at_ms <= cut:
                    at[cut] = one
        found.append(Last(last, first_known, revised, at))
    return found


def _truth(one: Revision) -> tuple[str | float | None, str | None] | None:
    value = "NaN" if one.value is not None and math.isnan(one.value) else one.value
    return (value, one.value_class) if one.status in LABELLED else None


def count_row_by_row(
    plan: CellPlan, predictions: Iterable[Prediction], revisions: Iterable[Revision]
) -> dict[tuple[Any, ...], int]:
    """Count all cells from the revisions of record, one row at a time, in plain Python.

    In the order of their numbers, whatever their definitions.
    """
    cells: Counter[tuple[Any, ...]] = Counter()
    kinds = {kind.name: kind for kind in plan.kinds}
    for one in predictions:
        for kind in plan.kinds:
            found = [("predictions" if one.eligible else "ineligible", 0, 1)]
            panes = []
            if one.eligible:
                pane = _pane(plan, kind, one)
                panes.append(("pane_predictions", pane, 1))
                if kind.has_hourly_panes:
                    found.append(("predicted_block", min(pane // 3, 7), 1))
                if kind.task == "binary" and _usable(one.output):
                    bin_ = _bin(one.output, kind.score_edges)
                    found.append(("score", bin_, 1))
                    panes.append(("pane_score", pane * 64 + bin_, 1))
            _add(cells, plan, one, (kind.name, kind.definition), found)
            _add_panes(cells, plan, one, (kind.name, kind.definition), panes)
            if kind.output is not None:
                bin_ = bins_of(kind.output, pl.Series([one.output_of(kind.name)]))[0]
                cells[one.version, "", _day(plan, one), kind.name, kind.definition, "output", bin_] += 1
        for histogram in plan.inputs:
            value = {"amount": one.amount, "device": "iOS"}[histogram.name]
            bin_ = bins_of(histogram, pl.Series([value]))[0]
            cells[one.version, "", _day(plan, one), "", "", f"input:{histogram.name}", bin_] += 1
    for last in newest(plan, revisions):
        revision = last.revision
        if revision.prediction.eligible:
            for one in _measures(kinds[revision.kind], last):
                _add(cells, plan, revision.prediction, _owner(last, one[0]), [one])
            for one in _pane_measures(plan, kinds[revision.kind], last):
                _add_panes(cells, plan, revision.prediction, _owner(last, one[0]), [one])
    return {key: amount for key, amount in cells.items() if amount}


def _owner(last: Last, measure: str) -> tuple[str, str]:
    """Return kind and definition of the label that a measure counts: the one of record at its age, or the newest."""
    _, _, age = measure.partition(" ")[0].partition("@")
    then = last.at.get(int(age)) if age else None
    counted = last.revision if then is None or then.status not in LABELLED else then
    return counted.kind, counted.definition


def _measures(kind: KindPlan, last: Last) -> list[tuple[str, int, int]]:
    revision = last.revision
    found = [("revised" if cut is None else f"revised@{cut}", 0, times) for cut, times in last.revised.items() if times]
    for cut, one in last.at.items():
        for measure, bin_, amount in _scores(kind, one) if one.status in LABELLED else ():
            found.append((at_age(measure, cut), bin_, amount))
    if revision.status not in LABELLED:
        return [*found, (revision.status, 0, 1)]
    age_ms = _age_ms(last)
    found.append(("labels", min(edge for edge in kind.age_edges_ms if edge >= age_ms), 1))
    if age_ms < 0:
        found.append(("early", 0, 1))
    return found


def at_age(measure: str, age_ms: int | None) -> str:
    """Return the name of a measure at a fixed age."""
    name, space, rest = measure.partition(" ")
    return measure if age_ms is None else f"{name}@{age_ms}{space}{rest}"


def _age_ms(last: Last) -> int:
    assert last.first_known_ms is not None
    return last.first_known_ms - last.revision.prediction.predicted_at_ms


def _scores(kind: KindPlan, last: Revision) -> list[tuple[str, int, int]]:
    output, label = last.prediction.output_of(kind.name), last.value
    if kind.task == "multiclass":
        if output is None or last.value_class is None:
            return [("no_output", 0, 1)]
        found = [
            ("labelled_scored", 0, 1),
            (f"class_true {last.value_class}", 0, 1),
            (f"class_predicted {output}", 0, 1),
        ]
        return [*found, (f"class_hit {output}", 0, 1)] if output == last.value_class else found
    assert not isinstance(output, str)
    if kind.task == "regression":
        return _errors(output, label)
    if not _usable(output) or label not in (0.0, 1.0):
        return [("no_output", 0, 1)]
    assert output is not None
    clipped = min(max(output, 1e-15), 1 - 1e-15)
    loss = -math.log(clipped) if label else -math.log(1 - clipped)
    return [
        (f"score_{int(label)}", 2 * int.from_bytes(pack(">d", output + 0.0)) + 1, 1),
        ("labelled_scored", 0, 1),
        *digits("log_loss", Fraction(loss)),
        *digits("brier", Fraction((output - label) * (output - label))),
    ]


def _errors(output: float | None, label: float | None) -> list[tuple[str, int, int]]:
    if output is None or label is None or not (math.isfinite(output) and math.isfinite(label)):
        return [("no_output", 0, 1)]
    error = abs(label - output)
    error = Fraction(error) if math.isfinite(error) else 2 * Fraction(abs(label / 2 - output / 2))
    truth = Fraction(label)
    sums = {"absolute_error": error, "squared_error": error**2, "truth": truth, "squared_truth": truth**2}
    return [("labelled_scored", 0, 1), *(one for name, number in sums.items() for one in digits(name, number))]


def digits(name: str, number: Fraction) -> list[tuple[str, int, int]]:
    """Return a number in base 2^30, as measures by place."""
    places = range(-80, 80)
    units = abs(number) * 2 ** (30 * 80)
    assert units.denominator == 1
    sign = -1 if number < 0 else 1
    found = [(f"{name}:{place}", 0, sign * (int(units) >> 30 * (place + 80) & (2**30 - 1))) for place in places]
    return [one for one in found if one[2]]


def _pane_measures(plan: CellPlan, kind: KindPlan, last: Last) -> list[tuple[str, int, int]]:
    revision, pane = last.revision, _pane(plan, kind, last.revision.prediction)
    score = revision.prediction.output
    is_scored = kind.task == "binary" and _usable(score)
    pane_bin = pane * 64 + _bin(score, kind.score_edges) if is_scored else -1
    found = []
    for cut, one in last.at.items():
        if is_scored and one.status in LABELLED and one.value in (0.0, 1.0):
            assert score is not None
            assert kind.threshold is not None
            is_wrong = (score >= kind.threshold) != (one.value == 1.0)
            found.append((at_age("pane_error", cut), pane * 2 + is_wrong, 1))
    if revision.status not in LABELLED:
        return [*found, ("pane_closed", pane_bin, 1)] if is_scored else found
    age_ms = _age_ms(last)
    edge = min(index for index, edge in enumerate(kind.age_edges_ms) if edge >= age_ms)
    found.append(("pane_labels", pane * 4096 + edge, 1))
    if is_scored and revision.value in (0.0, 1.0):
        found.append((f"pane_score_{int(revision.value)}", pane_bin * 4096 + edge, 1))
    return found


def _pane(plan: CellPlan, kind: KindPlan, prediction: Prediction) -> int:
    if kind.horizon_ms > 14 * DAY_MS:
        return 0
    day = _day(plan, prediction)
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(plan.timezone)).timestamp() * 1000
    return int((prediction.predicted_at_ms - midnight) // HOUR_MS)


def _usable(output: float | None) -> bool:
    return output is not None and 0.0 <= output <= 1.0


def _bin(output: float | None, edges: tuple[float, ...]) -> int:
    assert output is not None
    return sum(edge <= output for edge in edges)


def _day(plan: CellPlan, prediction: Prediction) -> date:
    instant = datetime.fromtimestamp(prediction.predicted_at_ms / 1000, ZoneInfo(plan.timezone))
    return date(instant.year, instant.month, instant.day)


def _country(prediction: Prediction) -> str:
    return f"country={'∅' if prediction.country is None else prediction.country}"


def _add(
    cells: Counter[tuple[Any, ...]],
    plan: CellPlan,
    prediction: Prediction,
    kind: tuple[str, str],
    found: list[tuple[str, int, int]],
) -> None:
    for slice_ in ("", _country(prediction)):
        for measure, bin_, amount in found:
            cells[prediction.version, slice_, _day(plan, prediction), *kind, measure, bin_] += amount


def _add_panes(
    cells: Counter[tuple[Any, ...]],
    plan: CellPlan,
    prediction: Prediction,
    kind: tuple[str, str],
    found: list[tuple[str, int, int]],
) -> None:
    """Count panes in the slice of all; those of the kind with `delay_by: country` by country."""
    slice_ = _country(prediction) if kind[0] == "late" else ""
    for measure, bin_, amount in found:
        cells[prediction.version, slice_, _day(plan, prediction), *kind, measure, bin_] += amount


def renumbered(revisions: Iterable[Revision]) -> list[Revision]:
    """Return the revisions, numbered in the given order."""
    return [replace(one, revision=number) for number, one in enumerate(revisions)]
