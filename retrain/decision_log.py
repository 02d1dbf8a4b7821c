"""The append-only log of the gate, in the lake: read as a whole, written by compare-and-set.

Entries are numbered and the lake accepts each number once, so of two processes that decide at the same time one writes.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lake import Claim, Lake, append_records
from retrain.episode_status import VERDICT_EVENTS, rulings_of
from retrain.gate import Gate
from schemas.events.backfill import Ruling
from schemas.events.evidence import Decision, Event

if TYPE_CHECKING:
    from lake.scan import Bounds

__all__ = ["DecisionLog"]

TABLE = "decisions"


class DecisionLog:
    """The log of one label kind. Entries that were read are kept in memory, because the log only grows."""

    def __init__(self, lake: Lake, kind: str) -> None:
        self._lake = lake
        self._kind = kind
        self._app = f"{TABLE}:{kind}"
        self._known: list[Decision] = []
        self._with_verdict: list[Decision] = []
        self._with_verdict_until = 0
        self._gate = Gate()

    @property
    def following(self) -> int:
        """Number of the next entry."""
        following = self._lake.applied(TABLE, self._app)
        if following < max(len(self._known), self._with_verdict_until):  # the lake was restored from a backup
            self._known, self._gate = [], Gate()
            self._with_verdict, self._with_verdict_until = [], 0
        return following

    def entries(self) -> list[Decision]:
        """Return every entry, in order."""
        following = self.following
        if following > len(self._known):
            self._known = [*self._known, *self._read(len(self._known), following)]
        return [*self._known]

    def rulings(self, until: int | None = None) -> list[Ruling]:
        """Return the rulings of the log, and read no more of it than the entries that may hold one.

        Args:
            until: as the log was before the entry of this number; None: as it is.
        """
        following = self.following
        entries = self._known
        if following > len(entries):
            first = self._with_verdict_until
            if following > first:
                new = [entry for event in VERDICT_EVENTS for entry in self._read(first, following, event)]
                self._with_verdict += sorted(new, key=lambda entry: entry.number)
                self._with_verdict_until = following
            entries = self._with_verdict
        return rulings_of(entry for entry in entries if until is None or entry.number < until)

    def _read(self, first: int, following: int, event: Event | None = None) -> list[Decision]:
        """Return entries in order: of all events, or of one."""
        within: dict[str, Bounds] = {"kind": (self._kind, self._kind), "number": (first, following - 1)}
        if event is not None:
            within["event"] = (event.value, event.value)
        documents = self._lake.scan(TABLE, within).sort("number").select("document").collect()["document"]
        return [Decision.model_validate_json(document) for document in documents]

    def gate(self) -> Gate:
        """Return the gate after the log; entries that were folded before are not folded again.

        Raises:
            IllegalEvent: no gate can have written this log.
        """
        entries = self.entries()
        self._gate = self._gate.after_all(entries[self._gate.following :])
        return self._gate

    def update(
        self,
        build: Callable[[list[Decision]], Sequence[Decision]],
        now_ms: Callable[[], int],
        attempts_max: int = 1,
    ) -> list[Decision] | None:
        """Read the log, and append the entries that `build` makes of it; repeat if another writer was first.

        Args:
            build: the whole log -> its next entries, none if nothing is to be added. Called once per attempt.
            now_ms: wall clock for the time of recording.
            attempts_max: how often to try.

        Returns:
            The entries that were written, empty if `build` made none; None if another writer was first every time.

        Raises:
            LakeError: the log cannot be read or written.
        """
        for _ in range(attempts_max):
            new = [*build(self.entries())]
            if self.append(new, now_ms()):
                return new
        return None

    def append(self, entries: Sequence[Decision], recorded_at_ms: int) -> bool:
        """Write entries at the log's end.

        Args:
            entries: numbered from the log's end, without gaps.
            recorded_at_ms: wall-clock time, for people; nothing depends on it.

        Returns:
            False if another writer took one of the numbers first.

        Raises:
            LakeError: the log cannot be written.
        """
        if not entries:
            return True
        first, following = entries[0].number, entries[-1].number + 1
        claim = Claim(self._app, first, following)
        return append_records(self._lake, TABLE, [_row(entry) for entry in entries], claim, recorded_at_ms)


def _row(entry: Decision) -> dict[str, object]:
    return {
        "number": entry.number,
        "kind": entry.kind,
        "evidence_at": datetime.fromtimestamp(entry.at / 1000, UTC),
        "event": entry.event.value,
        "state": entry.state.value,
        "decision": entry.decision,
        "reason": entry.reason,
        "version": entry.version,
        "document": entry.model_dump_json(),
    }
