"""Numbers as people read them in a terminal: shares, ages, and tables of which nothing is cut off."""

from rich.measure import Measurement
from rich.table import Table

from schemas.duration import format_duration
from truthloop.console import results

__all__ = ["age_text", "number_text", "plain_table", "print_table", "share_text"]

UNKNOWN = "-"


def plain_table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table; columns whose name ends in ':' are text, the others are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        text = column.endswith(":")
        table.add_column(column.removesuffix(":"), justify="left" if text else "right", no_wrap=True)
    return table


def share_text(share: float | None) -> str:
    """Return a share in per cent, or a dash where nothing is known."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def number_text(value: float | None) -> str:
    """Return a metric's value, or a dash where nothing is known."""
    return UNKNOWN if value is None else f"{value:.4f}"


def age_text(age_ms: int) -> str:
    """Return a label age in the config's own form."""
    return format_duration(age_ms)


def print_table(table: Table) -> None:
    """Print a table on stdout at its full width: a number cut off would be a wrong number."""
    console = results.console
    wanted = Measurement.get(console, console.options.update(max_width=1_000), table).maximum
    narrow, console.width = console.width, max(wanted, console.width)
    try:
        console.print(table, crop=False)
    finally:
        console.width = narrow
