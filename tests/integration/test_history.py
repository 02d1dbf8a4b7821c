"""A loop that begins with a past from files: what the past knew is joined with what comes live."""

from pathlib import Path

import msgspec
from live_case import DAY_MS, Loop, Traffic, finish, running

from truthloop.clock import now_ms


def test_a_past_from_files_and_what_follows_make_one_loop(kafka: str, tmp_path: Path) -> None:
    """The first half comes from files, twice; the rest live. Labels of the past's predictions find them."""
    traffic = Traffic(23, 1_000, now_ms() - 4 * DAY_MS)
    half = len(traffic.records) // 2
    words = ["start", "--from", "history"]
    for topic in ("predictions", "labels"):
        file = tmp_path / f"{topic}.jsonl"
        past = [value for name, _, value, _ in traffic.records[:half] if name == topic and isinstance(value, dict)]
        file.write_bytes(b"".join(msgspec.json.encode(value) + b"\n" for value in past))
        words += [f"--{topic}", str(file)]
    with running(Loop(tmp_path, kafka)) as loop:
        for _ in range(2):
            done = loop.command(*words)
            assert done.returncode == 0, done.stderr
        assert "records sent" in done.stderr
        loop.run("join")
        traffic.records = traffic.records[half:]
        loop.produce(traffic)
        assert finish(loop, traffic) == []
        joined = [row for row in loop.rows("outcomes") if row["status"] == "joined"]
        assert any(row["prediction_offset"] < half // 20 for row in joined)


def test_a_past_needs_files(kafka: str, tmp_path: Path) -> None:
    """And files need to be called a past."""
    with running(Loop(tmp_path, kafka)) as loop:
        assert loop.command("start", "--from", "history").returncode == 2
        assert loop.command("start", "--from", "latest", "-p", "x.jsonl").returncode == 2
