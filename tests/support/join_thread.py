"""A join worker in a thread of the test's own process, whose parts and clocks the test can change."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from live_case import Loop

from streams.join_worker.role import JoinRole
from streams.runtime.health import Health
from streams.runtime.worker import Worker
from truthloop.clock import now_ms
from truthloop.config.settings import load_settings
from truthloop.run.roles import kafka_clients

__all__ = ["joining"]


@contextmanager
def joining(
    loop: Loop, wall_ms: Callable[[], int] = now_ms, monotonic_s: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Run a loop's join, as slot 0; it has ended when the block has."""
    settings = load_settings(loop.config)
    worker = Worker("0", settings.state, settings.lake, Health("join"), wall_ms, clock=monotonic_s)
    role = JoinRole(kafka_clients(settings, "join"), settings.config, worker)
    stop = threading.Event()
    thread = threading.Thread(target=role.run, args=(stop.is_set,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
