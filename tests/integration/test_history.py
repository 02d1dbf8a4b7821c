"""A loop that starts with history from files: the history is joined with live records.

Tests `truthloop.cli.commands.start`.

Covers `streams.seed.history`.
"""

from pathlib import Path

import msgspec
from live_case import DAY_MS, Loop, Traffic, finish, running

from truthloop.clock import now_ms


def test_history_from_files_and_live_records_are_joined(kafka: str, tmp_path: Path) -> None:
    """Half of the traffic comes from files, twice; the rest is live. Live labels join predictions from files."""
    traffic = Traffic(23, 1_000, now_ms() - 4 * DAY_MS)
    half = len(traffic.records) // 2
    arguments = ["start", "--from", "history"]
    for topic in ("predictions", "labels"):
        file = tmp_path / f"{topic}.jsonl"
        values = [value for name, _, value, _ in traffic.records[:half] if name == topic and isinstance(value, dict)]
        file.write_bytes(b"".join(msgspec.json.encode(value) + b"\n" for value in values))
        arguments += [f"--{topic}", str(file)]
    with running(Loop(tmp_path, kafka)) as loop:
        for _ in range(2):
            done = loop.command(*arguments)
            assert done.returncode == 0, done.stderr
        assert "records sent" in done.stderr
        loop.run("join")
        traffic.records = traffic.records[half:]
        loop.produce(traffic)
        assert finish(loop, traffic) == []
        joined = [row for row in loop.rows("outcomes") if row["status"] == "joined"]
        assert any(row["prediction_offset"] < half // 20 for row in joined)


def test_history_needs_files(kafka: str, tmp_path: Path) -> None:
    """`--from history` without files is refused, and so are files without it."""
    with running(Loop(tmp_path, kafka)) as loop:
        assert loop.command("start", "--from", "history").returncode == 2
        assert loop.command("start", "--from", "latest", "-p", "x.jsonl").returncode == 2
