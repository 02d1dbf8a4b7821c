"""Deliveries of requests: what is to be sent, the log of attempts in the lake, and what attempts mean for the gate.

What a server then says of the run is asked for here, too (`truthloop.feedback.polling`).

An attempt is recorded first and the gate's log follows from it, so that a process that dies in between is made good by
the next look. Must not decide anything.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from pydantic import ValidationError

from lake import Claim, Lake, append_records
from retrain.decision_log import DecisionLog
from retrain.gate import Gate, gate_of
from retrain.log_entries import EntryOrigin, attempted
from retrain.schedule import Attempt
from retrain.sender import Outgoing, Receiver, deliver_due
from schemas.config.retrain import RetrainConfig
from schemas.events.evidence import Decision, Event, Finding, GateState
from schemas.events.retrain_request import RequestedDataset, RetrainData, RetrainFinding, RetrainRequest
from truthloop.feedback.polling import Polls

__all__ = ["Deliveries", "LakeDeliveryLog", "request_of"]

log = logging.getLogger("truthloop.feedback")

TABLE = "deliveries"
FINDINGS_MAX = 20


class LakeDeliveryLog:
    """The attempts of some decisions, kept in the lake and remembered here.

    Args:
        lake: of the loop.
        now_ms: the wall clock, for the time of recording.
    """

    def __init__(self, lake: Lake, now_ms: Callable[[], int]) -> None:
        self._lake = lake
        self._now_ms = now_ms
        self._known: tuple[int, list[Attempt]] | None = None

    def attempts(self) -> list[Attempt]:
        """Return all attempts of all decisions, in order; read again only where there are others."""
        version = self._lake.version(TABLE)
        if self._known is None or self._known[0] != version:
            self._known = version, self._read()
        return [*self._known[1]]

    def _read(self) -> list[Attempt]:
        rows = self._lake.scan(TABLE).sort("number").collect()
        return [
            Attempt(
                decision=row["decision"],
                number=row["attempt"],
                at_ms=round(row["attempted_at"].timestamp() * 1000),
                outcome=row["outcome"],
                status=row["http_status"],
                retry_after_ms=row["retry_after_ms"],
                detail=row["detail"] or "",
            )
            for row in rows.iter_rows(named=True)
        ]

    def append(self, attempt: Attempt, expected_number: int) -> bool:
        """Add an attempt if `expected_number` is the next of its decision; False: another sender was first."""
        row = {
            "number": self._lake.version(TABLE),
            "decision": attempt.decision,
            "attempt": attempt.number,
            "attempted_at": datetime.fromtimestamp(attempt.at_ms / 1000, UTC),
            "outcome": attempt.outcome,
            "http_status": attempt.status,
            "retry_after_ms": attempt.retry_after_ms,
            "detail": attempt.detail,
        }
        claim = Claim(f"{TABLE}:{attempt.decision}", expected_number - 1, expected_number)
        return append_records(self._lake, TABLE, [row], claim, self._now_ms())


class Deliveries:
    """Sends what the gates of a loop have asked for.

    Args:
        lake: of the loop, for these deliveries alone: it is used in threads.
        origins: of all label kinds.
        receiver: where requests go.
        now_ms: the wall clock.
        attempted: called with the outcome of every attempt that was recorded.
    """

    def __init__(
        self,
        lake: Lake,
        origins: list[EntryOrigin],
        receiver: Receiver,
        now_ms: Callable[[], int],
        attempted: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._log = LakeDeliveryLog(lake, now_ms)
        self._attempted = attempted
        self._kinds = [(origin, DecisionLog(lake, origin.kind)) for origin in origins]
        self._polls = Polls(self._kinds, receiver, now_ms)
        self._receiver = receiver
        self._now_ms = now_ms
        self._lake = lake
        self._seen: int | None = None
        self._open: dict[str, Outgoing] = {}

    async def send_due(self) -> list[Decision]:
        """Make the attempts that are due, ask for the runs that are under way, and return the entries that follow.

        Raises:
            LakeError: the log cannot be read or written.
            ConfigError: the receiver's URL can never be sent to.
        """
        await asyncio.to_thread(self._look)
        new = []
        if self._open:
            for attempt in await deliver_due(self._receiver, self._open, self._log, self._now_ms):
                self._attempted(attempt.outcome)
                _tell(attempt)
            new = await asyncio.to_thread(self._follow)
            await asyncio.to_thread(self._look)
        return new + await self._polls.ask_due()

    def _look(self) -> None:
        """Know what is on its way, where the logs have changed."""
        seen = self._lake.version("decisions")
        if seen != self._seen:
            self._open, self._seen = self._requests(), seen
            self._polls.look()

    def _requests(self) -> dict[str, Outgoing]:
        """Return the requests that are on their way, by decision."""
        found = {}
        for origin, decisions in self._kinds:
            entries = decisions.entries()
            gate = gate_of(entries)
            if gate.state is GateState.REQUESTED and gate.decision is not None and origin.retrain is not None:
                request = request_of(origin.retrain, entries, gate)
                found[gate.decision] = Outgoing(request.time, request.body())
        return found

    def _follow(self) -> list[Decision]:
        """Bring the gates' logs up to the attempts."""
        attempts = self._log.attempts()
        new = []
        for origin, decisions in self._kinds:
            gate = gate_of(decisions.entries())
            if gate.state is not GateState.REQUESTED:
                continue
            mine = [one for one in attempts if one.decision == gate.decision]
            entry = attempted(origin, gate, mine[-1]) if mine else None
            if entry is not None and decisions.append([entry], self._now_ms()):
                new.append(entry)
        return new


def _tell(attempt: Attempt) -> None:
    if attempt.outcome == "retry":
        told = attempt.detail or f"the answer was {attempt.status}"
        log.warning("retrain %s: attempt %d comes again: %s", attempt.decision, attempt.number, told)


def request_of(retrain: RetrainConfig, entries: list[Decision], gate: Gate) -> RetrainRequest:
    """Return the request of the open retrain: made from the log alone, so that every attempt has the same bytes.

    Args:
        retrain: the config's section.
        entries: the gate's log.
        gate: what the log leaves, with a retrain whose data set is written.
    """
    mine = [entry for entry in entries if entry.decision == gate.decision]
    decided = mine[0]  # of a day's end, or of a ruling that was followed
    written: Mapping[str, str | int | float | None] = next(
        entry.detail for entry in reversed(mine) if entry.event is Event.PREPARED
    )
    findings = decided.findings[:FINDINGS_MAX]
    while True:
        try:
            return RetrainRequest.of(_data(retrain, (gate, decided), written, findings), decided.at)
        except ValidationError:
            if len(findings) == 1:
                raise
            findings = findings[: len(findings) // 2]  # names of many bytes: the gravest findings stay


def _data(
    retrain: RetrainConfig,
    asked: tuple[Gate, Decision],
    written: Mapping[str, str | int | float | None],
    findings: list[Finding],
) -> RetrainData:
    gate, decided = asked
    return RetrainData(
        loop=decided.loop,
        decision=decided.decision or "",
        kind=decided.kind,
        trigger=[RetrainFinding.of(finding) for finding in findings],
        evidence_at=decided.at,
        dataset=RequestedDataset(
            uri=str(written["dataset"]),
            manifest_uri=str(written["manifest"]),
            manifest_sha256=str(written["manifest_sha256"]),
            rows=int(written["rows"] or 0),
            as_of=decided.at if gate.decided_ms is None else gate.decided_ms,
        ),
        current_version=decided.version or "",
        callback_url=retrain.target.callback_url,
    )
