"""What the demo tells at its end: as tables for a person, or as one JSON document. Must not run anything."""

import os
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import polars as pl

from truthloop.demo.live import LiveRun
from truthloop.demo.prepare import Prepared
from truthloop.demo.summary import Summary
from truthloop.evidence.conservation import Conservation
from truthloop.run.replay_files import account_lines
from truthloop.terminal.console import note, results
from truthloop.terminal.tables import metric_tables, plain_table, print_table, share_text

__all__ = ["Told", "document_of", "tell"]

SHOWN_METRICS = ("roc_auc", "log_loss", "accuracy", "recall")

Told = tuple[LiveRun, Conservation, Summary]
"""What became of the traffic, whether both identities hold, and what is shown."""


def document_of(prepared: Prepared, told: Told, seconds: dict[str, float]) -> dict[str, object]:
    """Return everything as one JSON document.

    Args:
        prepared: the files.
        told: what came of the run.
        seconds: by part.
    """
    run, conservation, summary = told
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
            "deployed": [asdict(one) for one in run.deployments],
            "compared": [asdict(one) for one in summary.compared],
        },
        "decisions": [one.document() for one in run.retrains],
        "backfills": [one.document() for one in run.ruled],
        "lake": str(prepared.config.parent / "lake"),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def tell(prepared: Prepared, told: Told, seconds: dict[str, float], way: str) -> None:
    """Print everything for a person.

    Args:
        prepared: the files.
        told: what came of the run.
        seconds: by part.
        way: how the records went.
    """
    run, conservation, summary = told
    records = run.predictions + run.labels
    results.print(
        f"\n[bold]A year of flights, joined.[/] {records:,} records in {seconds['live']:.1f} s "
        f"({records / seconds['live']:,.0f} a second) {way}. {seconds['total']:.1f} s with all else."
    )
    results.print("\n[bold]Every record is in exactly one place[/] (counted twice: by the join, and from the rows)")
    for line in account_lines(run.counters):
        results.print(f"  {line}")
    table = plain_table("hours after prediction", "labels in", "late among these", "late in the end")
    for age in summary.ages:
        table.add_row(str(age.age_h), *map(share_text, (age.coverage, age.arrived_share, age.final_share)))
    results.print("\n[bold]Young labels flatter the model.[/] Late planes are late with their labels, too:")
    print_table(table)
    results.print(
        f"\n[bold]Some truth never comes.[/] Of a usual day's flights {share_text(summary.usual_coverage)} get a "
        "label in the end.\nThe others were cancelled or diverted: they have expired, neither late nor on time.\n"
        "In the blizzard of February that was:"
    )
    storm = plain_table("day:", "predictions", "labels in the end")
    for day in summary.storm:
        storm.add_row(day.day, f"{day.predictions:,}", share_text(day.coverage))
    print_table(storm)
    results.print("\n[bold]How the models did[/], the deciding one and its shadow together")
    shown = summary.months.filter(pl.col("name").is_in(SHOWN_METRICS))
    for metric_table in metric_tables(shown, ["month"]):
        print_table(metric_table)
    _tell_retrains(run, summary)
    _tell_ruled(run)
    where = f"-c {prepared.config}"
    program = "truthloop" if shutil.which("truthloop") else os.path.relpath(sys.argv[0])
    commands = {
        f"{program} coverage {where}": "how much of the truth is in, day by day",
        f"{program} metrics {where} --by slice": "whose flights are hard to predict",
        f"{program} retrain explain {where}": "why a retrain was asked for, or not, day by day",
        f"{program} backfill list {where}": "every past that was told anew, and who said that it counts",
        f"{program} explain {where} '{summary.grounded}'": "everything known about a flight",
        f"{program} sql {where} 'FROM scored LIMIT 5'": "your own questions; without a query: the views",
        f"less {prepared.config}": "the config that made this",
    }
    width = max(map(len, commands))
    results.print("\n[bold]What to type next[/]")
    for command, meaning in commands.items():
        results.print(f"  {command:<{width}}   {meaning}")
    if conservation.holds:
        note("Both identities hold.")


def _tell_ruled(run: LiveRun) -> None:
    if run.ruled:
        results.print(
            "\n[bold]The past changes.[/] The airport tells two months anew; late is now more than 30 minutes."
        )
    for line in (line for one in run.ruled for line in one.lines()):
        results.print(f"  {line}", markup=False)


def _tell_retrains(run: LiveRun, summary: Summary) -> None:
    """Tell of every retrain in order, and how its model did beside the one before it."""
    if run.retrains:
        results.print(
            "\n[bold]The loop closes.[/] When the model errs more, the gate asks; the airline's pipeline trains."
        )
    deployed = {one.decision: one for one in run.deployments if one.decision is not None}
    compared = {one.second: one for one in summary.compared}
    for one in run.retrains:
        day = datetime.fromtimestamp(one.decided_ms / 1000, UTC)
        results.print(f"  {day:%-d %B}: {one.reason}", markup=False)
        if (new := deployed.get(one.id)) is None:
            results.print(f"    {one.state}", markup=False)
            continue
        results.print(
            f"    {new.version}, trained on {new.training_rows:,} flights, decides from {new.since} on", markup=False
        )
        if (found := compared.get(new.version)) is not None and found.low is not None and found.high is not None:
            results.print(
                f"    log loss on the {found.labels:,} flights that both scored: {found.first} {found.first_loss:.4f}, "
                f"{found.second} {found.second_loss:.4f}; difference {found.difference:+.4f} "
                f"({found.low:+.4f} to {found.high:+.4f}): {found.verdict}",
                markup=False,
            )
