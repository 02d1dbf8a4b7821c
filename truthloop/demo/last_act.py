"""The last part of the demo: the airport restates two past months, and a person rules about each.

It waits for the entries in the gate's log, and rules with the command that a person would type.
"""

import os
import subprocess
import sys
from calendar import month_name
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
from confluent_kafka import Producer

from lake import Lake, connect
from retrain.decision_log import DecisionLog
from retrain.episode_status import rulings_of, waiting_episodes
from retrain.gate import gate_of
from schemas.base.figures import share
from schemas.errors import TruthloopError
from schemas.events.backfill import Episode, Verdict
from schemas.events.backfill_diff import BackfillDiff
from schemas.events.evidence import Decision, Event, GateState
from truthloop.config.settings import Settings
from truthloop.demo.airline import flush_records, send_records
from truthloop.evidence.diff_log import DiffLog

__all__ = ["DemoRuling", "restate_months"]

TOPIC: Final = "airport.restatements"
KIND: Final = "arrived_late"

_RULINGS: Final = (
    (10, Verdict.REJECTED, "a single month must not have another definition than the rest of the year"),
    (11, Verdict.APPROVED, "from November on, late means more than half an hour"),
)
_COMMANDS: Final[Mapping[Verdict, str]] = {Verdict.APPROVED: "approve", Verdict.REJECTED: "reject"}
_LATE_SHARE: Final = """
SELECT sum(tp + fn) / sum(n) FROM metrics WHERE kind = ? AND month("day") = ?
"""

WaitUntil = Callable[[Callable[[], bool]], None]
"""Returns once a condition holds."""


@dataclass(frozen=True)
class DemoRuling:
    """A restated month, the ruling about it, and its effect.

    Attributes:
        month: 1 to 12.
        diff: that the person ruled about.
        late_share: of the month's labelled flights in the views, from 0 to 1, before and after the ruling.
        outcome: the gate's entry that follows the ruling.
    """

    month: int
    diff: BackfillDiff
    verdict: Verdict
    reason: str
    late_share: tuple[float, float]
    outcome: Decision

    def document(self) -> dict[str, object]:
        """Return it as a JSON document."""
        return {
            "month": self.month,
            "episode": self.diff.episode.id,
            "labels": self.diff.episode.labels,
            "flips": self.diff.touched.changed,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "late_share": {"before": self.late_share[0], "after": self.late_share[1]},
            "gate": {
                "state": self.outcome.state.value,
                "reason": self.outcome.reason,
                "retrain": self.outcome.decision,
            },
        }

    def lines(self) -> list[str]:
        """Return it as lines of text."""
        before, after = self.late_share
        effect = f"{share(before)} late before, {share(after)} after"
        changes = f"{self.diff.touched.changed:,} of {self.diff.episode.labels:,} labels would change"
        return [
            f"{month_name[self.month]}: {changes}. It waits: truthloop backfill diff {self.diff.episode.id}",
            f"  A person has {self.verdict.value} it: {self.reason}. {effect}.",
            f"  The gate: {self.outcome.reason}",
        ]


def restate_months(settings: Settings, producer: Producer, wait_until: WaitUntil) -> list[DemoRuling]:
    """Restate the months, rule about each, and return the rulings once the gate has followed them.

    Raises:
        BrokerError: the cluster does not accept the records, or the roles make no progress.
        TruthloopError: the command refuses a ruling.
    """
    restatements = pl.read_csv(settings.path.parent / "restatements.csv")
    lake = Lake.open(settings.lake)
    log = DecisionLog(lake, KIND)
    found = []
    for month, verdict, reason in _RULINGS:
        rows = restatements.filter(pl.col("flight_date").str.slice(5, 2) == f"{month:02}")
        send_records(producer, TOPIC, rows, rows["flight"], rows["told_at_utc"] * 1000)
        flush_records(producer)
        wait_until(lambda rows=rows: _waiting_episode(log, rows.height) is not None)  # type: ignore[misc]
        episode = _waiting_episode(log, rows.height)
        diff = None if episode is None else DiffLog(lake).newest(episode.id)
        if diff is None:
            raise TruthloopError("a waiting backfill has no diff", where=str(settings.lake))
        before = _late_share(settings, month)
        _rule(settings, diff, verdict, reason)
        wait_until(lambda: not gate_of(log.entries()).ruled)
        wait_until(lambda: gate_of(log.entries()).state not in (GateState.PREPARING, GateState.REQUESTED))
        outcome = next(entry for entry in reversed(log.entries()) if entry.event is Event.RESTATED)
        found.append(DemoRuling(month, diff, verdict, reason, (before, _late_share(settings, month)), outcome))
    return found


def _waiting_episode(log: DecisionLog, labels: int) -> Episode | None:
    """Return the waiting episode with this number of labels."""
    return next((one for one in waiting_episodes(rulings_of(log.entries())) if one.labels == labels), None)


def _rule(settings: Settings, diff: BackfillDiff, verdict: Verdict, reason: str) -> None:
    """Run `truthloop backfill approve` or `reject`."""
    command: Sequence[str] = (
        *(sys.executable, "-m", "truthloop", "backfill", _COMMANDS[verdict], diff.episode.id),
        *("--diff", diff.sha256(), "--reason", reason, "--config", str(settings.path)),
    )
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise TruthloopError(f"the ruling was refused: {done.stderr.strip()}", where=diff.episode.id)


def _late_share(settings: Settings, month: int) -> float:
    with connect(settings.lake) as views:
        row = views.execute(_LATE_SHARE, [KIND, month]).fetchone()
    return float(row[0]) if row is not None and row[0] is not None else 0.0
