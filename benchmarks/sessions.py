"""Long sessions of analysts beside a lake that changes: `PYTHONPATH=. python benchmarks/sessions.py --queries 10000`.

A loop lives through nineteen days on a driven clock: it appends, rewrites small files, removes dead ones, closes days,
and lets the oldest days leave. Meanwhile two processes hold fifty sessions of plain DuckDB with `views.sql`, each for
up to forty hours of that clock, and ask. Every answer is compared with what was fed up to when its session began.

Prints a line of JSON; the exit status is 1 if an answer was wrong or a query failed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import duckdb
import polars as pl
from years_clock import processes_clock
from years_live import round_end_ms
from years_roles import LiveRoles, settings_of
from years_traffic import DAY_MS, HOUR_MS, World, day_start_ms

from lake import Lake
from lake.session import connect

DAYS = 19
"""Before the first backfill: it would wait for a person."""

WORLD = World(
    seed=1,
    rate=2_000,
    busy_rate=2_000,
    busy_days=(),
    measured_days=(),
    slices=6,
    retain_days=2,
    commits=40,
    measured_commits=40,
    busy_commits=40,
    looks=4,
    keep_days=13,
)
READERS = 2
SESSIONS = 25
"""Of each reader."""

LIVES_HOURS = 40
"""A session is open for so long at most; the lake keeps what it reads for 48."""

COUNTS = (
    "SELECT \"day\", count(*), count(*) FILTER (status = 'joined'), "
    "coalesce(sum(value) FILTER (status = 'joined'), 0)::BIGINT FROM scored GROUP BY ALL"
)
PREDICTIONS = 'SELECT "day", sum(predictions)::BIGINT FROM coverage WHERE age_ms = 86400000 GROUP BY ALL'
LABELLED = 'SELECT "day", sum(predictions)::BIGINT, sum(labelled)::BIGINT FROM metrics GROUP BY ALL'
ONE_DAY = "SELECT count(*) FROM scored WHERE predicted_at >= ? AND predicted_at < ?"
ONE_KEY = "SELECT count(*), count(value)::BIGINT, sum(value)::BIGINT FROM scored WHERE key = ?"


def main() -> None:
    """Start the loop and the readers, and let them go on step by step, side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--role", choices=["loop", "reader"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.role == "loop":
        live(arguments.folder)
    elif arguments.role == "reader":
        read(arguments.folder, arguments.seed)
    else:
        with tempfile.TemporaryDirectory(prefix="truthloop-sessions-") as name:
            report = conduct(Path(name), arguments.queries, arguments.seed)
        print(json.dumps(report))
        sys.exit(0 if not report["wrong"] and not report["failed"] else 1)


def conduct(folder: Path, queries: int, seed: int) -> Mapping[str, Any]:
    """Run all processes to their end, and return what the readers saw."""
    environment = os.environ | processes_clock(folder)
    loop = _started("loop", folder, seed, environment)
    rounds = list(_rounds())
    _answer(loop)
    _tell(loop, "")
    _answer(loop)
    readers = [_started("reader", folder, seed + number, environment) for number in range(READERS)]
    for number, end_ms in enumerate(rounds[:-1]):
        share = queries * (number + 1) // (len(rounds) - 1) - queries * number // (len(rounds) - 1)
        for at, reader in enumerate(readers):
            _tell(reader, json.dumps([end_ms, share * (at + 1) // READERS - share * at // READERS]))
        _tell(loop, "")
        for process in (loop, *readers):
            _answer(process)
    seen = [json.loads(process.communicate()[0].splitlines()[-1]) for process in (*readers, loop)]
    *reports, lake = seen
    total = {name: sum(report[name] for report in reports) for name in ("queries", "wrong", "failed", "opened")}
    least = sum(report["least_old"] for report in reports)
    return {**total, "sessions": READERS * SESSIONS, "least_older_than_an_hour": least, **lake}


def live(folder: Path) -> None:
    """Live through one round for each line of input; afterwards say what has become of the lake."""
    settings = settings_of(WORLD, folder)
    roles = LiveRoles(WORLD, folder)
    print("ready", flush=True)
    for (day, number), _ in zip(_numbers(), sys.stdin, strict=False):
        roles.live(day, number, number + 1)
        print("done", flush=True)
    roles.close()
    left = _day_of(Lake.open(settings.lake).history_begins_ms)
    commits = sum(1 for _ in settings.lake.glob("*/_delta_log/*.json"))
    files = sum(1 for _ in settings.lake.glob("*/recorded_on=*/*.parquet"))
    print(json.dumps({"history_begins": str(left), "log_files": commits, "parquet_files": files}))


def read(folder: Path, seed: int) -> None:
    """Ask as many questions as a line of input says, at its time; afterwards say how many were answered, and how."""
    reader = Reader(settings_of(WORLD, folder).lake, random.Random(seed))  # noqa: S311 - questions
    for line in sys.stdin:
        reader.ask(*json.loads(line))
        print("done", flush=True)
    print(json.dumps(reader.report))


class Session:
    """A connection with the views, and what they must say: that of when it began."""

    def __init__(self, lake: Path, opened_ms: int, closes_ms: int) -> None:
        self.connection = connect(lake)
        self.opened_ms, self.closes_ms = opened_ms, closes_ms
        self.head_ms: int = self._one('SELECT epoch_ms(max("now")) FROM ledger')
        begins_ms = self._one("SELECT epoch_ms(getvariable('truthloop_history'))")
        self.first = max(1, (begins_ms - day_start_ms(1)) // DAY_MS + 1)
        self.last = (self.head_ms - 1 - day_start_ms(1)) // DAY_MS + 1

    def _one(self, question: str) -> int:
        return int(self.connection.sql(question).fetchall()[0][0])

    def counts(self) -> Mapping[int, tuple[int, int, int]]:
        """Return predictions, labels, and labels that are 1, of each day that the lake has."""
        return {day: counted(day, self.head_ms) for day in range(self.first, self.last + 1)}


class Reader:
    """Fifty sessions' half, and what came of their questions."""

    def __init__(self, lake: Path, chance: random.Random) -> None:
        self._lake, self._chance = lake, chance
        self._sessions: list[Session] = []
        self._questions: tuple[Callable[[Session], bool], ...] = (
            self._is_right_in_all,
            self._is_right_of_coverage,
            self._is_right_of_metrics,
            self._is_right_of_a_day,
            self._is_right_of_a_key,
        )
        self.report = {"queries": 0, "wrong": 0, "failed": 0, "opened": 0, "least_old": SESSIONS}

    def ask(self, at_ms: int, queries: int) -> None:
        """Ask so many questions of sessions, at a time of the loop's clock."""
        for session in [one for one in self._sessions if one.closes_ms <= at_ms]:
            session.connection.close()
            self._sessions.remove(session)
        while len(self._sessions) < SESSIONS:
            lives_ms = self._chance.randrange(2 * HOUR_MS, LIVES_HOURS * HOUR_MS)
            self._sessions.append(Session(self._lake, at_ms, at_ms + lives_ms))
            self.report["opened"] += 1
        old = sum(at_ms - one.opened_ms > HOUR_MS for one in self._sessions)
        if at_ms > day_start_ms(2):
            self.report["least_old"] = min(self.report["least_old"], old)
        for _ in range(queries):
            self._ask(self._chance.choice(self._sessions))

    def _ask(self, session: Session) -> None:
        question = self._chance.choice(self._questions)
        self.report["queries"] += 1
        try:
            if not question(session):
                self.report["wrong"] += 1
                print(f"wrong: {question.__name__} as of {session.head_ms}", file=sys.stderr)
        except duckdb.Error as error:
            self.report["failed"] += 1
            print(f"failed: {question.__name__} as of {session.head_ms}: {error}", file=sys.stderr)

    def _is_right_in_all(self, session: Session) -> bool:
        return self._by_day(session, COUNTS) == session.counts()

    def _is_right_of_coverage(self, session: Session) -> bool:
        return self._by_day(session, PREDICTIONS) == {day: found[:1] for day, found in session.counts().items()}

    def _is_right_of_metrics(self, session: Session) -> bool:
        return self._by_day(session, LABELLED) == {day: found[:2] for day, found in session.counts().items()}

    def _by_day(self, session: Session, question: str) -> Mapping[int, tuple[int, ...]]:
        rows = session.connection.sql(question).fetchall()
        return {(day - _day_of(day_start_ms(1))).days + 1: tuple(counts) for day, *counts in rows}

    def _is_right_of_a_day(self, session: Session) -> bool:
        day = self._chance.randint(session.first, session.last)
        bounds = [_day_of(day_start_ms(one)).isoformat() + " 00:00:00+00" for one in (day, day + 1)]
        return session.connection.execute(ONE_DAY, bounds).fetchall() == [(counted(day, session.head_ms)[0],)]

    def _is_right_of_a_key(self, session: Session) -> bool:
        day = self._chance.randint(session.first, session.last)
        keys = WORLD.predictions(day).filter(pl.col("time") < session.head_ms)["key"]
        key = keys[self._chance.randrange(keys.len())]
        values = WORLD.labels_of(day).filter((pl.col("key") == key) & (pl.col("time") < session.head_ms))["value"]
        wanted = (1, min(values.len(), 1), values[-1] if values.len() else None)
        return session.connection.execute(ONE_KEY, [key]).fetchall() == [wanted]


@lru_cache(maxsize=100_000)
def counted(day: int, read_until_ms: int) -> tuple[int, int, int]:
    """Count what was fed of a day up to a time: predictions, labels, and labels that are 1."""
    found = WORLD.expected(day, read_until_ms)
    return (WORLD.predictions(day)["time"] < read_until_ms).sum(), found.joined, found.ones


def _numbers() -> Iterator[tuple[int, int]]:
    for day in range(1, DAYS + 1):
        yield from ((day, number) for number in range(WORLD.rounds(day)))


def _rounds() -> Iterator[int]:
    """Yield when each round ends."""
    return (round_end_ms(WORLD, day, number) for day, number in _numbers())


def _day_of(at_ms: int) -> date:
    return date(1970, 1, 1) + timedelta(milliseconds=at_ms)


def _started(role: str, folder: Path, seed: int, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--role", role, "--folder", str(folder), "--seed", str(seed)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)  # noqa: S603 - this very program


def _tell(process: subprocess.Popen[str], line: str) -> None:
    _pipe(process.stdin).write(line + "\n")
    _pipe(process.stdin).flush()


def _answer(process: subprocess.Popen[str]) -> None:
    """Wait for a line.

    Raises:
        RuntimeError: the process has ended.
    """
    if not _pipe(process.stdout).readline():
        raise RuntimeError(f"{process.args} has ended, see above")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


if __name__ == "__main__":
    main()
