"""Rulings of people about backfills: recorded once, for the diff that was read, with a reason; others are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_case import START_MS
from ruling_case import (
    ANN,
    EPISODE,
    NOW_MS,
    REASON,
    approvals,
    backfill_diff,
    grown,
    log_backfill,
    log_of,
    make_loop,
    statement,
)

from lake import Lake, connect
from retrain import approval
from retrain.approval import Approvals, Person, RulingOutcome, RulingRequest, one_line
from retrain.decision_log import DecisionLog
from retrain.episode_status import BY_MAX, REASON_MAX, episode_statuses, rulings_of
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin
from schemas.events.backfill import Verdict
from schemas.events.evidence import Decision, Event, GateState
from truthloop.config.settings import Settings

TOKEN = "ab" * 32
OTHER = f"bf-{8:032x}"


@pytest.fixture
def loop(tmp_path: Path) -> Settings:
    """A loop without backfills."""
    return make_loop(tmp_path)


def events(settings: Settings) -> list[Event]:
    """Return the events of the log."""
    return [entry.event for entry in log_of(settings)]


@pytest.mark.parametrize(("verdict", "event"), [(Verdict.APPROVED, Event.APPROVED), (Verdict.REJECTED, Event.REJECTED)])
def test_a_ruling_is_one_entry_with_who_why_how_and_about_what(loop: Settings, verdict: Verdict, event: Event) -> None:
    """The audit trail: all that is asked for a year later."""
    sha256 = log_backfill(loop, backfill_diff())
    person = Person("ann@example.org", "proxy", "page")
    request = statement(
        sha256, verdict=verdict, reason=" checked\r\n with the desk ", person=person, token_sha256=TOKEN
    )
    result = approvals(loop).rule(request)
    assert result.outcome is RulingOutcome.DONE
    first, entry = log_of(loop)
    assert (entry.event, entry.verdict, entry.state) == (event, verdict, first.state)
    assert (entry.reason, entry.source, entry.decision) == ("checked with the desk", "person", None)
    assert entry.episode == backfill_diff().episode
    assert entry.detail == {
        "by": "ann@example.org",
        "by_source": "proxy",
        "via": "page",
        "diff_sha256": sha256,
        "token_sha256": TOKEN,
        "ruled_at_ms": NOW_MS,
    }
    assert result.status is not None
    assert result.status.ruled is not None
    assert (result.status.ruled.by, result.status.ruled.is_proved) == ("ann@example.org", True)
    assert [one.verdict for one in rulings_of(log_of(loop))] == [verdict]


def test_in_the_terminal_no_token_is_needed_and_none_is_logged(loop: Settings) -> None:
    """Whoever can write to the lake needs no form, but the digest of the diff."""
    sha256 = log_backfill(loop, backfill_diff())
    person = Person("root", "attested", "terminal")
    assert approvals(loop).rule(statement(sha256, person=person)).outcome is RulingOutcome.DONE
    detail = log_of(loop)[-1].detail
    assert (detail["via"], detail["by_source"], "token_sha256" in detail) == ("terminal", "attested", False)


def test_an_unknown_backfill_is_refused_without_an_entry(loop: Settings) -> None:
    """Also if the log of another kind has entries."""
    log_backfill(loop, backfill_diff())
    assert approvals(loop).rule(statement("0" * 64, episode=OTHER)).outcome is RulingOutcome.UNKNOWN
    assert events(loop) == [Event.BACKFILLED]


def test_the_kind_of_a_backfill_is_found_by_its_id(loop: Settings) -> None:
    """People give the backfill's id only."""
    log_backfill(loop, backfill_diff())
    sha256 = log_backfill(loop, backfill_diff("fare", id=OTHER))
    assert approvals(loop).rule(statement(sha256, episode=OTHER)).outcome is RulingOutcome.DONE
    assert events(loop) == [Event.BACKFILLED]
    assert [entry.event for entry in log_of(loop, "fare")] == [Event.BACKFILLED, Event.APPROVED]


@pytest.mark.parametrize(
    "reason", ["", " ", "\r\n\t", "\u200b", "\N{RIGHT-TO-LEFT OVERRIDE}", "\x00", "x" * (REASON_MAX + 1)]
)
def test_a_ruling_without_a_visible_reason_is_refused(loop: Settings, reason: str) -> None:
    """Without an entry: it was not a complete ruling."""
    sha256 = log_backfill(loop, backfill_diff())
    assert approvals(loop).rule(statement(sha256, reason=reason)).outcome is RulingOutcome.INCOMPLETE
    assert events(loop) == [Event.BACKFILLED]
    assert approvals(loop).rule(statement(sha256, reason="x" * REASON_MAX)).outcome is RulingOutcome.DONE


@pytest.mark.parametrize("name", ["", "  ", "\u2060", "n" * (BY_MAX + 1)])
def test_a_ruling_without_a_name_is_refused(loop: Settings, name: str) -> None:
    """An audit log needs a name."""
    sha256 = log_backfill(loop, backfill_diff())
    request = statement(sha256, person=Person(name, "attested", "page"))
    assert approvals(loop).rule(request).outcome is RulingOutcome.INCOMPLETE
    assert events(loop) == [Event.BACKFILLED]


def test_a_second_ruling_is_refused_and_names_who_ruled_first(loop: Settings) -> None:
    """The refusal is logged, and changes nothing."""
    sha256 = log_backfill(loop, backfill_diff())
    assert approvals(loop).rule(statement(sha256)).outcome is RulingOutcome.DONE
    bob = Person("Bob", "attested", "terminal")
    result = approvals(loop).rule(statement(sha256, verdict=Verdict.REJECTED, person=bob))
    assert result.outcome is RulingOutcome.DECIDED
    assert result.status is not None
    assert result.status.ruled is not None
    assert (result.status.ruled.by, result.status.ruled.at_ms) == ("Ann", NOW_MS)
    assert events(loop) == [Event.BACKFILLED, Event.APPROVED, Event.REFUSED]
    last = log_of(loop)[-1]
    assert (last.episode, last.verdict) == (None, None)
    assert {name: last.detail[name] for name in ("by", "verdict", "refused", "episode")} == {
        "by": "Bob",
        "verdict": "rejected",
        "refused": "decided",
        "episode": EPISODE,
    }
    before, after = gate_of(log_of(loop)[:2]), gate_of(log_of(loop))
    assert (after.approved, after.ruled, after.state) == (before.approved, before.ruled, before.state)
    assert rulings_of(log_of(loop)) == rulings_of(log_of(loop)[:2])


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.WARNED])
def test_a_backfill_that_passed_by_rule_cannot_be_ruled_about(loop: Settings, verdict: Verdict) -> None:
    """It is of record already."""
    sha256 = log_backfill(loop, backfill_diff(), verdict)
    assert approvals(loop).rule(statement(sha256)).outcome is RulingOutcome.DECIDED


def test_a_ruling_about_a_diff_that_has_changed_is_refused_and_the_new_one_is_named(loop: Settings) -> None:
    """One more label makes another diff."""
    old = log_backfill(loop, backfill_diff())
    new = log_backfill(loop, grown(backfill_diff()))
    result = approvals(loop).rule(statement(old, token_sha256=TOKEN))
    assert result.outcome is RulingOutcome.CHANGED
    assert result.status is not None
    assert (result.status.diff_sha256, result.status.episode.labels) == (new, 4)
    assert result.status.is_waiting
    assert approvals(loop).rule(statement(new)).outcome is RulingOutcome.DONE


def test_a_backfill_that_grows_after_its_ruling_waits_again(loop: Settings) -> None:
    """The approval was for the labels that were there."""
    first = log_backfill(loop, backfill_diff())
    assert approvals(loop).rule(statement(first, token_sha256=TOKEN)).outcome is RulingOutcome.DONE
    second = log_backfill(loop, grown(backfill_diff()))
    assert approvals(loop).statuses()[0].is_waiting
    # the form of before is used up, whatever it is about
    assert approvals(loop).rule(statement(second, token_sha256=TOKEN)).outcome is RulingOutcome.USED
    assert approvals(loop).rule(statement(second, verdict=Verdict.REJECTED)).outcome is RulingOutcome.DONE


def test_an_expired_form_is_refused_and_logged_once(loop: Settings) -> None:
    """Sent again it adds no entry, expired or not."""
    sha256 = log_backfill(loop, backfill_diff())
    request = statement(sha256, token_sha256=TOKEN)
    for _ in range(3):
        assert approvals(loop).rule(request, is_expired=True).outcome is RulingOutcome.EXPIRED
    assert events(loop) == [Event.BACKFILLED, Event.REFUSED]
    assert approvals(loop).rule(request).outcome is RulingOutcome.USED
    assert events(loop) == [Event.BACKFILLED, Event.REFUSED]


def test_a_form_that_is_sent_twice_has_one_effect_and_one_entry(loop: Settings) -> None:
    """A double click, or a browser that reloads the answer."""
    sha256 = log_backfill(loop, backfill_diff())
    request = statement(sha256, token_sha256=TOKEN)
    assert [approvals(loop).rule(request).outcome for _ in range(3)] == [
        RulingOutcome.DONE,
        RulingOutcome.USED,
        RulingOutcome.USED,
    ]
    assert events(loop) == [Event.BACKFILLED, Event.APPROVED]


def test_the_same_refusal_of_the_same_person_is_logged_once_without_a_form(loop: Settings) -> None:
    """In the terminal there is no token to recognise it by."""
    sha256 = log_backfill(loop, backfill_diff())
    person = Person("root", "attested", "terminal")
    for wrong in ("0" * 64, "0" * 64, "1" * 64):
        assert approvals(loop).rule(statement(wrong, person=person)).outcome is RulingOutcome.CHANGED
    assert events(loop) == [Event.BACKFILLED, Event.REFUSED, Event.REFUSED]
    assert approvals(loop).rule(statement(sha256, person=person)).outcome is RulingOutcome.DONE


def test_nobody_can_fill_the_log_with_refusals(loop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of new forms is not limited; that of entries is."""
    monkeypatch.setattr(approval, "REFUSALS_MAX", 4)
    sha256 = log_backfill(loop, backfill_diff())
    rule = approvals(loop).rule
    for number in range(7):
        assert rule(statement("0" * 64, token_sha256=f"{number:064x}")).outcome is RulingOutcome.CHANGED
    assert events(loop).count(Event.REFUSED) == 4
    assert rule(statement(sha256, token_sha256=TOKEN)).outcome is RulingOutcome.DONE


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.WARNED, Verdict.QUARANTINED])
def test_verdicts_by_rule_are_not_for_people(loop: Settings, verdict: Verdict) -> None:
    """An error of the caller."""
    with pytest.raises(ValueError, match="does not rule"):
        approvals(loop).rule(statement("0" * 64, verdict=verdict))


class Interrupted(DecisionLog):
    """A log that another writer appends to first, a number of times."""

    def __init__(self, settings: Settings, losses: int, other: str) -> None:
        super().__init__(Lake.open(settings.lake), "late")
        self.losses = losses
        self._settings = settings
        self._other = other
        self._crowd = approvals(settings)
        self.crowd: list[RulingRequest] = []

    def append(self, entries: Any, recorded_at_ms: int) -> bool:
        """Let the other writer append, then try."""
        if self.losses:
            self.losses -= 1
            log = DecisionLog(Lake.open(self._settings.lake), "late")
            gate = gate_of(log.entries())
            origin = EntryOrigin("flights", "late", None)
            if self._other == "ruling":
                assert approvals(self._settings).rule(statement(log.entries()[0].detail["diff_sha256"])).status
            elif self._other == "crowd":
                self._crowd.rule(self.crowd.pop())
            elif self._other == "growth":
                log_backfill(self._settings, grown(backfill_diff()))
            else:
                day = origin.entry(gate, Event.EVALUATED, GateState.IDLE, "nothing", at=START_MS + gate.following)
                assert log.append([day], NOW_MS)
        return super().append(entries, recorded_at_ms)


@pytest.mark.parametrize(
    ("losses", "other", "outcome"),
    [
        (1, "day", RulingOutcome.DONE),
        (2, "day", RulingOutcome.DONE),
        (3, "day", RulingOutcome.BUSY),
        (1, "ruling", RulingOutcome.DECIDED),
        (1, "growth", RulingOutcome.CHANGED),
    ],
)
def test_after_another_writer_the_log_is_read_again(
    loop: Settings, losses: int, other: str, outcome: RulingOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entries that a ruling follows from are the log that it is appended to."""
    monkeypatch.setattr(approval, "ATTEMPTS_MAX", 3)
    sha256 = log_backfill(loop, backfill_diff())
    log = Interrupted(loop, losses, other)
    bob = Person("Bob", "attested", "page")
    result = Approvals([(EntryOrigin("flights", "late", None), log)], lambda: NOW_MS).rule(
        statement(sha256, person=bob)
    )
    assert result.outcome is outcome
    rulings = [entry for entry in log_of(loop) if entry.event is Event.APPROVED]
    assert len(rulings) == (1 if outcome is RulingOutcome.DONE or other == "ruling" else 0)
    assert all(entry.detail["by"] == ("Ann" if other == "ruling" else "Bob") for entry in rulings)


def test_a_refusal_is_logged_however_many_others_are_logged_first(loop: Settings) -> None:
    """A process that is always slower than another one loses to each of its entries."""
    crowd_size = 30
    sha256 = log_backfill(loop, backfill_diff())
    crowd = [statement(sha256, token_sha256=f"{number:064x}") for number in range(crowd_size)]
    log = Interrupted(loop, crowd_size, "crowd")
    log.crowd = crowd
    bob = statement(sha256, person=Person("Bob", "attested", "page"), token_sha256=TOKEN)
    result = Approvals([(EntryOrigin("flights", "late", None), log)], lambda: NOW_MS).rule(bob)
    assert result.outcome is RulingOutcome.DECIDED
    assert events(loop) == [Event.BACKFILLED, Event.APPROVED, *[Event.REFUSED] * crowd_size]
    assert log_of(loop)[-1].detail["by"] == "Bob"


@pytest.mark.parametrize(
    ("kept_since_ms", "verdict", "outcome"),
    [
        (START_MS, Verdict.APPROVED, RulingOutcome.DONE),
        (START_MS + 1, Verdict.APPROVED, RulingOutcome.GONE),
        (START_MS + 1, Verdict.REJECTED, RulingOutcome.DONE),
    ],
)
def test_a_backfill_whose_records_have_left_the_lake_is_not_approved(
    loop: Settings, kept_since_ms: int, verdict: Verdict, outcome: RulingOutcome
) -> None:
    """What was counted could not be restated; the refusal is logged, and it can still be rejected."""
    sha256 = log_backfill(loop, backfill_diff(since=START_MS, until=START_MS + 1))
    decisions = DecisionLog(Lake.open(loop.lake), "late")
    approvals = Approvals([(EntryOrigin("flights", "late", None), decisions)], lambda: NOW_MS, lambda: kept_since_ms)
    result = approvals.rule(replace(statement(sha256), verdict=verdict))
    assert result.outcome is outcome
    assert (log_of(loop)[-1].event is Event.REFUSED) is (outcome is RulingOutcome.GONE)


def test_waiting_backfills_come_first_with_their_reasons(loop: Settings) -> None:
    """Then the decided ones, the newest first."""
    old = backfill_diff(since=START_MS, until=START_MS + 1)
    new = backfill_diff(id=OTHER, since=START_MS + 5, until=START_MS + 6)
    done = backfill_diff("fare", id=f"bf-{9:032x}")
    for diff in (new, old, done):
        log_backfill(loop, diff)
    sha256 = done.sha256()
    assert approvals(loop).rule(statement(sha256, episode=done.episode.id)).outcome is RulingOutcome.DONE
    statuses = approvals(loop).statuses()
    assert [one.episode.id for one in statuses] == [EPISODE, OTHER, done.episode.id]
    assert [one.is_waiting for one in statuses] == [True, True, False]
    assert all(REASON in one.why for one in statuses)
    assert episode_statuses([]) == []


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("  a\r\n\tb  ", "a b"),
        ("a\x00b\x1b[31m", "a\\x00b\\x1b[31m"),
        ("\udce4h", "\\udce4h"),
        ("<b>\N{GRINNING FACE}</b>", "<b>\N{GRINNING FACE}</b>"),
        ("\u200b\u200b", ""),
    ],
)
def test_typed_text_becomes_one_line_that_can_be_logged(typed: str, line: str) -> None:
    """Markup is kept; control characters and invalid UTF-8 are escaped."""
    assert one_line(typed) == line


def test_whatever_is_typed_the_log_and_its_views_can_be_read(loop: Settings) -> None:
    """SQL parses the log as JSON, and one bad entry would break its views."""
    typed = "a\x00b\x1b[31m \udce4 '; DROP TABLE x; -- \N{FIRE}" * 10
    sha256 = log_backfill(loop, backfill_diff())
    person = Person(typed[:100], "attested", "page")
    assert approvals(loop).rule(statement(sha256, reason=typed, person=person)).outcome is RulingOutcome.DONE
    with connect(loop.lake) as connection:
        rows = connection.sql("SELECT verdict, reason FROM backfills").fetchall()
    assert rows == [("approved", one_line(typed))]
    assert json.loads(log_of(loop)[-1].model_dump_json())["detail"]["by"] == one_line(typed[:100])


def test_an_entry_without_a_digest_has_none_to_approve(loop: Settings) -> None:
    """There is no diff that somebody could have read."""
    log_backfill(loop, backfill_diff())
    entry = log_of(loop)[0].model_copy(update={"detail": {}})
    status = episode_statuses([entry])[0]
    assert (status.diff_sha256, status.is_waiting) == ("", True)
    assert isinstance(entry, Decision)
    assert ANN.source == "attested"
