"""Features of a flight as they are known two hours before its scheduled departure.

They come from the timetable, the weather of the last complete hour, and the departures from the same airport in the two
hours before; never from arrivals or the flight's own departure.
"""

from datetime import timedelta

import polars as pl

from truthloop.demo.flights import FLIGHT_KEY, NEW_YORK

__all__ = ["FEATURES", "LEAD", "TEXT_FEATURES", "features_at_prediction"]

LEAD = timedelta(hours=2)
"""How long before its scheduled departure a flight's prediction is made."""

_WINDOW = timedelta(hours=2)
"""Departures in this time before the prediction measure the delays at an airport."""

TEXT_FEATURES = ("carrier", "origin", "dest")

_WEATHER = (
    *("temp_f", "dewpoint_f", "humidity_pct", "wind_from_deg", "wind_mph"),
    *("rain_in", "pressure_mbar", "visibility_mi"),
)

FEATURES = (
    *TEXT_FEATURES,
    *("hour", "weekday", "distance_mi", "block_min"),
    *_WEATHER,
    *("origin_departures", "origin_delay_min"),
)
"""The model's input, in its order."""


def features_at_prediction(flights: pl.DataFrame, weather: pl.DataFrame) -> pl.DataFrame:
    """Return one row per flight: `FLIGHT_KEY`, predicted_at (UTC) and `FEATURES`.

    Args:
        flights: as `flights.with_instants` returns it, in any order.
        weather: as `flights.read_weather` returns it.

    Returns:
        Ordered by predicted_at, then key. hour and weekday (1 = Monday) are New York's; block_min is the
        scheduled time from gate to gate; the weather is null if its hour was not recorded;
        origin_departures and origin_delay_min (mean; null if none) are of the flights that departed from the same
        airport in the two hours before the prediction, both ends included.
    """
    local = pl.col("scheduled_departure").dt.convert_time_zone(NEW_YORK)
    timetable = flights.select(
        *FLIGHT_KEY,
        "carrier",
        "dest",
        "distance_mi",
        predicted_at=pl.col("scheduled_departure") - LEAD,
        hour=local.dt.hour().cast(pl.Int64),
        weekday=local.dt.weekday().cast(pl.Int64),
        block_min=(pl.col("scheduled_arrival") - pl.col("scheduled_departure")).dt.total_minutes(),
    ).sort("predicted_at", *FLIGHT_KEY)
    with_weather = timetable.with_columns(
        # The current hour is not known yet: its row includes minutes to come.
        hour_start=pl.col("predicted_at").dt.truncate("1h") - timedelta(hours=1)
    ).join(weather, on=["origin", "hour_start"], how="left", validate="m:1", maintain_order="left")
    columns = dict.fromkeys((*FLIGHT_KEY, "predicted_at", *FEATURES))  # origin is in both
    return _with_origin_delays(with_weather, flights).select(*columns)


def _with_origin_delays(predictions: pl.DataFrame, flights: pl.DataFrame) -> pl.DataFrame:
    """Add origin_departures and origin_delay_min to `predictions`, which is ordered by predicted_at.

    A window is the difference of two cumulative sums since the year's first departure. All are whole minutes, so the
    difference is exact.
    """
    sums = (
        flights.filter(pl.col("departed_at").is_not_null())
        .group_by("origin", "departed_at")
        .agg(count=pl.len().cast(pl.Int64), delay=pl.col("dep_delay_min").sum())
        .sort("departed_at", "origin")
        .with_columns(pl.col("count", "delay").cum_sum().over("origin"))
    )
    until = _last_before(predictions, sums, pl.col("predicted_at"), inclusive=True)
    before = _last_before(predictions, sums, pl.col("predicted_at") - _WINDOW, inclusive=False)
    count = until["count"] - before["count"]
    delay = until["delay"] - before["delay"]
    return predictions.with_columns(origin_departures=count, delay=delay).with_columns(
        origin_delay_min=pl.when(pl.col("origin_departures") > 0).then(pl.col("delay") / pl.col("origin_departures"))
    )


def _last_before(predictions: pl.DataFrame, sums: pl.DataFrame, moment: pl.Expr, *, inclusive: bool) -> pl.DataFrame:
    """Return the newest sums of count and delay of the same airport at `moment`; 0 if there are none."""
    return (
        predictions.select("origin", moment=moment)
        .join_asof(
            sums,
            left_on="moment",
            right_on="departed_at",
            by="origin",
            allow_exact_matches=inclusive,
            check_sortedness=False,  # cannot be checked within groups; both sides were sorted by time above
        )
        .select(pl.col("count", "delay").fill_null(0))
    )
