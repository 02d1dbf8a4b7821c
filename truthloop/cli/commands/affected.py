"""`truthloop affected`: lists the predictions of a version, or those whose outcome a backfill changes."""

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base.figures import NOTHING, plain_text
from schemas.errors import ConfigError, InputError
from truthloop.terminal.console import note, print_json, reporting_errors

if TYPE_CHECKING:
    import polars as pl

    from truthloop.config.settings import Settings

__all__ = ["affected"]

ROWS_SHOWN_MAX = 200
"""Rows of a table on the screen; --csv and --json print all."""


def affected(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    version: Annotated[str | None, typer.Option(help="All predictions of this model version.")] = None,
    episode: Annotated[
        str | None, typer.Option(metavar="ID", help="All predictions whose outcome this backfill changes (bf-...).")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="From this day on, by the time of the prediction.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Up to and including this day.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows, the oldest first.")] = None,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of rows.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """List predictions whose downstream actions may need correction.

    Of a version: all its predictions, with their current outcomes. Of a backfill: those whose outcome differs with and
    without it, whether it counts or not.
    """
    with reporting_errors():
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

        if as_json and as_csv:
            raise InputError("--json and --csv cannot both be given", hint="Give one of them.")
        settings = load_settings(config)
        days = (_day(since, "--since"), _day(until, "--until"))
        if (version is None) == (episode is None):
            raise InputError("either a version or a backfill", hint="Give one of --version and --episode.")
        if version is not None:
            rows = _of_version(settings, version, days, limit)
        else:
            rows = _of_episode(settings, str(episode), days, limit)
        if as_json:
            print_json(rows.to_dicts())
        elif as_csv:
            rows.write_csv(sys.stdout)
        else:
            _print(rows)


def _day(text: str | None, option: str) -> date | None:
    """Return the typed day.

    Raises:
        ConfigError: not a day.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a day", where=option, hint="Write for example 2014-01-03.") from None


def _of_version(
    settings: "Settings", version: str, days: tuple[date | None, date | None], limit: int | None
) -> "pl.DataFrame":
    """Return the predictions of a version, one row per prediction and label kind."""
    import duckdb  # noqa: PLC0415 - keeps --help fast

    from lake.session import connect  # noqa: PLC0415 - the same
    from schemas.errors import LakeError  # noqa: PLC0415 - the same
    from truthloop.cli.selection import check_choice  # noqa: PLC0415 - the same

    query = """
        SELECT key, id, kind, version, predicted_at, "output", output_class, status, value, value_class
        FROM scored
        WHERE version = $version AND "day" >= coalesce($since, "day") AND "day" <= coalesce($until, "day")
        ORDER BY predicted_at, key, id, kind LIMIT $limit
    """
    parameters: dict[str, object] = {"version": version, "since": days[0], "until": days[1], "limit": limit}
    try:
        with connect(settings.lake) as connection:
            versions = connection.sql("SELECT DISTINCT version FROM scored").pl()
            check_choice("--version", version, versions["version"])
            return _plain(connection.sql(query, params=parameters).pl())
    except duckdb.Error as error:
        raise LakeError(f"the predictions cannot be read: {error}", where=str(settings.lake)) from error


def _of_episode(
    settings: "Settings", episode: str, days: tuple[date | None, date | None], limit: int | None
) -> "pl.DataFrame":
    """Return the predictions whose outcome a backfill changes; of re-sent predictions, all of them."""
    import polars as pl  # noqa: PLC0415 - keeps --help fast

    from lake import Lake  # noqa: PLC0415 - the same
    from schemas.events.backfill import Cause  # noqa: PLC0415 - the same
    from truthloop.evidence.backfill_pairs import read_pairs  # noqa: PLC0415 - the same
    from truthloop.evidence.cells import read_evidence  # noqa: PLC0415 - the same

    lake = Lake.open(settings.lake)
    evidence = read_evidence(settings)
    rulings = evidence.rulings
    found = next((ruling.episode for ruling in rulings if ruling.episode.id == episode), None)
    if found is None:
        hint = "`truthloop backfill list` lists them." if rulings else "This loop has none so far."
        raise ConfigError("no such backfill", where=episode, hint=hint)
    compared = ("status", "value", "class")
    own = [ruling for ruling in rulings if ruling.episode.kind == found.kind]
    pairs = read_pairs(lake, evidence, own, found).pairs
    if found.causes != [Cause.RESENT]:
        differs = (pl.col(f"before_{name}").ne_missing(pl.col(f"after_{name}")) for name in compared)
        pairs = pairs.filter(pl.any_horizontal(differs))
    first, last = days
    if first is not None:
        pairs = pairs.filter(pl.col("day") >= first)
    if last is not None:
        pairs = pairs.filter(pl.col("day") <= last)
    sides = [f"{side}_{name}" for side in ("before", "after") for name in compared]
    columns = ["key", "id", "kind", "version", "predicted_at", "output", "output_class", *sides]
    rows = pairs.with_columns(kind=pl.lit(found.kind)).sort("predicted_at", "key", "id").select(columns)
    return _plain(rows if limit is None else rows.head(limit))


def _plain(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Return the rows with times as text, and null for NaN and infinity, which JSON lacks."""
    import polars as pl  # noqa: PLC0415 - keeps --help fast
    import polars.selectors as cs  # noqa: PLC0415 - the same

    time = pl.col("predicted_at").dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    return rows.with_columns(time, pl.when(cs.float().is_finite()).then(cs.float()))


def _print(rows: "pl.DataFrame") -> None:
    from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - keeps --help fast

    columns = [name for name in rows.columns if rows[name].null_count() < rows.height or not name.endswith("class")]
    table = plain_table(*(f"{name}:" for name in columns))
    for row in rows.select(columns).head(ROWS_SHOWN_MAX).iter_rows():
        table.add_row(*(NOTHING if value is None else plain_text(str(value)) for value in row))
    print_table(table)
    shown = (
        f"; the first {ROWS_SHOWN_MAX} are shown, --csv and --json print all" if rows.height > ROWS_SHOWN_MAX else ""
    )
    note(f"{rows.height:,} predictions{shown}")
