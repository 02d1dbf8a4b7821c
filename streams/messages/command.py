"""Operators' commands to a running join, as records on `<loop>.commands`: one copy in every partition.

A close declares the inputs complete up to a time. It takes effect at the offsets that it names, the ends of the
partition's topics when it was sent, so records that were sent before it are read before it. Other rules take effect
with the step that reads them; the ledger records the rules of every step. So it does of labels that are withdrawn: each
partition gets its own, and a copy that is sent again finds nothing left to withdraw.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from joins import Withdrawal
from schemas.errors import BrokerError
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.topics import Topics

__all__ = [
    "WITHDRAWN_AT_ONCE",
    "ChangeRules",
    "Close",
    "Command",
    "Withdraw",
    "decode_command",
    "send_close",
    "send_rules",
    "withdraw_commands",
]

WITHDRAWN_AT_ONCE = 10_000
"""Labels of one command, and of one step: both the command and the step's ledger entry stay below half a megabyte."""


class Close(msgspec.Struct, frozen=True, tag_field="command", tag="close"):
    """All inputs of one partition are complete up to a time.

    Attributes:
        time: ms UTC.
        predictions_next: offset in the partition's predictions at which the command takes effect.
        labels_next: the same of the labels.
    """

    time: int
    predictions_next: int
    labels_next: int
    v: Literal[1] = 1


class ChangeRules(msgspec.Struct, frozen=True, tag_field="command", tag="config"):
    """One partition continues under other rules, from the step that reads this.

    Attributes:
        rules: JSON of the rules; see `streams.ledger.rules`.
    """

    rules: str
    v: Literal[1] = 1


class Withdraw(msgspec.Struct, frozen=True, tag_field="command", tag="withdraw"):
    """Labels of one partition are withdrawn, with the step that reads this.

    Attributes:
        episode: the backfill that was rejected.
        labels: kind, known_at in ms UTC, and offset of each; all were read before this was sent.
    """

    episode: str
    labels: list[Withdrawal]
    v: Literal[1] = 1


Command = Close | ChangeRules | Withdraw

_decode: Callable[[bytes], Command] = msgspec.json.Decoder(Command).decode


def decode_command(message: bytes | None) -> Command | None:
    """Return a command, or None for a message that is no command of this version."""
    try:
        return _decode(message or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def send_close(clients: KafkaClients, topics: Topics, time_ms: int) -> None:
    """Declare the inputs of every partition complete up to `time_ms`, UTC.

    Raises:
        BrokerError: not every partition accepted the command; it can be sent again.
    """
    reader = clients.reader()
    try:
        commands = []
        for partition in range(topics.partitions):
            ends = [
                reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)[1]
                for topic in (topics.predictions, topics.labels)
            ]
            commands.append(Close(time_ms, ends[0], ends[1]))
    except KafkaException as error:
        raise broker_error("the command cannot be sent", error, clients) from None
    finally:
        reader.close()
    _send(clients, topics, commands)


def send_rules(clients: KafkaClients, topics: Topics, rules: str) -> None:
    """Have every partition continue under other rules.

    Raises:
        BrokerError: not every partition accepted the command; it can be sent again.
    """
    _send(clients, topics, [ChangeRules(rules)] * topics.partitions)


def withdraw_commands(episode: str, labels: Mapping[int, Sequence[Withdrawal]]) -> Iterator[tuple[int, bytes]]:
    """Yield partition and message of each command that has the join withdraw labels of a rejected backfill.

    Args:
        labels: by partition, those that the join has read.
    """
    for partition, some in labels.items():
        for first in range(0, len(some), WITHDRAWN_AT_ONCE):
            yield partition, msgspec.json.encode(Withdraw(episode, list(some[first : first + WITHDRAWN_AT_ONCE])))


def _send(clients: KafkaClients, topics: Topics, commands: Sequence[Close | ChangeRules]) -> None:
    """Send one command to each partition."""
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
        left = producer.flush(REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise broker_error("the command cannot be sent", error, clients) from None
    if failed or left:
        raise BrokerError(
            f"the command did not reach every partition: {failed[0] if failed else 'no answer'}",
            where=f"topic {topics.commands}",
            hint="Send it again: it has no further effect where it was received.",
        )
