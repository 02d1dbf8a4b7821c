"""Valid canonical messages, one of each form, as JSON documents; tests change them to invalid ones."""

from typing import Any

__all__ = ["HEARTBEAT", "LABEL", "LEDGER_ENTRY", "OUTCOME", "PREDICTION", "REJECTION", "RETRACTION"]

Document = dict[str, Any]

PREDICTION: Document = {
    "v": 1,
    "key": "tx-1",
    "id": "tx-1|v2",
    "time": "2013-01-01T10:00:00Z",
    "arrived_at": 1_357_034_400_250,
    "version": "v2",
    "outputs": {"fraud": 0.3, "category": "food", "amount": None},
    "slices": {"country": "DE", "channel": None},
    "features": {"amount": 12.5, "card": "c1", "new": True, "items": [1, {"a": None}]},
    "weight": 1.0,
    "eligible": True,
}
LABEL: Document = {
    "v": 1,
    "key": "tx-1",
    "kind": "fraud",
    "value": 1,
    "op": "upsert",
    "time": 1_357_034_400_000,
    "happened_at": "2013-01-01T10:59:59.999+01:00",
    "arrived_at": "2013-01-02T00:00:00Z",
    "definition": "chargeback-10.4",
    "source": "disputes",
    "origin": "backfill",
    "batch_id": "2013-01",
}
RETRACTION: Document = {"v": 1, "key": "tx-1", "kind": "fraud", "op": "retract", "time": 1_000_000_000_000}
HEARTBEAT: Document = {"v": 1, "kind": "fraud", "op": "heartbeat", "time": 1_000_000_000_000}
OUTCOME: Document = {
    "v": 1,
    "partition": 0,
    "key": "tx-1",
    "id": "tx-1|v2",
    "kind": "fraud",
    "definition": "chargeback-10.4",
    "status": "joined",
    "reason": "first",
    "value": 1.0,
    "previous": None,
    "previous_status": "pending",
    "predicted_at": 1_357_034_400_000,
    "known_at": 1_357_120_800_000,
    "revision": 7,
    "prediction_offset": 3,
    "label_offset": 4,
    "label_time": 1_357_120_800_000,
    "version": "v2",
    "eligible": True,
    "weight": 1.0,
    "output": 0.3,
    "slices": {"country": "DE"},
}
REJECTION: Document = {
    "v": 1,
    "input": "labels",
    "stage": "join",
    "reason": "stale",
    "detail": None,
    "partition": 0,
    "offset": 12,
    "source": "0" * 64,
    "source_row": 13,
    "kind": "fraud",
    "digest": -5,
}
LEDGER_ENTRY: Document = {
    "v": 1,
    "sequence": 4,
    "partition": 0,
    "now": 1_357_120_800_000,
    "predictions": [0, 10],
    "labels": [7, 7],
    "commands": [2, 3],
    "unreadable": [1, 0],
    "close_at": 1_357_120_800_000,
    "idle": {"inputs": ["fraud"], "elapsed_ms": 61_000},
    "policy": '{"partitions":8,"disorder_ms":600000,"labels":{"fraud":{"horizon_ms":1}}}',
    "outcomes": 3,
    "rejects": 0,
    "point": {
        "predictions_next": 10,
        "marks": {"predictions": {"greatest": [3, 2, 1], "assured_ms": None, "reached_ms": 1}},
        "cursors": {"fraud": [1_357_034_399_999, 4_611_686_018_427_387_903]},
        "counters": {"predictions": {"consumed": 10}},
        "fingerprint": 5,
    },
}
