"""What the properties of a rebuild cannot meet: an id that is used again."""

from joins import (
    Batch,
    Decision,
    KeptLabel,
    KindPolicy,
    LabelRecord,
    MemoryStore,
    Op,
    Partition,
    Policy,
    PredictionRecord,
    rebuild,
)

POLICY = Policy({"click": KindPolicy("d1", horizon_ms=10, retain_ms=20)})
NOW_MS = 10_000


def test_what_was_decided_of_an_earlier_use_of_an_id_is_not_said_of_the_later_one() -> None:
    """An id may come again once its prediction has left."""
    predictions = [
        PredictionRecord(n, "a", "a", time, n, eligible=True, projection=None) for n, time in [(0, 1), (1, 500)]
    ]
    label = LabelRecord(0, "a", "click", "d1", Op.UPSERT, 1.0, 2, 2)
    partition = Partition(POLICY, MemoryStore(["click"]))
    effects = [
        partition.step(Batch(predictions[:1], [label], 1, 1, NOW_MS)),
        partition.step(Batch([], [], 1, 1, NOW_MS, close_at_ms=400)),
        partition.step(Batch(predictions[1:], [], 2, 1, NOW_MS)),
    ]
    rows = [row for step in effects for row in step.outcomes]
    decisions = [Decision(*(getattr(row, name) for name in Decision._fields)) for row in rows]
    assert [(row.prediction_offset, row.status) for row in rows] == [(0, "joined")]
    again = rebuild(
        POLICY, MemoryStore(["click"]), partition.point, predictions, [KeptLabel(label, is_stale=False)], decisions
    )
    state = again.store.get("a")
    assert state is not None
    assert (state.predictions["a"].offset, state.predictions["a"].chains) == (1, {})
