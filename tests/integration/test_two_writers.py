"""Two processes race to append the same ranges: every range ends in the lake exactly once."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from lake_builder import LakeBuilder

ROUNDS = 40

WRITER = """
import sys
from pathlib import Path
import polars as pl
from lake.lakehouse import Lake
from lake_builder import RECORDED_AT
from schemas.errors import LakeConflict
lake = Lake.open(Path(sys.argv[1]))
frame = pl.read_parquet(sys.argv[2])
sys.stdin.readline()
won = 0
for number in range(int(sys.argv[3])):
    won += lake.append(
        "rejects", frame.with_columns(offset=pl.lit(number, pl.Int64)), app="p0",
        first=number, following=number + 1, recorded_at=RECORDED_AT,
    )
print(won)
"""


def test_two_processes_append_the_same_ranges_and_each_is_there_once(tmp_path: Path) -> None:
    """They start on one signal and chase each other; whoever loses a round finds its range written."""
    builder = LakeBuilder(tmp_path / "lake")
    row = {"partition": 0, "offset": 0, "source": "f", "source_row": 1}
    frame = builder.frame("rejects", [row | {"input": "labels", "reason": "stale", "stage": "join"}])
    frame.write_parquet(tmp_path / "frame.parquet")
    path = f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}"
    command = [sys.executable, "-c", WRITER, builder.lake.path, tmp_path / "frame.parquet", ROUNDS]
    writers = [
        subprocess.Popen(
            [str(part) for part in command],
            env={"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    won = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    counts = Counter(builder.lake.scan("rejects").collect()["offset"].to_list())
    assert counts == dict.fromkeys(range(ROUNDS), 1)
    assert sum(won) == ROUNDS
    assert builder.lake.applied("rejects", "p0") == ROUNDS
