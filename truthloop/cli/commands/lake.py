"""`truthloop lake`: maintenance of the lake by hand, or behind a nightly job."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.terminal.console import note, print_json, reporting_errors

if TYPE_CHECKING:
    from lake.maintenance.maintainer import Rewritten

__all__ = ["lake"]

lake = typer.Typer(
    name="lake",
    help="Maintain the lake. The lake role does so by itself; a nightly job calls it.",
    no_args_is_help=True,
)

Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
CONFIG = Path("truthloop.yaml")


@lake.command()
def maintain(
    config: Config = CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    as_json: Json = False,
) -> None:
    """Rewrite many small files as few large ones, table by table and day by day. No row changes.

    It may run at any time, beside writers, readers and other maintainers, and may be stopped at any time.
    """
    with reporting_errors():
        from lake.maintenance.maintainer import Maintainer  # noqa: PLC0415 - keeps --help fast
        from streams.runtime.crash_point import crash_points  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same

        maintainer = Maintainer(load_settings(config).lake, crash_points("maintain", os.environ))
        found = maintainer.due(now_ms()) if dry_run else list(maintainer.steps(now_ms))
        if as_json:
            print_json({"is_done": not dry_run, "rewritten": [_document(one) for one in found]})
            return
        _print(found)
        if dry_run and found:
            note("Nothing was changed. Without --dry-run it is done; what is rewritten may make more due.")


def _document(one: "Rewritten") -> dict[str, object]:
    group = one.group
    return {
        "table": one.table,
        "recorded_on": group.day.isoformat(),
        "files": len(group.files),
        "rows": group.rows,
        "bytes": group.size,
    }


def _print(found: "list[Rewritten]") -> None:
    from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - keeps --help fast

    table = plain_table("table:", "recorded on:", "files", "rows", "MB")
    for one in found:
        group = one.group
        table.add_row(
            one.table,
            group.day.isoformat(),
            f"{len(group.files):,}",
            f"{group.rows:,}",
            f"{group.size / 1e6:,.1f}",
        )
    if table.row_count:
        print_table(table)
    else:
        note("Nothing is due.")
