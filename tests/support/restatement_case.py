"""A small loop on files whose past is restated: eight days with exact shares of labels, then a backfill."""

import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from replay_case import run

from lake import Lake
from lake.append import TableWriter
from lake.session import connect
from monitor.cells.fold import fold
from monitor.cells.plan import CellPlan
from monitor.coverage.table import coverage
from monitor.metrics.table import metrics
from retrain.decision_log import DecisionLog
from retrain.episode_status import rulings_of
from retrain.gate import Gate, gate_of
from retrain.log_entries import EntryOrigin, ruled
from schemas.events.backfill import Episode, Ruling, Verdict
from schemas.events.backfill_diff import BackfillDiff
from schemas.events.evidence import Decision
from streams.ledger.lake_kind import complete_rows
from truthloop.config.settings import Settings, load_settings
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.evidence.spans import Span, read_new_rows

__all__ = [
    "DAY_MS",
    "HALF",
    "HOUR_MS",
    "KNOWN",
    "OTHER",
    "ROWS",
    "START_MS",
    "Killed",
    "add_days",
    "cells_of_days",
    "diffs_of",
    "killed_at",
    "label_row",
    "log_of",
    "make_loop",
    "recreated_cells",
    "restating_labels",
    "rule",
    "scored",
    "truth_of",
    "views_agree",
]

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
START_MS = round(datetime(2023, 11, 20, tzinfo=UTC).timestamp() * 1_000)
ROWS = 120
"""Predictions a day; in days 2 to 6 half of them get no label in time."""
HALF = ROWS // 2
KNOWN = 8
"""Number of days that are evaluated before the past is restated."""
OTHER = "f2"
FAR = datetime(9000, 1, 1, tzinfo=UTC)

CONFIG_TEXT = """\
version: 1
loop: fraud
clock: event
disorder: 0s
partitions: 2
lake: {{uri: {folder}/lake}}
state: {{dir: {folder}/state}}
predictions: {{outputs: {{fraud: {{task: binary}}}}}}
labels: {{fraud: {{definition: f1, horizon: 1d, retain: 20d}}}}
evaluate_at: [6h]
retrain:
  when: [backfill]
  require: {{coverage: any, mature_labels: 100, rarer_class: 10, cooldown: 3d}}
  dataset: {{uri: {folder}/datasets, holdout: 1d}}
  target: {{url: "http://127.0.0.1:9/hook", allow: ["127.0.0.1:9"], overdue: 20d}}
"""

Row = dict[str, Any]


class Killed(BaseException):
    """Stands for a process that is killed: nothing catches it."""


def make_loop(folder: Path) -> Settings:
    """Write the loop's config."""
    (folder / "truthloop.yaml").write_text(CONFIG_TEXT.format(folder=folder))
    return load_settings(folder / "truthloop.yaml", {})


def truth_of(number: int) -> int:
    """Return a prediction's label by the config's definition: two of five are frauds, in each half of a day."""
    return int(number % 5 < 2)


def label_row(day: int, number: int, at_ms: int, value: int | None = None, **other: object) -> Row:
    """Return a label of a prediction; without a value, the truth."""
    usual = {"key": f"{day}-{number}", "kind": "fraud", "time": at_ms, "source": "desk"}
    return usual | {"value": truth_of(number) if value is None else value} | other


def restating_labels(days: Iterable[int], at: tuple[int, int], share: int = 4, **other: object) -> list[Row]:
    """Return new labels of the labelled half of some days, spread over four hours.

    Args:
        days: of the predictions.
        at: day and hour at which the first becomes known.
        share: one of so many labels is flipped.
        other: further fields.
    """
    names = [(day, number) for day in days for number in range(HALF)]
    first_ms = START_MS + at[0] * DAY_MS + at[1] * HOUR_MS
    return [
        label_row(
            day,
            number,
            first_ms + index * (4 * HOUR_MS - 1) // len(names),
            truth_of(number) ^ (number % share == 0),
            **other,
        )
        for index, (day, number) in enumerate(names)
    ]


def add_days(settings: Settings, days: tuple[int, int], extra: Iterable[Row] = (), version: str = "v1") -> None:
    """Replay whole days into the loop's lake.

    Args:
        days: number of the first day, and of the day after the last.
        extra: further labels that became known in these days.
        version: of the model that predicts in these days.
    """
    predictions, labels = [], [*extra]
    for day in range(*days):
        rng = random.Random(day)
        for number in range(ROWS):
            at_ms = START_MS + day * DAY_MS + number * (DAY_MS // ROWS)
            score = round(rng.uniform(0.6, 0.95), 6)
            output = score if truth_of(number) != (rng.random() < 0.1) else 1 - score
            row = {"key": f"{day}-{number}", "time": at_ms, "version": version, "outputs": {"fraud": output}}
            predictions.append(row)
            if number < HALF or not 2 <= day <= 6:
                end_ms = START_MS + (day + 1) * DAY_MS - 1
                labels.append(label_row(day, number, min(at_ms + rng.randrange(HOUR_MS), end_ms)))
    end = {"kind": "fraud", "op": "heartbeat", "time": START_MS + days[1] * DAY_MS, "source": "desk"}
    labels = [*sorted(labels, key=lambda row: int(row["time"])), end]
    paths = []
    for name, rows in (("predictions", predictions), ("labels", labels)):
        paths.append(settings.path.parent / f"{name}-{days[0]}-{days[1]}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(settings.lake, paths[:1], paths[1:], close_at_ms=None, config=settings.config)


def log_of(settings: Settings) -> list[Decision]:
    """Return the gate's log."""
    return DecisionLog(Lake.open(settings.lake), "fraud").entries()


def diffs_of(settings: Settings) -> list[BackfillDiff]:
    """Return the diffs that people were shown, in order."""
    rows = Lake.open(settings.lake).scan("diffs").sort("number").collect()
    return [BackfillDiff.model_validate_json(document) for document in rows["document"]]


def rule(settings: Settings, episode: Episode, verdict: Verdict) -> Decision:
    """Append a person's ruling about a backfill to the log."""
    log = DecisionLog(Lake.open(settings.lake), "fraud")
    gate: Gate = gate_of(log.entries())
    origin = EntryOrigin(settings.config.loop, "fraud", settings.config.retrain)
    entry = ruled(origin, gate, Ruling(episode=episode, verdict=verdict), "seen", {"by": "Ann"})
    assert log.append([entry], START_MS)
    return entry


def recreated_cells(settings: Settings) -> pl.DataFrame:
    """Return the cells of the whole lake, folded at once under the newest rulings."""
    lake = Lake.open(settings.lake)
    spans = [
        Span(number, (0, row.sequence + 1), (0, row.predictions[1]), (0, row.labels[1]))
        for number, row in complete_rows(lake).items()
    ]
    plan, rulings = CellPlan.from_config(settings.config), rulings_of(log_of(settings))
    rows = read_new_rows(lake, spans, plan, rulings)
    return rows.with_again(plan, fold(plan, rows.predictions, rows.outcomes, rows.earlier, rulings, rows.proof))


def cells_of_days(evidence: Evidence, days: tuple[int, int]) -> pl.DataFrame:
    """Return the cells of some days without arrivals, which no ruling changes."""
    first = date(2023, 11, 20)
    inside = pl.col("day").is_between(first + timedelta(days=days[0]), first + timedelta(days=days[1] - 1))
    return evidence.cells.whole().filter(inside, ~pl.col("measure").str.starts_with("arrived"))


def scored(settings: Settings, at: datetime | None = None) -> pl.DataFrame:
    """Return the view `scored`, or `scored_at` a time, without the columns that only the join knows."""
    with connect(settings.lake) as views:
        rows = views.sql("FROM scored") if at is None else views.sql("FROM scored_at(?)", params=[at])
        found = rows.pl()
    names = ("reason", "revision")
    return found.drop([name for name in names if name in found.columns]).sort("partition", "prediction_offset")


def views_agree(settings: Settings) -> Evidence:
    """Assert that cells equal recreated ones, `scored` equals `scored_at` a far time, and views equal the metrics."""
    evidence = read_evidence(settings)
    assert_frame_equal(evidence.cells.whole(), recreated_cells(settings), check_exact=True)
    assert_frame_equal(scored(settings, FAR), scored(settings))
    reach = evidence.reach
    cohorts = coverage(evidence.cells.whole(), evidence.plan, reach.observed_until_ms, reach.matured_until_ms)
    wanted = ["version", "day", "kind", "age_ms", "predictions", "labelled", "coverage", "due"]
    cohorts = cohorts.filter(pl.col("slice") == "").select(wanted)
    rows = metrics(evidence.cells.whole(), evidence.plan, ["version", "day"], reach.matured_until_ms)
    with connect(settings.lake) as views:
        assert_frame_equal(
            views.sql("FROM coverage").pl().select(wanted), cohorts, check_row_order=False, check_dtypes=False
        )
        view = views.sql("FROM metrics").pl()
    counts = ["version", "day", "kind", "definition", "n", "labelled", "predictions"]
    for name in ("accuracy", "log_loss", "brier"):
        expected = rows.filter(pl.col("name") == name).select(*counts, pl.col("value").alias(name))
        assert_frame_equal(
            view.select(expected.columns), expected, check_row_order=False, check_dtypes=False, rel_tol=1e-8
        )
    return evidence


@contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """Kill the process right after one of its commits or renames; step -1: right before the first.

    Yields:
        A list that grows by one with each commit or rename.
    """
    steps, passed = count(), list[int]()
    commit, rename = TableWriter._commit, Path.rename

    def breaking(act: Any) -> Any:
        def broken(*args: Any) -> Any:
            if step < 0 and not passed:
                passed.append(-1)
                raise Killed
            done = act(*args)
            passed.append(next(steps))
            if passed[-1] == step:
                raise Killed
            return done

        return broken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TableWriter, "_commit", breaking(commit))
        patch.setattr(Path, "rename", breaking(rename))
        yield passed
