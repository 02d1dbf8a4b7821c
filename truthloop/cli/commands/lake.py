"""`truthloop lake`: maintenance of the lake by hand, or behind a nightly job."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.terminal.console import note, print_json, reporting_errors, warn

if TYPE_CHECKING:
    from lake.maintenance.maintainer import Rewritten, Swept

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
    """Rewrite many small files as few large ones, and delete what no reader may need any more. No row changes.

    It may run at any time, beside writers, readers and other maintainers, and may be stopped at any time.
    """
    with reporting_errors():
        from lake.maintenance.maintainer import Maintainer  # noqa: PLC0415 - keeps --help fast
        from lake.maintenance.sweep import ClockAheadError  # noqa: PLC0415 - the same
        from streams.runtime.crash_point import crash_points  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same

        settings = load_settings(config)
        crash = crash_points("maintain", os.environ)
        maintainer = Maintainer(settings.lake, settings.config.lake.keep_readable, crash)
        refused = ""
        deleted: list[Swept] = []
        try:  # first: rewrites are commits, and ages are judged by the newest of the writers
            deleted = maintainer.expired(now_ms()) if dry_run else list(maintainer.sweep(now_ms()))
        except ClockAheadError as error:
            refused = f"{error.what}. {error.hint}"
        rewritten = maintainer.due(now_ms()) if dry_run else list(maintainer.steps(now_ms))
        if as_json:
            print_json(
                {
                    "is_done": not dry_run,
                    "rewritten": [_document(one) for one in rewritten],
                    "deleted": [{"table": one.table, "files": one.files, "bytes": one.size} for one in deleted],
                    "refused": refused or None,
                }
            )
        else:
            _print(rewritten, deleted)
            if dry_run and (rewritten or deleted):
                note("Nothing was changed. Without --dry-run it is done; what is rewritten may make more due.")
        if refused:
            warn(refused)


def _document(one: "Rewritten") -> dict[str, object]:
    group = one.group
    return {
        "table": one.table,
        "recorded_on": group.day.isoformat(),
        "files": len(group.files),
        "rows": group.rows,
        "bytes": group.size,
    }


def _print(rewritten: "list[Rewritten]", deleted: "list[Swept]") -> None:
    from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - keeps --help fast

    table = plain_table("table:", "what:", "recorded on:", "files", "rows", "MB")
    for one in rewritten:
        group = one.group
        cells = (f"{len(group.files):,}", f"{group.rows:,}", f"{group.size / 1e6:,.1f}")
        table.add_row(one.table, "rewritten as one file", group.day.isoformat(), *cells)
    for other in deleted:
        table.add_row(other.table, "deleted", "", f"{other.files:,}", "", f"{other.size / 1e6:,.1f}")
    if table.row_count:
        print_table(table)
    else:
        note("Nothing is due.")
