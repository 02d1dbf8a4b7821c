"""Rules that are changed on a running loop: shown, applied, kept through crashes and a lost state, never lost.

Tests `truthloop.cli.commands.plan`.
"""

import json
import shutil
import time
from pathlib import Path

from live_case import DAY_MS, HORIZON_MS, HOUR_MS, Loop, Traffic, finish, lake_differences, running

LONGER_MS = 10 * HOUR_MS


def edit(loop: Loop, old: str, new: str) -> None:
    """Change the loop's config as a person would."""
    text = loop.config.read_text()
    assert old in text
    loop.config.write_text(text.replace(old, new))


def changes(loop: Loop) -> list[dict[str, object]]:
    """Return what `plan` shows."""
    shown = loop.command("plan", "--json")
    assert shown.returncode in (0, 1), shown.stderr
    found = json.loads(shown.stdout)["changes"]
    assert shown.returncode == any(not one["can_be_applied"] for one in found)
    return found


def join_and_stop(loop: Loop, traffic: Traffic) -> None:
    """Let a worker join the traffic, and stop it in good order."""
    loop.begin()
    worker = loop.run("join")
    loop.produce(traffic)
    loop.wait("the join's end", lambda: loop.lag("join", ("predictions", "labels")) == 0)
    worker.terminate()
    assert worker.wait(60) == 0


def test_other_rules_hold_from_then_on_and_survive_a_lost_state(kafka: str, tmp_path: Path) -> None:
    """What was decided stays, what is pending waits for its new deadline, and a rebuild knows both rules."""
    traffic = Traffic(7, 600, int(time.time() * 1000) - 4 * DAY_MS)
    with running(Loop(tmp_path, kafka)) as loop:
        loop.begin()
        worker = loop.run("join")
        loop.run("lake")

        def change(sent: int) -> None:
            if sent < len(traffic.records):
                loop.wait("the first half", lambda: loop.lag("join", ("predictions", "labels")) == 0)
                edit(loop, "horizon: 6h, retain: 5d}", "horizon: 10h, retain: 5d}")
                edit(loop, "disorder: 10m", "disorder: 11m")
                assert {str(one["rule"]) for one in changes(loop)} == {"labels.fraud.horizon_ms", "disorder_ms"}
                applied = loop.command("apply")
                assert applied.returncode == 0, applied.stderr
                assert "labels.fraud.horizon: 6h -> 10h" in applied.stdout
                loop.wait("the new rules", lambda: changes(loop) == [])
                worker.kill()
                worker.wait()
                shutil.rmtree(loop.folder / "state" / loop.name)
                loop.run("join")

        loop.produce(traffic, change, pieces=2)
        assert finish(loop, traffic, LONGER_MS) == []
        assert "is restored from the lake" in loop.log("join")
        timed_out = [row for row in loop.rows("outcomes") if row["kind"] == "fraud" and row["status"] == "expired"]
        assert {row["known_at"] - row["predicted_at"] for row in timed_out} == {HORIZON_MS, LONGER_MS}
        other = [row for row in loop.rows("outcomes") if row["status"] == "implied"]
        assert {row["known_at"] - row["predicted_at"] for row in other} == {HORIZON_MS}
        loop.wait("the lake", lambda: not lake_differences(loop))


def test_a_config_that_changed_under_a_running_loop_changes_nothing_until_it_is_applied(
    kafka: str, tmp_path: Path
) -> None:
    """A worker that starts with it goes on under the rules in force and says so; what cannot be applied is refused."""
    traffic = Traffic(8, 200, int(time.time() * 1000) - 4 * DAY_MS)
    with running(Loop(tmp_path, kafka)) as loop:
        join_and_stop(loop, traffic)
        edit(loop, "definition: chargeback, horizon: 6h", "definition: another, horizon: 3h")
        found = {str(one["rule"]): one["can_be_applied"] for one in changes(loop)}
        assert found == {"labels.fraud.definition": False, "labels.fraud.horizon_ms": True}
        refused = loop.command("apply")
        assert refused.returncode == 2
        assert "labels.fraud.definition was 'chargeback' and is 'another'" in refused.stderr
        loop.run("join")
        loop.wait("its words", lambda: "this config is not in force" in loop.log("join"))
        edit(loop, "definition: another, horizon: 3h", "definition: chargeback, horizon: 6h")
        assert changes(loop) == []
        assert finish(loop, traffic) == []


def test_a_config_with_other_kinds_stops_the_partitions_and_names_them(kafka: str, tmp_path: Path) -> None:
    """Records of one kind cannot be read as those of another."""
    traffic = Traffic(9, 60, int(time.time() * 1000) - 4 * DAY_MS)
    with running(Loop(tmp_path, kafka)) as loop:
        join_and_stop(loop, traffic)
        edit(loop, ", click: {task: binary}", "")
        edit(loop, "  click: {definition: clicked, horizon: 6h, retain: 5d, on_timeout: {imply: 0}}\n", "")
        loop.run("join")
        loop.wait("its words", lambda: "the config has the label kinds ['fraud']" in loop.log("join"))
        assert {one["rule"] for one in changes(loop)} == {"labels.click"}
