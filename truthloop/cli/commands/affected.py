"""`truthloop affected`: the predictions whose actions may need correcting, of a version or of a backfill."""

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError, InputError
from truthloop.terminal.console import note, print_json, reporting_errors
from truthloop.text.format import plain_text

if TYPE_CHECKING:
    import polars as pl

    from truthloop.config.settings import Settings

__all__ = ["affected"]

ROWS_SHOWN_MAX = 200
"""A table on a screen is for looking; --csv and --json have every row."""


def affected(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    version: Annotated[str | None, typer.Option(help="All that this model version has predicted.")] = None,
    episode: Annotated[
        str | None, typer.Option(metavar="ID", help="All whose outcome this backfill changes (bf-...).")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="From this day of predictions on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Up to this day, which is included.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows, the oldest first.")] = None,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print an array of rows.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """List the predictions whose actions may need correcting downstream.

    Of a version, all that it made, with the outcome as it is known now. Of a backfill, those whose outcome differs with
    it and without it, whether it counts or not.
    """
    with reporting_errors():
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

        if as_json and as_csv:
            raise InputError("--json and --csv cannot both be printed", hint="Give one of them.")
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
    """Return the day that was typed.

    Raises:
        ConfigError: it is no day.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a day", where=option, hint="Write for instance 2014-01-03.") from None


def _of_version(
    settings: "Settings", version: str, days: tuple[date | None, date | None], limit: int | None
) -> "pl.DataFrame":
    """Return what a version has predicted, one row per prediction and label kind."""
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
    names: dict[str, object] = {"version": version, "since": days[0], "until": days[1], "limit": limit}
    try:
        with connect(settings.lake) as connection:
            versions = connection.sql("SELECT DISTINCT version FROM scored").pl()
            check_choice("--version", version, versions["version"])
            return _plain(connection.sql(query, params=names).pl())
    except duckdb.Error as error:
        raise LakeError(f"the predictions cannot be read: {error}", where=str(settings.lake)) from error


def _of_episode(
    settings: "Settings", episode: str, days: tuple[date | None, date | None], limit: int | None
) -> "pl.DataFrame":
    """Return the predictions whose outcome a backfill changes; of re-sent predictions, all that came again."""
    import polars as pl  # noqa: PLC0415 - keeps --help fast

    from lake import Lake  # noqa: PLC0415 - the same
    from schemas.events.backfill import Cause  # noqa: PLC0415 - the same
    from truthloop.evidence.backfill_pairs import read_pairs  # noqa: PLC0415 - the same
    from truthloop.evidence.cells import read_evidence  # noqa: PLC0415 - the same

    lake = Lake.open(settings.lake)
    evidence = read_evidence(settings)
    rulings = evidence.rulings
    found = next((one.episode for one in rulings if one.episode.id == episode), None)
    if found is None:
        hint = "`truthloop backfill list` names them." if rulings else "None was found in this loop so far."
        raise ConfigError("no such backfill", where=episode, hint=hint)
    told = ("status", "value", "class")
    own = [one for one in rulings if one.episode.kind == found.kind]
    pairs = read_pairs(lake, evidence, own, found).pairs
    if found.causes != [Cause.RESENT]:
        differs = (pl.col(f"before_{one}").ne_missing(pl.col(f"after_{one}")) for one in told)
        pairs = pairs.filter(pl.any_horizontal(differs))
    first, last = days
    if first is not None:
        pairs = pairs.filter(pl.col("day") >= first)
    if last is not None:
        pairs = pairs.filter(pl.col("day") <= last)
    sides = [f"{side}_{one}" for side in ("before", "after") for one in told]
    columns = ["key", "id", "kind", "version", "predicted_at", "output", "output_class", *sides]
    rows = pairs.with_columns(kind=pl.lit(found.kind)).sort("predicted_at", "key", "id").select(columns)
    return _plain(rows if limit is None else rows.head(limit))


def _plain(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Return the rows with times as text, and without what JSON has no word for."""
    import polars as pl  # noqa: PLC0415 - keeps --help fast
    import polars.selectors as cs  # noqa: PLC0415 - the same

    when = pl.col("predicted_at").dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    return rows.with_columns(when, pl.when(cs.float().is_finite()).then(cs.float()))


def _print(rows: "pl.DataFrame") -> None:
    from truthloop.terminal.tables import UNKNOWN, plain_table, print_table  # noqa: PLC0415 - keeps --help fast

    columns = [name for name in rows.columns if rows[name].null_count() < rows.height or not name.endswith("class")]
    table = plain_table(*(f"{name}:" for name in columns))
    for row in rows.select(columns).head(ROWS_SHOWN_MAX).iter_rows():
        table.add_row(*(UNKNOWN if value is None else plain_text(str(value)) for value in row))
    print_table(table)
    shown = (
        f"; the first {ROWS_SHOWN_MAX} are shown, --csv and --json print all" if rows.height > ROWS_SHOWN_MAX else ""
    )
    note(f"{rows.height:,} predictions{shown}")
