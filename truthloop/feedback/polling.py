"""Asks servers how the runs of open retrains get on; what they say enters the gate's log as a callback would.

Nothing is remembered over a restart but the log: the first look after it is made at once. Must not decide.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import Random

from retrain.decision_log import DecisionLog
from retrain.gate import IllegalEvent, gate_of
from retrain.log_entries import EntryOrigin, answered
from retrain.poll import Poll, callback_of, poll_id
from retrain.sender import Receiver, ask
from retrain.target.exchange import RunState
from schemas.events.evidence import Decision, GateState
from schemas.events.retrain_request import RetrainCallback

__all__ = ["Polls"]

log = logging.getLogger("truthloop.feedback")

Kind = tuple[EntryOrigin, DecisionLog]


class Polls:
    """Asks for the runs of one loop.

    Args:
        kinds: of the loop, each with its log.
        receiver: what is asked.
        now_ms: the wall clock.
    """

    def __init__(self, kinds: Sequence[Kind], receiver: Receiver, now_ms: Callable[[], int]) -> None:
        self._kinds = kinds
        self._receiver = receiver
        self._now_ms = now_ms
        self._running: list[str] = []
        self._polls: dict[str, Poll] = {}
        self._told: dict[str, str] = {}

    def look(self) -> None:
        """Know which runs are under way; to be called when the log has changed."""
        self._running = [decision for kind in self._kinds if (decision := _running(kind)) is not None]
        self._polls = {decision: self._polls.get(decision, Poll()) for decision in self._running}

    async def ask_due(self) -> list[Decision]:
        """Ask for the runs that are due, and return the entries that follow.

        Raises:
            LakeError: the log cannot be read or written.
            ConfigError: the server's URL can never be sent to.
        """
        now_ms = self._now_ms()
        due = [decision for decision in self._running if self._polls[decision].due_ms <= now_ms]
        if not due or self._receiver.target.look(due[0]) is None:
            return []
        states = await asyncio.gather(*(ask(self._receiver, decision, now_ms) for decision in due))
        return await asyncio.to_thread(self._take, dict(zip(due, states, strict=True)), now_ms)

    def _take(self, states: dict[str, RunState], now_ms: int) -> list[Decision]:
        new: list[Decision] = []
        for decision, state in states.items():
            rng = Random(f"{decision}/{now_ms}")  # noqa: S311 - spreads polls in time, keeps no secret
            self._polls[decision] = self._polls[decision].after(state, now_ms, rng)
            self._tell(decision, state)
            if (callback := callback_of(decision, state)) is not None:
                new += self._entries(callback)
        return new

    def _tell(self, decision: str, state: RunState) -> None:
        """Say once why nothing is known of a run."""
        if state.detail and state.detail != self._told.get(decision):
            log.warning("retrain %s: nothing is known of its run: %s", decision, state.detail)
        self._told[decision] = state.detail

    def _entries(self, callback: RetrainCallback) -> list[Decision]:
        """Write what was answered, unless it is there already or the retrain has ended meanwhile."""
        for origin, decisions in self._kinds:
            entries = decisions.entries()
            gate = gate_of(entries)
            id_ = poll_id(callback.decision, callback.status)
            if gate.decision != callback.decision or any(one.detail.get("callback_id") == id_ for one in entries):
                continue
            entry = answered(origin, gate, callback, id_)
            try:
                gate.after(entry)
            except IllegalEvent:
                continue
            if decisions.append([entry], self._now_ms()):
                return [entry]
        return []


def _running(kind: Kind) -> str | None:
    """Return the decision whose run is to be asked for."""
    origin, decisions = kind
    if origin.retrain is None or origin.retrain.target.completion == "callback":
        return None
    entries = decisions.entries()
    gate = gate_of(entries)
    if gate.state is not GateState.RUNNING or gate.decision is None:
        return None
    id_ = poll_id(gate.decision, "succeeded")
    return None if any(entry.detail.get("callback_id") == id_ for entry in entries) else gate.decision
