"""When partitions are flushed, and how many of them in one turn of the worker.

Tests `streams.join_worker.task` on the durable store, without a broker.
"""

from pathlib import Path

import msgspec
import pytest
from join_case import live_config
from join_task import task_in

from joins import Idle
from streams.join_worker.task import (
    FLUSH_AFTER_MS,
    FLUSHED_KEYS,
    Incoming,
    PartitionTask,
    tasks_to_flush,
)
from streams.kafka.messages import PartitionMessages
from streams.messages.canonical import CanonicalReader

CONFIG = live_config("127.0.0.1:1")
READER = CanonicalReader(CONFIG)
NOW_MS = 1_700_000_000_000
DUE_MS = NOW_MS + FLUSH_AFTER_MS


def task_with(folder: Path, keys: int) -> PartitionTask:
    """Return a task with predictions of so many new keys, at which no turn has looked yet."""
    task = task_in(folder, CONFIG)
    outputs = {"click": 0.5, "sale": 1.0}
    values = [
        msgspec.json.encode({"v": 1, "key": f"k{number}", "time": NOW_MS, "version": "v1", "outputs": outputs})
        for number in range(keys)
    ]
    predictions = PartitionMessages([*range(keys)], values, [NOW_MS] * keys)
    task.step(Incoming(predictions, predictions_next=keys), READER, NOW_MS, Idle())
    return task


def at(now_ms: int, *tasks: PartitionTask) -> list[PartitionTask]:
    """Return what a turn in which all have taken a step would flush."""
    return tasks_to_flush((task, now_ms) for task in tasks)


def test_partitions_that_are_due_at_once_are_flushed_in_several_turns_the_longest_waiting_first(tmp_path: Path) -> None:
    """No turn flushes more than its keys, whatever is due; each is flushed once, and again when it is due again."""
    part = FLUSHED_KEYS * 3 // 5
    first, second, third = (task_with(tmp_path / str(number), keys) for number, keys in enumerate((part, part, 50)))
    assert at(NOW_MS, second) == at(NOW_MS + 1, third) == at(NOW_MS + 2, first) == []
    everyone = (first, second, third)
    assert at(DUE_MS - 1, *everyone) == []
    assert at(DUE_MS, *everyone) == [second]
    assert at(DUE_MS + 2, *everyone) == [second, third]
    for task in at(DUE_MS + 2, *everyone):
        task.flush()
    assert at(DUE_MS + 2, *everyone) == [first]
    first.flush()
    assert at(DUE_MS + 2, *everyone) == []
    assert at(DUE_MS + 2 + FLUSH_AFTER_MS, *everyone) == [*everyone]


@pytest.mark.parametrize("keys", [1, FLUSHED_KEYS + 1])
def test_the_first_one_is_flushed_whatever_its_size(tmp_path: Path, keys: int) -> None:
    """A partition with more keys than a turn flushes is not left for ever; the others wait for the next turn."""
    large, small = task_with(tmp_path / "0", keys), task_with(tmp_path / "1", FLUSHED_KEYS)
    assert at(NOW_MS, large) == at(NOW_MS + 1, small) == []
    assert at(DUE_MS + 1, small, large) == [large]
    large.flush()
    assert at(DUE_MS + 1, small, large) == [small]
