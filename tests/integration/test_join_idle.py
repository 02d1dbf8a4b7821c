"""Silence on a real broker, with clocks that the test drives: time goes on by what was observed, and by nothing else.

Covers `streams.join_worker.idleness`, `streams.join_worker.role`.
"""

import logging
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from join_thread import joining
from live_case import Loop, running

MINUTE_MS = 60_000
POLLED_S = 1.0


class Clocks:
    """A monotonic clock that goes on by a second at each look, until the test's time; a wall clock beside it."""

    def __init__(self) -> None:
        self.start_ms = int(time.time() * 1000)
        self.leap_ms = 0
        self._until_s = 0.0
        self._now_s = 0.0

    def monotonic_s(self) -> float:
        """Go on by a second, and return the time."""
        self._now_s = min(self._now_s + POLLED_S, self._until_s)
        return self._now_s

    def wall_ms(self) -> int:
        """Return the wall clock's time, which a leap has moved."""
        return self.start_ms + int(self._now_s * 1000) + self.leap_ms

    def pass_(self, loop: Loop, seconds: float) -> None:
        """Let time pass."""
        self._until_s += seconds
        loop.wait("the time", lambda: self._now_s == self._until_s, every_s=0.05)


def send(loop: Loop, at_ms: int, keys: range, labelled: int) -> None:
    """Send predictions of these keys, and labels of the first of them."""
    producer = Producer(loop.client)
    for at, number in enumerate(keys):
        key = f"k{number}"
        prediction = {"v": 1, "key": key, "time": at_ms + at, "version": "v1", "outputs": {"fraud": 0.5, "click": 0.5}}
        producer.produce(f"{loop.name}.predictions", value=msgspec.json.encode(prediction), key=key)
        for kind in ("fraud", "click") if at < labelled else ():
            label = {"v": 1, "key": key, "kind": kind, "value": 1, "time": at_ms + at, "arrived_at": at_ms + at}
            producer.produce(f"{loop.name}.labels", value=msgspec.json.encode(label), key=key)
    assert producer.flush(60) == 0


def idle_steps(loop: Loop) -> list[dict[str, Any]]:
    """Return the steps in which inputs were idle."""
    return [row for row in loop.rows("ledger") if row["idle"]["inputs"]]


def statuses(loop: Loop) -> list[tuple[str, str, str]]:
    """Return key, kind and reason of every revision."""
    return sorted((row["key"], row["kind"], row["reason"]) for row in loop.rows("outcomes"))


@pytest.mark.timeout(300)
def test_only_silence_that_was_observed_moves_time(
    kafka: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The wall clock leaps 20 min for a while: nothing ages out. After a restart silence counts without any record."""
    clocks = Clocks()
    with running(Loop(tmp_path, kafka, partitions=1, session_ms=6_000)) as loop, caplog.at_level(logging.WARNING):
        text = loop.config.read_text().replace("clock: event", "clock: arrival\nidle_after: 30s")
        text = text.replace("horizon: 6h, retain: 5d", "horizon: 1m, retain: 5m").replace(
            "disorder: 10m", "disorder: 1s"
        )
        loop.config.write_text(text)
        loop.begin()
        with joining(loop, clocks.wall_ms, clocks.monotonic_s):
            send(loop, clocks.start_ms, range(20), labelled=5)
            loop.wait("the labels", lambda: len(statuses(loop)) == 10)
            clocks.pass_(loop, 40)
            loop.wait("an idle step", lambda: len(idle_steps(loop)) == 1)
            clocks.leap_ms = 20 * MINUTE_MS
            clocks.pass_(loop, 40)
            loop.wait("the next idle step", lambda: len(idle_steps(loop)) == 2)
            clocks.leap_ms = 0
            clocks.pass_(loop, 1)
            assert [message for message in caplog.messages if "wall clock" in message] == [
                f"the wall clock was set {direction} by 1200.0 s: the time of partitions does not follow; "
                "check this machine's time synchronisation"
                for direction in ("forward", "back")
            ]
            send(loop, clocks.start_ms, range(20, 25), labelled=5)
            loop.wait("their labels", lambda: len(statuses(loop)) == 20)
            assert {reason for _, _, reason in statuses(loop)} == {"first"}
        with joining(loop, clocks.wall_ms, clocks.monotonic_s):
            clocks.pass_(loop, 40)
            before = len(idle_steps(loop))
            loop.wait("partitions", lambda: clocks.pass_(loop, 40) is None and len(idle_steps(loop)) > before)
            clocks.pass_(loop, 400)
            loop.wait("what ages out", lambda: len(statuses(loop)) == 50)
        assert [reason for _, _, reason in statuses(loop)].count("aged_out") == 30
        assert loop.rows("rejects") == []
