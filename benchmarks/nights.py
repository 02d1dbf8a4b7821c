"""What a night costs beside a large state: `PYTHONPATH=. python benchmarks/nights.py --records 2000000`.

The records of `replay.py`, all of which stay in the join's state, but for the last two hundredths. Each of these is
replayed as a night, in a process of its own: one goes on with the state that the run before has kept, the other one
finds none and restores it from the lake.

Prints one line of JSON for each run: records, seconds of wall and CPU time, the greatest memory of the process.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import polars as pl
from replay import CONFIG, HOUR_MS, generate

from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.run.replay_files import replay_files

RETAIN_MS = 200 * 24 * HOUR_MS
NIGHTS = (0.0, 0.98, 0.99)
"""Shares of the records after which the runs begin: a first one, and two nights."""

ROLES = ("predictions", "labels")


def main() -> None:
    """Generate, replay night after night, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "NUMBER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(replay_night(Path(arguments.run[0]), int(arguments.run[1]))))
        return
    with tempfile.TemporaryDirectory(prefix="truthloop-bench-") as name:
        folder = Path(name)
        generate(folder, arguments.records, arguments.seed)
        cut(folder)
        for number, what in enumerate(("first run", "night, state kept", "night, state lost")):
            if what.endswith("lost"):
                shutil.rmtree(folder / "state")
            command = [sys.executable, __file__, "--run", name, str(number)]
            found = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this very file
            print(json.dumps({"run": what} | json.loads(found.stdout)), flush=True)


def cut(folder: Path) -> None:
    """Cut both files into those of the runs, by time."""
    frames = {role: pl.read_parquet(folder / f"{role}.parquet") for role in ROLES}
    starts = [frames["predictions"]["time"].quantile(share, "lower") or 0 for share in (*NIGHTS, 1.0)]
    for role, frame in frames.items():
        for number, bounds in enumerate(pairwise(starts)):
            within = frame.filter(pl.col("time").is_between(*bounds, closed="left"))
            within.write_parquet(folder / f"{role}-{number}.parquet")


def replay_night(folder: Path, number: int) -> dict[str, float]:
    """Replay the files of one run, and return its figures."""
    click = CONFIG.labels["click"].model_copy(update={"retain": RETAIN_MS})
    config = CONFIG.model_copy(update={"labels": {"click": click}})
    settings = Settings(config, folder / "truthloop.yaml", folder / "lake", folder / "state", folder / "datasets")
    predictions, labels = ([folder / f"{role}-{number}.parquet"] for role in ROLES)
    wall, cpu = time.perf_counter(), time.process_time()
    summary = replay_files(settings, predictions, labels, now_ms=now_ms(), close_at_ms=None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert summary.counters.violations() == []
    return {
        "records": sum(file.read for file in summary.files),
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


if __name__ == "__main__":
    main()
