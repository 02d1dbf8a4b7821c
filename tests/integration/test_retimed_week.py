"""Days told again in another time zone: found either way, with the shift, and no number follows them.

Tests `truthloop.evidence.retimed`, `truthloop.evidence.episode_labels` and `monitor.backfill.time_shift` with the scan.
"""

import random
from pathlib import Path

import pytest
from restatement_case import (
    DAY_MS,
    HALF,
    HOUR_MS,
    START_MS,
    add_days,
    diffs_of,
    label_row,
    make_loop,
    scored,
    views_agree,
)

from schemas.events.backfill import Cause, Verdict
from schemas.events.evidence import Event, GateState
from truthloop.config.settings import Settings, load_settings
from truthloop.feedback.reconcile import Reconciler

KNOWN = 15
"""Days before the week is told again: a week of them is history that an hour is judged by."""
TOLD = range(9, 12)


@pytest.fixture
def loop(tmp_path: Path) -> Settings:
    """A loop whose labels are known when they arrive."""
    settings = make_loop(tmp_path)
    text = settings.path.read_text().replace("clock: event", "clock: arrival")
    settings.path.write_text(text)
    return load_settings(settings.path, {})


def told_again(shift_ms: int, flipped: int = 0) -> list[dict[str, object]]:
    """Return the labels of some days with their times shifted, all within three minutes of the last day."""
    arrived_ms, rows = START_MS + KNOWN * DAY_MS + 9 * HOUR_MS, []
    for day in TOLD:
        rng = random.Random(day)
        for number in range(HALF):
            rng.uniform(0.6, 0.95), rng.random()  # as `add_days` draws them before the label's delay
            at_ms = START_MS + day * DAY_MS + number * (DAY_MS // (2 * HALF)) + rng.randrange(HOUR_MS)
            row = label_row(day, number, at_ms + shift_ms, arrived_at=arrived_ms + 1_000 * len(rows))
            if len(rows) < flipped:
                row["value"] = 1 - row["value"]
            rows.append(row)
    return rows


@pytest.mark.parametrize(("shift_h", "flipped"), [(5, 0), (-5, 0), (-5, 12), (5, 12)])
def test_a_week_told_again_in_another_zone_waits_with_its_shift(loop: Settings, shift_h: int, flipped: int) -> None:
    """Corrections or stale labels: one episode of all of them, found before its hour is over, and no number has it."""
    add_days(loop, (0, KNOWN))
    turn = Reconciler(loop, lambda: START_MS)
    turn.run()
    before = scored(loop)
    add_days(loop, (KNOWN, KNOWN + 1), told_again(shift_h * HOUR_MS, flipped))
    [opened] = [one for one in turn.run().decisions if one.event is Event.BACKFILLED]
    assert opened.episode is not None
    assert Cause.RETIMED in opened.episode.causes
    assert opened.episode.labels == len(TOLD) * HALF
    assert (opened.verdict, opened.state) == (Verdict.QUARANTINED, GateState.WAITING)
    [diff] = diffs_of(loop)
    assert diff.shift is not None
    assert (diff.shift.labels, diff.shift.same_value) == (len(TOLD) * HALF, len(TOLD) * HALF - flipped)
    assert (diff.shift.median_ms, diff.shift.at_median) == (shift_h * HOUR_MS, len(TOLD) * HALF)
    assert (diff.touched.predictions, diff.touched.changed) == (len(TOLD) * HALF, flipped if shift_h > 0 else 0)
    assert f"all 5 h {'later' if shift_h > 0 else 'earlier'}" in opened.reason
    turn.run()
    views_agree(loop)
    now = scored(loop).filter(scored(loop)["predicted_at"] < before["predicted_at"].max())
    assert now.select("key", "value", "known_at").equals(
        before.filter(before["predicted_at"] < before["predicted_at"].max()).select("key", "value", "known_at")
    )
