"""Tables in a terminal, and their cells. Tables are never cut off."""

from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.table import Table

from schemas.base.figures import bounded, plain_text, share
from truthloop.terminal.console import results

if TYPE_CHECKING:
    import polars as pl

__all__ = ["metric_tables", "plain_table", "print_table"]


def plain_table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table; columns whose name ends in ':' are text, aligned left, the others numbers."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        caption_justify="left",
    )
    for column in columns:
        is_text = column.endswith(":")
        table.add_column(column.removesuffix(":"), justify="left" if is_text else "right", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table on stdout at its full width: a number that is cut would be a wrong number."""
    console = results.console
    needed = Measurement.get(console, console.options.update(max_width=1_000), table).maximum
    before, console.width = console.width, max(needed, console.width)
    try:
        console.print(table, crop=False)
    finally:
        console.width = before


def metric_tables(rows: "pl.DataFrame", by: list[str]) -> list[Table]:
    """Return one table per kind and definition: a row per group, a column per metric, and `n`, the rows they rest on.

    Args:
        rows: as `monitor.metrics.table.metrics` returns them.
        by: the dimensions that make a group.
    """
    tables: list[Table] = []
    for (kind, definition), part in rows.group_by("kind", "definition", maintain_order=True):
        names = part["name"].unique(maintain_order=True).to_list()
        columns = [*(f"{name}:" for name in by), "predictions", "labelled", "coverage", "n", *names, "status:"]
        table = plain_table(*columns, title=f"{kind} ({definition})")
        for group, values in part.group_by(by, maintain_order=True):
            first = values.row(0, named=True)
            shown = {name: bounded(value, bound) for name, value, bound in values["name", "value", "bound"].iter_rows()}
            statuses = set(values["status"].to_list()) - {"no_data"}
            table.add_row(
                *(
                    f"{value:%Y-%m}" if name == "month" else plain_text(str(value))
                    for name, value in zip(by, group, strict=True)
                ),
                f"{first['predictions']:,}",
                f"{first['labelled']:,}",
                share(first["coverage"]),
                f"{first['n']:,}",
                *(shown[name] for name in names),
                min(statuses, default="no_data"),
            )
        table.caption = "\n".join(_reasons(part)) or None
        tables.append(table)
    return tables


def _reasons(rows: "pl.DataFrame") -> list[str]:
    """Return why metrics of labels have no value."""
    found = rows.filter(rows["reason"].is_not_null() & (rows["n"] > 0)).select("name", "reason").unique()
    return [f"{name}: {reason}" for name, reason in found.sort("name").iter_rows()]
