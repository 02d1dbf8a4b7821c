"""Small lakes built by hand: frames with only the columns that a test is about, and defaults for the rest.

Times are hours after a fixed morning.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from lake.append import Claim
from lake.store import Lake
from lake.table import schemas_of
from schemas.config.loop import LoopConfig

__all__ = [
    "CONFIG_TEXT",
    "LABEL",
    "LEDGER",
    "MORNING",
    "OUTCOME",
    "PREDICTION",
    "RECORDED_AT",
    "LakeBuilder",
    "hour",
    "loop_config",
    "ms",
]

MORNING = datetime(2026, 3, 1, 8, tzinfo=UTC)
RECORDED_AT = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)

CONFIG_TEXT = """
version: 1
loop: card-fraud
clock: event
lake: {uri: ./the lake}
partitions: 2
predictions: {outputs: {fraud: {task: binary}}}
labels: {fraud: {definition: chargeback-1, horizon: 10h, retain: 20h, early: 1h}}
"""
"""The config of `loop_config` as people write it, with the lake in the same folder."""

Row = Mapping[str, Any]

PREDICTION: Row = {
    "source": "f" * 64,
    "version": "v1",
    "eligible": True,
    "weight": 1.0,
    "digest": 7,
    "flags": [],
}
LABEL: Row = {
    "source": "a" * 64,
    "kind": "fraud",
    "definition": "chargeback-1",
    "op": "upsert",
    "origin": "live",
    "flags": [],
}
OUTCOME: Row = {
    "kind": "fraud",
    "definition": "chargeback-1",
    "previous_status": "pending",
    "version": "v1",
    "eligible": True,
    "weight": 1.0,
    "sequence": 0,
}
_REJECT: Row = {"stage": "join", "source": "f" * 64, "source_row": 1}
LEDGER: Row = {
    "predictions_first": 0,
    "predictions_next": 0,
    "labels_first": 0,
    "labels_next": 0,
    "policy": "{}",
    "marks": "{}",
    "cursors": "{}",
    "counters": "{}",
    "fingerprint": 0,
    "point": "{}",
    "run": "{}",
}


def hour(count: float) -> datetime:
    """Return the time `count` hours after the morning."""
    return MORNING + timedelta(hours=count)


def ms(count: float) -> int:
    """Return the same in milliseconds since the epoch."""
    return round(hour(count).timestamp() * 1000)


def loop_config(**changes: Any) -> LoopConfig:
    """Return a config with one kind, `fraud`: horizon 10 h, retain 20 h, early 1 h; parts may be replaced."""
    document: dict[str, Any] = {
        "version": 1,
        "loop": "card-fraud",
        "clock": "event",
        "partitions": 2,
        "predictions": {"outputs": {"fraud": {"task": "binary"}}},
        "labels": {
            "fraud": {"definition": "chargeback-1", "horizon": "10h", "retain": "20h", "early": "1h"},
        },
    }
    return LoopConfig.model_validate(document | changes)


class LakeBuilder:
    """A lake that grows by rows built by hand.

    Args:
        config: of its loop.
    """

    def __init__(self, path: Path, config: LoopConfig | None = None) -> None:
        self.config = config or loop_config()
        self.lake = Lake.create(path, self.config)
        self._written = dict.fromkeys(schemas_of(self.config), 0)

    def frame(self, table: str, rows: Sequence[Row]) -> pl.DataFrame:
        """Return rows as a frame of the table's types, without the two columns the lake adds."""
        schema = {
            name: dtype
            for name, dtype in schemas_of(self.config)[table].items()
            if name not in ("recorded_on", "recorded_at")
        }
        return pl.DataFrame(list(rows), schema=schema, orient="row")

    def add(self, table: str, *rows: Row) -> "LakeBuilder":
        """Append rows in one commit."""
        first = self._written[table]
        following = first + max(len(rows), 1)
        frame = self.frame(table, rows)
        self.lake.append(table, frame, [Claim("builder", first, following)], recorded_at=RECORDED_AT)
        self._written[table] = following
        return self

    def predict(self, key: str, at: float, offset: int, **other: object) -> "LakeBuilder":
        """Append a prediction made at an hour."""
        row = {"partition": 0, "offset": offset, "source_row": offset + 1, "key": key, "id": key}
        return self.add("predictions", {**PREDICTION, **row, "predicted_at": hour(at), **other})

    def label(self, key: str | None, at: float, offset: int, **other: object) -> "LakeBuilder":
        """Append a label of an hour, known at once unless stated otherwise."""
        row = {"partition": 0, "offset": offset, "source_row": offset + 1, "key": key}
        times = {"label_time": hour(at), "known_at": hour(at)}
        return self.add("labels", {**LABEL, **row, **times, **other})

    def outcome(self, key: str, status: str, known: float, revision: int, **other: object) -> "LakeBuilder":
        """Append a revision, by default of the prediction of the morning at offset 0."""
        row = {"partition": 0, "key": key, "id": key, "status": status, "reason": "first"}
        position = {
            "known_at": hour(known),
            "revision": revision,
            "predicted_at": hour(0),
            "prediction_offset": 0,
        }
        return self.add("outcomes", {**OUTCOME, **row, **position, **other})

    def reject(self, input_: str, offset: int, reason: str, **other: object) -> "LakeBuilder":
        """Append a rejection by the join."""
        row = {"partition": 0, "offset": offset, "input": input_, "reason": reason}
        return self.add("rejects", {**_REJECT, **row, **other})

    def entry(self, sequence: int, now: float, **other: object) -> "LakeBuilder":
        """Append a ledger entry."""
        row = {"partition": 0, "sequence": sequence, "now": hour(now)}
        return self.add("ledger", {**LEDGER, **row, **other})
