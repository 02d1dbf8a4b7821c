"""What people tell a running join, as records on `<loop>.commands`: one copy in every partition.

A close says that the inputs are complete up to a time. It holds from the positions on that it names, which
were the ends of the partition's topics when it was given: whatever was sent before it is read before it.
Other rules hold from the step on that reads them; the ledger says of every step under which it was taken.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from schemas.errors import BrokerError
from streams.kafka.client import REACH_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.topics import Topics

__all__ = ["ChangeRules", "Close", "decode_command", "send_close", "send_rules"]


class Close(msgspec.Struct, frozen=True, tag_field="command", tag="close"):
    """All inputs of one partition are complete up to a time.

    Attributes:
        time: ms, UTC.
        predictions_next: position in the partition's predictions from which on it holds.
        labels_next: the same of the labels.
    """

    time: int
    predictions_next: int
    labels_next: int
    v: Literal[1] = 1


class ChangeRules(msgspec.Struct, frozen=True, tag_field="command", tag="config"):
    """One partition goes on under other rules, from the step on that reads this.

    Attributes:
        rules: JSON of the rules; see `streams.ledger.rules`.
    """

    rules: str
    v: Literal[1] = 1


def decode_command(message: bytes | None) -> Close | ChangeRules | None:
    """Return a command, or None for what is none that this version knows."""
    try:
        return msgspec.json.decode(message or b"", type=Close | ChangeRules)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def send_close(clients: KafkaClients, topics: Topics, time_ms: int) -> None:
    """Tell every partition that its inputs are complete up to `time_ms`.

    Raises:
        BrokerError: the cluster does not take it; then it may hold in some partitions, and can be sent again.
    """
    reader = clients.reader()
    try:
        commands = []
        for partition in range(topics.partitions):
            ends = [
                reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=REACH_TIMEOUT_S)[1]
                for topic in (topics.predictions, topics.labels)
            ]
            commands.append(Close(time_ms, ends[0], ends[1]))
    except KafkaException as error:
        raise broker_error("the command cannot be sent", error, clients) from None
    finally:
        reader.close()
    _send(clients, topics, commands)


def send_rules(clients: KafkaClients, topics: Topics, rules: str) -> None:
    """Tell every partition to go on under other rules.

    Raises:
        BrokerError: the cluster does not take it; then it may hold in some partitions, and can be sent again.
    """
    _send(clients, topics, [ChangeRules(rules)] * topics.partitions)


def _send(clients: KafkaClients, topics: Topics, commands: Sequence[Close | ChangeRules]) -> None:
    """Send each partition its command."""
    producer = clients.producer()
    failed: list[str] = []
    try:
        for partition, command in enumerate(commands):
            producer.produce(
                topics.commands,
                value=msgspec.json.encode(command),
                partition=partition,
                on_delivery=lambda error, _message: failed.append(error.str()) if error else None,
            )
        left = producer.flush(REACH_TIMEOUT_S)
    except KafkaException as error:
        raise broker_error("the command cannot be sent", error, clients) from None
    if failed or left:
        raise BrokerError(
            f"the command was not taken by every partition: {failed[0] if failed else 'no answer'}",
            where=f"topic {topics.commands}",
            hint="Send it again: what holds already is not changed by it.",
        )
