"""A receiver on a real port that fails in every way, acts once per id, and records all requests."""

import asyncio
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random

from aiohttp import web
from delivery_worker import DECIDED_MS, SECRET, STEP_MS, FileLog, decision_id, virtual_now_ms

from retrain.schedule import DELAYS_MS, WINDOW_MS
from retrain.signing import SignatureError, verify

__all__ = ["FAIL_SHARE", "GONE", "Receiver", "receiving"]

GONE = decision_id(7)
"""Answered 410, always."""

FAIL_SHARE = 0.3
FAILURES_MAX = 5
"""Per id, or some would never come through."""

CYCLE = 100
RETRY_AFTER_S = 3_600


class Receiver:
    """Counts effects by the id of the request.

    Args:
        folder: of the sender, where the clock is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.came: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.effects: dict[str, str] = {}
        self.repeats = 0
        self.unsigned: list[str] = []
        self.trapped: list[str] = []
        self.url = ""
        self._waiting: list[tuple[int, threading.Event]] = []

    def reached(self, requests: int) -> threading.Event:
        """Return an event that is set after so many more requests."""
        event = threading.Event()
        self._waiting.append((self.came.total() + requests, event))
        return event

    def faults(self, size: int) -> list[str]:
        """Return the faults after the delivery of `size` decisions; only one of them may be without effect."""
        expected = {decision_id(number) for number in range(size)} - {GONE}
        found = [f"no effect of {id_}" for id_ in expected - set(self.effects.values())]
        found += [f"effects of {id_}: {n}" for id_, n in Counter(self.effects.values()).items() if n > 1]
        found += [f"an effect that nobody decided: {id_}" for id_ in set(self.effects.values()) - expected]
        found += [f"not signed: {reason}" for reason in self.unsigned]
        found += [f"a redirect was followed: {path}" for path in self.trapped]
        return found + self._faults_of_log(size)

    def _faults_of_log(self, size: int) -> list[str]:
        found: list[str] = []
        made = defaultdict(list)
        for attempt in FileLog(self._folder / "log").attempts():
            made[attempt.decision].append(attempt)
        for number in range(size):
            id_ = decision_id(number)
            own = sorted(made[id_], key=lambda attempt: attempt.number)
            if [attempt.number for attempt in own] != list(range(1, len(own) + 1)):
                found.append(f"{id_}: numbers {own}")
            if not own or own[-1].outcome != ("gone" if id_ == GONE else "delivered"):
                found.append(f"{id_} ended as {own[-1:]}")
                continue
            waits = [DECIDED_MS + 1_000 * number, *(attempt.at_ms for attempt in own)]
            for place, (before, after) in enumerate(pairwise(waits)):
                asked_ms = RETRY_AFTER_S * 1_000 if place and own[place - 1].status == 429 else 0
                least_ms, most_ms = max(0.9 * DELAYS_MS[place], asked_ms), max(DELAYS_MS[place], asked_ms, STEP_MS)
                if not least_ms <= after - before <= most_ms + STEP_MS:
                    found.append(f"{id_}: attempt {place + 1} came {after - before} ms after the one before")
            if own[-1].at_ms - own[0].at_ms > WINDOW_MS:
                found.append(f"{id_} took too long")
        return found

    async def trap(self, request: web.Request) -> web.Response:
        """Handle a request to the target of a redirect."""
        self.trapped.append(request.path)
        return web.Response()

    async def take(self, request: web.Request) -> web.Response:
        """Verify a request, then act on it or fail, as its number requires."""
        body = await request.read()
        try:
            id_ = verify(request.headers, body, SECRET, virtual_now_ms(self._folder) // 1_000).id
        except SignatureError as error:
            self.unsigned.append(error.what)
            self._count("unsigned", 401)
            return web.Response(status=401)
        decision = json.loads(body)["id"]
        nth, place = self.came[decision], int(decision[3:], 16) % CYCLE
        if decision == GONE:
            answer = web.Response(status=410)
        elif nth == 0 and place == 1:
            answer = web.Response(status=429, headers={"Retry-After": str(RETRY_AFTER_S)})
        elif nth == 0 and place == 2:
            answer = web.Response(status=302, headers={"Location": "/trap"})
        elif nth == 0 and place == 3:
            self._act(id_, decision)
            self._count(decision, 0)
            await asyncio.sleep(3_600)  # until the sender hangs up
        else:
            answer = self._answer(id_, decision, Random(f"{decision}/{nth}"))
        self._count(decision, answer.status)
        return answer

    def _answer(self, id_: str, decision: str, rng: Random) -> web.Response:
        fails = rng.random() < FAIL_SHARE and self.failures[decision] < FAILURES_MAX
        self.failures[decision] += fails
        if not fails or rng.random() < 0.5:  # half of the failures are told after the work is done
            self._act(id_, decision)
        return web.Response(status=rng.choice([400, 500, 502, 503]) if fails else rng.choice([200, 202, 204]))

    def _act(self, id_: str, decision: str) -> None:
        self.repeats += id_ in self.effects
        self.effects.setdefault(id_, decision)

    def _count(self, id_: str, status: int) -> None:
        self.came[id_] += 1
        self.statuses[status] += 1
        for requests, event in self._waiting:
            if self.came.total() >= requests:
                event.set()


@contextmanager
def receiving(folder: Path) -> Iterator[Receiver]:
    """Run a receiver in its own thread."""
    receiver = Receiver(folder)
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        application = web.Application()
        application.router.add_post("/hook", receiver.take)
        application.router.add_route("*", "/trap", receiver.trap)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        ready.set()
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()
