"""`truthloop coverage`: the share of predictions with a known label, by cohort and age."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base.figures import age, plain_text, share
from truthloop.terminal.console import note, print_json, reporting_errors, warn

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

__all__ = ["coverage"]


def coverage(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    kind: Annotated[str | None, typer.Option(help="One label kind; default: all.")] = None,
    version: Annotated[str | None, typer.Option(help="One model version; default: all.")] = None,
    slice_: Annotated[
        str,
        typer.Option("--slice", help="A slice such as origin=JFK, or 'every'; default: whole cohorts."),
    ] = "",
    last: Annotated[int, typer.Option(min=1, help="Number of days to show, the newest last.")] = 14,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    fail_under: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Exit with 1 if a final day has a lower coverage, from 0 to 1.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every cohort as one JSON document.")] = False,
) -> None:
    """Show coverage: the share of labels known by an age, per day.

    A dash means that the day has not reached the age yet: a young cohort is not a bad cohort, so no share is shown
    before it is due.
    """
    with reporting_errors():
        import polars as pl  # noqa: PLC0415 - keeps --help fast

        from monitor.coverage.table import IS_OF_COVERAGE, judge_goals  # noqa: PLC0415 - the same
        from monitor.coverage.table import coverage as coverage_of  # noqa: PLC0415 - the same
        from truthloop.cli.selection import check_choice  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.evidence.cells import read_evidence  # noqa: PLC0415 - the same
        from truthloop.terminal.tables import print_table  # noqa: PLC0415 - the same
        from truthloop.text.slices import uncounted_slices, uncounted_text  # noqa: PLC0415 - the same

        settings = load_settings(config)
        evidence = read_evidence(settings)
        reach = evidence.reach
        cells = evidence.cells.whole(IS_OF_COVERAGE)
        rows = coverage_of(cells, evidence.plan, reach.observed_until_ms, reach.matured_until_ms)
        goals = judge_goals(rows, evidence.plan)
        for column, chosen in (("kind", kind), ("version", version), ("slice", slice_)):
            if chosen is not None and chosen != "every":
                if chosen:
                    why_not = uncounted_text(chosen, uncounted_slices(settings.config)) if column == "slice" else ""
                    check_choice(f"--{column}", chosen, rows[column], why_not)
                rows = rows.filter(pl.col(column) == chosen)
                goals = goals.filter(pl.col(column) == chosen)
        under = _under(rows, fail_under)
        if as_json:
            print_json({"cohorts": _plain(rows), "goals": _plain(goals), "under": _plain(under)})
        else:
            for table in _tables(rows, last):
                print_table(table)
            missed = goals.filter(pl.col("verdict") == "missed").height
            judged = goals.filter(pl.col("verdict") != "not_due").height
            if judged:
                note(f"coverage goals: reached by {judged - missed:,} of {judged:,} due cohorts")
        for kind_, version_, day, so_far in under.select("kind", "version", "day", "so_far").iter_rows():
            warn(f"{kind_}, {version_}, {day}: final with {share(so_far)} of its labels")
        if under.height:
            raise typer.Exit(1)


def _under(rows: "pl.DataFrame", least: float | None) -> "pl.DataFrame":
    """Return the final cohorts whose coverage is lower than `least`; none if that is not given."""
    import polars as pl  # noqa: PLC0415 - keeps --help fast

    cohorts = rows.unique(["kind", "version", "slice", "day"], keep="first", maintain_order=True)
    if least is None:
        return cohorts.clear()
    return cohorts.filter("is_mature", pl.col("so_far") < least)


def _plain(frame: "pl.DataFrame") -> list[dict[str, object]]:
    import polars as pl  # noqa: PLC0415 - keeps --help fast

    return frame.with_columns(pl.col("day").cast(pl.String)).to_dicts()


def _tables(rows: "pl.DataFrame", last: int) -> "list[Table]":
    """Return one table per kind, version and slice: a row per day, a column per age."""
    from truthloop.terminal.tables import plain_table  # noqa: PLC0415 - keeps --help fast

    tables: list[Table] = []
    for (kind, version, slice_), group in rows.group_by("kind", "version", "slice", maintain_order=True):
        ages = group["age_ms"].unique().sort().to_list()
        name = f"{kind}, {version}" + (f", {slice_}" if slice_ else "")
        table = plain_table(
            "day:",
            "predictions",
            *map(age, ages),
            "so far",
            "final:",
            title=plain_text(f"Labels known by age: {name}"),
        )
        days = group["day"].unique().sort().to_list()[-last:]
        for (day,), cohort in group.group_by("day", maintain_order=True):
            if day in days:
                first = cohort.row(0, named=True)
                shares = map(share, cohort.sort("age_ms")["coverage"].to_list())
                final = "yes" if first["is_mature"] else "not yet"
                table.add_row(str(day), f"{first['predictions']:,}", *shares, share(first["so_far"]), final)
        tables.append(table)
    return tables
