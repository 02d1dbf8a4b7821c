"""What cells are counted: the part of the loop's config that decides which numbers a cell holds.

This module must not count.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from monitor.cells.bins import age_edges_ms, score_edges
from monitor.cells.class_name import class_text, classes_in, newcomers
from monitor.cells.cohort import read_slice
from monitor.cells.histogram import Histogram
from schemas.config.loop import LoopConfig

__all__ = ["SLICE_VALUES", "CellPlan", "KindPlan"]

SLICE_VALUES = 100
"""Values of one slice name that get cells of their own; the rest is "other", so that cells stay few."""

_FORMAT = 4
"""Grows when the same records would give other cells under the same config."""

_THRESHOLD = 0.5
_HOURLY_HORIZON_MAX_MS = 14 * 86_400_000
"""Up to this horizon a cohort is looked at hour by hour; beyond it an hour changes nothing."""


@dataclass(frozen=True)
class KindPlan:
    """How the outcomes of one label kind are counted.

    Attributes:
        name: the kind.
        task: what its outputs and labels are.
        definition: the loop's own definition of the kind.
        horizon_ms: the age at which a prediction without a label is final.
        threshold: scores at or above it are positive; None where the task is not binary.
        score_edges: the inner edges of the score bins; empty where the task is not binary.
        positive_from: the first score bin that is positive.
        age_edges_ms: upper edges of the label-age bins.
        ages_ms: the ages that coverage is reported at.
        goals: (age_ms, least coverage) as the config demands them.
        metrics: names of metrics as the config lists them; empty for the default choice.
        evaluate_at_ms: the ages at which metrics are counted apart, growing; without `final`.
        delay_by: a slice whose values have label delays of their own, one of the plan's slices.
        output: bins of the output; None where the task is binary, whose score bins say the same.
    """

    name: str
    task: Literal["binary", "multiclass", "regression"]
    definition: str
    horizon_ms: int
    threshold: float | None
    score_edges: tuple[float, ...]
    positive_from: int
    age_edges_ms: tuple[int, ...]
    ages_ms: tuple[int, ...]
    goals: tuple[tuple[int, float], ...]
    metrics: tuple[str, ...]
    evaluate_at_ms: tuple[int, ...] = ()
    delay_by: str | None = None
    output: Histogram | None = None

    @property
    def has_hourly_panes(self) -> bool:
        """Whether a pane is an hour of the cohort day, and not the whole day."""
        return self.horizon_ms <= _HOURLY_HORIZON_MAX_MS


@dataclass(frozen=True)
class CellPlan:
    """What is counted, for one loop.

    Make one with `CellPlan.from_config(config)`, and `.knowing(cells)` where cells are in the lake already.

    Attributes:
        timezone: of cohort days.
        kinds: one plan for each label kind.
        slices: names that get cohorts of their own: those of `cohorts.by`, and those of `delay_by`.
        inputs: bins of the features that are watched, those with personal data left out.
        values: for each of `slices`, the values that have been given cells of their own so far.
        classes: for each multiclass kind, the class texts that have been told apart so far.
    """

    timezone: str
    kinds: tuple[KindPlan, ...]
    slices: tuple[str, ...]
    inputs: tuple[Histogram, ...] = ()
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    classes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: LoopConfig) -> "CellPlan":
        """Return the plan of a loop of which nothing has been counted yet."""
        delays = {label.delay_by for label in config.labels.values() if label.delay_by is not None}
        return cls(
            timezone=config.timezone,
            kinds=tuple(_kind_plan(config, name) for name in sorted(config.labels)),
            slices=tuple(sorted(({*config.cohorts.by} - {"version"}) | delays)),
            inputs=tuple(
                Histogram.from_feature(name, feature)
                for name, feature in sorted(config.predictions.features.items())
                if feature.pii not in ("hash", "drop")
            ),
        )

    @property
    def definitions(self) -> dict[str, str]:
        """Each kind's own definition."""
        return {kind.name: kind.definition for kind in self.kinds}

    @property
    def digest(self) -> str:
        """A text that changes when cells of this plan could not be merged with those counted before.

        Time zone, slices, kinds, tasks, definitions, thresholds, horizons, ages and the bins of inputs are in
        it; which metrics are shown, and how high a goal is, are not.
        """
        kinds = [
            [
                *(kind.name, kind.task, kind.definition, kind.threshold, kind.horizon_ms, kind.age_edges_ms),
                *(kind.evaluate_at_ms, kind.delay_by, None if kind.output is None else kind.output.digest),
            ]
            for kind in self.kinds
        ]
        inputs = [[one.name, one.digest] for one in self.inputs]
        document = json.dumps([_FORMAT, self.timezone, self.slices, kinds, inputs])
        return hashlib.sha256(document.encode()).hexdigest()[:32]

    def knowing(self, cells: pl.DataFrame) -> "CellPlan":
        """Return this plan with the slice values and classes that have cells of their own in `cells` already.

        A fold that continues from cells in the lake needs it: without it, a slice name could be given
        another hundred values, and an outcome could be counted in another slice than its prediction.
        Of the cells only the columns `slice`, `kind` and `measure` are looked at.
        """
        known: dict[str, set[str]] = {name: set(self.values.get(name, ())) for name in self.slices}
        for text in cells.get_column("slice").unique():
            if (real := read_slice(text)) is not None and real[0] in known:
                known[real[0]].add(real[1])
        classes = classes_in(cells) if any(kind.task == "multiclass" for kind in self.kinds) else {}
        return replace(
            self,
            values={name: frozenset(values) for name, values in known.items()},
            classes={kind: self.classes.get(kind, frozenset()) | texts for kind, texts in classes.items()},
        )

    def admitting(self, *frames: pl.DataFrame) -> "CellPlan":
        """Return this plan with new slice values of predictions or outcomes, as far as there is room.

        First come, first admitted, by (predicted_at, key, id): times and names of the data, never
        partitions, offsets or the order of rows.
        """
        admitted = {name: self.values.get(name, frozenset()) | self._newcomers(name, frames) for name in self.slices}
        return replace(self, values=admitted)

    def admitting_classes(self, states: pl.DataFrame) -> "CellPlan":
        """Return this plan with new classes of labelled outcomes, as far as there is room (`newcomers`).

        Args:
            states: rows with kind, value_class, output_class and predicted_at.
        """
        classes = dict(self.classes)
        for kind in self.kinds:
            if kind.task != "multiclass":
                continue
            rows = states.filter(pl.col("kind") == kind.name).drop_nulls(["value_class", "output_class"])
            first: dict[str, int] = {}
            for column in ("value_class", "output_class"):
                seen = rows.group_by(column).agg(pl.col("predicted_at").min().dt.timestamp("us"))
                for name, time_us in seen.iter_rows():
                    text = class_text(name)
                    first[text] = min(time_us, first.get(text, time_us))
            known = classes.get(kind.name, frozenset())
            classes[kind.name] = known | newcomers(first, known)
        return replace(self, classes=classes)

    def _newcomers(self, name: str, frames: tuple[pl.DataFrame, ...]) -> frozenset[str]:
        known = self.values.get(name, frozenset())
        column = f"slice_{name}"
        seen = {value for frame in frames for value in frame.get_column(column).unique() if value is not None}
        new = seen - known
        room = max(SLICE_VALUES - len(known), 0)
        if len(new) <= room:
            return frozenset(new)
        order = ["predicted_at", "key", "id"]
        wanted = pl.Series(sorted(new), dtype=pl.String).implode()
        rows = pl.concat(frame.select(column, *order).filter(pl.col(column).is_in(wanted)) for frame in frames)
        first = rows.sort(*order, column).unique(column, keep="first", maintain_order=True)
        return frozenset(first.get_column(column).head(room))


def _kind_plan(config: LoopConfig, name: str) -> KindPlan:
    output, label = config.predictions.outputs[name], config.labels[name]
    goals = tuple(sorted({(goal.age, goal.min) for goal in config.coverage if goal.label == name}))
    ages = {*config.cohorts.ages, *(age for age, _ in goals), label.horizon}
    # what is implied comes at the horizon itself: without this edge it would seem to come all the way to it
    before_timeout = set() if isinstance(label.on_timeout, str) else {label.horizon - 1}
    evaluate_at = tuple(age for age in config.evaluate_at if age != "final")
    threshold: float | None = None
    edges: tuple[float, ...] = ()
    positive_from = 0
    if output.task == "binary":
        threshold = _THRESHOLD if output.threshold is None else output.threshold
        edges, positive_from = score_edges(threshold)
    return KindPlan(
        name=name,
        task=output.task,
        definition=label.definition,
        horizon_ms=label.horizon,
        threshold=threshold,
        score_edges=edges,
        positive_from=positive_from,
        age_edges_ms=age_edges_ms({*ages, *before_timeout, label.retain, *evaluate_at}),
        ages_ms=tuple(sorted(ages)),
        goals=goals,
        metrics=tuple(config.metrics.get(name, ())),
        evaluate_at_ms=evaluate_at,
        delay_by=label.delay_by,
        output=None if output.task == "binary" else Histogram.from_output(name, output),
    )
