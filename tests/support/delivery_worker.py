"""A sender in its own process, for tests that kill it: a log in a file, and a clock that jumps to the next due time.

    python delivery_worker.py FOLDER URL COUNT [BUG]

BUG plants a bug, to prove that the tests notice it.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

import retrain.sender
import retrain.target.webhook
from retrain.address_guard import parse_allowed
from retrain.schedule import Attempt, DeliveryResult, Due, outstanding
from retrain.sender import Outgoing, Receiver, deliver_due
from retrain.signing import Secret, sign

__all__ = ["DECIDED_MS", "SECRET", "STEP_MS", "FileLog", "decision_id", "request_body", "requests_of", "virtual_now_ms"]

SECRET = Secret.parse("whsec_" + "c2VjcmV0" * 5)
DECIDED_MS = 1_700_000_000_000
TIMEOUT_S = 0.5
STEP_MS = 120_000
"""Attempts are made up to this late: rounds of several are quicker than one for each."""


class FileLog:
    """Attempts as lines of JSON; an unfinished last line of a killed process is cut off."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()
        text = file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            file.write_bytes(whole)
        self._rows = [Attempt(**json.loads(line)) for line in whole.splitlines()]
        self._next: dict[str, int] = {}
        for row in self._rows:
            self._next[row.decision] = max(self._next.get(row.decision, 1), row.number + 1)

    def attempts(self, _decisions: Collection[str] = ()) -> list[Attempt]:
        """Return all rows."""
        return self._rows

    def append(self, attempt: Attempt, expected_number: int) -> bool:
        """Add a row if it is the next of its decision."""
        if self._next.get(attempt.decision, 1) != expected_number:
            return False
        with self._file.open("ab", buffering=0) as file:
            file.write(json.dumps(asdict(attempt)).encode() + b"\n")
        self._next[attempt.decision] = expected_number + 1
        self._rows.append(attempt)
        return True


def decision_id(number: int) -> str:
    """Return the id of the decision of a number."""
    return f"rt-{number:032x}"


def request_body(number: int) -> bytes:
    """Return the request of a decision; the receiver of these tests reads no more of it."""
    return json.dumps({"id": decision_id(number)}).encode()


def requests_of(size: int) -> dict[str, Outgoing]:
    """Return requests that were decided a second apart."""
    return {decision_id(n): Outgoing(DECIDED_MS + 1_000 * n, request_body(n)) for n in range(size)}


def virtual_now_ms(folder: Path) -> int:
    """Return the time that all processes of a test share."""
    try:
        return int((folder / "clock").read_text())
    except FileNotFoundError:
        return DECIDED_MS


def _set_clock(folder: Path, now_ms: int) -> None:
    part = folder / "clock.part"
    part.write_text(str(now_ms))
    part.replace(folder / "clock")


async def _work(folder: Path, url: str, size: int) -> None:
    requests = requests_of(size)
    decided = {decision: request.decided_at_ms for decision, request in requests.items()}
    log = FileLog(folder / "log")
    place = urlsplit(url).netloc
    receiver = Receiver(url, SECRET, parse_allowed([place]), timeout_s=TIMEOUT_S)
    while due := outstanding(decided, log.attempts()):
        now_ms = max(due[0].at_ms, virtual_now_ms(folder))
        _set_clock(folder, now_ms + -now_ms % STEP_MS)
        await deliver_due(receiver, requests, log, lambda: virtual_now_ms(folder))


def _new_id_each_time() -> None:
    numbers = count()
    retrain.target.webhook.sign = lambda secret, id_, at_s, body: sign(secret, f"{id_}-{next(numbers)}", at_s, body)


def _first_timestamp_for_ever() -> None:
    first: dict[str, int] = {}
    retrain.target.webhook.sign = lambda secret, id_, at_s, body: sign(secret, id_, first.setdefault(id_, at_s), body)


def _follow_redirects() -> None:
    request = aiohttp.ClientSession.request

    def following(session: aiohttp.ClientSession, method: str, url: Any, **words: Any) -> Any:
        return request(session, method, url, **{**words, "allow_redirects": True})

    aiohttp.ClientSession.request = following  # type: ignore[method-assign,assignment] # the bug that is planted


def _take_every_answer_for_success() -> None:
    classify_result = retrain.sender.classify_result

    def lenient(due: Due, at_ms: int, result: DeliveryResult) -> Attempt:
        attempt = classify_result(due, at_ms, result)
        return attempt if result.status in (None, 410) else replace(attempt, outcome="delivered")

    retrain.sender.classify_result = lenient


def _ignore_retry_after() -> None:
    retrain.sender.parse_retry_after_ms = lambda _text, _now_ms: 0


BUGS: dict[str, Callable[[], None]] = {
    "id": _new_id_each_time,
    "timestamp": _first_timestamp_for_ever,
    "redirect": _follow_redirects,
    "success": _take_every_answer_for_success,
    "retry-after": _ignore_retry_after,
}


if __name__ == "__main__":
    for bug in sys.argv[4:]:
        BUGS[bug]()
    asyncio.run(_work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
