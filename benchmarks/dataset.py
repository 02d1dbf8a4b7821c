"""What it takes to write a data set: `PYTHONPATH=. python benchmarks/dataset.py --outcomes 15000000 --days 120`.

The lake is made first (`reads_lake.py`), unless `--lake` names one that an earlier run has made; it is kept there.
Prints a line of JSON: rows of the data set, seconds of wall and CPU time, the greatest memory of the process, megabytes
of its files.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from datetime import UTC, timedelta
from pathlib import Path

from reads_lake import CONFIG, lake_to_read

from lake import Lake
from lake.dataset import write_dataset
from lake.dataset_selection import DatasetOrder

HOLDOUT = timedelta(days=7)


def main() -> None:
    """Make a lake, or take one, and write a data set in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--until", type=int, default=0, help="as of so many days before the newest label")
    parser.add_argument("--write", type=Path, help="only write, to this folder, from a lake that is there")
    with lake_to_read(parser) as (arguments, folder):
        if arguments.write:
            print(json.dumps(write(arguments.lake, arguments.write, arguments.until)))
            return
        command = [sys.executable, __file__, "--lake", str(arguments.lake), "--write", str(folder / "datasets")]
        command += ["--until", str(arguments.until)]
        subprocess.run(command, check=True)  # noqa: S603 - ours


def write(path: Path, root: Path, until: int) -> dict[str, float]:
    """Write one of everything whose outcome was final so many days before the newest label; return the figures."""
    lake = Lake.open(path)
    newest = lake.scan("labels").select("known_at").max().collect().item()
    as_of_ms = round((newest.astimezone(UTC) - timedelta(days=until)).timestamp() * 1000)
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    order = DatasetOrder("bench", "fraud", as_of_ms, None, HOLDOUT // timedelta(milliseconds=1))
    written = write_dataset(lake, CONFIG, order, root)
    return {
        "rows": sum(written.manifest["rows"].values()),
        "wall_s": round(time.monotonic() - began_s, 1),
        "cpu_s": round(time.process_time() - began_cpu_s, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "files_mb": round(sum(file["bytes"] for file in written.manifest["files"].values()) / 1e6, 1),
    }


if __name__ == "__main__":
    main()
