"""Simulated days of predictions and labels, and their cells as of the end of any day."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from cell_cases import HOUR_MS, OUTCOME_SCHEMA, OWN, PREDICTION_SCHEMA, config_of
from frame_cells import FrameCells

from monitor.cells.fold import fold
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.coverage.source import SourceArrivals
from monitor.evaluation import Evaluator, end_of_day_ms
from monitor.version_watch import continued
from schemas.config.loop import LoopConfig
from schemas.events.evidence import Evaluation
from schemas.events.memory import VersionMemory

__all__ = ["FIRST", "Era", "Story", "day_of", "in_one_go", "memories_after", "one_by_one", "plain_config", "told"]

FIRST = date(2013, 3, 4)
"""A Monday; in New York summer time begins on the Sunday after."""

MINUTE_MS = 60_000


def day_of(number: int) -> date:
    """Return the day so many days after the first."""
    return FIRST + timedelta(days=number)


def plain_config(**changes: Any) -> LoopConfig:
    """Return a loop with one binary kind, final after an hour, and one feature."""
    document: dict[str, Any] = {
        "predictions": {
            "outputs": {"late": {"task": "binary", "threshold": 0.5}},
            "slices": ["country", "role"],
            "features": {"amount": {"type": "float", "min": 0, "max": 100}},
        },
        "labels": {"late": {"definition": OWN["late"], "horizon": "1d", "retain": "3d"}},
        "evaluate_at": ["6h"],
        "cohorts": {"by": ["version"], "ages": ["1h"]},
        "coverage": [],
    }
    return config_of(**(document | changes))


@dataclass(frozen=True)
class Era:
    """Predictions of one version on some days.

    Attributes:
        version: of the model.
        first: number of its first day.
        until: number of the day after its last.
        rows: predictions a day.
        error: share of wrong answers, by the day's number.
        labelled: share that gets a label, by the day's number.
        amount: mean of the feature, by the day's number.
    """

    version: str
    first: int
    until: int
    rows: int = 300
    error: Callable[[int], float] = field(default=lambda _day: 0.1)
    labelled: Callable[[int], float] = field(default=lambda _day: 1.0)
    amount: Callable[[int], float] = field(default=lambda _day: 50.0)


class Story:
    """All predictions and labels of some eras, drawn at once.

    Args:
        config: of the loop.
        eras: of its versions.
        kind: label kind.
        seed: of the random generator.
        delay_ms: greatest delay of a label; delays are uniform up to it.
    """

    def __init__(
        self, config: LoopConfig, eras: Sequence[Era], *, kind: str = "late", seed: int = 1, delay_ms: int = 2 * HOUR_MS
    ) -> None:
        self.config = config
        self.kind = kind
        self.plan = CellPlan.from_config(config)
        rng = np.random.default_rng(seed)
        parts = [self._draw(rng, era, number, delay_ms) for era in eras for number in range(era.first, era.until)]
        whole = pl.concat(parts).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
        key = pl.format("k{}", "row")
        whole = whole.with_columns(offset="row", prediction_offset="row", label_offset="row", key=key, id=key)
        self._predictions = _shaped(whole, PREDICTION_SCHEMA)
        outcomes = whole.filter("is_labelled").with_columns(known_at=pl.col("predicted_at") + pl.col("delay"))
        self._outcomes = _shaped(outcomes, OUTCOME_SCHEMA)
        self._folded: dict[int, pl.DataFrame] = {}

    def cells(self, at_ms: int) -> pl.DataFrame:
        """Return the cells as of a time."""
        if at_ms not in self._folded:
            now = pl.lit(datetime.fromtimestamp(at_ms / 1000, UTC))
            predictions = self._predictions.filter(pl.col("predicted_at") < now)
            outcomes = self._outcomes.filter(pl.col("known_at") < now)
            self._folded[at_ms] = merge(fold(self.plan, predictions, outcomes, outcomes.clear()))
        return self._folded[at_ms]

    def cells_after(self, number: int) -> pl.DataFrame:
        """Return the cells as of the end of a day."""
        return self.cells(self.end_ms(number))

    def end_ms(self, number: int) -> int:
        """Return the end of a day."""
        return end_of_day_ms(day_of(number), self.config.timezone)

    def arrivals(self) -> dict[str, SourceArrivals]:
        """Return the arrivals of all labels, from one source."""
        minutes = (self._outcomes["known_at"].dt.epoch("ms") // MINUTE_MS).unique().sort()
        return {"ledger": SourceArrivals(minutes.to_numpy())}

    def _draw(self, rng: np.random.Generator, era: Era, number: int, delay_ms: int) -> pl.DataFrame:
        zone = self.config.timezone
        start_ms = end_of_day_ms(day_of(number - 1), zone)
        size = end_of_day_ms(day_of(number), zone) - start_ms
        times_ms = np.sort(rng.integers(0, size, era.rows))
        truth = rng.random(era.rows) < 0.4
        wrong = rng.random(era.rows) < era.error(number)
        confidence = rng.uniform(0.6, 0.95, era.rows)
        score = np.where(truth != wrong, confidence, 1 - confidence)
        amount = np.clip(rng.normal(era.amount(number), 10, era.rows), 0, 100)
        predicted = np.where(truth != wrong, "late", "landed")
        fare = 100 + np.where(wrong, 10.0, 1.0)
        frame = pl.DataFrame(
            {
                "at_us": (start_ms + times_ms) * 1_000,
                "delay_us": rng.integers(1, delay_ms, era.rows) * 1_000,
                "is_labelled": rng.random(era.rows) < era.labelled(number),
                "output_late": score,
                "output_fare": fare,
                "output_status": predicted,
                "feature_amount": amount,
                "slice_country": np.where(rng.random(era.rows) < 0.5, "DE", "FR"),
                "truth": truth,
            }
        )
        truth_of = {
            "late": {"value": pl.col("truth").cast(pl.Float64), "output": pl.col("output_late")},
            "fare": {"value": pl.lit(100.0), "output": pl.col("output_fare")},
            "status": {
                "value_class": pl.when("truth").then(pl.lit("late")).otherwise(pl.lit("landed")),
                "output_class": pl.col("output_status"),
            },
        }[self.kind]
        return frame.with_columns(
            pl.from_epoch("at_us", "us").dt.replace_time_zone("UTC").alias("predicted_at"),
            pl.duration(microseconds="delay_us").alias("delay"),
            version=pl.lit(era.version),
            eligible=pl.lit(value=True),
            kind=pl.lit(self.kind),
            definition=pl.lit(OWN[self.kind]),
            status=pl.lit("joined"),
            reason=pl.lit("first"),
            partition=pl.lit(0, pl.Int32),
            revision=pl.lit(1, pl.Int64),
            **truth_of,
        )


def in_one_go(
    story: Story, days: tuple[int, int], memories: Mapping[str, VersionMemory] | None = None
) -> list[Evaluation]:
    """Return the evaluations of some days, from cells as of the end of the last."""
    evaluator = Evaluator(story.config, story.kind)
    first, last = days
    cells = FrameCells(story.cells_after(last))
    evaluator.load(cells, story.plan, (day_of(first), day_of(last)), memories=memories)
    arrivals = story.arrivals()
    return [evaluator.evaluate(day_of(number), arrivals) for number in range(first, last + 1)]


def one_by_one(story: Story, days: tuple[int, int], lasts: Collection[int] = ()) -> list[Evaluation]:
    """Return the evaluations of some days, each made by another process from cells as of its own end.

    Args:
        lasts: if given, processes evaluate several days: up to each of these.
    """
    found: list[Evaluation] = []
    while (first := days[0] + len(found)) <= days[1]:
        last = min((one for one in lasts if one >= first), default=days[1]) if lasts else first
        found += in_one_go(story, (first, last), memories_after(found))
    return found


def memories_after(evaluations: Sequence[Evaluation]) -> dict[str, VersionMemory]:
    """Return what is remembered after some evaluations."""
    by_version: dict[str, list[VersionMemory]] = {}
    for one in evaluations:
        if one.memory is not None:
            by_version.setdefault(one.memory.version, []).append(one.memory)
    return {version: continued(memories) for version, memories in by_version.items()}


def told(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations without what is remembered of them."""
    return [one.model_copy(update={"memory": None}) for one in evaluations]


def _shaped(rows: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in rows.columns]
    return rows.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
