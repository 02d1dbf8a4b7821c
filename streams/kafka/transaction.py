"""Transactions of one worker: a transactional producer, replaced whenever the outcome of its last commit is in doubt.

librdkafka ends transactions by the old protocol, in which a commit request that was delayed on its way can still hit
the transaction after it. So after a commit that was slow, or that errors disturbed, the producer is replaced: the
broker then ends any open transaction and rejects late requests. Whether a doubtful commit succeeded is read from the
group's committed offsets (`streams.join_worker.recovery`).
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from streams.kafka.client import KafkaClients, broker_error
from streams.kafka.fencing import FencedError
from streams.kafka.messages import KeyedValue

__all__ = ["TransactionUndoneError", "Transactions"]

log = logging.getLogger("truthloop.transaction")

DOUBTFUL_SHARE = 0.8
"""A commit that took this share of the request's time limit may have been sent twice."""

CALL_TIMEOUT_S = 20.0
"""Of one call. The role's thread does nothing else meanwhile, and must end within 40 s when it is told to stop."""

ABORT_TIMEOUT_S = 5.0
"""The broker aborts it anyway, when the next producer begins."""

_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - its public name
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)
"""Another worker has this one's producer, or its membership. Who tried again would begin a new producer, and thereby
shut the other one out."""

RETRIES_MAX = 10
"""Of a call whose error librdkafka reports as retriable."""

ANY_PARTITION = -1

QUEUE_FULL_S = 0.05
"""Wait before a message is offered again to a full queue."""

GROUP_METADATA_PREFIX = b"CGMDv2:"
"""librdkafka's serialised group metadata begins with it; the generation follows, as a signed 32-bit integer."""


class TransactionUndoneError(Exception):
    """The transaction failed, or its commit is in doubt: changes in memory that belong to it must be discarded."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the transaction is undone: {reason}")


class Transactions:
    """One worker's transactions, one after the other.

    Args:
        clients: makes the producers.
        transactional_id: the same after every restart of this worker, so that the broker ends its old transaction.
        crash: called with the name of each step; tests end the process there.

    Attributes:
        producers: how many were made. While it is the same number, nobody else has committed under this id.
    """

    def __init__(
        self, clients: KafkaClients, transactional_id: str, crash: Callable[[str], None] = lambda _step: None
    ) -> None:
        self._clients = clients
        self._id = transactional_id
        self._crash = crash
        self.producers = 0
        self._producer: Producer | None = None
        self._errors_seen = 0
        self._is_open = False

    def open(self) -> None:
        """Create the producer, which ends a transaction of this worker's last run and frees the offsets it held.

        Raises:
            ClusterAway: the cluster does not answer.
            BrokerError: it refuses.
        """
        if self._producer is None:
            self._producer = self._start()
            self.producers += 1
            self._errors_seen = self._clients.error_count

    def begin(self) -> None:
        """Begin a transaction; with a new producer if there were errors since the last one was created.

        Raises:
            ClusterAway: the cluster does not answer.
            TransactionUndoneError: it was not begun.
        """
        if self._producer is not None and self._clients.error_count != self._errors_seen:
            self._drop()
        self.open()
        self._call("begin", self._live().begin_transaction)
        self._is_open = True
        self._crash("begun")

    def send(self, topic: str, messages: Iterable[KeyedValue], partition: int = ANY_PARTITION) -> None:
        """Add messages to the open transaction, by default to the partitions of their keys.

        All at once: one by one each message wakes the client's thread, and batches get smaller. The library's
        `produce_batch` ignores a partition that a message itself names (measured).

        Raises:
            TransactionUndoneError: one was refused.
            FencedError: another worker has this worker's slot.
        """
        producer = self._live()
        unsent: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in messages]
        while unsent:
            producer.produce_batch(topic, unsent, partition)
            unsent = [message for message in unsent if "_error" in message]
            for message in unsent:
                fault = message.pop("_error")
                if fault.code() == fault._FATAL:  # noqa: SLF001 - its public name
                    self._call("send", producer.abort_transaction, ABORT_TIMEOUT_S)  # tells what was fatal
                if fault.code() != fault._QUEUE_FULL:  # noqa: SLF001 - its public name
                    raise TransactionUndoneError(f"{topic}: {fault.str()}")
            self._call("send", producer.poll, QUEUE_FULL_S if unsent else 0)  # it raises what is fatal
        self._crash("sent")

    def commit(self, offsets: list[TopicPartition], group_metadata: Any) -> None:  # noqa: ANN401 - opaque in the library
        """Commit the open transaction together with the offsets of the records that it was made from.

        Args:
            offsets: the next offset to read of each partition.
            group_metadata: membership of the consumer when it read these records.

        Raises:
            TransactionUndoneError: the transaction failed, or its commit is in doubt.
            FencedError: another worker has this worker's slot.
        """
        producer = self._live()
        if _generation(group_metadata) < 0:  # a group without members accepts offsets from anybody
            raise TransactionUndoneError("this worker is not a member of its group any more")
        self._call("send offsets", producer.send_offsets_to_transaction, offsets, group_metadata, CALL_TIMEOUT_S)
        self._crash("offsets sent")
        self.commit_messages()

    def commit_messages(self) -> None:
        """Commit the open transaction as it is: what it was made from is told by its own messages.

        Raises:
            TransactionUndoneError: the transaction failed, or its commit is in doubt.
            FencedError: another worker has this worker's slot.
        """
        started = time.monotonic()
        self._call("commit", self._live().commit_transaction, CALL_TIMEOUT_S)
        self._is_open = False
        self._crash("committed")
        if time.monotonic() - started > DOUBTFUL_SHARE * self._clients.resent_after_s:
            log.warning("a commit was slow: the producer is replaced")
            self._drop()

    def abandon(self) -> None:
        """Abort the open transaction, if there is one, and drop the producer."""
        if self._producer is None:
            return
        if self._is_open:
            try:
                self._producer.abort_transaction(ABORT_TIMEOUT_S)
            except KafkaException as error:
                log.info("abort: %s", error.args[0].str())
        self._drop()

    def _live(self) -> Producer:
        if self._producer is None:
            raise TransactionUndoneError("there is no transaction")
        return self._producer

    def _start(self) -> Producer:
        producer = self._clients.transactional_producer(self._id)
        try:
            producer.init_transactions(CALL_TIMEOUT_S)
        except KafkaException as error:
            producer.purge()
            raise broker_error("transactions cannot be begun", error, self._clients) from None
        return producer

    def _drop(self) -> None:
        if self._producer is not None:
            self._producer.purge()
        self._producer = None
        self._is_open = False

    def _call(self, name: str, call: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401 - the library's arguments
        """Call the library, retrying retriable errors; others undo the transaction or, when fenced, end the worker."""
        for _ in range(RETRIES_MAX):
            try:
                call(*args)
            except KafkaException as error:
                fault = error.args[0]
                if fault.retriable() and fault.code() != fault._TIMED_OUT:  # noqa: SLF001 - its public name
                    continue
                if fault.code() in _FENCED:
                    raise FencedError(
                        f"{name}: another worker has taken over the slot of {self._id}",
                        where=f"kafka {self._clients.bootstrap_servers}",
                    ) from None
                raise TransactionUndoneError(f"{name}: {fault.str()}") from None
            else:
                return
        raise TransactionUndoneError(f"{name}: failed {RETRIES_MAX} times")


def _generation(group_metadata: bytes) -> int:
    """Return the generation of the consumer's membership; -1 where it is not a member."""
    start = len(GROUP_METADATA_PREFIX)
    return int.from_bytes(group_metadata[start : start + 4], "little", signed=True)
