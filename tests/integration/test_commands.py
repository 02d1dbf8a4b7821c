"""The commands end to end: files in, output, exit codes, stdout and stderr.

Tests `truthloop.cli.commands.replay`, `truthloop.cli.commands.coverage`, `truthloop.cli.commands.metrics`,
`truthloop.cli.selection`, `truthloop.terminal.tables`, `truthloop.terminal.progress` and `truthloop.text.slices`.
"""

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from replay_case import CLOSE_MS, Files, write_files
from typer.testing import CliRunner, Result

from lake import Claim, Lake, connect
from monitor.coverage.table import coverage
from monitor.metrics.table import metrics
from truthloop.__main__ import app
from truthloop.config.settings import Settings, load_settings
from truthloop.evidence.cells import read_evidence
from truthloop.evidence.conservation import check_conservation
from truthloop.run.replay_files import replay_files

CONFIG = """
version: 1
loop: test
clock: event
partitions: 3
disorder: 0s
predictions:
  outputs: {click: {task: binary}, sale: {task: regression}}
  slices: [country]
  features: {amount: {type: float, min: 0}}
labels:
  click: {definition: c1, horizon: 1h, retain: 6h, on_timeout: {imply: 0}}
  sale: {definition: s1, horizon: 4h, retain: 8h}
cohorts: {by: [version, country], ages: [30m, 1h]}
metrics: {click: [accuracy, precision, recall, log_loss, brier]}
coverage: [{label: sale, age: 4h, min: 0.9}]
"""
CLOSE = "2023-12-14T22:13:20+00:00"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Files and a config in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "truthloop.yaml").write_text(CONFIG, "utf-8")
    return write_files(tmp_path, nights=2)


def call(*words: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(word) for word in words])


def replayed(files: Files) -> Result:
    """Replay all files and close."""
    words: list[object] = ["replay", "--close", CLOSE]
    for role, paths in (("predictions", files.prediction_files), ("labels", files.label_files)):
        words += [word for path in paths for word in (f"--{role}", path)]
    return call(*words)


def test_replay_accounts_for_every_record(files: Files) -> None:
    """Both accounting identities are printed on stdout."""
    done = replayed(files)
    assert done.exit_code == 0, done.stderr
    assert f"{len(files.predictions)} predictions = " in done.stdout
    assert "joined" in done.stdout
    assert "without" not in done.stderr


def test_the_status_of_a_loop_of_files_is_that_of_its_lake(files: Files) -> None:
    """The page names this command; it needs no cluster."""
    assert call("status").exit_code == 1
    replayed(files)
    shown = call("status")
    assert shown.exit_code == 0, shown.stderr
    assert f"{len(files.predictions)} predictions = " in shown.stdout
    document = json.loads(call("status", "--json").stdout)
    assert document["conservation"] == {"holds": True, "violations": []}
    assert document["counters"]["predictions"]["consumed"] == len(files.predictions)


def test_replay_prints_one_json_document(files: Files) -> None:
    """Nothing else on stdout."""
    document = json.loads(call("replay", "-p", files.prediction_files[0], "--json").stdout)
    assert document["conservation"] == {"holds": True, "violations": []}
    assert document["files"][0]["read"] == len(files.prediction_files[0].read_text("utf-8").splitlines())
    again = json.loads(call("replay", "-p", files.prediction_files[0], "--json").stdout)
    assert again["skipped"] == ["predictions-0.jsonl"]
    assert again["counters"] == document["counters"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["replay"], "no files were given"),
        (["replay", "-p", "nowhere.parquet"], "nowhere.parquet"),
        (["replay", "-p", "predictions-0.jsonl", "--close", "soon"], "'soon' is not a time"),
        (["coverage", "-c", "missing.yaml"], "missing.yaml"),
        (["metrics", "--by", "colour"], "cannot group by 'colour'"),
    ],
)
@pytest.mark.usefixtures("files")
def test_a_usage_error_is_reported_on_stderr_with_exit_code_two(words: list[str], message: str) -> None:
    """Nothing on stdout, and nothing written."""
    refused = call(*words)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert refused.stdout == ""
    assert not Path("lake").exists()


@pytest.mark.usefixtures("files")
def test_a_missing_lake_is_reported_with_the_next_step() -> None:
    """The message names the command to run first."""
    refused = call("coverage")
    assert refused.exit_code == 1
    assert "replay" in refused.stderr


def test_coverage_shows_shares_that_are_due(files: Files) -> None:
    """After the close every cohort is final, and goals are evaluated."""
    replayed(files)
    shown = call("coverage", "--kind", "sale", "--version", "v1")
    assert shown.exit_code == 0
    assert "Labels known by age: sale, v1" in shown.stdout
    assert "yes" in shown.stdout
    assert "coverage goals:" in shown.stderr
    document = json.loads(call("coverage", "--json").stdout)
    assert {row["kind"] for row in document["cohorts"]} == {"click", "sale"}
    assert all(row["due"] for row in document["cohorts"])


def test_coverage_fails_if_final_days_lack_labels(files: Files) -> None:
    """Exit code 1 with the days; a day that is not final never fails."""
    call("replay", "-p", files.prediction_files[0], "-l", files.label_files[0])
    assert call("coverage", "--kind", "sale", "--fail-under", "1").exit_code == 0
    replayed(files)
    assert call("coverage", "--kind", "sale", "--fail-under", "0").exit_code == 0
    failed = call("coverage", "--kind", "sale", "--fail-under", "1", "--json")
    assert failed.exit_code == 1
    under = json.loads(failed.stdout)["under"]
    assert under
    assert all(day["is_mature"] and day["so_far"] < 1 for day in under)
    assert f"{under[0]['day']}: final with" in failed.stderr


def test_metrics_at_an_age_count_what_was_known_by_it(files: Files, tmp_path: Path) -> None:
    """Fewer labels than in the end; an age that is not in `evaluate_at` is refused."""
    config = tmp_path / "truthloop.yaml"
    config.write_text(CONFIG + "evaluate_at: [20m, final]\n", "utf-8")
    replayed(files)
    words = ("metrics", "--by", "version", "--kind", "click", "--json")
    early, final = (json.loads(call(*words, *more).stdout)["metrics"] for more in (["--at-age", "20m"], []))
    assert 0 < early[0]["n"] < final[0]["n"]
    assert early[0]["status"] == "mature"
    refused = call("metrics", "--at-age", "30m")
    assert refused.exit_code == 2
    assert "20m" in refused.stderr


def test_coverage_by_a_slice_that_is_not_counted_says_so(files: Files) -> None:
    """Predictions have it, so that the lake does not is no answer."""
    config = Path("truthloop.yaml")
    config.write_text(config.read_text("utf-8").replace("slices: [country]", "slices: [country, device]"), "utf-8")
    replayed(files)
    refused = call("coverage", "--slice", "device=web")
    assert refused.exit_code == 2
    assert "device is kept with every outcome, but not counted by: `cohorts.by` of the config" in refused.stderr
    assert "is not in the lake" not in refused.stderr


def test_coverage_of_an_unknown_slice_suggests_the_nearest(files: Files) -> None:
    """The message has the right name."""
    replayed(files)
    refused = call("coverage", "--slice", "country=DEE")
    assert refused.exit_code == 2
    assert "did you mean 'country=DE'" in refused.stderr


def test_metrics_are_null_then_provisional_then_mature(files: Files) -> None:
    """Null without labels, provisional before the close, final after it; revised where late labels came then."""
    call("replay", "-p", files.prediction_files[0])
    rows = json.loads(call("metrics", "--json").stdout)["metrics"]
    assert rows == [] or {row["status"] for row in rows} == {"no_data"}
    assert all(row["value"] is None for row in rows)
    call("replay", "-p", files.prediction_files[1], "-l", files.label_files[0], "-l", files.label_files[1])
    rows = json.loads(call("metrics", "--json", "--by", "version").stdout)["metrics"]
    assert "provisional" in {row["status"] for row in rows}
    call("replay", "--close", CLOSE)
    rows = json.loads(call("metrics", "--json", "--by", "version").stdout)["metrics"]
    assert {row["status"] for row in rows if row["definition"] == "c1"} <= {"mature", "revised", "no_data"}
    shown = call("metrics", "--by", "version", "--by", "month")
    assert "click (c1)" in shown.stdout


def test_cells_folded_night_by_night_equal_one_fold(files: Files, tmp_path: Path) -> None:
    """The incremental fold is exact, including corrections across nights."""
    settings = load_settings(tmp_path / "truthloop.yaml")
    whole = Settings(settings.config, settings.path, tmp_path / "whole", settings.state, settings.datasets)
    for predictions, labels in zip(files.prediction_files, files.label_files, strict=True):
        replay_files(settings, [predictions], [labels], now_ms=CLOSE_MS, close_at_ms=None)
        read_evidence(settings)
        replay_files(whole, [predictions], [labels], now_ms=CLOSE_MS, close_at_ms=None)
    for either in (settings, whole):
        replay_files(either, [], [], now_ms=CLOSE_MS, close_at_ms=CLOSE_MS)
    one, two = read_evidence(settings), read_evidence(whole)
    assert one.cells.whole().height > 50
    assert one.cells.whole().equals(two.cells.whole())
    assert one.reach == two.reach


def test_cells_are_recreated_when_the_config_counts_differently(files: Files, tmp_path: Path) -> None:
    """With other ages, and back again: each time the cells equal a new fold."""
    settings = load_settings(tmp_path / "truthloop.yaml")
    replayed(files)
    first = read_evidence(settings).cells.whole()
    cohorts = settings.config.cohorts.model_copy(update={"ages": [420_000]})
    other = Settings(
        settings.config.model_copy(update={"cohorts": cohorts}),
        settings.path,
        settings.lake,
        settings.state,
        settings.datasets,
    )
    assert not read_evidence(other).cells.whole().equals(first)
    assert read_evidence(settings).cells.whole().equals(first)
    assert Lake.open(settings.lake).scan("cells").select(pl.col("plan").n_unique()).collect().item() == 1


def test_the_views_of_coverage_and_metrics_agree_with_the_cells(files: Files, tmp_path: Path) -> None:
    """Rows counted in DuckDB and integers in cells, before and after the close."""
    settings = load_settings(tmp_path / "truthloop.yaml")
    words = [word for path in files.prediction_files for word in ("-p", path)]
    call("replay", *words, "-l", files.label_files[0])
    for _ in ("open", "closed"):
        evidence = read_evidence(settings)
        reach = evidence.reach
        cohorts = coverage(evidence.cells.whole(), evidence.plan, reach.observed_until_ms, reach.matured_until_ms)
        wanted = ["version", "day", "kind", "age_ms", "predictions", "labelled", "coverage", "due"]
        cohorts = cohorts.filter(pl.col("slice") == "").select(wanted)
        rows = metrics(evidence.cells.whole(), evidence.plan, ["version", "day"], reach.matured_until_ms)
        with connect(settings.lake) as views:
            seen = views.sql("FROM coverage").pl().select(wanted)
            assert_frame_equal(seen, cohorts, check_row_order=False, check_dtypes=False)
            view = views.sql("FROM metrics").pl()
        for name in ("accuracy", "precision", "recall", "log_loss", "brier"):
            expected = rows.filter(pl.col("name") == name, pl.col("definition") == "c1")
            counts = ["n", "labelled", "predictions", "status"]
            expected = expected.select("version", "day", "kind", pl.col("value").alias(name), *counts)
            assert_frame_equal(
                view.select(expected.columns), expected, check_row_order=False, check_dtypes=False, rel_tol=1e-8
            )
        call("replay", "-l", files.label_files[1], "--close", CLOSE)


def test_conservation_is_counted_a_second_time_from_the_rows(files: Files, tmp_path: Path) -> None:
    """It agrees with the ledger, and does not if a row is deleted."""
    settings = load_settings(tmp_path / "truthloop.yaml")
    summary = replay_files(
        settings, files.prediction_files, files.label_files, now_ms=CLOSE_MS + 1, close_at_ms=CLOSE_MS
    )
    definitions = {kind: label.definition for kind, label in settings.config.labels.items()}
    lake = Lake.open(settings.lake)
    assert check_conservation(lake, definitions, summary.files).violations == []
    rows = lake.scan("outcomes").collect()
    lake.replace(
        "outcomes",
        rows.filter(pl.col("status") != "retracted").drop("recorded_on", "recorded_at"),
        [Claim("test", 0, 1)],
        recorded_at=rows["recorded_at"][0],
    )
    broken = check_conservation(lake, definitions, summary.files)
    assert not broken.holds
    assert any("retracted" in sentence for sentence in broken.violations)
