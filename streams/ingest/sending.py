"""Sends what was mapped, in the open transaction: canonical messages to their topics, rejects to theirs."""

from collections.abc import Iterable

from streams.ingest.mapper import MappedMessages
from streams.kafka.topics import Topics
from streams.kafka.transaction import Transactions
from streams.messages.reject import RejectMessage

__all__ = ["send_records", "send_rejects"]


def send_records(transactions: Transactions, topics: Topics, mapped: MappedMessages) -> None:
    """Send predictions and labels to the partitions of their keys, and heartbeats to every partition of labels.

    Raises:
        TransactionUndoneError: one was refused.
    """
    for topic, messages in ((topics.predictions, mapped.predictions), (topics.labels, mapped.labels)):
        if messages:
            transactions.send(topic, messages)
    if mapped.heartbeats:
        for number in range(topics.partitions):
            transactions.send(topics.labels, mapped.heartbeats, number)


def send_rejects(transactions: Transactions, topics: Topics, rejects: Iterable[tuple[int, RejectMessage]]) -> None:
    """Send rejects, each to the partition that is given with it.

    Raises:
        TransactionUndoneError: one was refused.
    """
    found: dict[int, list[RejectMessage]] = {}
    for number, reject in rejects:
        found.setdefault(number, []).append(reject)
    for number, some in found.items():
        transactions.send(topics.rejects, [(None, reject.encode()) for reject in some], number)
