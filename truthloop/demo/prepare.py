"""Writes the demo's files as a company would have them: scored flights, arrivals, restatements, the loop's config.

The files have the company's own format, which `truthloop.yaml` maps. The same flights give the same bytes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from schemas.errors import TruthloopError
from truthloop.demo.features import FEATURES, features_at_prediction
from truthloop.demo.flights import FLIGHT_KEY, data_folder, read_flights, read_weather
from truthloop.demo.model import LATE_AFTER_MIN, TRAINED_AT, LateModel, known_labels, train

__all__ = ["Prepared", "Report", "labels_of", "predictions_of", "prepare", "restatements_of"]

Report = Callable[[str, int, int], None]
"""Called before each step, and at the end: (next step, steps done, steps in all)."""

_CONFIG = Path(__file__).with_name("truthloop.yaml")
_MODEL_NAME = "late-arrival"
_STEPS = 5
RESTATED_DEFINITION = "arr-delay-over-30min"
RESTATED_LATE_AFTER_MIN = 30
RESTATED_AT = {10: datetime(2014, 2, 1, 12, tzinfo=UTC), 11: datetime(2014, 2, 1, 18, tzinfo=UTC)}
HAUL_MIN = (100, 150, 210, 300)
HAULS = ("to 100 min", "to 150 min", "to 210 min", "to 300 min", "longer")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The files that `prepare` wrote.

    Attributes:
        predictions: Parquet file, one row per flight, in order of scored_at.
        labels: CSV file, one row per flight that arrived, in order of arrival.
        restatements: CSV file, October and November as they are restated after the end of the year.
        config: the loop's `truthloop.yaml`.
        prediction_rows: rows in `predictions`.
        label_rows: rows in `labels`; the other flights were cancelled or diverted and never get a label.
        training_rows: flights of January, the training data; they are in neither file.
    """

    predictions: Path
    labels: Path
    restatements: Path
    config: Path
    prediction_rows: int
    label_rows: int
    training_rows: int


def prepare(folder: Path, report: Report = lambda _step, _done, _steps: None) -> Prepared:
    """Write predictions.parquet, labels.csv, restatements.csv and truthloop.yaml into `folder`.

    The folder is created if it does not exist. Data files of an earlier run are replaced; a truthloop.yaml is kept,
    because users edit theirs.

    Raises:
        TruthloopError: the flights or scikit-learn are not installed, or `folder` is not writable.
    """
    with _reporting_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)  # first: an unusable folder costs no time
    report("reading flights and weather", 0, _STEPS)
    source = data_folder()
    flights, weather = read_flights(source), read_weather(source)
    report("finding what was known two hours before each departure", 1, _STEPS)
    features = features_at_prediction(flights, weather)
    report("training a model on January", 2, _STEPS)
    in_january = pl.col("predicted_at") < TRAINED_AT
    model = train(features.filter(in_january), known_labels(flights, TRAINED_AT), version="v1")
    report("scoring the flights from February on", 3, _STEPS)
    later = features.filter(~in_january)
    predictions = predictions_of(later, model)
    labels = labels_of(flights.join(later, on=FLIGHT_KEY, how="semi"))
    report("writing predictions and labels", 4, _STEPS)
    prepared = Prepared(
        predictions=folder / "predictions.parquet",
        labels=folder / "labels.csv",
        restatements=folder / "restatements.csv",
        config=folder / "truthloop.yaml",
        prediction_rows=predictions.height,
        label_rows=labels.height,
        training_rows=model.training_rows,
    )
    with _reporting_os_errors(folder):
        _write_atomically(prepared.predictions, predictions.write_parquet)
        _write_atomically(prepared.labels, labels.write_csv)
        _write_atomically(prepared.restatements, restatements_of(labels).write_csv)
        if not prepared.config.exists():
            _write_atomically(prepared.config, lambda path: path.write_bytes(_CONFIG.read_bytes()))
    report("ready", _STEPS, _STEPS)
    return prepared


def predictions_of(features: pl.DataFrame, model: LateModel) -> pl.DataFrame:
    """Return the log of a scoring service: flight {}, scored_at, model {}, score_percent, features {}.

    Args:
        features: as `features.features_at_prediction` returns it.
        model: that scores them.

    Returns:
        One row per row of `features`, in its order.
    """
    return features.select(
        flight=pl.struct(
            date="flight_date", number="flight", origin="origin", scheduled="scheduled", haul=_haul(pl.col("block_min"))
        ),
        scored_at="predicted_at",
        model=pl.struct(name=pl.lit(_MODEL_NAME), version=pl.lit(model.version)),
        score_percent=model.percent_late(features),
        features=pl.struct(FEATURES),
    )


def _haul(block_min: pl.Expr) -> pl.Expr:
    """Return the class of a flight's length: labels of long flights come later."""
    index = pl.lit(pl.Series(HAUL_MIN)).search_sorted(block_min, side="left")
    return pl.lit(pl.Series(HAULS)).gather(index)


def labels_of(flights: pl.DataFrame) -> pl.DataFrame:
    """Return the log of an airport: `FLIGHT_KEY`, arrived_at_utc (epoch seconds), delay_min, status.

    Args:
        flights: as `flights.with_instants` returns it.

    Returns:
        One row per flight that arrived at its destination, in order of arrival, then key.
    """
    return (
        flights.filter(pl.col("arrived_at").is_not_null())
        .sort("arrived_at", *FLIGHT_KEY)
        .select(
            *FLIGHT_KEY,
            arrived_at_utc=pl.col("arrived_at").dt.epoch("s"),
            delay_min="arr_delay_min",
            status=pl.when(pl.col("arr_delay_min") > LATE_AFTER_MIN).then(pl.lit("late")).otherwise(pl.lit("on_time")),
        )
    )


def restatements_of(labels: pl.DataFrame) -> pl.DataFrame:
    """Return October and November as the airport restates them: late then means more than half an hour.

    Args:
        labels: as `labels_of` returns them.

    Returns:
        `FLIGHT_KEY`, told_at_utc (epoch seconds; each month within an hour), delay_min, status, definition.
    """
    month = pl.col("flight_date").str.slice(5, 2)
    late = pl.when(pl.col("delay_min") > RESTATED_LATE_AFTER_MIN).then(pl.lit("late")).otherwise(pl.lit("on_time"))
    restated = [
        labels.filter(month == f"{number:02}").with_columns(
            told_at_utc=pl.lit(int(at.timestamp())) + pl.int_range(pl.len()) * 3_600 // pl.len()
        )
        for number, at in RESTATED_AT.items()
    ]
    return pl.concat(restated).select(
        *FLIGHT_KEY, "told_at_utc", "delay_min", status=late, definition=pl.lit(RESTATED_DEFINITION)
    )


@contextmanager
def _reporting_os_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError into a TruthloopError that says what to do."""
    try:
        yield
    except OSError as error:
        raise TruthloopError(
            f"the demo's files cannot be written: {error}", where=str(folder), hint="choose another folder"
        ) from error


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first, so that an interrupted run leaves no incomplete file."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    write(unfinished)
    unfinished.replace(path)
