"""What was known at an age does not depend on how the inputs were cut: in steps of the join, or in folds of the cells.

The oracle reads the labels: at an age the newest of those known by then is of record. If none is and the deadline is
proven, the implied value is. It shares no code with the join or the monitor.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl
from cell_cases import EPOCH_MS, HOUR_MS, OUTCOME_SCHEMA, OWN, Prediction, config_of, predictions_frame
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from joins import Batch, LabelRecord, MemoryStore, Op, Partition, PredictionRecord, policy_from
from joins.effect import OutcomeRow
from monitor.cells.fold import fold
from monitor.cells.of_record import BACKFILL_COLUMNS
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.timeouts import CURSOR_SCHEMA, Proof, is_without_timely_label
from monitor.coverage.table import coverage
from schemas.config.loop import LoopConfig

MINUTE_MS = 60_000
AGES_MS = (HOUR_MS // 2, HOUR_MS)
FAR_MS = EPOCH_MS + 1_000 * HOUR_MS


def _config(on_timeout: object) -> LoopConfig:
    label = {"definition": OWN["late"], "horizon": "1h", "retain": "200h", "on_timeout": on_timeout}
    return config_of(
        predictions={"outputs": {"late": {"task": "binary", "threshold": 0.5}}, "slices": ["country", "role"]},
        labels={"late": label},
        evaluate_at=["30m", "1h", "final"],
        cohorts={"by": ["version"], "ages": ["30m", "1h", "2h"]},
        coverage=[],
        disorder="1000h",  # so that nothing but a heartbeat proves that a deadline has passed
    )


CONFIGS = {name: _config(on_timeout) for name, on_timeout in (("imply", {"imply": 0}), ("expire", "expire"))}


@dataclass(frozen=True)
class Inputs:
    """The loop, its predictions by offset, its labels by offset, and up to when deadlines are proven in the end."""

    config: LoopConfig
    predictions: list[Prediction]
    labels: list[LabelRecord]
    closed_ms: int


Cut = tuple[int, int, int]
"""A step: predictions read, labels read, and the time up to which its inputs are said to be complete."""


@st.composite
def inputs(draw: st.DrawFn) -> Inputs:
    """Draw predictions, and labels in the order in which they are known; some are corrections or retractions.

    Or one label of a prediction at most, read in any order, long after its deadline or before its prediction.
    """
    in_order = draw(st.booleans())
    minutes = st.integers(0, 60)
    made = sorted(draw(st.lists(minutes, min_size=1, max_size=5)))
    predictions = [
        Prediction(
            f"k{number}",
            EPOCH_MS + minute * MINUTE_MS,
            output=draw(st.sampled_from([0.1, 0.9])),
            eligible=draw(st.sampled_from([True, True, True, False])),
        )
        for number, minute in enumerate(made)
    ]
    ages = st.one_of(st.integers(0, 150), st.sampled_from([30, 31, 60, 61, 90, 90, 120, 120]))
    found = []
    for one in predictions:
        for age in sorted(draw(st.lists(ages, max_size=3 if in_order else 1, unique=True))):
            value = draw(st.sampled_from([0.0, 1.0, 1.0, None]))
            found.append((one.predicted_at_ms + age * MINUTE_MS, one.key, value))
    rows = sorted(found, key=lambda row: row[:2]) if in_order else draw(st.permutations(found))
    labels = [
        LabelRecord(
            offset, key, "late", OWN["late"], Op.RETRACT if value is None else Op.UPSERT, value, known_ms, known_ms
        )
        for offset, (known_ms, key, value) in enumerate(rows)
    ]
    closed_ms = EPOCH_MS + draw(st.sampled_from([0, 100, 500, 500])) * MINUTE_MS
    return Inputs(CONFIGS[draw(st.sampled_from(["imply", "imply", "expire"]))], predictions, labels, closed_ms)


@st.composite
def cut_inputs(draw: st.DrawFn) -> tuple[Inputs, list[Cut]]:
    """Draw inputs and a way to cut them. Labels that may be corrected are never read before their prediction."""
    found = draw(inputs())
    keys = Counter(label.key for label in found.labels)
    times = [EPOCH_MS + MINUTE_MS * at for at in sorted(draw(st.lists(st.integers(60, 200), min_size=1, max_size=3)))]
    read = [_read_by(found, time_ms) for time_ms in times]
    if max(keys.values(), default=0) <= 1:
        ends = (len(found.predictions), len(found.labels))
        some = [sorted(draw(st.integers(0, end)) for _ in times) for end in ends]
        read = list(zip(*some, strict=True))
    cuts = [(*counts, min(time_ms, found.closed_ms)) for counts, time_ms in zip(read, times, strict=True)]
    return found, [*cuts, _whole(found)]


def _whole(found: Inputs) -> Cut:
    return len(found.predictions), len(found.labels), found.closed_ms


def _read_by(found: Inputs, time_ms: int) -> tuple[int, int]:
    return (
        sum(one.predicted_at_ms <= time_ms for one in found.predictions),
        sum(label.known_at_ms <= time_ms for label in found.labels),
    )


def _frame(rows: Sequence[OutcomeRow], predictions: Sequence[Prediction]) -> pl.DataFrame:
    documents = [
        {
            **{name: getattr(row, name) for name in ("key", "id", "kind", "definition", "value", "revision")},
            **{name: getattr(row, name) for name in ("prediction_offset", "label_offset", "eligible")},
            **{name: str(getattr(row, name)) for name in ("status", "reason", "previous_status")},
            "partition": 0,
            "previous": row.previous,
            "predicted_at": datetime.fromtimestamp(row.predicted_at_ms / 1000, UTC),
            "known_at": datetime.fromtimestamp(row.known_at_ms / 1000, UTC),
            "version": "v1",
            "output": predictions[row.prediction_offset].output,
            "slice_country": "DE",
            "slice_role": "champion",
        }
        for row in rows
    ]
    return pl.DataFrame(documents, schema={**OUTCOME_SCHEMA, **BACKFILL_COLUMNS})


def _cells(found: Inputs, cuts: Sequence[Cut], plan: CellPlan) -> pl.DataFrame:
    """Return the cells after reading the inputs step by step, with a fold after each step."""
    policy = policy_from(found.config)
    partition = Partition(policy, MemoryStore(list(policy.kinds)))
    records = [
        PredictionRecord(offset, one.key, one.key, one.predicted_at_ms, offset, one.eligible, None)
        for offset, one in enumerate(found.predictions)
    ]
    total, known, before = merge(), _frame([], []), CURSOR_SCHEMA.to_frame()
    for (p0, l0, _), (p1, l1, close_at_ms) in pairwise([(0, 0, 0), *cuts]):
        effects = partition.step(Batch(records[p0:p1], found.labels[l0:l1], p1, l1, FAR_MS, close_at_ms))
        assert partition.is_caught_up
        new = _frame(effects.outcomes, found.predictions)
        cursors = [(0, kind, *cursor) for kind, cursor in partition.checkpoint.cursors.items()]
        after = pl.DataFrame(cursors, schema=CURSOR_SCHEMA, orient="row")
        # those that a moved cursor concerns, as it is told to read them, are among all without a label in time
        chain = ["partition", "prediction_offset", "kind"]
        needed = pl.concat([new, known.filter(is_without_timely_label(plan, ()))]).select(chain).unique()
        earlier = known.join(needed, on=chain, how="semi")
        made = predictions_frame(found.predictions[p0:p1])
        total = merge(total, fold(plan, made, new, earlier, (), Proof(before, after)))
        known, before = pl.concat([known, new]), after
    return total


def _at_age(found: Inputs, age_ms: int) -> dict[str, float | None]:
    """Return by key the value of record at an age; None: retracted. Without an outcome the key is missing."""
    implied = found.config.labels["late"].implied_value("binary")
    values: dict[str, float | None] = {}
    for one in found.predictions:
        known = [
            label
            for label in found.labels
            if label.key == one.key and label.known_at_ms <= one.predicted_at_ms + age_ms
        ]
        if not one.eligible:
            continue
        if known:
            values[one.key] = max(known, key=lambda label: (label.time_ms, label.offset)).value
        elif implied is not None and age_ms >= HOUR_MS and one.predicted_at_ms + HOUR_MS < found.closed_ms:
            values[one.key] = float(implied)
    return values


@settings(max_examples=examples(400), deadline=None)
@given(cut=cut_inputs())
def test_what_was_of_record_at_an_age_does_not_depend_on_how_the_inputs_were_cut(cut: tuple[Inputs, list[Cut]]) -> None:
    """Read in one step or in several, with a fold after each: the same cells to the bit, and what the labels say."""
    found, cuts = cut
    plan = CellPlan.from_config(found.config)
    # arrivals are counted as they come
    several, whole = (
        _cells(found, one, plan).filter(~pl.col("measure").str.starts_with("arrived"))
        for one in (cuts, [_whole(found)])
    )
    assert_frame_equal(several, whole, check_exact=True)
    outputs = {one.key: one.output or 0.0 for one in found.predictions}
    for age_ms in AGES_MS:
        values = [(key, value) for key, value in _at_age(found, age_ms).items() if value is not None]
        assert _decisions(whole, plan, age_ms) == Counter((int(value), outputs[key] >= 0.5) for key, value in values)


@settings(max_examples=examples(200), deadline=None)
@given(cut=cut_inputs())
def test_coverage_counts_an_implied_value_from_the_deadline_on(cut: tuple[Inputs, list[Cut]]) -> None:
    """Whether its late label was read before the deadline had passed or after; without retractions."""
    found, cuts = cut
    labels = [label._replace(op=Op.UPSERT, value=label.value or 0.0) for label in found.labels]
    found = replace(found, labels=labels)
    plan = CellPlan.from_config(found.config)
    table = coverage(_cells(found, cuts, plan), plan, {"late": FAR_MS}, {"late": FAR_MS})
    for age_ms in (*AGES_MS, 2 * HOUR_MS):
        rows = table.filter(pl.col("slice") == "", pl.col("age_ms") == age_ms)
        assert rows["labelled"].sum() == len(_at_age(found, age_ms))


def _decisions(cells: pl.DataFrame, plan: CellPlan, age_ms: int) -> Counter[tuple[int, bool]]:
    """Return the number of outcomes by class and decision, as the cells count them at an age."""
    counted: Counter[tuple[int, bool]] = Counter()
    for truth in (0, 1):
        rows = cells.filter(pl.col("slice") == "", pl.col("measure") == f"score_{truth}@{age_ms}")
        for bin_, amount in rows.group_by("bin").agg(pl.col("amount").sum()).iter_rows():
            counted[truth, bin_ >= plan.kind("late").positive_rank] += amount
    return counted
