"""Processes race to append to one table: every range ends in the lake exactly once."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from lake_builder import LakeBuilder

ROUNDS = 40

WRITER = """
import sys
from pathlib import Path
import polars as pl
from lake import Claim, Lake
from lake_builder import RECORDED_AT
lake = Lake.open(Path(sys.argv[1]))
frame = pl.read_parquet(sys.argv[2])
rounds, apps = int(sys.argv[3]), sys.argv[4:]
sys.stdin.readline()
won = 0
for number in range(rounds):
    won += lake.append(
        "rejects",
        frame.with_columns(offset=pl.lit(number, pl.Int64), source=pl.lit(apps[0])),
        [Claim(app, number, number + 1) for app in apps],
        recorded_at=RECORDED_AT,
    )
print(won)
"""


def start(builder: LakeBuilder, *apps: str) -> subprocess.Popen[str]:
    """Start a process that waits for a line and then appends every round in the name of `apps`."""
    row = {"partition": 0, "offset": 0, "source": "f", "source_row": 1}
    frame = builder.frame("rejects", [row | {"input": "labels", "reason": "stale", "stage": "join"}])
    frame.write_parquet(builder.lake.path.parent / "frame.parquet")
    path = f"{Path(__file__).parents[2]}:{Path(__file__).parents[1] / 'support'}"
    command = [sys.executable, "-c", WRITER, builder.lake.path, builder.lake.path.parent / "frame.parquet", ROUNDS]
    return subprocess.Popen(
        [*(str(part) for part in command), *apps],
        env={"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def release(writers: Sequence[subprocess.Popen[str]]) -> None:
    """Let all go on at once."""
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()


def won(writers: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Wait for all, and return how many appends of each were written."""
    counts = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(writers)
    return counts


def test_two_processes_append_the_same_ranges_and_each_is_there_once(tmp_path: Path) -> None:
    """They start on one signal and chase each other; whoever loses a round finds its ranges written."""
    builder = LakeBuilder(tmp_path / "lake")
    writers = [start(builder, "p0", "p1") for _ in range(2)]
    release(writers)
    assert sum(won(writers)) == ROUNDS
    counts = Counter(builder.lake.scan("rejects").collect()["offset"].to_list())
    assert counts == dict.fromkeys(range(ROUNDS), 1)
    assert [builder.lake.applied("rejects", app) for app in ("p0", "p1")] == [ROUNDS, ROUNDS]


def test_two_processes_with_ranges_of_their_own_lose_and_double_nothing(tmp_path: Path) -> None:
    """Both write every round, past each other and past columns that a third process adds."""
    builder = LakeBuilder(tmp_path / "lake")
    writers = [start(builder, "p0", "p1"), start(builder, "p2")]
    release(writers)
    schema = builder.lake.schema("rejects")
    builder.lake._add_columns("rejects", pl.Schema(schema | {"colour": pl.String()}))
    assert won(writers) == [ROUNDS, ROUNDS]
    rows = builder.lake.scan("rejects").collect()
    counts = Counter(rows.select("source", "offset").iter_rows())
    assert counts == {(app, number): 1 for app in ("p0", "p2") for number in range(ROUNDS)}
    assert [builder.lake.applied("rejects", app) for app in ("p0", "p1", "p2")] == [ROUNDS] * 3
    assert rows["colour"].null_count() == 2 * ROUNDS
