"""`truthloop lake`: maintenance of the lake by hand, or behind a nightly job."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.terminal.console import note, print_json, reporting_errors, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lake.closed_days import ClosedStep
    from lake.maintenance.backup import CheckedTable
    from lake.maintenance.maintainer import Rewritten, Swept
    from lake.maintenance.status import TableStatus

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
def status(config: Config = CONFIG, as_json: Json = False) -> None:
    """Show how large the lake is, how many files it has, what is dead, and what is due. Needs no Kafka and no role.

    Exit code 1: a day of some table has more files than maintenance allows, so nobody maintains the lake.
    """
    with reporting_errors():
        from dataclasses import asdict  # noqa: PLC0415 - keeps --help fast

        from lake.maintenance.maintainer import Maintainer  # noqa: PLC0415 - the same
        from lake.maintenance.plan import TODAY_FILES_MAX  # noqa: PLC0415 - the same
        from schemas.base.figures import moment, zone_of  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same

        settings = load_settings(config)
        found = Maintainer(settings.lake, settings.config.lake.keep_readable).status(now_ms())
        oldest_ms = max(one.oldest_ms for one in found)
        crowded = [one for one in found if one.day_files > TODAY_FILES_MAX]
        if as_json:
            print_json({"tables": [asdict(one) for one in found], "oldest_readable_ms": oldest_ms})
        else:
            _print_status(found)
            note(f"Every version since {moment(oldest_ms, zone_of(settings.config.timezone))} is readable.")
        for one in crowded:
            warn(f"table {one.table} has {one.day_files:,} files of one day: `truthloop lake maintain` makes them few")
        if crowded:
            raise typer.Exit(1)


@lake.command()
def maintain(
    config: Config = CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    as_json: Json = False,
) -> None:
    """Rewrite many small files as few large ones, and delete what no reader may need any more. No row changes.

    With `retention` in the config, older records and rejects leave the lake. At last, days that have ended are
    written to the table `scored`.

    It may run at any time, beside writers, readers and other maintainers, and may be stopped at any time.
    """
    with reporting_errors():
        from lake import Lake  # noqa: PLC0415 - keeps --help fast
        from lake.closed_days import close_days, days_due  # noqa: PLC0415 - the same
        from lake.maintenance.maintainer import Maintainer  # noqa: PLC0415 - the same
        from lake.maintenance.sweep import ClockAheadError  # noqa: PLC0415 - the same
        from lake.storage.probe import check_store  # noqa: PLC0415 - the same
        from schemas.base.figures import moment, zone_of  # noqa: PLC0415 - the same
        from streams.ledger.history import history_due  # noqa: PLC0415 - the same
        from streams.ledger.retention import drop_old_rows, old_rows  # noqa: PLC0415 - the same
        from streams.runtime.crash_point import crash_points  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same

        settings = load_settings(config)
        if not dry_run:
            check_store(settings.lake)
        crash = crash_points("maintain", os.environ)
        maintainer = Maintainer(settings.lake, settings.config.lake.keep_readable, crash)
        refused = ""
        deleted: list[Swept] = []
        left: list[Rewritten] = []
        begins_ms = 0
        try:
            deleted = maintainer.expired(now_ms()) if dry_run else list(maintainer.sweep(now_ms()))
            opened = Lake.open(settings.lake)
            if dry_run:
                left = old_rows(maintainer, opened, settings.config, now_ms())
                begins_ms = history_due(opened, settings.config)
            else:
                left = list(drop_old_rows(maintainer, opened, settings.config, now_ms))
                begins_ms = opened.history_begins_ms
        except ClockAheadError as error:
            refused = f"{error.what}. {error.hint}"
        rewritten = maintainer.due(now_ms()) if dry_run else list(maintainer.steps(now_ms))
        at = datetime.fromtimestamp(now_ms() / 1000, UTC)
        closed = days_due(settings.lake) if dry_run else list(close_days(settings.lake, at))
        if as_json:
            print_json(
                {
                    "is_done": not dry_run,
                    "rewritten": [_document(one) for one in rewritten],
                    "history_begins_ms": begins_ms or None,
                    "left": [_document(one) for one in left],
                    "deleted": [{"table": one.table, "files": one.files, "bytes": one.size} for one in deleted],
                    "closed": [{"first": f"{one.first}", "last": f"{one.last}", "rows": one.rows} for one in closed],
                    "refused": refused or None,
                }
            )
        else:
            _print(rewritten, left, deleted, closed)
            if begins_ms:
                note(f"History begins at {moment(begins_ms, zone_of(settings.config.timezone))}.")
            if dry_run and (rewritten or left or deleted or closed):
                note("Nothing was changed. Without --dry-run it is done; what is rewritten may make more due.")
        if refused:
            warn(refused)


@lake.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or one of an interrupted backup.")],
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Copy the lake, while roles write to it and maintain it; all tables as of one moment. To restore, copy it back.

    Interrupted, it is continued by the same command; before its end the folder is no lake.
    """
    with reporting_errors():
        from lake.maintenance.backup import back_up  # noqa: PLC0415 - keeps --help fast
        from streams.runtime.crash_point import crash_points  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same

        _print_checked(back_up(load_settings(config).lake, folder, crash_points("backup", os.environ)), as_json)


@lake.command()
def verify(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A backup; left out: the lake of the config.")
    ] = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Check a lake or a backup: every file of every table is there and has the bytes and rows that the log says.

    Exit code 1: one is missing or damaged.
    """
    with reporting_errors():
        from lake.maintenance.backup import check_files  # noqa: PLC0415 - keeps --help fast
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same

        path = load_settings(config).lake if folder is None else folder
        _print_checked(list(check_files(path.absolute())), as_json)


def _print_checked(found: "list[CheckedTable]", as_json: bool) -> None:
    """Print tables that were copied or checked, and what is wrong with their files."""
    from dataclasses import asdict  # noqa: PLC0415 - keeps --help fast

    from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - the same

    if as_json:
        print_json({"tables": [asdict(one) for one in found]})
    else:
        table = plain_table("table:", "version", "files", "rows", "faults")
        for one in found:
            figures = (one.version, one.files, one.rows, len(one.faults))
            table.add_row(one.table, *(f"{figure:,}" for figure in figures))
        print_table(table)
    faults = [fault for one in found for fault in one.faults]
    for fault in faults:
        warn(fault)
    if faults:
        raise typer.Exit(1)


def _print_status(found: "list[TableStatus]") -> None:
    from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - keeps --help fast

    table = plain_table(
        *("table:", "rows", "files", "most of a day", "MB", "dead files", "dead MB", "log files", "log MB"),
        *("files to rewrite", "MB to delete"),
    )
    for one in found:
        table.add_row(
            *(one.table, f"{one.rows:,}", f"{one.files:,}", f"{one.day_files:,}", _megabytes(one.size)),
            *(f"{one.dead_files:,}", _megabytes(one.dead_size), f"{one.log_files:,}", _megabytes(one.log_size)),
            *(f"{one.due_files:,}", _megabytes(one.expired_size)),
        )
    print_table(table)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _document(one: "Rewritten") -> dict[str, object]:
    group = one.group
    return {
        "table": one.table,
        "recorded_on": group.day.isoformat(),
        "files": len(group.files),
        "rows": group.rows,
        "bytes": group.size,
    }


def _print(
    rewritten: "list[Rewritten]", left: "list[Rewritten]", deleted: "list[Swept]", closed: "Sequence[ClosedStep]"
) -> None:
    from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - keeps --help fast

    table = plain_table("table:", "what:", "days:", "files", "rows", "MB")
    for what, steps in (("rewritten as one file", rewritten), ("older than retention, left", left)):
        for one in steps:
            group = one.group
            cells = (f"{len(group.files):,}", f"{group.rows:,}", _megabytes(group.size))
            table.add_row(one.table, what, group.day.isoformat(), *cells)
    for other in deleted:
        table.add_row(other.table, "deleted", "", f"{other.files:,}", "", _megabytes(other.size))
    for step in closed:
        what = "days written" if step.rows else "days taken back"
        table.add_row("scored", what, f"{step.first} to {step.last}", "", f"{step.rows:,}" if step.rows else "", "")
    if table.row_count:
        print_table(table)
    else:
        note("Nothing is due.")
