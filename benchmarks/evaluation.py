"""What an evaluation costs in a new process as the version grows old: `python benchmarks/evaluation.py`.

The lake has the cells of so many days, each with those of 1,000 predictions of one version and their outcomes of the
config of `benchmarks/fold.py`. The newest day is evaluated twice, by processes of their own: one goes on from what the
evaluation before has left in the log, the other finds nothing there and judges all days.

Prints one line of JSON for each: the days before the evaluated one whose cells were asked for, the files that hold
them, and CPU milliseconds from opening the lake on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import polars as pl
from fold import CONFIG, START_MS
from fold_history import write_history

from lake import Lake
from monitor.cells.cells_by_day import CellsByDay
from monitor.cells.cohort import day_at
from monitor.cells.plan import CellPlan
from monitor.cells.summary import CellSummary
from monitor.evaluation import Evaluator
from monitor.version_watch import continued
from schemas.events.memory import VersionMemory
from truthloop.evidence.lake_cells import LakeCells, read_cells

KIND = next(iter(CONFIG.labels))
NEWEST = day_at(START_MS, CONFIG.timezone) - timedelta(days=4)
"""The history ends on this day (`fold_history.write_history`)."""


def main() -> None:
    """Measure each age, in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, nargs="+", default=[100, 400, 1100])
    parser.add_argument("--lake", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=["write", "whole", "next"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "write":
        write_history(Lake.create(arguments.lake, CONFIG), arguments.days[0])
    elif arguments.step:
        print(json.dumps(measure(arguments.lake, arguments.days[0], arguments.step)))
    else:
        for days in arguments.days:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--days", str(days), "--lake", f"{folder}/lake"]
                for step in ("write", "whole", "next"):
                    subprocess.run([*command, "--step", step], check=True)  # noqa: S603 - itself


def measure(path: Path, days: int, step: str) -> dict[str, object]:
    """Return the figures of one evaluation; the one of all days leaves what the other goes on from."""
    log = path.parent / "memory.json"
    day = NEWEST if step == "next" else NEWEST - timedelta(days=1)
    memories = {}
    if step == "next":
        known = VersionMemory.model_validate_json(log.read_text())
        memories[known.version] = continued([known])
    started = time.process_time()
    plan = CellPlan.from_config(CONFIG)
    cells = AskedCells(read_cells(Lake.open(path), plan, []))
    evaluator = Evaluator(CONFIG, KIND)
    evaluator.load(cells, plan, (day, day), memories=memories)
    found = evaluator.evaluate(day, {})
    spent_ms = (time.process_time() - started) * 1_000
    assert found.memory is not None
    log.write_text(found.memory.model_dump_json())
    first = max(min(cells.asked), NEWEST - timedelta(days=days - 1))
    files = [one for one in cells.cells.state.files if one.overlaps(first, day)]
    return {
        "age_days": days,
        "goes_on": step == "next",
        "days_read": (day - first).days,
        "files": len(files),
        "cpu_ms": round(spent_ms),
    }


@dataclass
class AskedCells(CellsByDay):
    """Cells that remember of which days they were asked for."""

    cells: LakeCells
    asked: list[date] = field(default_factory=list)

    @property
    def summary(self) -> CellSummary:
        """The summary of all cells."""
        return self.cells.summary

    def of_days(self, first: date, last: date, *conditions: pl.Expr) -> pl.DataFrame:
        """Return the cells of some days, and remember the first."""
        self.asked.append(first)
        return self.cells.of_days(first, last, *conditions)


if __name__ == "__main__":
    main()
