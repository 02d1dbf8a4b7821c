"""What the properties of a rebuild cannot meet, or hardly ever do."""

from history import decisions_of

from joins import (
    Batch,
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
    decisions = decisions_of(effects)
    assert [(row.prediction_offset, row.status) for row in rows] == [(0, "joined")]
    again = rebuild(
        POLICY, MemoryStore(["click"]), partition.checkpoint, predictions, [KeptLabel(label, is_stale=False)], decisions
    )
    state = again.store.get("a")
    assert state is not None
    assert (state.predictions["a"].offset, state.predictions["a"].chains) == (1, {})


def test_a_prediction_that_came_too_late_for_a_label_is_not_joined_to_it_by_a_rebuild() -> None:
    """The label had joined another and had left when it came, far more than `disorder` late, though within `retain`."""
    predictions = [
        PredictionRecord(offset, key, f"{key}{offset}", time_ms, offset, eligible=True, projection=None)
        for offset, (key, time_ms) in enumerate([("a", 10), ("z", 36), ("z", 36), ("z", 36), ("a", 30)])
    ]
    labels = [
        LabelRecord(offset, key, "click", "d1", Op.UPSERT, 1.0, time_ms, time_ms)
        for offset, (key, time_ms) in enumerate([("a", 12), ("z", 36), ("z", 37), ("z", 38)])
    ]
    partition = Partition(POLICY, MemoryStore(["click"]))
    effects = [
        partition.step(Batch(predictions[:1], labels[:1], 1, 1, NOW_MS)),
        partition.step(Batch(predictions[1:4], labels[1:], 4, 4, NOW_MS)),
        partition.step(Batch(predictions[4:], [], 5, 4, NOW_MS)),
    ]
    assert partition.checkpoint.reach_ms["click"] > labels[0].known_at_ms
    assert abs(predictions[4].time_ms - labels[0].known_at_ms) <= POLICY.retain_ms
    rows = [row for step in effects for row in step.outcomes]
    assert [row.prediction_offset for row in rows if row.key == "a"] == [0]
    decisions = decisions_of(effects)
    kept = [KeptLabel(label, is_stale=False) for label in labels]
    again = rebuild(POLICY, MemoryStore(["click"]), partition.checkpoint, predictions, kept, decisions)
    state = again.store.get("a")
    assert state is not None
    assert state.predictions["a4"].chains == {}
