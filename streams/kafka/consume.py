"""Reads the next batch of a consumer: soon where there is something to read, and seldom where there is not."""

import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, Message

__all__ = ["IDLE_S", "by_partition", "consume_batch"]

IDLE_S: Final = 0.5
"""Longest wait for a first message: a role without any wakes up twice a second, for other work and to be stopped."""

_AFTER_FIRST: Final = 0.2
"""Part of the time of a batch that others are waited for, however late the first message comes."""


def consume_batch(consumer: Consumer, count: int, batch_s: float, wait_s: float = IDLE_S) -> list[Message]:
    """Return up to `count` messages; none if none comes in time.

    Where there is one at once, those of the next `batch_s` seconds come with it. After one that was waited for, fewer:
    where little is read, it is read at once.

    Args:
        consumer: a member of a group; its callbacks are called meanwhile.
        wait_s: how long to wait for the first message, in seconds.
    """
    started_s = time.monotonic()
    messages = consumer.consume(1, timeout=wait_s)
    if messages and count > 1:
        left_s = batch_s - (time.monotonic() - started_s)
        messages += consumer.consume(count - 1, timeout=max(left_s, batch_s * _AFTER_FIRST))
    return messages


def by_partition(messages: Iterable[Message]) -> tuple[dict[tuple[str, int], list[Message]], list[Message]]:
    """Return messages by topic and number of their partition, and those that tell errors of the client."""
    found: dict[tuple[str, int], list[Message]] = {}
    errors: list[Message] = []
    for message in messages:
        if message.error() is not None:
            errors.append(message)
            continue
        partition = (message.topic() or "", message.partition() or 0)
        if partition in found:
            found[partition].append(message)
        else:
            found[partition] = [message]
    return found, errors
