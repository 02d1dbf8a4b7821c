"""What a loop costs as it grows old: `PYTHONPATH=. .venv/bin/python benchmarks/years.py`; `--quick` for one year.

Two loops live through three years on a driven clock (`years_clock.py`): a live one, whose join, lake writer and
feedback role work through rounds of commits, and one that replays the files of each day in the night after it. No
broker: everything else is the roles' own code, on real lakes. Past labels are corrected daily, and once a quarter a
backfill is told and approved (`years_traffic.py`).

On days 7, 30, 365 and 1,095 each operation is measured in a process of its own: CPU seconds of user and system, of all
threads, and the greatest memory of the process. Two of these days, the thirtieth and the last, are days of full
cadence: as many rounds as a live loop that commits every 10 seconds has. After each, what the views count of every day
is compared with what was fed; a run with a difference ends without figures.

The last column is the last day over day 30. What does not ask for history must not grow with it: where it exceeds 1.2,
the line ends with `grows`, and the program with 1. The machine's noise is in it: run it alone.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from years_clock import processes_clock
from years_report import Table
from years_traffic import World

MODES = ("live", "nightly")

CHUNK_DAYS = 15
"""Days that one process lives through, where nothing is measured."""

STEPS: Mapping[str, tuple[str, ...]] = {
    "live": ("evaluation", "live_on", "join", "append", "fold", "last_look", "maintenance"),
    "nightly": ("night", "fold", "evaluation", "last_look", "maintenance", "night_without_files"),
}
"""The steps of a measured day, in order."""

READS = ("look", "page", "explain", "query")
"""Steps after these, which change nothing: each is taken twice, and the lesser figures count."""


@dataclasses.dataclass(frozen=True)
class Size:
    """A run's length and density: days measured; predictions, rounds of commits and looks a day; the same when busy."""

    measured_days: tuple[int, ...]
    rate: int
    commits: int
    looks: int
    busy_rate: int
    busy_commits: int


WHOLE = Size((7, 30, 365, 1_095), rate=1_440, commits=4, looks=1, busy_rate=8_640, busy_commits=8_640)
QUICK = Size((7, 30, 365), rate=960, commits=4, looks=1, busy_rate=1_920, busy_commits=300)


def main() -> None:
    """Simulate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one year, with fewer commits on days of full cadence")
    parser.add_argument("--days", type=int, nargs="+", metavar="DAY", help="measure these instead, at least three")
    parser.add_argument("--rate", type=int, help="predictions a day, but on days of full cadence")
    parser.add_argument("--slices", type=int, default=6, help="values of the one slice")
    parser.add_argument("--retain", type=int, default=5, metavar="DAYS", help="until when labels can be corrected")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=MODES, action="append", help="only this one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--folder", type=Path, help="keep the lakes there; a run that was stopped there goes on")
    parser.add_argument("--minutes", type=float, help="stop after so long, between two steps; the same command goes on")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else WHOLE
    days = tuple(arguments.days or size.measured_days)
    world = World(
        seed=arguments.seed,
        rate=arguments.rate or size.rate,
        busy_rate=max(size.busy_rate, arguments.rate or 0),
        busy_days=(days[1], days[-1]),
        measured_days=days,
        slices=arguments.slices,
        retain_days=arguments.retain,
        commits=size.commits,
        measured_commits=40,
        busy_commits=size.busy_commits,
        looks=size.looks,
    )
    with tempfile.TemporaryDirectory(prefix="truthloop-years-") as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(world, folder, arguments.minutes)
        is_whole = run.through(arguments.mode or MODES)
    print(run.table.text())
    if arguments.json:
        arguments.json.write_text(json.dumps(run.table.document(), indent=1), "utf-8")
    sys.exit(0 if is_whole and not run.table.growing else 1)


class Progress(msgspec.Struct):
    """How far a run has come.

    Attributes:
        following: by mode, the first day that has not been lived through.
        figures: mode, step, day, and what the step measured.
    """

    following: dict[str, int]
    figures: list[tuple[str, str, int, dict[str, float]]] = []


class Run:
    """One run: its table, and the processes that fill it.

    Args:
        minutes: after which it stops; None: at its end.
    """

    def __init__(self, world: World, folder: Path, minutes: float | None) -> None:
        self._world, self._folder, self._minutes = world, folder, minutes
        self._environment = os.environ | processes_clock(folder)
        self._began_s = time.monotonic()
        self._lock = threading.Lock()
        self._progress = Progress(dict.fromkeys(MODES, 1))
        text = msgspec.json.encode(world)
        if (folder / "progress.json").exists():
            assert (folder / "world.json").read_bytes() == text, f"{folder} holds a run with other options"
            self._progress = msgspec.json.decode((folder / "progress.json").read_bytes(), type=Progress)
        for mode in MODES:
            (folder / mode).mkdir(exist_ok=True)
        (folder / "world.json").write_bytes(text)

    @property
    def table(self) -> Table:
        """What has been measured."""
        table = Table(self._world)
        for figures in self._progress.figures:
            table.add(*figures)
        return table

    def through(self, modes: tuple[str, ...]) -> bool:
        """Live through all days, the modes side by side; return False if one of them had to stop."""
        with ThreadPoolExecutor(len(modes)) as pool:
            return all(pool.map(self._through, modes))

    def _through(self, mode: str) -> bool:
        days = self._world.measured_days
        try:
            while (day := self._progress.following[mode]) <= days[-1]:
                if self._minutes is not None and self._minutes_passed() > self._minutes:
                    self._note(mode, f"stops before day {day}; the same command goes on")
                    return False
                if day in days:
                    self._done(mode, day + 1, self._measure(mode, day))
                else:
                    until = min(day + CHUNK_DAYS, *(measured for measured in days if measured > day))
                    self._step(mode, "advance", day, until)
                    self._done(mode, until, {})
        except subprocess.CalledProcessError as error:
            self._note(mode, f"stops: {' '.join(error.cmd[3:])} failed, see above")
            return False
        return True

    def _done(self, mode: str, following: int, figures: Mapping[str, dict[str, float]]) -> None:
        """Note how far a mode has come."""
        with self._lock:
            self._progress.following[mode] = following
            self._progress.figures += [(mode, step, following - 1, found) for step, found in figures.items()]
            (self._folder / "progress.json").write_bytes(msgspec.json.encode(self._progress))

    def _measure(self, mode: str, day: int) -> dict[str, dict[str, float]]:
        """Live through a measured day, and return the figures of its steps."""
        found: dict[str, dict[str, float]] = {}
        for step in (*STEPS[mode], *READS):
            found[step] = self._step(mode, step, day)
            if step in READS:
                again = self._step(mode, step, day)
                found[step] = {name: min(value, again[name]) for name, value in found[step].items()}
        self._step(mode, "check", day)
        found["sizes"] = self._step(mode, "sizes", day)
        self._note(mode, f"day {day} is measured")
        return found

    def _step(self, mode: str, name: str, *days: int) -> dict[str, float]:
        """Take a step in a process of its own, and return what it measures.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        if name == "advance":
            self._note(mode, f"day {days[0]}")
        program = Path(__file__).with_name("years_steps.py")
        command = [sys.executable, str(program), str(self._folder), mode, name, *map(str, days)]
        done = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - this very program
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def _minutes_passed(self) -> float:
        return (time.monotonic() - self._began_s) / 60

    def _note(self, mode: str, text: str) -> None:
        print(f"{self._minutes_passed():6.1f} min  {mode}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
