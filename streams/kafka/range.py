"""Exact ranges of topic partitions, read once more: for redoing steps and for looking things up.

Only committed records are given. Must not take part in any group.
"""

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import BrokerError
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.messages import Messages

__all__ = ["read_range", "watermarks"]

MESSAGES_PER_READ = 10_000

PATIENCE_S = 60.0
"""A transaction's marks may reach a partition later than the positions that it committed; not this much later."""


def watermarks(clients: KafkaClients, reader: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Return the first offset that is still there, and the one after the last.

    Raises:
        BrokerError: the cluster does not answer.
    """
    try:
        low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=REACH_TIMEOUT_S)
    except KafkaException as error:
        raise broker_error(f"topic {topic}: partition {partition} cannot be read", error, clients) from None
    return low, high


def read_range(
    clients: KafkaClients, topic: str, partition: int, first: int, following: int, *, as_it_is: bool = False
) -> Iterator[Messages]:
    """Yield the committed messages with offsets in [first, following), in order, in pieces.

    With `as_it_is` it ends where the partition's committed records end by now; else it waits for the whole range.

    Raises:
        BrokerError: they are not all there any more, or the cluster does not answer.
    """
    if first >= following:
        return
    reader = clients.reader()
    place = TopicPartition(topic, partition, first)
    try:
        low, high = watermarks(clients, reader, topic, partition)
        if not low <= first or following > high:
            raise BrokerError(
                f"has the offsets [{low}, {high}), and [{first}, {following}) are needed",
                where=f"topic {topic}, partition {partition}",
                hint="Retention has removed them, or the topic was made anew.",
            )
        reader.assign([place])
        deadline = time.monotonic() + PATIENCE_S
        reached = first
        while reached < following:
            piece = Messages()
            for message in reader.consume(MESSAGES_PER_READ, timeout=0.5):
                at_end = _is_end(message, topic, partition)
                if not at_end and (message.offset() or 0) < following:
                    piece.add(message)
                elif at_end and as_it_is:
                    reached = following
            position = reader.position([place])[0].offset
            if position > reached:
                reached = position
                deadline = time.monotonic() + PATIENCE_S
            elif time.monotonic() > deadline:
                raise BrokerError(
                    f"nothing came of offset {reached} for {PATIENCE_S:.0f} s",
                    where=f"topic {topic}, partition {partition}",
                    hint="A transaction may hang: kafka-transactions.sh find-hanging shows it.",
                )
            if len(piece):
                yield piece
    finally:
        reader.close()


def _is_end(message: Message, topic: str, partition: int) -> bool:
    """Tell whether this is no message but the partition's end."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
        raise BrokerError(f"cannot be read: {error.str()}", where=f"topic {topic}, partition {partition}")
    return error is not None
