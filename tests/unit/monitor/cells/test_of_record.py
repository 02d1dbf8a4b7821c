"""Which revisions are of record: live labels by default, backfills where a ruling says so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl
import pytest
from cell_cases import DAY_MS, EPOCH_MS, HOUR_MS, OWN, Prediction, Revision, config_of, outcomes_frame

from monitor.cells.of_record import BACKFILL_COLUMNS, RANK, approved_definitions, is_member, of_record
from monitor.cells.plan import CellPlan
from monitor.cells.revisions import states_between
from schemas.events.backfill import Cause, Episode, Ruling, Verdict

PLAN = CellPlan.from_config(config_of())
OTHER, THIRD = "late-30min", "late-60min"
ONE = Prediction("a", EPOCH_MS)
STALE_AFTER_MS = 2 * DAY_MS
OF_RECORD = (Verdict.PASSED, Verdict.WARNED, Verdict.APPROVED)
NOT_OF_RECORD = (Verdict.QUARANTINED, Verdict.REJECTED)


@dataclass(frozen=True)
class DeclaredRevision:
    """A revision, and whether its label was declared as a backfill."""

    revision: Revision
    is_declared: bool = False
    batch: str | None = None


def label(
    number: int, value: float | None = 1.0, *, age_ms: int = HOUR_MS, reason: str = "first", **of: str
) -> DeclaredRevision:
    """Return a live label of the own definition."""
    status = "joined" if value is not None else "retracted"
    made = Revision(ONE, status, value, EPOCH_MS + age_ms, number, reason=reason, label_offset=number)
    return DeclaredRevision(replace(made, **of))  # type: ignore[arg-type] # texts of fields


def declared(batch: str | None, row: DeclaredRevision) -> DeclaredRevision:
    """Return the same label with `origin: backfill`."""
    return DeclaredRevision(row.revision, is_declared=True, batch=batch)


def frame(rows: Iterable[DeclaredRevision]) -> pl.DataFrame:
    """Return revisions in the lake's columns and `BACKFILL_COLUMNS`."""
    rows = list(rows)
    columns = {"is_declared": [row.is_declared or None for row in rows], "batch_id": [row.batch for row in rows]}
    return outcomes_frame([row.revision for row in rows]).with_columns(
        pl.Series(name, columns[name], dtype=dtype) for name, dtype in BACKFILL_COLUMNS.items()
    )


def episode(*causes: Cause, number: int = 1, **other: object) -> Episode:
    """Return an episode of three days; labels older than two days are stale."""
    usual: dict[str, object] = {
        "id": f"bf-{number:032x}",
        "kind": "late",
        "definition": OTHER if Cause.REDEFINED in causes else OWN["late"],
        "causes": list(causes),
        "since": EPOCH_MS,
        "until": EPOCH_MS + 3 * DAY_MS,
        "stale_after_ms": STALE_AFTER_MS,
        "labels": 1,
        "fingerprint": 1,
    }
    return Episode.model_validate(usual | other)


def kept(rows: Sequence[DeclaredRevision], *rulings: Ruling) -> list[tuple[int, str, int]]:
    """Return number, definition and rank of the revisions of record."""
    found = of_record(frame(rows), OWN, rulings)
    assert found.columns == [*frame(rows).columns, RANK]
    return sorted(found.select("revision", "definition", RANK).rows())


def newest(rows: Sequence[DeclaredRevision], *rulings: Ruling) -> tuple[str, float | None, int | None]:
    """Return status, value and the age in hours at which a label was first known, of what is of record."""
    states = states_between(PLAN, of_record(frame([]), OWN, rulings), of_record(frame(rows), OWN, rulings))
    [row] = states.filter(pl.col("replaced_at").is_null()).iter_rows(named=True)
    known = row["first_known_at"]
    age = None if known is None else (round(known.timestamp() * 1_000) - EPOCH_MS) // HOUR_MS
    return row["status"], row["value"], age


def test_without_a_ruling_all_live_labels_are_of_record() -> None:
    """Without the backfill columns nothing is declared."""
    rows = [label(0), label(1, 0.0, reason="correction"), label(2, age_ms=9 * DAY_MS, reason="late")]
    assert kept(rows) == [(number, OWN["late"], 0) for number in (0, 1, 2)]
    bare = outcomes_frame([one.revision for one in rows])
    assert of_record(bare, OWN).height == 3


def test_a_declared_label_is_of_record_only_where_a_ruling_says_so() -> None:
    """It is not by default, nor if its batch was rejected or only another batch approved."""
    rows = [label(0), declared("b1", label(1, 0.0, reason="correction"))]
    both, first = [(0, OWN["late"], 0), (1, OWN["late"], 0)], [(0, OWN["late"], 0)]
    assert kept(rows) == first
    for verdict in Verdict:
        ruled = Ruling(episode=episode(Cause.DECLARED, batch="b1"), verdict=verdict)
        assert kept(rows, ruled) == (both if verdict in OF_RECORD else first)
    for batch in ("b2", None):
        assert kept(rows, Ruling(episode=episode(Cause.DECLARED, batch=batch), verdict=Verdict.APPROVED)) == first
    without_batch = [label(0), declared(None, label(1))]
    assert kept(without_batch, Ruling(episode=episode(Cause.DECLARED, batch=None), verdict=Verdict.APPROVED)) == both


def test_a_rejection_does_not_affect_another_approval() -> None:
    """A batch that continues after its ruling makes a second episode of the same batch."""
    rows = [declared("b1", label(0)), declared("b1", label(1, age_ms=5 * DAY_MS))]
    first = episode(Cause.DECLARED, batch="b1")
    second = episode(Cause.DECLARED, batch="b1", number=2, since=EPOCH_MS + 4 * DAY_MS, until=EPOCH_MS + 6 * DAY_MS)
    rulings = [Ruling(episode=first, verdict=Verdict.APPROVED), Ruling(episode=second, verdict=Verdict.REJECTED)]
    assert kept(rows, *rulings) == [(0, OWN["late"], 0)]
    assert kept(rows, *rulings[1:]) == []


@pytest.mark.parametrize("verdict", list(Verdict))
def test_live_labels_are_excluded_while_their_backfill_is_not_of_record(verdict: Verdict) -> None:
    """Stale and changed labels within the episode; the others stay of record."""
    rows = [
        label(0),
        label(1, 0.0, reason="correction"),
        label(2, None, reason="retraction"),
        label(3, age_ms=STALE_AFTER_MS + 1, reason="late"),
        label(4, age_ms=STALE_AFTER_MS, reason="first"),
        declared("b1", label(5, reason="correction")),
    ]
    by_cause = {
        (Cause.CORRECTED,): [0, 3, 4],
        (Cause.RETIMED,): [0, 3, 4],
        (Cause.STALE,): [0, 1, 2, 4],
        (Cause.STALE, Cause.CORRECTED): [0, 4],
        (Cause.RESENT,): [0, 1, 2, 3, 4],
    }
    for causes, left in by_cause.items():
        found = kept(rows, Ruling(episode=episode(*causes), verdict=verdict))
        assert [number for number, _, _ in found] == (left if verdict in NOT_OF_RECORD else [0, 1, 2, 3, 4])


def test_nothing_is_stale_without_a_stale_age() -> None:
    """An episode of corrections has no such age."""
    rows = [label(0, age_ms=9 * DAY_MS, reason="late")]
    about = episode(Cause.STALE, stale_after_ms=None, until=EPOCH_MS + 30 * DAY_MS)
    assert len(kept(rows, Ruling(episode=about, verdict=Verdict.REJECTED))) == 1


@pytest.mark.parametrize("reason", ["first", "late", "early", "correction", "retraction", "timeout"])
@pytest.mark.parametrize("cause", list(Cause))
def test_which_revisions_belong_to_an_episode(cause: Cause, reason: str) -> None:
    """They are selected by the reason of the revision, and by what its label declares."""
    about = episode(cause, batch="b1" if cause is Cause.DECLARED else None)
    live = label(0, age_ms=STALE_AFTER_MS + 1, reason=reason, definition=about.definition)
    own = {
        Cause.STALE: reason in ("first", "late", "early"),
        Cause.CORRECTED: reason in ("correction", "retraction"),
        Cause.RETIMED: reason in ("correction", "retraction"),
        Cause.REDEFINED: True,
        Cause.DECLARED: False,
        Cause.RESENT: False,
    }
    rows = frame([live, declared("b1", live), declared("b2", live)])
    found = rows.select(is_member(about)).to_series().to_list()
    assert found == [own[cause], cause is Cause.DECLARED, False]


@pytest.mark.parametrize(("known_ms", "is_in"), [(-1, False), (0, True), (3 * DAY_MS, True), (3 * DAY_MS + 1, False)])
def test_an_episode_includes_its_first_and_its_last_label(known_ms: int, *, is_in: bool) -> None:
    """The bounds are exact to the millisecond."""
    rows = frame([label(0, age_ms=known_ms, reason="correction")])
    assert rows.select(is_member(episode(Cause.CORRECTED))).item() is is_in


@pytest.mark.parametrize("other", [{"kind": "fare"}, {"definition": OTHER}])
def test_other_kinds_and_definitions_and_revisions_without_a_label_are_no_members(other: dict[str, str]) -> None:
    """A timeout is a revision without a label."""
    mine = label(0, reason="correction")
    rows = [
        mine,
        DeclaredRevision(replace(mine.revision, **other)),
        DeclaredRevision(replace(mine.revision, label_offset=None)),
    ]  # type: ignore[arg-type] # texts of fields
    assert frame(rows).select(is_member(episode(Cause.CORRECTED))).to_series().to_list() == [True, False, False]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_another_definition_is_of_record_only_where_a_ruling_says_so(verdict: Verdict) -> None:
    """Once approved it is, under its own name, and outranks the kind's own definition; before, it has no revision."""
    rows = [label(0), label(1, 0.0, definition=OTHER), label(2, 1.0, definition=OTHER, age_ms=9 * DAY_MS)]
    found = kept(rows, Ruling(episode=episode(Cause.REDEFINED), verdict=verdict))
    assert found == [(0, OWN["late"], 0), *([(1, OTHER, 1), (2, OTHER, 1)] if verdict in OF_RECORD else [])]


def test_an_approved_definition_outranks_later_revisions_of_the_own_one() -> None:
    """Also a retraction of the own definition; without the approval the later revision is the newest."""
    for later in (label(9, 1.0, reason="correction"), label(9, None, reason="retraction")):
        rows = [label(0, 1.0), label(1, 0.0, definition=OTHER, age_ms=2 * HOUR_MS), later]
        approved = Ruling(episode=episode(Cause.REDEFINED), verdict=Verdict.APPROVED)
        assert newest(rows, approved)[:2] == ("joined", 0.0)
        assert newest(rows)[:2] == (later.revision.status, later.revision.value)


def test_a_label_is_first_known_by_any_definition_of_record() -> None:
    """A restated label keeps the time of the first label; a retraction restarts it."""
    approved = Ruling(episode=episode(Cause.REDEFINED), verdict=Verdict.APPROVED)
    rows = [label(0, 1.0, age_ms=3 * HOUR_MS), label(1, 0.0, definition=OTHER, age_ms=9 * HOUR_MS)]
    assert newest(rows, approved) == ("joined", 0.0, 3)
    retracted = label(2, None, definition=OTHER, age_ms=10 * HOUR_MS, reason="retraction")
    assert newest([*rows, retracted], approved) == ("retracted", None, None)
    again = label(3, 1.0, definition=OTHER, age_ms=11 * HOUR_MS)
    assert newest([*rows, retracted, again], approved) == ("joined", 1.0, 11)
    retracted_own = label(1, None, age_ms=4 * HOUR_MS, reason="retraction")
    only_new = label(2, 0.0, definition=OTHER, age_ms=5 * HOUR_MS)
    assert newest([label(0), retracted_own, only_new], approved) == ("joined", 0.0, 5)


def test_of_two_approved_definitions_the_one_approved_last_wins() -> None:
    """The order of their labels does not matter."""
    first = episode(Cause.REDEFINED)
    second = episode(Cause.REDEFINED, number=2, definition=THIRD)
    rulings = [Ruling(episode=one, verdict=Verdict.APPROVED) for one in (first, second)]
    rows = [label(0, 1.0), label(1, 1.0, definition=THIRD), label(2, 0.0, definition=OTHER, age_ms=2 * HOUR_MS)]
    assert approved_definitions(OWN, rulings) == {"late": [OTHER, THIRD]}
    assert newest(rows, *rulings)[1] == 1.0
    assert newest(rows, *reversed(rulings))[1] == 0.0
    again = Ruling(episode=episode(Cause.REDEFINED, number=3), verdict=Verdict.APPROVED)
    assert approved_definitions(OWN, [*rulings, again]) == {"late": [THIRD, OTHER]}
    rejected = Ruling(episode=second, verdict=Verdict.REJECTED)
    assert approved_definitions(OWN, [rulings[0], rejected]) == {"late": [OTHER]}


def test_declared_labels_of_an_approved_definition_still_need_their_own_ruling() -> None:
    """The definition is of record, the batch is not."""
    rows = [label(0, 1.0), declared("b1", label(1, 0.0, definition=OTHER))]
    approved = Ruling(episode=episode(Cause.REDEFINED), verdict=Verdict.APPROVED)
    assert newest(rows, approved)[1] == 1.0
    batch = episode(Cause.REDEFINED, Cause.DECLARED, number=2, batch="b1")
    assert newest(rows, approved, Ruling(episode=batch, verdict=Verdict.APPROVED))[1] == 0.0
    assert newest(rows, Ruling(episode=batch, verdict=Verdict.APPROVED))[1] == 0.0


def test_an_approved_batch_is_of_record_while_live_labels_of_its_definition_are_quarantined() -> None:
    """Each has its own ruling: the definition is of record, and its quarantined live labels are not."""
    rows = [label(0, 1.0), declared("b1", label(1, 0.0, definition=OTHER)), label(2, 1.0, definition=OTHER)]
    batch = Ruling(episode=episode(Cause.REDEFINED, Cause.DECLARED, batch="b1"), verdict=Verdict.APPROVED)
    waits = Ruling(episode=episode(Cause.REDEFINED, number=2), verdict=Verdict.QUARANTINED)
    assert newest(rows, batch, waits)[1] == 0.0
    assert newest(rows, waits)[1] == 1.0


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_ruling_about_a_definition_holds_once_it_is_the_own_one(verdict: Verdict) -> None:
    """The definition has no rank then; labels that were not of record stay so until they are approved."""
    rows = [label(0, 1.0, definition=OTHER), label(1, 1.0, definition=OTHER, age_ms=9 * DAY_MS)]
    ruled = Ruling(episode=episode(Cause.REDEFINED), verdict=verdict)
    found = of_record(frame(rows), OWN | {"late": OTHER}, [ruled])
    assert found.select("revision", RANK).rows() == ([(0, 0), (1, 0)] if verdict in OF_RECORD else [(1, 0)])
    assert approved_definitions(OWN | {"late": OTHER}, [ruled]) == {}


def test_a_change_of_rulings_subtracts_the_old_state_and_adds_the_new_one() -> None:
    """Without a revision of record before or after, there is only one of both."""
    rows = frame([declared("b1", label(0))])
    ruled = Ruling(episode=episode(Cause.DECLARED, batch="b1"), verdict=Verdict.APPROVED)
    without, with_it = of_record(rows, OWN), of_record(rows, OWN, [ruled])
    assert states_between(PLAN, without, with_it).get_column("sign").to_list() == [1]
    assert states_between(PLAN, with_it, without).get_column("sign").to_list() == [-1]
    assert states_between(PLAN, with_it, with_it).get_column("sign").sort().to_list() == [-1, 1]
