"""The plan of a loop's cells: the part of its config that decides what is counted, and how."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Literal

import polars as pl

from monitor.cells.bins import age_edges_ms, score_edges
from monitor.cells.class_name import classes_in, escape_class, newly_admitted
from monitor.cells.histogram import Histogram
from monitor.cells.packing import CELL_SCHEMA
from monitor.cells.rank_bin import RankGrid, atom, grids_in, without_grid
from monitor.cells.readers import NO_CELLS, CellReaders
from monitor.cells.slots import Slots, slots_in
from monitor.cells.source_name import newest_sources, sources_in
from schemas.base.metric_name import is_by_weight
from schemas.config.loop import LoopConfig
from schemas.config.metric import name_of_choice

__all__ = ["CellPlan", "KindPlan"]

_FORMAT = 15
"""Incremented when the same records would give other cells under the same config."""

_THRESHOLD = 0.5
_HOURLY_HORIZON_MAX_MS = 14 * 86_400_000
"""Up to this horizon a cohort is counted by the hour; with a longer one an hour makes no difference."""


@dataclass(frozen=True)
class KindPlan:
    """How the outcomes of one label kind are counted.

    Attributes:
        definition: the loop's own definition of the kind.
        horizon_ms: the age at which a prediction without a label is final.
        threshold: scores at or above it are positive; None where the task is not binary.
        score_edges: inner edges of the score bins; empty where the task is not binary.
        positive_from: the first score bin that is positive.
        age_edges_ms: upper edges of the label-age bins, increasing.
        ages_ms: the ages that coverage is reported at, increasing.
        goals: the config's coverage goals, as (age_ms, minimum share).
        metrics: names of metrics as the config lists them; empty for the default choice.
        evaluate_at_ms: the fixed ages that metrics are also counted at, increasing; without `final`.
        delay_by: name of a slice whose values have different label delays, one of the plan's slices.
        output: bins of the output; None where the task is binary, whose score bins serve instead.
        implied: value or class at the deadline without a label; None where the outcome expires.
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
    implied: float | str | None = None

    @property
    def positive_rank(self) -> int:
        """Rank bins from this number on are positive; 0 where the task is not binary."""
        return 0 if self.threshold is None else atom(self.threshold)

    @property
    def is_weighted(self) -> bool:
        """Whether the weights of labels are counted, too: some metric is by weight."""
        return any(is_by_weight(name) for name in self.metrics)

    @property
    def has_hourly_panes(self) -> bool:
        """Whether a pane is an hour of the cohort day, instead of the whole day."""
        return self.horizon_ms <= _HOURLY_HORIZON_MAX_MS


@dataclass(frozen=True)
class CellPlan:
    """What is counted for one loop.

    Make one with `CellPlan.from_config(config)`, followed by `.with_admitted(cells)` if the lake has cells already.

    Attributes:
        timezone: of cohort days.
        kinds: one plan for each label kind, sorted by name.
        slices: names that cohorts are counted by: those of `cohorts.by` and of `delay_by`.
        inputs: bins of the features, without those that hold personal data.
        slots: by slice name, the values that are counted separately, by day.
        classes: by multiclass kind, the admitted class texts.
        sources: by kind, the admitted sources of labels.
        grids: by binary kind and version, the grid of its rank bins; without one, each score is a bin.
        atoms: the labels by score, summed over days, of the versions that have no grid.
        readers: of the cells so far.
        since: cells of earlier days are not counted: their records have left the lake.
    """

    timezone: str
    kinds: tuple[KindPlan, ...]
    slices: tuple[str, ...]
    inputs: tuple[Histogram, ...] = ()
    slots: Mapping[str, Slots] = field(default_factory=dict)
    classes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    grids: Mapping[tuple[str, str], RankGrid] = field(default_factory=dict)
    atoms: pl.DataFrame = field(default_factory=CELL_SCHEMA.to_frame, compare=False, repr=False)
    readers: CellReaders = field(default=NO_CELLS, compare=False, repr=False)
    since: date = field(default=date.min, compare=False)

    @classmethod
    def from_config(cls, config: LoopConfig) -> "CellPlan":
        """Return the plan of a loop that has no cells yet."""
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

    def kind(self, name: str) -> KindPlan:
        """Return the plan of a kind.

        Raises:
            ValueError: the plan has no such kind.
        """
        kinds = {kind.name: kind for kind in self.kinds}
        if name not in kinds:
            raise ValueError(f"the plan has no kind {name!r}; it has {', '.join(kinds)}")
        return kinds[name]

    @property
    def definitions(self) -> dict[str, str]:
        """Each kind's own definition."""
        return {kind.name: kind.definition for kind in self.kinds}

    @property
    def digest(self) -> str:
        """A digest that changes when cells of this plan can no longer be merged with those counted before.

        It covers time zone, slices, kinds, tasks, definitions, thresholds, horizons, implied values, ages, the bins of
        inputs, and whether weights are counted; not which metrics are shown, nor how high a goal is.
        """
        kinds = [
            [
                *(kind.name, kind.task, kind.definition, kind.threshold, kind.horizon_ms, kind.age_edges_ms),
                *(kind.evaluate_at_ms, kind.delay_by, None if kind.output is None else kind.output.digest),
                kind.implied,
                *(["weights"] if kind.is_weighted else []),
            ]
            for kind in self.kinds
        ]
        inputs = [[histogram.name, histogram.digest] for histogram in self.inputs]
        document = json.dumps([_FORMAT, self.timezone, self.slices, kinds, inputs])
        return hashlib.sha256(document.encode()).hexdigest()[:32]

    def with_admitted(self, cells: pl.DataFrame, readers: CellReaders | None = None) -> "CellPlan":
        """Return this plan with the slice values, classes, sources and rank bins that `cells` count separately already.

        A fold that continues from the lake's cells needs them: without, a slice name could get another hundred values,
        and an outcome could be counted in another slice than its prediction, or in another rank bin.

        Args:
            cells: all of them, or their summary (`monitor.cells.summary`).
            readers: of all cells, where `cells` are a summary; None: `cells` are all.
        """
        classes = classes_in(cells) if any(kind.task == "multiclass" for kind in self.kinds) else {}
        grids = {**self.grids, **grids_in(cells)}
        return replace(
            self,
            grids=grids,
            atoms=without_grid(cells, grids),
            readers=CellReaders.of_cells(cells) if readers is None else readers,
            slots=slots_in(cells, self.slices),
            classes={kind: self.classes.get(kind, frozenset()) | texts for kind, texts in classes.items()},
            sources=sources_in(cells),
        )

    def admit_classes(self, states: pl.DataFrame) -> "CellPlan":
        """Return this plan with unseen classes of labelled outcomes admitted (`newly_admitted`).

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
                    text = escape_class(name)
                    first[text] = min(time_us, first.get(text, time_us))
            known = classes.get(kind.name, frozenset())
            classes[kind.name] = known | newly_admitted(first, known)
        return replace(self, classes=classes)

    def admit_sources(self, arrivals: pl.DataFrame) -> "CellPlan":
        """Return this plan with unseen sources of arrivals admitted (`newest_sources`)."""
        return replace(self, sources=newest_sources(self.sources, arrivals))


def _kind_plan(config: LoopConfig, name: str) -> KindPlan:
    output, label = config.predictions.outputs[name], config.labels[name]
    goals = tuple(sorted({(goal.age, goal.min) for goal in config.coverage if goal.label == name}))
    ages = {*config.cohorts.ages, *(age for age, _ in goals), label.horizon}
    # implied outcomes occur at the horizon itself: without this edge their bin would start long before it
    implied = label.implied_value(output.task)
    before_timeout = set() if implied is None else {label.horizon - 1}
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
        metrics=tuple(name_of_choice(choice) for choice in config.metrics.get(name, ())),
        evaluate_at_ms=evaluate_at,
        delay_by=label.delay_by,
        output=None if output.task == "binary" else Histogram.from_output(name, output),
        implied=implied,
    )
