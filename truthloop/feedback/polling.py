"""Polls servers for the state of running retrains; an answer enters the gate's log as a callback would.

Poll times are kept in memory only: after a restart the first poll is made at once.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from retrain.decision_log import DecisionLog
from retrain.gate import IllegalEvent, gate_of
from retrain.log_entries import EntryOrigin, answered
from retrain.poll import Poll, callback_of, poll_id
from retrain.sender import Receiver, poll_run
from retrain.target.exchange import RunState
from schemas.events.evidence import Decision, GateState
from schemas.events.retrain_request import RetrainCallback

__all__ = ["RunPoller"]

log = logging.getLogger("truthloop.feedback")

Kind = tuple[EntryOrigin, DecisionLog]


class RunPoller:
    """Polls the runs of one loop.

    Args:
        kinds: of the loop, each with its log.
        now_ms: the wall clock.
    """

    def __init__(self, kinds: Sequence[Kind], receiver: Receiver, now_ms: Callable[[], int]) -> None:
        self._kinds = kinds
        self._receiver = receiver
        self._now_ms = now_ms
        self._running: list[str] = []
        self._polls: dict[str, Poll] = {}
        self._reported: dict[str, str] = {}

    def refresh(self) -> None:
        """Find the runs that are under way; to be called when the log has changed."""
        self._running = [decision for kind in self._kinds if (decision := _running(kind)) is not None]
        self._polls = {decision: self._polls.get(decision, Poll()) for decision in self._running}

    async def poll_due(self) -> list[Decision]:
        """Poll the runs that are due, and return the new log entries.

        Raises:
            LakeError: the log cannot be read or written.
            ConfigError: requests to the server's URL are not allowed.
        """
        now_ms = self._now_ms()
        due = [decision for decision in self._running if self._polls[decision].due_ms <= now_ms]
        if not due or self._receiver.target.poll(due[0]) is None:
            return []
        states = await asyncio.gather(*(poll_run(self._receiver, decision, now_ms) for decision in due))
        return await asyncio.to_thread(self._take, dict(zip(due, states, strict=True)), now_ms)

    def _take(self, states: dict[str, RunState], now_ms: int) -> list[Decision]:
        new: list[Decision] = []
        for decision, state in states.items():
            rng = Random(f"{decision}/{now_ms}")  # noqa: S311 - spreads polls in time, keeps no secret
            self._polls[decision] = self._polls[decision].after(state, now_ms, rng)
            self._report(decision, state)
            if (callback := callback_of(decision, state)) is not None:
                new += self._append(callback)
        return new

    def _report(self, decision: str, state: RunState) -> None:
        """Log once why the state of a run is unknown."""
        if state.detail and state.detail != self._reported.get(decision):
            log.warning("retrain %s: the state of its run is unknown: %s", decision, state.detail)
        self._reported[decision] = state.detail

    def _append(self, callback: RetrainCallback) -> list[Decision]:
        for origin, decisions in self._kinds:
            if new := decisions.update(partial(_entries, origin, callback), self._now_ms):
                return new
        return []


def _entries(origin: EntryOrigin, callback: RetrainCallback, entries: Sequence[Decision]) -> list[Decision]:
    """Return the log's next entry; none if the status is logged already, or the retrain is not open in this log."""
    gate = gate_of(entries)
    id_ = poll_id(callback.decision, callback.status)
    if gate.decision != callback.decision or any(one.detail.get("callback_id") == id_ for one in entries):
        return []
    entry = answered(origin, gate, callback, id_)
    try:
        gate.after(entry)
    except IllegalEvent:
        return []
    return [entry]


def _running(kind: Kind) -> str | None:
    """Return the decision of a kind whose run is to be polled; None: there is none."""
    origin, decisions = kind
    if origin.retrain is None or origin.retrain.target.completion == "callback":
        return None
    entries = decisions.entries()
    gate = gate_of(entries)
    if gate.state is not GateState.RUNNING or gate.decision is None:
        return None
    id_ = poll_id(gate.decision, "succeeded")
    return None if any(entry.detail.get("callback_id") == id_ for entry in entries) else gate.decision
