"""Reads single records of a topic again, by their offsets."""

import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import BrokerError
from streams.kafka.client import KafkaClients, broker_error
from streams.kafka.range import offset_bounds

__all__ = ["read_records"]

MESSAGES_PER_READ: Final = 1_000
FAR: Final = 10_000
"""Offsets between two records beyond which it is cheaper to begin anew than to read on."""

ANSWER_S: Final = 60.0
"""An open transaction holds back what comes after it until it ends, 30 s at most."""


def read_records(clients: KafkaClients, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, Message]:
    """Return the committed records at these offsets, by offset; those that are not there any more are left out.

    Raises:
        BrokerError: the cluster does not answer, or denies it.
    """
    found: dict[int, Message] = {}
    reader = clients.reader()
    try:
        low, high = offset_bounds(clients, reader, topic, partition)
        wanted = deque(offset for offset in sorted(offsets) if low <= offset < high)
        while wanted:
            position = first = wanted[0]
            reader.assign([TopicPartition(topic, partition, first)])
            deadline_s = time.monotonic() + ANSWER_S
            while wanted and wanted[0] - position < FAR:
                for message in reader.consume(MESSAGES_PER_READ, timeout=0.2):
                    error, offset = message.error(), message.offset()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                        what = f"topic {topic}: partition {partition} cannot be read"
                        raise broker_error(what, KafkaException(error), clients)
                    if error is None and wanted and offset == wanted[0]:
                        found[wanted.popleft()] = message
                # not the offset of the last message: markers and aborted records have offsets, and are not given
                reached = reader.position([TopicPartition(topic, partition)])[0].offset
                if reached > position:
                    position, deadline_s = reached, time.monotonic() + ANSWER_S
                while wanted and wanted[0] < position:
                    wanted.popleft()
                if time.monotonic() > deadline_s:
                    raise BrokerError(
                        f"offset {wanted[0]} did not arrive within {ANSWER_S:.0f} s",
                        where=f"topic {topic}, partition {partition}",
                        hint="A transaction may hang: kafka-transactions.sh find-hanging shows it.",
                    )
    finally:
        reader.close()
    return found
