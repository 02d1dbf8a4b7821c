"""When an input of a partition counts as idle."""

from joins import Batch, Idle, KindPolicy, LabelRecord, MemoryStore, Op, Partition, Policy, PredictionRecord
from joins.watermark import PREDICTIONS
from streams.join_worker.idleness import OBSERVED_MAX_MS, Idleness

AFTER_MS = 1_000
MINUTE_MS = 60_000


def started(*, is_enabled: bool = True, after_ms: int = AFTER_MS) -> Idleness:
    """Return the idleness of partition 0, started at 0 ms, with one kind of labels."""
    found = Idleness(["click"], after_ms, is_enabled=is_enabled)
    found.observe(0)
    found.start(0)
    return found


def idle_at(idleness: Idleness, monotonic_ms: int) -> Idle:
    """Return the idle inputs at a time, where everything is read."""
    idleness.observe(monotonic_ms)
    return idleness.idle(0, lambda: True)


def test_an_input_is_idle_after_its_silence_and_once_per_interval() -> None:
    """The elapsed time is that since the last record of any of them."""
    idleness = started()
    idleness.observe(400)
    idleness.seen(0, {"click"})
    assert idle_at(idleness, 999) == Idle()
    assert idle_at(idleness, 1_100) == Idle(frozenset({PREDICTIONS}), 1_100)
    assert idle_at(idleness, 1_500) == Idle()
    assert idle_at(idleness, 2_100) == Idle(frozenset({PREDICTIONS, "click"}), 1_700)


def test_an_input_with_records_to_read_is_not_idle() -> None:
    """It is asked again at the next call."""
    idleness = started()
    idleness.observe(1_000)
    assert idleness.idle(0, lambda: False) == Idle()
    assert idle_at(idleness, 1_001).inputs == {PREDICTIONS, "click"}


def test_no_input_is_idle_where_time_comes_from_the_records_alone() -> None:
    """As with `clock: event`."""
    assert idle_at(started(is_enabled=False), 4 * AFTER_MS) == Idle()


def test_between_two_polls_little_silence_is_observed() -> None:
    """A process that stood still for an hour, or a clock that leapt, has observed a few seconds."""
    idleness = started()
    assert idle_at(idleness, 60 * MINUTE_MS).elapsed_ms == OBSERVED_MAX_MS
    assert idle_at(idleness, 500) == Idle()
    assert idle_at(idleness, 500 + AFTER_MS).elapsed_ms == OBSERVED_MAX_MS + AFTER_MS


def test_silence_never_puts_time_ahead_of_the_last_record_and_the_time_since() -> None:
    """Predictions that ended an hour ago beside labels that ended a minute ago: it is a minute later, not an hour."""
    partition = Partition(Policy({"click": KindPolicy("d", MINUTE_MS, 5 * MINUTE_MS)}), MemoryStore(["click"]))
    idleness = started(after_ms=MINUTE_MS // 2)
    predictions = [PredictionRecord(n, f"k{n}", "a", 0, n, eligible=True, projection=None) for n in range(3)]
    partition.step(Batch(predictions, [], 3, 0, 0))
    for minute in range(1, 61):
        for second in range(0, 60, 5):
            idleness.observe((minute * 60 + second) * 1_000)
        at_ms = minute * MINUTE_MS
        label = LabelRecord(minute, "z", "click", "d", Op.UPSERT, 1.0, at_ms, at_ms)
        partition.step(Batch([], [label], 3, minute + 1, at_ms))
        idleness.seen(0, {"click"})
    label_mark_ms = partition.checkpoint.watermarks["click"].reached_ms or 0
    for second in range(0, 60, 5):
        idleness.observe((61 * 60 + second) * 1_000)
    idle = idleness.idle(0, lambda: True)
    assert idle.inputs == {PREDICTIONS, "click"}
    partition.step(Batch([], [], 3, 61, 62 * MINUTE_MS, idle=idle))
    assert partition.checkpoint.floor_ms == label_mark_ms + MINUTE_MS - 5 * MINUTE_MS
