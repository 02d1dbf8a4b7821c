"""Many people who rule at once, in a process of their own: rules in threads, prints the outcomes.

    python approval_worker.py CONFIG SHA256 FIRST COUNT [BUG]

It says that it is ready once the first ruling is about to be written, and goes on after a line: what several processes
read before any of them writes is not left to chance. BUG plants a bug, to prove that the test notices it.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from ruling_case import NOW_MS, statement

from retrain.approval import Person
from retrain.decision_log import DecisionLog
from schemas.events.backfill import Verdict
from truthloop.config.settings import load_settings
from truthloop.evidence.approvals import open_approvals

__all__ = ["main"]


def main(config: str, sha256: str, first: int, count: int) -> None:
    """Rule `count` times at once, as the threads of one page do."""
    settings = load_settings(Path(config), {})
    approvals = open_approvals(settings, lambda: NOW_MS)
    barrier = Barrier(count)

    def rule(index: int) -> tuple[str, str, str | None]:
        number = first + index
        verdict = Verdict.APPROVED if number % 2 else Verdict.REJECTED
        person = Person(f"person {number}", "attested", "page")
        request = statement(sha256, verdict=verdict, person=person, token_sha256=f"{number:064x}")
        barrier.wait()
        result = approvals.rule(request)
        ruled = None if result.status is None else result.status.ruled
        return person.name, result.outcome.value, None if ruled is None else ruled.by

    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(rule, range(count)))
    sys.stdout.write(json.dumps(found) + "\n")


def _wait_before_the_first_write() -> None:
    append, held = DecisionLog.append, [True]

    def waiting(log: DecisionLog, entries: list[object], recorded_at_ms: int) -> bool:
        if held:
            held.clear()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            sys.stdin.readline()
        return append(log, entries, recorded_at_ms)  # type: ignore[arg-type] # entries of the log

    DecisionLog.append = waiting  # type: ignore[method-assign,assignment] # calls the original


def _write_whatever_came_between() -> None:
    append = DecisionLog.append

    def renumbered(log: DecisionLog, entries: list[object], recorded_at_ms: int) -> bool:
        while not append(log, entries, recorded_at_ms):  # type: ignore[arg-type] # entries of the log
            number = len(log.entries())
            entries = [entry.model_copy(update={"number": number}) for entry in entries]  # type: ignore[attr-defined] # the same
        return True

    DecisionLog.append = renumbered  # type: ignore[method-assign,assignment] # the bug that is planted


if __name__ == "__main__":
    if sys.argv[5:] == ["append"]:
        _write_whatever_came_between()
    _wait_before_the_first_write()
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
