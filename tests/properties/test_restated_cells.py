"""Restated cells equal one fold of everything under the latest rulings, whenever those were made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    OWN,
    Prediction,
    Revision,
    as_counter,
    config_of,
    count_row_by_row,
    outcomes_frame,
    predictions_frame,
)
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from monitor.cells.fold import fold, restate
from monitor.cells.of_record import BACKFILL_COLUMNS, approved_definitions, is_member
from monitor.cells.packing import merge
from monitor.cells.plan import CellPlan
from monitor.cells.timeouts import CURSOR_SCHEMA, Proof, is_without_timely_label
from schemas.events.backfill import Cause, Episode, Ruling, Verdict

PLAN = CellPlan.from_config(config_of())
PLAN = replace(PLAN, kinds=tuple(replace(kind, implied=1.0) if kind.name == "late" else kind for kind in PLAN.kinds))
FOLDS = 3
PREDICTION = ["partition", "prediction_offset", "kind"]
REASONS = {"joined": ["first", "late", "correction"], "retracted": ["retraction"], "expired": ["timeout"]}
AGES_MS = st.one_of(st.integers(0, 9 * DAY_MS), st.sampled_from([HOUR_MS, DAY_MS, DAY_MS + 1, 3 * DAY_MS]))


@dataclass(frozen=True)
class Arrival:
    """A revision, the number of the fold that reads it, and what its label declares."""

    fold: int
    revision: Revision
    is_declared: bool
    batch: str | None


@dataclass(frozen=True)
class Step:
    """A step of a history: a fold, a ruling, or a restatement of the cells under the rulings so far."""

    ruling: Ruling | None = None
    is_fold: bool = False


def _episode(number: int, cause: Cause, definition: str, *, kind: str = "late", batch: str | None = None) -> Episode:
    causes = [cause] if definition == OWN[kind] or cause is not Cause.DECLARED else [Cause.REDEFINED, cause]
    detected = cause in (Cause.STALE, Cause.CORRECTED)
    return Episode(
        id=f"bf-{number:032x}",
        kind=kind,
        definition=definition,
        batch=batch,
        causes=causes,
        since=EPOCH_MS + (DAY_MS if detected else 0),
        until=EPOCH_MS + (4 if detected else 9) * DAY_MS,
        stale_after_ms=DAY_MS if cause is Cause.STALE else None,
        labels=1,
        fingerprint=number,
    )


EPISODES = [
    _episode(1, Cause.REDEFINED, "late-30"),
    _episode(2, Cause.REDEFINED, "late-60"),
    _episode(3, Cause.DECLARED, "late-30", batch="b1"),
    _episode(4, Cause.DECLARED, OWN["late"], batch="b1"),
    _episode(5, Cause.DECLARED, OWN["late"], batch=None),
    _episode(6, Cause.STALE, OWN["late"]),
    _episode(7, Cause.CORRECTED, OWN["late"]),
    _episode(8, Cause.REDEFINED, "fare-2", kind="fare"),
]
DEFINITIONS = {"late": [OWN["late"], "late-30", "late-60"], "fare": [OWN["fare"], "fare-2"]}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, Prediction]], list[Arrival]]:
    """Draw predictions and revisions of several definitions, live and declared."""
    predictions, arrivals = [], list[Arrival]()
    for key in range(draw(st.integers(1, 4))):
        prediction = Prediction(
            key=f"k{key}",
            predicted_at_ms=EPOCH_MS + draw(st.integers(-DAY_MS, DAY_MS)),
            version=draw(st.sampled_from(["v1", "v2"])),
            eligible=draw(st.sampled_from([True, True, True, False])),
            output=draw(st.sampled_from([0.1, 0.9])),
            country=draw(st.sampled_from(["DE", "FR"])),
            fare=draw(st.sampled_from([1.5, -2.25])),
        )
        first_fold = draw(st.integers(0, FOLDS - 1))
        predictions.append((first_fold, prediction))
        for kind in draw(st.sampled_from([["late"], ["late"], ["fare"], ["late", "fare"]])):
            for definition in draw(st.lists(st.sampled_from(DEFINITIONS[kind]), unique=True, min_size=1)):
                fold_number = first_fold
                for number in range(draw(st.integers(1, 4))):
                    fold_number = draw(st.integers(fold_number, FOLDS - 1))
                    status = draw(st.sampled_from(["joined", "joined", "joined", "retracted", "expired"]))
                    is_label = status != "expired"
                    is_declared = is_label and draw(st.sampled_from([False, False, True]))
                    one = Revision(
                        prediction,
                        status,
                        draw(st.sampled_from([0.0, 1.0])) if status == "joined" else None,
                        prediction.predicted_at_ms + draw(AGES_MS),
                        number * 3,
                        kind,
                        definition,
                        reason=draw(st.sampled_from(REASONS[status])),
                        label_offset=len(arrivals) if is_label else None,
                    )
                    batch = draw(st.sampled_from(["b1", None])) if is_declared else None
                    arrivals.append(Arrival(fold_number, one, is_declared, batch))
    return predictions, arrivals


@st.composite
def steps_of(draw: st.DrawFn) -> list[Step]:
    """Draw rulings and restatements, in any order, and the folds between them."""
    found = [Step(is_fold=True) for _ in range(FOLDS)]
    for episode in draw(st.lists(st.sampled_from(EPISODES), min_size=1, max_size=6)):
        grown = episode.model_copy(update={"until": episode.until + draw(st.sampled_from([0, 0, DAY_MS]))})
        ruled = Step(Ruling(episode=grown, verdict=draw(st.sampled_from(Verdict))))
        found.insert(draw(st.integers(0, len(found))), ruled)
    for _ in range(draw(st.integers(0, 3))):
        found.insert(draw(st.integers(0, len(found))), Step())
    return [*found, Step()]


def frame(rows: Sequence[Arrival]) -> pl.DataFrame:
    """Return revisions in the columns that a fold reads."""
    columns = {
        "is_declared": [True if one.is_declared else None for one in rows],
        "batch_id": [one.batch for one in rows],
    }
    return outcomes_frame([one.revision for one in rows]).with_columns(
        pl.Series(name, columns[name], dtype=dtype) for name, dtype in BACKFILL_COLUMNS.items()
    )


def latest(rulings: Sequence[Ruling], new: Ruling) -> list[Ruling]:
    """Return the latest ruling on each episode, after another one."""
    return [*(one for one in rulings if one.episode.id != new.episode.id), new]


def touched(outcomes: pl.DataFrame, before: Sequence[Ruling], after: Sequence[Ruling]) -> pl.DataFrame:
    """Return all revisions of the predictions concerned by rulings that differ, or definitions whose rank differs."""
    changed = [one for one in (*before, *after) if one not in before or one not in after]
    concerned = pl.lit(value=False)
    for one in changed:
        concerned |= is_member(one.episode)
        if one.episode.definition != OWN[one.episode.kind]:
            concerned |= pl.col("definition") == one.episode.definition
    for kind in OWN:
        ranks = [approved_definitions(OWN, rulings).get(kind, []) for rulings in (before, after)]
        if ranks[0] != ranks[1]:
            concerned |= (pl.col("kind") == kind) & pl.col("definition").is_in([*ranks[0], *ranks[1]])
    return outcomes.join(outcomes.filter(concerned).select(PREDICTION).unique(), on=PREDICTION, how="semi")


def cursors_at(age_ms: int | None) -> pl.DataFrame:
    """Return the cursors of a join that has proven the deadlines of predictions up to a time."""
    if age_ms is None:
        return CURSOR_SCHEMA.to_frame()
    rows = [{"partition": 0, "kind": kind, "cursor_ms": EPOCH_MS + age_ms, "cursor_offset": 2**61} for kind in OWN]
    return pl.DataFrame(rows, schema=CURSOR_SCHEMA)


def newly_proven(outcomes: pl.DataFrame, rulings: Sequence[Ruling], proof: Proof) -> pl.DataFrame:
    """Return partition, prediction_offset and kind of the outcomes that a fold needs because a cursor has moved."""
    found = [
        outcomes.join(cursors, on=["partition", "kind"])
        .filter(pl.col("predicted_at").dt.epoch("ms") <= pl.col("cursor_ms"))
        .select(outcomes.columns)
        for cursors in (proof.before, proof.after)
    ]
    moved = pl.concat(found).filter(is_without_timely_label(PLAN, rulings))
    return moved.select(PREDICTION).unique()


@settings(max_examples=examples(150), deadline=None)
@given(
    history=histories(),
    steps=steps_of(),
    reached_ms=st.lists(st.one_of(st.none(), st.integers(-DAY_MS, DAY_MS)), min_size=FOLDS, max_size=FOLDS),
)
def test_restated_cells_are_one_fold_of_everything_under_the_last_rulings(
    history: tuple[list[tuple[int, Prediction]], list[Arrival]], steps: list[Step], reached_ms: list[int | None]
) -> None:
    """To the bit, for any folds and order of rulings, however cursors move.

    A restatement reads only predictions that a ruling concerns, and a fold only those that it needs.
    """
    predictions, arrivals = history
    total, folded = merge(), 0
    cursors = [cursors_at(None), *map(cursors_at, reached_ms)]
    held, now = list[Ruling](), list[Ruling]()
    for step in steps:
        if step.ruling is not None:
            now = latest(now, step.ruling)
        elif step.is_fold:
            rows = [one for one in arrivals if one.fold == folded]
            known = frame([one for one in arrivals if one.fold < folded])
            proof = Proof(cursors[folded], cursors[folded + 1])
            needed = pl.concat([frame(rows).select(PREDICTION), newly_proven(known, held, proof)])
            earlier = known.join(needed.unique(), on=PREDICTION, how="semi")
            new = predictions_frame(one for at, one in predictions if at == folded)
            total = merge(total, fold(PLAN.with_admitted(total), new, frame(rows), earlier, held, proof))
            folded += 1
        else:
            known = frame([one for one in arrivals if one.fold < folded])
            concerned = touched(known, held, now)
            total = merge(total, restate(PLAN.with_admitted(total), concerned, held, now, cursors[folded]))
            held = now
    every = predictions_frame(one for _, one in predictions)
    whole = fold(PLAN, every, frame(arrivals), frame([]), now, Proof(after=cursors[-1]))
    assert_frame_equal(total, whole, check_exact=True)


@settings(max_examples=examples(150), deadline=None)
@given(history=histories(), steps=steps_of())
def test_a_fold_under_rulings_finds_what_counting_row_by_row_finds(
    history: tuple[list[tuple[int, Prediction]], list[Arrival]], steps: list[Step]
) -> None:
    """The oracle decides label by label, in plain Python; measures of arrivals do not depend on rulings."""
    predictions, arrivals = history
    now = list[Ruling]()
    for step in steps:
        now = now if step.ruling is None else latest(now, step.ruling)
    cells = fold(PLAN, predictions_frame(one for _, one in predictions), frame(arrivals), frame([]), now)
    counted = cells.filter(~pl.col("measure").str.starts_with("arrived"))
    expected = count_row_by_row(PLAN, [one for _, one in predictions], [*_of_record(arrivals, now)])
    assert as_counter(counted) == expected


def _of_record(arrivals: Sequence[Arrival], rulings: Sequence[Ruling]) -> list[Revision]:
    """Return the revisions of record; those of an approved definition come after all of the own one."""
    found = []
    approved = list[tuple[str, str]]()
    for ruling in rulings:
        name = (ruling.episode.kind, ruling.episode.definition)
        if ruling.verdict.is_of_record and name[1] != OWN[name[0]]:
            approved = [*(one for one in approved if one != name), name]
    for one in arrivals:
        revision, kind = one.revision, one.revision.kind
        verdicts = [ruling for ruling in rulings if _belongs(one, ruling.episode)]
        counts = not one.is_declared or any(
            ruling.verdict.is_of_record and Cause.DECLARED in ruling.episode.causes for ruling in verdicts
        )
        is_not_of_record = not one.is_declared and any(not ruling.verdict.is_of_record for ruling in verdicts)
        name = (kind, revision.definition)
        if counts and not is_not_of_record and (revision.definition == OWN[kind] or name in approved):
            rank = approved.index(name) + 1 if name in approved else 0
            found.append(replace(revision, revision=revision.revision + 1_000 * rank))
    return found


def _belongs(one: Arrival, episode: Episode) -> bool:
    revision, causes = one.revision, episode.causes
    is_near = episode.since <= revision.known_at_ms <= episode.until
    is_named = (revision.kind, revision.definition) == (episode.kind, episode.definition)
    if not is_near or not is_named or revision.label_offset is None:
        return False
    if Cause.DECLARED in causes:
        return one.is_declared and one.batch == episode.batch
    if Cause.REDEFINED in causes:
        return not one.is_declared
    age_ms = revision.known_at_ms - revision.prediction.predicted_at_ms
    is_stale = revision.reason in ("first", "late", "early") and age_ms > (episode.stale_after_ms or 0)
    is_change = revision.reason in ("correction", "retraction")
    return not one.is_declared and (is_change if Cause.CORRECTED in causes else is_stale)
