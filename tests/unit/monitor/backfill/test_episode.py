"""Open episodes: which there are, their stable ids, and that the order and batches of reading do not matter."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.backfill.alarm import FlaggedRun
from monitor.backfill.episode import open_episodes
from schemas.events.backfill import Cause, Episode, Ruling, Verdict

HOUR_MS = 3_600_000
OWN = "late-15"
DECIDED = [Verdict.PASSED, Verdict.WARNED, Verdict.APPROVED, Verdict.REJECTED]
SCHEMA = {
    "known_at": pl.Datetime("us", "UTC"),
    "definition": pl.String(),
    "is_declared": pl.Boolean(),
    "batch_id": pl.String(),
    "partition": pl.Int32(),
    "offset": pl.Int64(),
}
Label = tuple[int, str, bool, str | None, int, int]


def label(
    known_ms: int, offset: int, definition: str = "late-30", batch: str | None = None, partition: int = 0
) -> Label:
    """Return a label; it is declared if it has a batch."""
    return known_ms, definition, batch is not None, batch, partition, offset


def frame(labels: Sequence[Label]) -> pl.DataFrame:
    """Return labels as a frame."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    rows = [(epoch + timedelta(milliseconds=known_ms), *rest) for known_ms, *rest in labels]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def opened(
    labels: Sequence[Label] = (), runs: Sequence[FlaggedRun] = (), rulings: Sequence[Ruling] = ()
) -> list[Episode]:
    """Return the open episodes of the kind."""
    return open_episodes("flights", "late", OWN, frame(labels), runs, rulings)


def ruled(episodes: Sequence[Episode], verdict: Verdict = Verdict.QUARANTINED) -> list[Ruling]:
    """Return the same ruling about each."""
    return [Ruling(episode=one, verdict=verdict) for one in episodes]


def run_of(first: int, amounts: Sequence[int], *causes: Cause) -> FlaggedRun:
    """Return a run of hours."""
    hours = tuple(((first + number) * HOUR_MS, amount) for number, amount in enumerate(amounts))
    stale = 7 if Cause.STALE in causes else None
    return FlaggedRun(first * HOUR_MS, (first + len(amounts)) * HOUR_MS - 1, causes, hours, stale)


def fields(episode: Episode, *names: str) -> list[Any]:
    """Return some fields."""
    return [getattr(episode, name) for name in names]


def test_labels_of_another_definition_and_declared_batches_make_one_episode_each() -> None:
    """With time range, count, causes, definition and batch."""
    labels = [
        *(label(10, 0), label(30, 1), label(20, 2)),
        *(label(15, 3, OWN, "b1"), label(16, 4, OWN, "b1"), label(17, 5, OWN, "b2")),
        *((18, OWN, True, None, 0, 6), label(19, 7, "late-30", "b1")),
    ]
    found = [fields(one, "definition", "batch", "causes", "since", "until", "labels") for one in opened(labels)]
    assert found == [
        ["late-30", None, [Cause.REDEFINED], 10, 30, 3],
        [OWN, "b1", [Cause.DECLARED], 15, 16, 2],
        [OWN, "b2", [Cause.DECLARED], 17, 17, 1],
        [OWN, None, [Cause.DECLARED], 18, 18, 1],
        ["late-30", "b1", [Cause.REDEFINED, Cause.DECLARED], 19, 19, 1],
    ]
    assert len({one.id for one in opened(labels)}) == 5
    assert opened() == []


def test_a_label_read_twice_counts_once_and_live_labels_have_no_batch() -> None:
    """A label is identified by its position; the batch of one that is not declared is ignored."""
    live = [(10, "late-30", False, batch, 0, offset) for offset, batch in enumerate(("x", "y", None))]
    [found] = opened([*live, *live])
    assert (found.labels, found.batch) == (3, None)


def test_names_with_equal_concatenation_have_different_ids() -> None:
    """Loop, kind, definition and batch are kept separate; no batch is not the empty batch."""
    cases = [("a", "bc", label(1, 0, "d", "e")), ("ab", "c", label(1, 0, "d", "e")), ("a", "bc", label(1, 0, "de"))]
    cases += [("a", "bc", label(1, 0, "d", "")), ("a", "bc", (1, "d", True, None, 0, 0)), ("a", "bc", label(1, 0, "d"))]
    ids = [open_episodes(loop, kind, OWN, frame([one]), (), ())[0].id for loop, kind, one in cases]
    assert len(set(ids)) == len(ids)


def test_a_waiting_episode_keeps_its_id_and_takes_in_all_further_labels() -> None:
    """Even one that became known before all others; the fingerprint changes with each."""
    steps = [[label(50, 3)], [label(90, 9)], [label(20, 1, partition=1)]]
    labels: list[Label] = []
    rulings: list[Ruling] = []
    seen = []
    for step in steps:
        labels += step
        [one] = opened(labels, rulings=rulings)
        rulings = ruled([one])
        seen.append(one)
    assert len({one.id for one in seen}) == 1
    assert len({one.fingerprint for one in seen}) == 3
    assert fields(seen[-1], "since", "until", "labels") == [20, 90, 3]
    assert opened(list(reversed(labels))) == [seen[-1]]


def test_different_sets_of_positions_have_different_fingerprints() -> None:
    """Even with the same size and the same sums of partitions and offsets."""
    sets = [[(0, 1), (1, 0)], [(0, 0), (1, 1)], [(0, 1), (0, 0)], [(1, 0), (1, 1)]]
    prints = [
        opened([label(1, offset, partition=partition) for partition, offset in one])[0].fingerprint for one in sets
    ]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("verdict", DECIDED)
def test_labels_that_become_known_after_a_decision_open_the_next_episode(verdict: Verdict) -> None:
    """In a batch always; labels known by then belong to the decided one."""
    labels = [label(10, 0, OWN, "b"), label(20, 1, OWN, "b")]
    first = opened(labels)
    rulings = ruled(first, verdict)
    assert opened(labels, rulings=rulings) == []
    more = [*labels, label(20, 2, OWN, "b"), label(21, 3, OWN, "b"), label(25, 4, OWN, "b")]
    [second] = opened(more, rulings=rulings)
    assert second.id != first[0].id
    assert fields(second, "since", "until", "labels") == [21, 25, 2]
    rulings += ruled([second], verdict)
    [third] = opened([*more, label(26, 5, OWN, "b")], rulings=rulings)
    assert len({first[0].id, second.id, third.id}) == 3
    again = ruled(first, Verdict.REJECTED)
    assert opened([*more, label(26, 5, OWN, "b")], rulings=[rulings[1], *again])[0].id == third.id


@pytest.mark.parametrize("verdict", DECIDED)
def test_a_definition_of_record_never_opens_another_but_its_declared_batches_do(verdict: Verdict) -> None:
    """A rejected one does open another."""
    rulings = ruled(opened([label(10, 0)]), verdict)
    assert len(opened([label(10, 0), label(90, 1)], rulings=rulings)) == (0 if verdict.is_of_record else 1)
    assert len(opened([label(10, 0), label(90, 1, batch="b")], rulings=rulings)) == 1
    batch = ruled(opened([label(10, 0, batch="b")]), verdict)
    assert len(opened([label(10, 0, batch="b"), label(90, 1)], rulings=batch)) == (0 if verdict.is_of_record else 1)


def test_rulings_on_another_kind_or_subject_do_not_matter() -> None:
    """The same definition of another kind, or another batch."""
    labels = [label(10, 0, OWN, "b1"), label(11, 1)]
    whole = opened(labels)
    other = [one.model_copy(update={"kind": "fare"}) for one in whole]
    assert opened(labels, rulings=ruled(other, Verdict.APPROVED)) == whole
    batch = ruled(opened([label(10, 0, OWN, "b2")]), Verdict.APPROVED)
    assert opened(labels, rulings=batch) == whole


def test_an_episode_that_waits_never_disappears_by_itself() -> None:
    """Even if its labels were erased, or its hours are no longer flagged."""
    waiting = [*opened([label(10, 0), label(11, 1, OWN, "b")]), *opened(runs=[run_of(5, [30], Cause.STALE)])]
    assert opened(rulings=ruled(waiting)) == waiting
    assert opened(rulings=ruled(waiting, Verdict.REJECTED)) == []


def test_every_run_is_an_episode_that_keeps_its_id_while_it_grows() -> None:
    """The id depends on its first hour; further causes may be added."""
    [short] = opened(runs=[run_of(100, [30], Cause.STALE)])
    assert fields(short, "definition", "batch", "since", "until") == [OWN, None, 100 * HOUR_MS, 101 * HOUR_MS - 1]
    assert fields(short, "causes", "labels", "stale_after_ms") == [[Cause.STALE], 30, 7]
    grown = run_of(100, [30, 40], Cause.STALE, Cause.CORRECTED)
    other = run_of(200, [50], Cause.STALE)
    [found, second] = opened(runs=[other, grown], rulings=ruled([short]))
    assert found.id == short.id != second.id
    assert found.fingerprint != short.fingerprint
    assert fields(found, "until", "labels", "causes") == [102 * HOUR_MS - 1, 70, [Cause.STALE, Cause.CORRECTED]]
    assert opened(runs=[grown, other]) == [found, second]


def test_a_waiting_run_keeps_its_id_though_an_earlier_hour_is_flagged_later() -> None:
    """A source that was read late has changed its first hour."""
    [waiting] = opened(runs=[run_of(100, [30, 30], Cause.CORRECTED)])
    [found] = opened(runs=[run_of(99, [25, 30, 30], Cause.CORRECTED)], rulings=ruled([waiting]))
    assert (found.id, found.since) == (waiting.id, 99 * HOUR_MS)


@pytest.mark.parametrize("verdict", DECIDED)
def test_the_undecided_hours_of_a_run_are_the_next_episodes(verdict: Verdict) -> None:
    """Those after the decided ones, and one before them."""
    decided = ruled(opened(runs=[run_of(100, [30, 31], Cause.CORRECTED)]), verdict)
    run = run_of(99, [25, 30, 31, 40, 41], Cause.CORRECTED)
    before, after = opened(runs=[run], rulings=decided)
    assert fields(before, "since", "until", "labels") == [99 * HOUR_MS, 100 * HOUR_MS - 1, 25]
    assert fields(after, "since", "until", "labels") == [102 * HOUR_MS, 104 * HOUR_MS - 1, 81]
    assert len({before.id, after.id, decided[0].episode.id}) == 3
    [longer] = opened(runs=[replace(run, hours=run.hours[1:])], rulings=[*decided, *ruled([after])])
    assert longer == after
    assert opened(runs=[run], rulings=[*decided, *ruled([before, after], verdict)]) == []


def test_predictions_sent_again_and_labels_of_the_same_hour_are_two_episodes() -> None:
    """A decision on one does not matter for the other."""
    runs = [run_of(100, [30], Cause.RESENT), run_of(100, [30], Cause.STALE)]
    both = opened(runs=runs)
    assert len({one.id for one in both}) == 2
    resent = [one for one in both if one.causes == [Cause.RESENT]]
    assert opened(runs=runs, rulings=ruled(resent, Verdict.WARNED)) == [one for one in both if one not in resent]


LABELS = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from(["late-30", "late-60", OWN]),
        st.sampled_from([None, "b1", "b2"]),
        st.integers(0, 2),
    ),
    max_size=12,
)


@settings(max_examples=examples(200), deadline=None)
@given(early=LABELS, late=LABELS, verdict=st.sampled_from(DECIDED), batches=st.integers(1, 4), order=st.randoms())
def test_any_order_and_any_batches_give_the_same_episodes(
    early: list[Any], late: list[Any], verdict: Verdict, batches: int, order: Random
) -> None:
    """Labels are read in batches, all episodes wait, then they are decided, and more labels are read."""

    def made(rows: list[Any], since: int) -> list[Label]:
        return [
            (since + known, definition, definition == OWN or batch is not None, batch, partition, since + number)
            for number, (known, definition, batch, partition) in enumerate(rows)
        ]

    def in_batches(new: list[Label], known: list[Label], rulings: list[Ruling], batches: int) -> list[Episode]:
        shuffled = order.sample(new, len(new))
        found = opened(known, rulings=rulings)
        for batch in range(batches):
            seen = shuffled[: -(-len(new) * (batch + 1) // batches)]
            found = opened(order.sample([*known, *seen], len(known) + len(seen)), rulings=[*rulings, *ruled(found)])
        return found

    first, second = made(early, 0), made(late, 1_000)
    at_once = opened(first)
    assert in_batches(first, [], [], batches) == at_once
    rulings = ruled(at_once, verdict)
    assert opened(first, rulings=rulings) == []
    assert in_batches(second, first, rulings, batches) == opened([*first, *second], rulings=rulings)
