"""Days told again in another time zone: found either way, with the shift; rejected, the join withdraws their labels.

Tests `truthloop.evidence.retimed`, `truthloop.evidence.episode_labels`, `truthloop.evidence.withdrawals`,
`truthloop.feedback.withdrawal_commands` and `monitor.backfill.time_shift` on files.
"""

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from effort import some
from polars.testing import assert_frame_equal
from restatement_case import (
    DAY_MS,
    HALF,
    HOUR_MS,
    START_MS,
    Killed,
    add_days,
    diffs_of,
    killed_at,
    label_row,
    make_loop,
    rule,
    scored,
    truth_of,
    views_agree,
)

from lake import Lake
from retrain.decision_log import DecisionLog
from retrain.episode_status import rulings_of
from schemas.errors import InputError
from schemas.events.backfill import Cause, Episode, Ruling, Verdict
from schemas.events.evidence import Decision, Event, GateState
from streams.kafka.topics import Topics
from streams.ledger.lake_kind import complete_rows
from streams.messages.command import Withdraw, decode_command
from truthloop.config.settings import Settings, load_settings
from truthloop.evidence.conservation import check_conservation
from truthloop.evidence.episode_labels import labels_of
from truthloop.evidence.withdrawals import WithdrawalProgress, progress_of
from truthloop.feedback.reconcile import Reconciler
from truthloop.feedback.withdrawal_commands import WithdrawalCommands
from truthloop.run.replay_files import replay_files

KNOWN = 15
"""Days before the week is told again: a week of them is history that an hour is judged by."""
TOLD = range(9, 12)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A loop whose labels are known when they arrive, and whose days before the week is told again are evaluated."""
    settings = loop_in(tmp_path_factory.mktemp("evaluated"))
    add_days(settings, (0, KNOWN))
    turn(settings)
    return settings


@pytest.fixture(scope="module")
def rejected(evaluated: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Episode]:
    """The same after the week was told again five hours later and rejected, and the week's episode."""
    settings = copy_of(evaluated, tmp_path_factory.mktemp("rejected"))
    return settings, reject(settings, 5)


@pytest.fixture
def loop(evaluated: Settings, tmp_path: Path) -> Settings:
    """A copy of the evaluated loop."""
    return copy_of(evaluated, tmp_path)


def loop_in(folder: Path) -> Settings:
    """Return a loop in a folder of its own."""
    folder.mkdir(exist_ok=True)
    settings = make_loop(folder)
    settings.path.write_text(settings.path.read_text().replace("clock: event", "clock: arrival"))
    return load_settings(settings.path, {})


def copy_of(settings: Settings, folder: Path) -> Settings:
    """Return a loop in another folder, with the same lake."""
    copy = loop_in(folder)
    shutil.copytree(settings.lake, copy.lake)
    return copy


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


@pytest.mark.parametrize(("shift_h", "flipped"), some((5, 12), (-5, 12), (5, 0), (-5, 0), at_least=2))
def test_a_week_told_again_in_another_zone_waits_with_its_shift(loop: Settings, shift_h: int, flipped: int) -> None:
    """Corrections or stale labels: one episode of all of them, found before its hour is over, and no number has it."""
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


def reject(settings: Settings, shift_h: int) -> Episode:
    """Replay the days told again, and reject them."""
    add_days(settings, (KNOWN, KNOWN + 1), told_again(shift_h * HOUR_MS, flipped=12))
    [opened] = [one for one in turn(settings) if one.event is Event.BACKFILLED]
    assert opened.episode is not None
    rule(settings, opened.episode, Verdict.REJECTED)
    turn(settings)
    return opened.episode


def turn(settings: Settings) -> list[Decision]:
    """Look once, as a process that was just started."""
    return [*Reconciler(settings, lambda: START_MS).run().decisions]


def next_run(settings: Settings) -> None:
    """Replay no file, as the next night begins."""
    replay_files(settings, [], [], now_ms=START_MS + 99 * DAY_MS, close_at_ms=None)


def outcomes(settings: Settings) -> pl.DataFrame:
    """Return the current outcomes."""
    return scored(settings).select("key", "status", "value", "known_at", "first_known_at", "is_mature")


def is_accounted_for(settings: Settings) -> bool:
    """Return whether both identities hold, also counted from the rows."""
    return check_conservation(Lake.open(settings.lake), {"fraud": "f1"}).holds


@pytest.mark.parametrize("shift_h", [5, -5])
def test_a_rejected_week_is_withdrawn_by_the_next_run(
    evaluated: Settings, loop: Settings, tmp_path: Path, shift_h: int
) -> None:
    """The outcomes are those of a loop that never had it; a true correction comes in; later nights restore it."""
    episode = reject(loop, shift_h)
    assert progress_of(Lake.open(loop.lake), episode) == WithdrawalProgress(0, len(TOLD) * HALF, 0)
    next_run(loop)
    assert progress_of(Lake.open(loop.lake), episode) == WithdrawalProgress(len(TOLD) * HALF, 0, 0)
    with pytest.raises(InputError, match="no files were given"):
        next_run(loop)
    other = copy_of(evaluated, tmp_path / "other")
    add_days(other, (KNOWN, KNOWN + 1))
    assert is_accounted_for(loop)
    turn(loop)
    views_agree(loop)
    assert_frame_equal(outcomes(loop), outcomes(other))
    day, at_ms = TOLD[0], START_MS + (KNOWN + 1) * DAY_MS
    between = scored(loop).filter(key=f"{day}-0")["known_at"].item().timestamp() * 1_000 + HOUR_MS
    correction = label_row(day, 0, round(between), 1 - truth_of(0), arrived_at=at_ms + HOUR_MS)
    for settings in (loop, other):
        add_days(settings, (KNOWN + 1, KNOWN + 2), [correction])
        turn(settings)
        views_agree(settings)
    assert outcomes(loop).filter(key=f"{day}-0")["value"].item() == 1 - truth_of(0)
    assert_frame_equal(outcomes(loop), outcomes(other))
    assert is_accounted_for(loop)


def test_a_withdrawal_that_is_killed_anywhere_is_finished_by_the_next_run(
    rejected: tuple[Settings, Episode], tmp_path: Path
) -> None:
    """Each table is written once, whichever was missing."""
    expected: pl.DataFrame | None = None
    for step in range(6):
        again = copy_of(rejected[0], tmp_path / str(step))
        with killed_at(step) as passed, suppress(Killed):
            next_run(again)
        with suppress(InputError):
            next_run(again)
        add_days(again, (KNOWN + 1, KNOWN + 2))
        assert is_accounted_for(again)
        found = outcomes(again)
        expected = found if expected is None else expected
        assert_frame_equal(found, expected)
        reasons = Lake.open(again.lake).scan("rejects").filter(pl.col("reason") == "withdrawn").collect()
        assert reasons.height == len(TOLD) * HALF
    assert passed == [0, 1, 2, 3, 4]  # the ledger and four tables


def as_the_version_before(lake: Path) -> None:
    """Rewrite the ledger as the version before wrote it: without the column and the counts of withdrawals."""
    table = DeltaTable(str(lake / "ledger"))
    steps = table.transaction_version("replay")
    rows = pl.scan_parquet(table.file_uris(), hive_partitioning=True).collect()
    strip = {"point": r',"withdrawals":0', "counters": r',"withdrawn":0'}
    rows = rows.with_columns(pl.col("point").str.replace_all(strip["counters"], ""))
    rows = rows.with_columns(pl.col(name).str.replace_all(text, "") for name, text in strip.items())
    assert not rows.select(pl.any_horizontal(pl.col(*strip).str.contains("withdraw")).any()).item()
    files = rows.drop("withdrawals").with_columns(pl.col("recorded_on").cast(pl.Date))
    shutil.rmtree(lake / "ledger")
    write_deltalake(
        str(lake / "ledger"),
        files.to_arrow(),
        partition_by=["recorded_on"],
        commit_properties=CommitProperties(app_transactions=[Transaction("replay", steps)]),
    )


def test_a_lake_of_the_version_before_goes_on_and_withdraws(rejected: tuple[Settings, Episode], tmp_path: Path) -> None:
    """Its ledger has neither the column nor the counts."""
    loop, episode = copy_of(rejected[0], tmp_path), rejected[1]
    as_the_version_before(loop.lake)
    assert "withdrawals" not in Lake.open(loop.lake).schema("ledger")
    next_run(loop)
    assert progress_of(Lake.open(loop.lake), episode) == WithdrawalProgress(len(TOLD) * HALF, 0, 0)
    add_days(loop, (KNOWN + 1, KNOWN + 2))
    assert is_accounted_for(loop)
    views_agree(loop)


def test_a_running_join_is_told_once_by_each_process(rejected: tuple[Settings, Episode], tmp_path: Path) -> None:
    """As long as labels of the episode's hour may come, they are looked for; what is withdrawn is not sent again."""
    loop, episode = copy_of(rejected[0], tmp_path), rejected[1]
    lake, topics = Lake.open(loop.lake), Topics.of(loop.config)
    rulings = rulings_of(DecisionLog(lake, "fraud").entries())
    commands = WithdrawalCommands(lake, topics)
    messages = commands.due(rulings)
    assert {one.topic for one in messages} == {topics.commands}
    found = {
        (message.partition, label.offset)
        for message in messages
        if isinstance(command := decode_command(message.value), Withdraw) and command.episode == episode.id
        for label in command.labels
    }
    steps = {number: row.sequence + 1 for number, row in complete_rows(lake).items()}
    assert found == set(labels_of(lake, episode, steps).select("partition", "offset").rows())
    assert commands.due(rulings) == messages  # they could not be published
    commands.note_sent()
    assert commands.due(rulings) == []
    assert len(WithdrawalCommands(lake, topics).due(rulings)) == len(messages)
    waiting = [Ruling(episode=episode, verdict=Verdict.QUARANTINED)]
    assert WithdrawalCommands(lake, topics).due(waiting) == []
    next_run(loop)
    assert WithdrawalCommands(Lake.open(loop.lake), topics).due(rulings) == []


def test_a_lake_that_was_not_made_to_its_end_is_finished_by_a_replay(tmp_path: Path) -> None:
    """Before a run looks for what is due, there may be an empty folder, or a lake without all of its tables."""
    settings = loop_in(tmp_path / "new")
    predictions = tmp_path / "predictions.jsonl"
    row = {"key": "a", "time": START_MS, "version": "v1", "outputs": {"fraud": 0.5}}
    predictions.write_text(json.dumps(row))
    settings.lake.mkdir()
    replay_files(settings, [predictions], [], now_ms=START_MS + DAY_MS, close_at_ms=None)
    shutil.rmtree(settings.lake / "diffs")
    replay_files(settings, [predictions], [], now_ms=START_MS + DAY_MS, close_at_ms=START_MS)
    assert is_accounted_for(settings)


def test_a_week_that_is_rejected_after_retain_is_named_and_left(
    rejected: tuple[Settings, Episode], tmp_path: Path
) -> None:
    """Nothing is due then; by the ruling no number has it."""
    loop, episode = copy_of(rejected[0], tmp_path), rejected[1]
    before = outcomes(loop)
    add_days(loop, (KNOWN + 20, KNOWN + 21))
    assert progress_of(Lake.open(loop.lake), episode) == WithdrawalProgress(0, 0, len(TOLD) * HALF)
    with pytest.raises(InputError, match="no files were given"):
        next_run(loop)
    assert is_accounted_for(loop)
    assert_frame_equal(outcomes(loop).join(before, on="key", how="semi").drop("is_mature"), before.drop("is_mature"))
