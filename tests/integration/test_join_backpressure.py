"""Backpressure of the join: labels that all come before their predictions are kept, however little memory there is."""

import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from join_thread import joining
from live_case import DAY_MS, Loop, running

from joins import Policy
from streams.join_worker import role as join_role
from streams.ledger import rules

COUNT = 4_000
WAITING_LABELS = 400


def send(loop: Loop, start_ms: int) -> None:
    """Send all labels of a day, then its predictions."""
    producer = Producer(loop.client)
    for number in range(COUNT):
        value = {"v": 1, "key": f"k{number}", "kind": "fraud", "value": 1, "time": start_ms + number * 10_000 + 1_000}
        producer.produce(f"{loop.name}.labels", value=msgspec.json.encode(value), key=f"k{number}")
    for number in range(COUNT):
        value = {
            "v": 1,
            "key": f"k{number}",
            "time": start_ms + number * 10_000,
            "version": "v1",
            "outputs": {"fraud": 0.5, "click": 0.5},
            "slices": {"country": "DE"},
            "features": {"amount": 1.0},
        }
        producer.produce(f"{loop.name}.predictions", value=msgspec.json.encode(value), key=f"k{number}")
    assert producer.flush(60) == 0


def test_labels_are_paused_while_there_are_predictions_to_read(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No label is evicted while its prediction can still be read."""
    monkeypatch.setattr(rules, "Policy", partial(Policy, waiting_bytes_max=WAITING_LABELS * 400))
    monkeypatch.setattr(join_role, "BATCH_MESSAGES", 100)
    with running(Loop(tmp_path, kafka, partitions=1)) as loop:
        loop.begin()
        send(loop, int(time.time() * 1000) - 2 * DAY_MS)
        with joining(loop):
            loop.wait("the join's end", lambda: loop.lag("join", ("predictions", "labels")) == 0)
        assert [row["reason"] for row in loop.rows("rejects")] == []
        joined = [row["key"] for row in loop.rows("outcomes") if row["status"] == "joined"]
        assert len(joined) == len(set(joined)) == COUNT
