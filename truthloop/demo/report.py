"""The result of the demo, as tables for a person or as one JSON document."""

import os
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import polars as pl

from schemas.base.figures import number, share, signed
from truthloop.demo.live import LiveRun
from truthloop.demo.prepare import Prepared
from truthloop.demo.summary import Summary
from truthloop.evidence.conservation import Conservation
from truthloop.run.replay_files import accounting_lines
from truthloop.terminal.console import note, results
from truthloop.terminal.tables import metric_tables, plain_table, print_table

__all__ = ["DemoResult", "demo_document", "print_demo"]

SHOWN_METRICS = ("roc_auc", "log_loss", "accuracy", "recall")

DemoResult = tuple[LiveRun, Conservation, Summary]
"""The run, the check of both accounting identities, and the figures to show."""


def demo_document(prepared: Prepared, result: DemoResult, seconds: dict[str, float]) -> dict[str, object]:
    """Return the result as one JSON document.

    Args:
        prepared: the demo's files.
        result: of the run.
        seconds: durations by part of the demo.
    """
    run, conservation, summary = result
    return {
        "records": {"predictions": run.predictions, "labels": run.labels, "trained_on": prepared.training_rows},
        "conservation": {
            "holds": conservation.holds,
            "predictions": conservation.predictions,
            "labels": conservation.labels,
            "violations": conservation.violations,
        },
        "coverage": {
            "by_age": [asdict(age) for age in summary.ages],
            "usual_day": summary.usual_coverage,
            "storm": [asdict(day) for day in summary.storm],
        },
        "metrics": summary.months.with_columns(pl.col("month").cast(pl.String)).to_dicts(),
        "versions": {
            "deployed": [asdict(deployment) for deployment in run.deployments],
            "compared": [asdict(comparison) for comparison in summary.compared],
        },
        "decisions": [retrain.document() for retrain in run.retrains],
        "backfills": [ruling.document() for ruling in run.rulings],
        "lake": str(prepared.config.parent / "lake"),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def print_demo(prepared: Prepared, result: DemoResult, seconds: dict[str, float], way: str) -> None:
    """Print the result as text and tables.

    Args:
        prepared: the demo's files.
        result: of the run.
        seconds: durations by part of the demo.
        way: how the records were processed, such as "through Kafka".
    """
    run, conservation, summary = result
    records = run.predictions + run.labels
    results.print(
        f"\n[bold]A year of flights, joined.[/] {records:,} records in {seconds['live']:.1f} s "
        f"({records / seconds['live']:,.0f} a second) {way}. {seconds['total']:.1f} s in all."
    )
    results.print(
        "\n[bold]Every record is counted exactly once[/] (two counts agree: the join's, and that of the rows)"
    )
    for line in accounting_lines(run.counters):
        results.print(f"  {line}")
    table = plain_table("hours after prediction", "labels known", "late among these", "late in the end")
    for age in summary.ages:
        table.add_row(str(age.age_h), *map(share, (age.coverage, age.arrived_share, age.final_share)))
    results.print("\n[bold]Early labels flatter the model.[/] The labels of late planes come late, too:")
    print_table(table)
    results.print(
        f"\n[bold]Some labels never come.[/] Of a usual day's flights {share(summary.usual_coverage)} get a "
        "label in the end.\nThe others were cancelled or diverted: they expired, neither late nor on time.\n"
        "In the blizzard of February:"
    )
    storm = plain_table("day:", "predictions", "labels in the end")
    for day in summary.storm:
        storm.add_row(day.day, f"{day.predictions:,}", share(day.coverage))
    print_table(storm)
    results.print("\n[bold]Metrics by month[/], of the deployed model and its shadow together")
    shown = summary.months.filter(pl.col("name").is_in(SHOWN_METRICS))
    for metric_table in metric_tables(shown, ["month"]):
        print_table(metric_table)
    _print_retrains(run, summary)
    _print_rulings(run)
    option = f"-c {prepared.config}"
    program = "truthloop" if shutil.which("truthloop") else os.path.relpath(sys.argv[0])
    commands = {
        f"{program} coverage {option}": "how many labels are known, day by day",
        f"{program} metrics {option} --by slice": "which flights are hard to predict",
        f"{program} retrain explain {option}": "why a retrain was asked for, or not, day by day",
        f"{program} backfill list {option}": "every restatement, and who ruled about it",
        f"{program} explain {option} '{summary.grounded}'": "everything known about a flight",
        f"{program} sql {option} 'FROM scored LIMIT 5'": "your own questions; without a query: the views",
        f"less {prepared.config}": "the config of this loop",
    }
    width = max(map(len, commands))
    results.print("\n[bold]Next commands[/]")
    for command, meaning in commands.items():
        results.print(f"  {command:<{width}}   {meaning}")
    if conservation.holds:
        note("Both identities hold.")


def _print_rulings(run: LiveRun) -> None:
    if run.rulings:
        results.print(
            "\n[bold]The past changes.[/] The airport restates two months: late now means more than 30 minutes."
        )
    for line in (line for ruling in run.rulings for line in ruling.lines()):
        results.print(f"  {line}", markup=False)


def _print_retrains(run: LiveRun, summary: Summary) -> None:
    """Print every retrain in order, and the comparison of its model with the one before."""
    if run.retrains:
        results.print(
            "\n[bold]The loop closes.[/] When the model's error rises, the gate asks and the airline's pipeline trains."
        )
    deployed = {deployment.decision: deployment for deployment in run.deployments if deployment.decision is not None}
    compared = {comparison.second: comparison for comparison in summary.compared}
    for retrain in run.retrains:
        day = datetime.fromtimestamp(retrain.decided_ms / 1000, UTC)
        results.print(f"  {day:%-d %B}: {retrain.reason}", markup=False)
        if (new := deployed.get(retrain.id)) is None:
            results.print(f"    {retrain.state}", markup=False)
            continue
        results.print(
            f"    {new.version}, trained on {new.training_rows:,} flights, deployed on {new.since}", markup=False
        )
        if (found := compared.get(new.version)) is not None and found.low is not None and found.high is not None:
            results.print(
                f"    log loss on the {found.labels:,} flights that both scored: "
                f"{found.first} {number(found.first_loss)}, {found.second} {number(found.second_loss)}; "
                f"difference {signed(found.difference)} ({signed(found.low)} to {signed(found.high)}): {found.verdict}",
                markup=False,
            )
