"""Transactions of one worker: a transactional producer, replaced whenever its last transaction's end is doubtful.

librdkafka ends transactions by the old protocol, in which a commit that was delayed on its way can still hit
the transaction after it. So after any commit that was slow or disturbed the producer is replaced, which makes
the broker end whatever is open and refuse what comes late. Must not decide what a doubtful commit became:
the group's committed offsets say so (`streams.join_worker.recovery`).
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaException, Producer, TopicPartition

from schemas.errors import BrokerError
from streams.kafka.client import SOCKET_TIMEOUT_MS, KafkaClients, broker_error

__all__ = ["FencedError", "Transactions", "UndoneError"]

log = logging.getLogger("truthloop.transaction")

DOUBTFUL_SHARE = 0.8
"""A commit that took this share of the socket's time limit may have been sent twice."""

INIT_TIMEOUT_S = 60.0
"""Longer than a predecessor's open transaction can last (its limit is 30 s)."""

RETRIES_MAX = 10

ANY_PARTITION = -1

METADATA_HEAD = b"CGMDv2:"
"""With it librdkafka's form of a membership begins; the generation follows as 32 bits."""


class UndoneError(Exception):
    """The transaction did not certainly commit: what was done in memory must be thrown away."""


class FencedError(BrokerError):
    """Another worker with the same slot has taken over; this one must end."""


class Transactions:
    """One worker's transactions, one after the other.

    Args:
        clients: of the cluster.
        transactional_id: the same in every life of this worker, so that a new life ends the old one's transaction.
        crash: called with the name of each step; tests end the process there.
    """

    def __init__(
        self, clients: KafkaClients, transactional_id: str, crash: Callable[[str], None] = lambda _step: None
    ) -> None:
        self._clients = clients
        self._id = transactional_id
        self._crash = crash
        self._producer: Producer | None = None
        self._disturbances = 0
        self._is_open = False

    def open(self) -> None:
        """Make the producer now: that ends what an earlier life left open, and with it the wait for its offsets."""
        if self._producer is None:
            self._producer = self._start()
            self._disturbances = self._clients.disturbances

    def begin(self) -> None:
        """Open a transaction; with a new producer where the last one's end was doubtful."""
        if self._producer is not None and self._clients.disturbances != self._disturbances:
            self._drop()
        self.open()
        self._call("begin", self._live().begin_transaction)
        self._is_open = True
        self._crash("begun")

    def send(self, topic: str, messages: Sequence[dict[str, Any]], partition: int = ANY_PARTITION) -> None:
        """Add messages ({value, key?}) to the open transaction; without a partition the key decides.

        A partition that a message names itself would be ignored by the library's batch (measured).
        """
        producer = self._live()
        waiting = list(messages)
        while waiting:
            producer.produce_batch(topic, waiting, partition)
            refused = [message for message in waiting if "_error" in message]
            for message in refused:
                fault = message.pop("_error")
                if fault.code() != fault._QUEUE_FULL:  # noqa: SLF001 - its public name
                    raise UndoneError(f"{topic}: {fault.str()}")
            waiting = refused
            producer.poll(0.05 if waiting else 0)
        self._crash("sent")

    def commit(self, offsets: list[TopicPartition], group_metadata: Any) -> None:  # noqa: ANN401 - opaque in the library
        """Commit the open transaction together with the positions of what it was made from.

        Raises:
            UndoneError: it did not commit, or nobody can tell.
            FencedError: another worker has this worker's slot.
        """
        producer = self._live()
        if _generation(group_metadata) < 0:  # an empty group would take it from anybody
            raise UndoneError("this worker is no member of its group by now")
        self._call("send offsets", producer.send_offsets_to_transaction, offsets, group_metadata)
        self._crash("offsets sent")
        started = time.monotonic()
        self._call("commit", producer.commit_transaction)
        self._is_open = False
        self._crash("committed")
        if time.monotonic() - started > DOUBTFUL_SHARE * SOCKET_TIMEOUT_MS / 1000:
            log.warning("a commit took long: the producer is replaced")
            self._drop()

    def abandon(self) -> None:
        """Give up the open transaction, whatever has become of it, and its producer with it."""
        if self._producer is None:
            return
        if self._is_open:
            try:
                self._producer.abort_transaction(10)
            except KafkaException as error:
                log.info("abort: %s", error.args[0].str())
        self._drop()

    def _live(self) -> Producer:
        if self._producer is None:
            raise UndoneError("there is no transaction")
        return self._producer

    def _start(self) -> Producer:
        producer = self._clients.transactional_producer(self._id)
        for _ in range(RETRIES_MAX):
            try:
                producer.init_transactions(INIT_TIMEOUT_S)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise broker_error("transactions cannot be begun", error, self._clients) from None
            else:
                return producer
        raise BrokerError(
            "transactions cannot be begun: the cluster does not answer",
            where=f"kafka {self._clients.bootstrap_servers}",
        )

    def _drop(self) -> None:
        if self._producer is not None:
            self._producer.purge()
        self._producer = None
        self._is_open = False

    def _call(self, name: str, call: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401 - the library's arguments
        """Call, again where librdkafka says so; everything else undoes the transaction or ends the worker."""
        for _ in range(RETRIES_MAX):
            try:
                call(*args)
            except KafkaException as error:
                fault = error.args[0]
                if fault.retriable():
                    continue
                if fault.code() in (fault._FENCED, fault.INVALID_PRODUCER_EPOCH, fault.PRODUCER_FENCED):  # noqa: SLF001 - its public name
                    raise FencedError(
                        f"{name}: another worker has taken over the slot of {self._id}",
                        where=f"kafka {self._clients.bootstrap_servers}",
                        hint="Give every worker a slot of its own: --slot N.",
                    ) from None
                raise UndoneError(f"{name}: {fault.str()}") from None
            else:
                return
        raise UndoneError(f"{name}: tried {RETRIES_MAX} times")


def _generation(group_metadata: bytes) -> int:
    """Return the generation in which a batch was read; -1 outside of every generation."""
    start = len(METADATA_HEAD)
    return int.from_bytes(group_metadata[start : start + 4], "little", signed=True)
