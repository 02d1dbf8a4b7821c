"""Delivers the requests of open retrains, and brings the gate's log up to date with the attempts.

An attempt is recorded first and the gate's log follows from it: if a process dies in between, the next one logs what
followed. Runs that are under way are polled afterwards (`truthloop.feedback.polling`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import ValidationError

from lake import Lake
from retrain.dataset_rows import rows_from_detail
from retrain.decision_log import DecisionLog
from retrain.gate import Gate, gate_of
from retrain.log_entries import EntryOrigin, attempted
from retrain.schedule import Attempt
from retrain.sender import Outgoing, Receiver, deliver_due
from schemas.config.retrain import RetrainConfig
from schemas.events.evidence import Decision, Event, Finding, GateState
from schemas.events.retrain_request import RequestedDataset, RetrainData, RetrainFinding, RetrainRequest
from truthloop.feedback.delivery_log import LakeDeliveryLog
from truthloop.feedback.polling import RunPoller

__all__ = ["Deliveries", "request_of"]

log = logging.getLogger("truthloop.feedback")

FINDINGS_MAX = 20


class Deliveries:
    """Sends the requests of a loop's open retrains.

    Args:
        lake: a handle of its own, since it is used in other threads.
        origins: of all label kinds.
        now_ms: the wall clock.
        count_attempt: called with the outcome of every recorded attempt.
    """

    def __init__(
        self,
        lake: Lake,
        origins: list[EntryOrigin],
        receiver: Receiver,
        now_ms: Callable[[], int],
        count_attempt: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._log = LakeDeliveryLog(lake, now_ms)
        self._count_attempt = count_attempt
        self._kinds = [(origin, DecisionLog(lake, origin.kind)) for origin in origins]
        self._poller = RunPoller(self._kinds, receiver, now_ms)
        self._receiver = receiver
        self._now_ms = now_ms
        self._lake = lake
        self._log_version: int | None = None
        self._open: dict[str, Outgoing] = {}

    async def send_due(self) -> list[Decision]:
        """Make the attempts that are due, poll the runs that are under way, and return the new log entries.

        Raises:
            LakeError: the log cannot be read or written.
            ConfigError: requests to the receiver's URL are not allowed.
        """
        await asyncio.to_thread(self._refresh)
        new = []
        if self._open:
            for attempt in await deliver_due(self._receiver, self._open, self._log, self._now_ms):
                self._count_attempt(attempt.outcome)
                _log_retry(attempt)
            new = await asyncio.to_thread(self._follow)
            await asyncio.to_thread(self._refresh)
        return new + await self._poller.poll_due()

    def _refresh(self) -> None:
        """Find the open requests and runs again if the logs have changed."""
        version = self._lake.version("decisions")
        if version != self._log_version:
            self._open, self._log_version = self._requests(), version
            self._poller.refresh()

    def _requests(self) -> dict[str, Outgoing]:
        """Return the requests that are not delivered yet, by decision."""
        found = {}
        for origin, decisions in self._kinds:
            gate = decisions.gate()
            if gate.state is GateState.REQUESTED and gate.decision is not None and origin.retrain is not None:
                request = request_of(origin.retrain, decisions.entries(), gate)
                found[gate.decision] = Outgoing(request.time, request.body())
        return found

    def _follow(self) -> list[Decision]:
        """Log what follows from the attempts."""
        attempts = self._log.attempts(self._open)
        new: list[Decision] = []
        for origin, decisions in self._kinds:
            new += decisions.update(partial(_entries, origin, attempts), self._now_ms) or []
        return new


def request_of(retrain: RetrainConfig, entries: list[Decision], gate: Gate) -> RetrainRequest:
    """Return the request of the open retrain; it follows from the log alone, so every attempt has the same bytes.

    Args:
        entries: the gate's log.
        gate: the fold of the log, with a retrain whose data set is written.
    """
    mine = [entry for entry in entries if entry.decision == gate.decision]
    decided = mine[0]  # by the evaluation of a day, or after a ruling
    written: Mapping[str, str | int | float | None] = next(
        entry.detail for entry in reversed(mine) if entry.event is Event.PREPARED
    )
    findings = decided.findings[:FINDINGS_MAX]
    while True:
        try:
            return RetrainRequest.of(_data(retrain, gate, decided, written, findings), decided.at)
        except ValidationError:
            if len(findings) == 1:
                raise
            findings = findings[: len(findings) // 2]  # names can be long: keep the gravest findings


def _entries(origin: EntryOrigin, attempts: Sequence[Attempt], entries: Sequence[Decision]) -> list[Decision]:
    """Return the log's next entry if the newest attempt of an open request has ended its delivery."""
    gate = gate_of(entries)
    mine = [one for one in attempts if gate.state is GateState.REQUESTED and one.decision == gate.decision]
    entry = attempted(origin, gate, mine[-1]) if mine else None
    return [] if entry is None else [entry]


def _log_retry(attempt: Attempt) -> None:
    if attempt.outcome == "retry":
        reason = attempt.detail or f"the answer was {attempt.status}"
        log.warning("retrain %s: attempt %d will be repeated: %s", attempt.decision, attempt.number, reason)


def _data(
    retrain: RetrainConfig,
    gate: Gate,
    decided: Decision,
    written: Mapping[str, str | int | float | None],
    findings: list[Finding],
) -> RetrainData:
    holdout_rows = written.get("holdout_rows")
    left_out, approved = rows_from_detail(written)
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
            holdout_rows=None if holdout_rows is None else int(holdout_rows),
            left_out=left_out,
            approved=approved,
            as_of=decided.at if gate.decided_ms is None else gate.decided_ms,
        ),
        current_version=decided.version or "",
        callback_url=retrain.target.callback_url,
    )
