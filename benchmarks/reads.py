"""What questions to a large lake cost: `PYTHONPATH=. python benchmarks/reads.py --outcomes 50000000 --days 120`.

The lake is made first (`reads_lake.py`), unless `--lake` names one that an earlier run has made; it is kept there.
Every question is asked in a process of its own, of plain DuckDB with `views.sql`, as an analyst does.

Prints a line of JSON for each: rows of the answer, seconds of wall and CPU time without the loading of the views, those
of the loading, Parquet files opened, megabytes read of them, the greatest memory of the process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from reads_lake import key_of, lake_to_read

from lake.session import connect

QUESTIONS = {
    "nothing": "SELECT 1",
    "one key": f"FROM scored WHERE key = '{key_of(12_345)}'",
    "one day": "SELECT status, count(*) FROM scored WHERE day = '2023-01-20' GROUP BY ALL",
    "one day's time": "SELECT status, count(*) FROM scored "
    "WHERE predicted_at >= '2023-01-20' AND predicted_at < '2023-01-21' GROUP BY ALL",
    "rows by day": "SELECT day, status, count(*) FROM scored GROUP BY ALL",
    "counts": "FROM counts",
    "coverage": "FROM coverage",
    "metrics": "FROM metrics",
}
_COUNTED = """
SELECT count(*) FILTER (op = 'OPEN'), coalesce(sum(bytes) FILTER (op = 'READ'), 0) / 1e6
FROM duckdb_logs_parsed('FileSystem') WHERE path LIKE '%.parquet'
"""


def main() -> None:
    """Make a lake, or take one, and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ask", choices=QUESTIONS, help="only this, of a lake that is there")
    with lake_to_read(parser) as (arguments, _):
        if arguments.ask:
            print(json.dumps(ask(arguments.lake, arguments.ask)))
            return
        for question in QUESTIONS:
            command = [sys.executable, __file__, "--lake", str(arguments.lake), "--ask", question]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True)  # noqa: S603 - ours


def ask(lake: Path, question: str) -> dict[str, str | float]:
    """Ask one question, and return its figures."""
    loaded_s, loaded_cpu_s = time.monotonic(), time.process_time()
    with connect(lake) as connection:
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        rows = len(connection.execute(QUESTIONS[question]).fetchall())
        ended_s, ended_cpu_s = time.monotonic(), time.process_time()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        # once more, and counted: the log of all openings takes time itself
        connection.execute("SET enable_external_file_cache = false")
        connection.execute("CALL enable_logging('FileSystem')")
        connection.execute(QUESTIONS[question]).fetchall()
        ((opened, megabytes),) = connection.execute(_COUNTED).fetchall()
    return {
        "question": question,
        "rows": rows,
        "wall_s": round(ended_s - began_s, 3),
        "cpu_s": round(ended_cpu_s - began_cpu_s, 3),
        "load_wall_s": round(began_s - loaded_s, 3),
        "load_cpu_s": round(began_cpu_s - loaded_cpu_s, 3),
        "opened": opened,
        "read_mb": round(megabytes, 1),
        "peak_mb": round(memory),
    }


if __name__ == "__main__":
    main()
