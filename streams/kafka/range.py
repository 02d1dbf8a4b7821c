"""Reads exact ranges of offsets, or single ones, again, for redoing steps and for looking things up.

Gives committed records only, and joins no consumer group.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import BrokerError
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.messages import PartitionMessages

__all__ = ["offset_bounds", "once_led", "read_range", "read_records"]

Answer = TypeVar("Answer")

_BEING_ELECTED = frozenset({KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION})
ELECTED_AFTER_S = 0.1
"""An election takes milliseconds, and seconds on a busy machine."""

MESSAGES_PER_READ = 10_000

FAR = 10_000
"""Offsets between two records beyond which it is cheaper to begin anew than to read on."""

VISIBLE_WITHIN_S = 60.0
"""A transaction's markers may reach a partition after the offsets that it committed, but not by more than this."""


def once_led(ask: Callable[[], Answer]) -> Answer:
    """Return the answer to a question about partitions; it is asked again while their leaders are being elected.

    So they are in a topic that was just created, and after the end of a broker.

    Raises:
        KafkaException: another error, or no leader in time.
    """
    deadline_s = time.monotonic() + REQUEST_TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _BEING_ELECTED or time.monotonic() >= deadline_s:
                raise
        Event().wait(ELECTED_AFTER_S)


def offset_bounds(clients: KafkaClients, reader: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Return a partition's first available offset, and the offset after its last.

    Raises:
        BrokerError: the cluster does not answer.
    """
    try:
        low, high = once_led(
            lambda: reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)
        )
    except KafkaException as error:
        raise broker_error(f"topic {topic}: partition {partition} cannot be read", error, clients) from None
    return low, high


def read_range(
    clients: KafkaClients, topic: str, partition: int, first: int, following: int, *, until_end: bool = False
) -> Iterator[PartitionMessages]:
    """Yield the committed messages with offsets in [first, following), in order, in pieces.

    Waits for the whole range; with `until_end` it stops at the current end of the partition's committed records.

    Raises:
        BrokerError: some of the offsets are not available any more, or the cluster does not answer.
    """
    if first >= following:
        return
    reader = clients.reader()
    try:
        low, high = offset_bounds(clients, reader, topic, partition)
        if not low <= first or following > high:
            raise BrokerError(
                f"has the offsets [{low}, {high}), and [{first}, {following}) are needed",
                where=f"topic {topic}, partition {partition}",
                hint="Retention has removed them, or the topic was recreated.",
            )
        for some in _pieces(clients, reader, TopicPartition(topic, partition, first), following, until_end=until_end):
            yield PartitionMessages.of(some)
    finally:
        reader.close()


def read_records(clients: KafkaClients, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, Message]:
    """Return the committed records at these offsets, by offset; those that are not there any more are left out.

    Raises:
        BrokerError: the cluster does not answer.
    """
    found: dict[int, Message] = {}
    reader = clients.reader()
    try:
        low, high = offset_bounds(clients, reader, topic, partition)
        for run in _runs(sorted(offset for offset in offsets if low <= offset < high)):
            wanted = set(run)
            for some in _pieces(clients, reader, TopicPartition(topic, partition, run[0]), run[-1] + 1):
                found |= {offset: one for one in some if (offset := one.offset() or 0) in wanted}
    finally:
        reader.close()
    return found


def _runs(offsets: Sequence[int]) -> Iterator[list[int]]:
    """Yield growing offsets in lists, each of which is read at once."""
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > FAR:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run


def _pieces(
    clients: KafkaClients, reader: Consumer, start: TopicPartition, following: int, *, until_end: bool = False
) -> Iterator[list[Message]]:
    """Yield the committed messages from a position to an offset, which are there; see `read_range`."""
    topic, partition, reached = start.topic, start.partition, start.offset
    reader.assign([start])
    deadline = time.monotonic() + VISIBLE_WITHIN_S
    while reached < following:
        some = []
        for message in reader.consume(MESSAGES_PER_READ, timeout=0.5):
            at_end = _is_end(clients, message, topic, partition)
            if not at_end and (message.offset() or 0) < following:
                some.append(message)
            elif at_end and until_end:
                reached = following
        position = reader.position([start])[0].offset
        if position > reached:
            reached = position
            deadline = time.monotonic() + VISIBLE_WITHIN_S
        elif time.monotonic() > deadline:
            offset_bounds(clients, reader, topic, partition)  # raises if it is the cluster that is away
            raise BrokerError(
                f"offset {reached} did not arrive within {VISIBLE_WITHIN_S:.0f} s",
                where=f"topic {topic}, partition {partition}",
                hint="A transaction may hang: kafka-transactions.sh find-hanging shows it.",
            )
        if some:
            yield some


def _is_end(clients: KafkaClients, message: Message, topic: str, partition: int) -> bool:
    """Tell whether the client reports the partition's end; any other error is raised."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
        raise broker_error(f"topic {topic}: partition {partition} cannot be read", KafkaException(error), clients)
    return error is not None
