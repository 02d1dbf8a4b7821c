"""`truthloop metrics`: metrics of the model, and whether they are mature."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from truthloop.terminal.console import note, print_json, reporting_errors

__all__ = ["metrics"]


def metrics(
    by: Annotated[
        list[str] | None,
        typer.Option(help="version, slice, day or month; may be repeated. Default: month."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="One label kind; default: all.")] = None,
    at_age: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Count what was of record at this age, one of `evaluate_at`, to compare days before they are final.",
        ),
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show metrics with their number of labels and their status. Metrics have River's names.

    `mature`: every outcome of the group is final. `provisional`: labels are still to come, so the metric will change,
    and not at random: late labels are often those of wrong predictions. `no_data`: no labels.
    """
    with reporting_errors():
        import polars as pl  # noqa: PLC0415 - keeps --help fast

        from monitor.metrics.table import IS_OF_METRICS, mature_until_at_age  # noqa: PLC0415 - the same
        from monitor.metrics.table import metrics as metrics_of  # noqa: PLC0415 - the same
        from truthloop.cli.selection import check_choice  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.evidence.cells import read_evidence  # noqa: PLC0415 - the same
        from truthloop.terminal.tables import metric_tables, print_table  # noqa: PLC0415 - the same

        groups = _dimensions(by or ["month"])
        settings = load_settings(config)
        age_ms = _age(at_age, settings.config.evaluate_at)
        evidence = read_evidence(settings)
        reach = evidence.reach
        until_ms = reach.matured_until_ms if age_ms is None else mature_until_at_age(reach.observed_until_ms, age_ms)
        is_asked = IS_OF_METRICS if "slice" in groups else IS_OF_METRICS & (pl.col("slice") == "")
        rows = metrics_of(evidence.cells.whole(is_asked), evidence.plan, groups, until_ms, at_age_ms=age_ms)
        if kind is not None:
            check_choice("--kind", kind, pl.Series([plan.name for plan in evidence.plan.kinds]))
            rows = rows.filter(pl.col("kind") == kind)
        if as_json:
            dates = [name for name, dtype in rows.schema.items() if dtype == pl.Date]
            print_json({"metrics": rows.with_columns(pl.col(dates).cast(pl.String)).to_dicts()})
            return
        if rows.is_empty():
            note("No metrics: there are no predictions yet.")
        elif "slice" in groups and not evidence.plan.slices:
            note("No slices: name them in `cohorts.by` of the config.")
        for table in metric_tables(rows, list(groups)):
            print_table(table)


def _age(text: str | None, known: "list[int | Literal['final']]") -> int | None:
    """Return the typed age, if it is one of `evaluate_at`."""
    from schemas.base.duration import format_duration, parse_duration_ms  # noqa: PLC0415 - keeps --help fast
    from schemas.errors import ConfigError  # noqa: PLC0415 - the same

    if text is None:
        return None
    ages = [age for age in known if age != "final"]
    try:
        age_ms = parse_duration_ms(text)
    except ValueError as error:
        raise ConfigError(str(error), where="--at-age") from None
    if age_ms not in ages:
        named = ", ".join(format_duration(age) for age in ages) or "none but `final`"
        raise ConfigError("metrics are not counted at this age", where="--at-age", hint=f"`evaluate_at` has {named}.")
    return age_ms


def _dimensions(names: list[str]) -> list[Literal["version", "slice", "day", "month"]]:
    from schemas.errors import ConfigError  # noqa: PLC0415 - keeps --help fast

    known: dict[str, Literal["version", "slice", "day", "month"]] = {
        "version": "version",
        "slice": "slice",
        "day": "day",
        "month": "month",
    }
    for name in names:
        if name not in known:
            raise ConfigError(f"cannot group by {name!r}", where="--by", hint=f"It is one of {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]
