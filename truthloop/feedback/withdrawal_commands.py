"""Has a running join withdraw the labels of rejected backfills, by messages on its topic of commands.

A backfill's labels are looked up after its ruling, and as long as labels of its time may still come. A new process
sends once more what the lake does not show as withdrawn yet: the join passes over what it has withdrawn already.
"""

from collections.abc import Iterable, Mapping

from lake import Lake
from schemas.events.backfill import Episode, Ruling
from streams.feedback.role import Message
from streams.kafka.topics import Topics
from streams.ledger.lake_kind import complete_rows
from streams.ledger.row import LedgerRow
from streams.messages.command import withdraw_commands
from truthloop.evidence.withdrawals import rejected_episodes, withdrawals_of

__all__ = ["WithdrawalCommands"]

Position = tuple[int, int]
"""Partition and offset of a label."""


class WithdrawalCommands:
    """The commands of one loop; remembers what this process has sent."""

    def __init__(self, lake: Lake, topics: Topics) -> None:
        self._lake = lake
        self._topics = topics
        self._sent: dict[str, set[Position]] = {}
        self._settled: set[str] = set()
        self._due: dict[str, set[Position]] = {}
        self._settling: set[str] = set()

    def due(self, rulings: Iterable[Ruling]) -> list[Message]:
        """Return the messages to publish; `rulings` are the latest on each backfill."""
        self._due, self._settling = {}, set()
        waiting = [one for one in rejected_episodes(rulings) if one.id not in self._settled]
        rows = complete_rows(self._lake) if waiting else {}
        return [message for episode in waiting for message in self._of(episode, rows)]

    def note_sent(self) -> None:
        """Remember that the messages that `due` returned last are published."""
        for episode, positions in self._due.items():
            self._sent.setdefault(episode, set()).update(positions)
        self._settled |= self._settling

    def _of(self, episode: Episode, rows: Mapping[int, LedgerRow]) -> list[Message]:
        sent = self._sent.get(episode.id, set())
        labels = {
            partition: new
            for partition, some in withdrawals_of(self._lake, episode, rows).items()
            if (new := [one for one in some if (partition, one.offset) not in sent])
        }
        self._due[episode.id] = {(partition, one.offset) for partition, some in labels.items() for one in some}
        reached = [row.checkpoint.watermarks[episode.kind].reached_ms for row in rows.values()]
        if all(ms is not None and ms > episode.until for ms in reached):
            (self._settling if labels else self._settled).add(episode.id)
        return [
            Message(self._topics.commands, None, value, partition)
            for partition, value in withdraw_commands(episode.id, labels)
        ]
