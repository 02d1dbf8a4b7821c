"""Maintenance beside the lake writer: it does what is due, survives failures, and says so."""

import threading
from collections.abc import Callable
from pathlib import Path

from lake_builder import loop_config
from maintenance_case import DAY, files_by_day, fill, maintain, make_older, moment, now_ms

from lake import Lake
from streams.lake_sink.maintenance import BackgroundMaintenance
from streams.runtime.health import Health
from streams.runtime.worker import Worker

DEADLINE_S = 60.0


def worker(lake: Path) -> Worker:
    """Return a worker whose clock stands in the day of the rows."""
    return Worker("0", lake.with_name("state"), lake, Health("lake"), moment)


def metric(one: Worker, name: str, **labels: str) -> float:
    """Return a value of the role's metrics; 0 before there is one."""
    return one.health.registry.get_sample_value(name, labels) or 0.0


def until(is_done: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    clock = threading.Event()
    for _ in range(round(DEADLINE_S / 0.05)):
        if is_done():
            return
        clock.wait(0.05)
    raise AssertionError("it did not happen")


def test_what_is_due_is_done_beside_the_writer(tmp_path: Path) -> None:
    """And counted."""
    lake = fill(tmp_path / "lake").lake
    one = worker(lake.path)
    with BackgroundMaintenance(one, loop_config(), lambda: True, look_every_s=0.01):
        until(lambda: metric(one, "truthloop_lake_rewritten_files_total", table="predictions") > 0)
    assert files_by_day(lake, "predictions") == {str(DAY): 1}
    assert metric(one, "truthloop_lake_rewritten_files_total", table="predictions") == 70
    assert metric(one, "truthloop_lake_maintenance_cpu_seconds_total") > 0
    assert metric(one, "truthloop_lake_maintenance_failing") == 0


def test_what_no_reader_needs_is_deleted_too(tmp_path: Path) -> None:
    """At the first look, and counted."""
    builder = fill(tmp_path / "lake")
    maintain(builder.lake.path, now_ms())
    make_older(builder.lake.path, 3)
    builder.reject("labels", 99, "stale")
    one = Worker("0", tmp_path / "state", builder.lake.path, Health("lake"), now_ms)
    with BackgroundMaintenance(one, loop_config(), lambda: True, look_every_s=0.01):
        until(lambda: metric(one, "truthloop_lake_deleted_files_total", table="predictions") > 0)
    assert metric(one, "truthloop_lake_deleted_files_total", table="predictions") == 70 + 71 + 1
    assert metric(one, "truthloop_lake_maintenance_failing") == 0


def test_a_clock_that_cannot_be_trusted_is_no_failure(tmp_path: Path) -> None:
    """A lake into which nothing was written for days; rewrites go on."""
    lake = fill(tmp_path / "lake").lake
    make_older(lake.path, 3)
    one = Worker("0", tmp_path / "state", lake.path, Health("lake"), now_ms)
    with BackgroundMaintenance(one, loop_config(), lambda: True, look_every_s=0.01):
        until(lambda: metric(one, "truthloop_lake_rewritten_files_total", table="outcomes") > 0)
    assert metric(one, "truthloop_lake_deleted_files_total", table="predictions") == 0
    assert metric(one, "truthloop_lake_maintenance_failing") == 0


def test_a_worker_without_its_turn_does_nothing(tmp_path: Path) -> None:
    """Another one maintains the lake."""
    lake = fill(tmp_path / "lake").lake
    asked = threading.Semaphore(0)

    def has_turn() -> bool:
        asked.release()
        return False

    with BackgroundMaintenance(worker(lake.path), loop_config(), has_turn, look_every_s=0.01):
        for _ in range(3):
            assert asked.acquire(timeout=DEADLINE_S)
    assert files_by_day(lake, "predictions") == {str(DAY): 70}


def test_a_failure_is_shown_and_tried_again(tmp_path: Path) -> None:
    """The role goes on; when the table can be read again, it is maintained."""
    lake = fill(tmp_path / "lake").lake
    one = worker(lake.path)
    log = lake.path / "predictions" / "_delta_log"
    log.rename(log.with_name("away"))
    with BackgroundMaintenance(one, loop_config(), lambda: True, look_every_s=0.01):
        until(lambda: metric(one, "truthloop_lake_maintenance_failing") == 1)
        log.with_name("away").rename(log)
        until(lambda: metric(one, "truthloop_lake_rewritten_files_total", table="predictions") > 0)
        until(lambda: metric(one, "truthloop_lake_maintenance_failing") == 0)
    assert files_by_day(Lake.open(lake.path), "predictions") == {str(DAY): 1}
