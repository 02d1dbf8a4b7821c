"""A partition withdraws labels by commands: at most so many a step, recorded in the ledger, and redone from there.

Tests `streams.join_worker.task` on the durable store, without a broker.
"""

from pathlib import Path

import msgspec
from join_case import live_config
from join_task import task_in

from joins import Idle, Withdrawal
from streams.join_worker.task import Incoming, PartitionTask, StepResult
from streams.kafka.messages import PartitionMessages
from streams.ledger.entry import LedgerRecord
from streams.messages.canonical import CanonicalReader
from streams.messages.command import WITHDRAWN_AT_ONCE, withdraw_commands

CONFIG = live_config("127.0.0.1:1")
READER = CanonicalReader(CONFIG)
START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
NOW_MS = START_MS + 600 * MINUTE_MS
KEYS = 30


def messages(values: list[bytes], first: int = 0) -> PartitionMessages:
    """Return messages at consecutive offsets."""
    return PartitionMessages([*range(first, first + len(values))], values, [NOW_MS] * len(values))


def records() -> Incoming:
    """Return a prediction of every key, with a label and a later one of another value."""
    predictions, labels = [], []
    for number in range(KEYS):
        key = f"k{number}"
        outputs = {"click": 0.5, "sale": 1.0}
        predictions.append({"v": 1, "key": key, "time": START_MS, "version": "v1", "outputs": outputs})
        for minute, value in ((5, 0), (10, 1)):
            at_ms = START_MS + minute * MINUTE_MS
            label = {"v": 1, "key": key, "kind": "click", "value": value, "time": at_ms, "arrived_at": at_ms}
            labels.append(label)
    sent = (messages([msgspec.json.encode(one) for one in rows]) for rows in (predictions, labels))
    return Incoming(*sent, predictions_next=KEYS, labels_next=2 * KEYS)


def later_labels() -> list[Withdrawal]:
    """Return the later label of every key."""
    return [Withdrawal("click", START_MS + 10 * MINUTE_MS, 2 * number + 1) for number in range(KEYS)]


def commanded(task: PartitionTask, values: list[bytes]) -> StepResult:
    """Take a step that reads commands."""
    first = task.commands_next
    incoming = Incoming(commands=messages(values, first), commands_next=first + len(values))
    return task.step(incoming, READER, NOW_MS, Idle())


def test_a_step_withdraws_what_a_command_names_and_the_ledger_has_it(tmp_path: Path) -> None:
    """Every outcome falls back; a copy of the command changes nothing; a redo of the entries is the same state."""
    task = task_in(tmp_path / "0", CONFIG)
    read = task.step(records(), READER, NOW_MS, Idle())
    [(_, command)] = withdraw_commands("bf-1", {0: later_labels()})
    step = commanded(task, [command])
    assert [(row.value, str(row.reason)) for row in step.effects.outcomes] == [(0.0, "withdrawal")] * KEYS
    assert step.record.rejects == len(step.effects.rejects) == KEYS
    assert task.checkpoint.counters.violations() == []
    again = commanded(task, [command])
    assert (again.effects.outcomes, again.effects.rejects) == ([], [])
    other, incoming = task_in(tmp_path / "1", CONFIG), records()
    for result in (read, step, again):
        entry = LedgerRecord.decode(result.record.encode())
        assert entry == result.record
        ends = entry.predictions[1], entry.labels[1]
        other.redo(entry, incoming.predictions.cut(ends[0]), incoming.labels.cut(ends[1]), READER)
    assert other.checkpoint.fingerprint == task.checkpoint.fingerprint
    assert (other.sequence, other.positions) == (task.sequence, task.positions)
    for one in (task, other):
        one.close()


def test_a_step_takes_no_more_commands_than_its_entry_can_hold(tmp_path: Path) -> None:
    """The rest waits, its offset is not committed, and the next steps take it."""
    task = task_in(tmp_path / "0", CONFIG)
    task.step(records(), READER, NOW_MS, Idle())
    many = [
        *later_labels(),
        *(Withdrawal("click", START_MS, 1_000 + number) for number in range(2 * WITHDRAWN_AT_ONCE)),
    ]
    values = [value for _, value in withdraw_commands("bf-1", {0: many})]
    assert len(values) == 3
    first = commanded(task, values)
    assert (len(first.record.withdrawals), task.commands_next, task.has_waiting_command) == (WITHDRAWN_AT_ONCE, 1, True)
    rest = [task.step(Incoming(), READER, NOW_MS, Idle()) for _ in range(2)]
    assert [len(one.record.withdrawals) for one in rest] == [WITHDRAWN_AT_ONCE, KEYS]
    assert (task.commands_next, task.has_waiting_command) == (3, False)
    assert task.checkpoint.counters.labels["click"].withdrawn == KEYS
    task.close()
