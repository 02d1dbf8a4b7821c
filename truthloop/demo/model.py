"""The demo's model: gradient boosting that predicts whether a flight will arrive late.

The first version is trained on January, with the labels that were known at the end of the month.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl

from schemas.errors import TruthloopError
from truthloop.demo.features import FEATURES, TEXT_FEATURES
from truthloop.demo.flights import FLIGHT_KEY, NEW_YORK

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LATE_AFTER_MIN", "TRAINED_AT", "LateModel", "fit", "known_labels", "train"]

LATE_AFTER_MIN = 15
"""A flight is late if it arrives more than this many minutes after its scheduled time."""

TRAINED_AT = datetime(2013, 2, 1, tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)
"""The first model is trained with the labels known at this time, and predicts from then on."""

_SEED = 20130201
_LEAST = 1e-4
"""Smallest probability in the log loss: scores are rounded to hundredths of a per cent, so 0 is not certainty."""


@dataclass(frozen=True, slots=True)
class LateModel:
    """A trained model.

    Attributes:
        version: sent with every prediction.
        training_rows: number of flights in the training data.
        categories: the known values of each text feature; others count as missing.
        classifier: of scikit-learn.
    """

    version: str
    training_rows: int
    categories: dict[str, list[str]]
    classifier: Any

    def percent_late(self, features: pl.DataFrame) -> pl.Series:
        """Return the probability of a late arrival for each row of `features`, from 0 to 100.

        Rounded to hundredths, as a scoring service would publish it; that also removes differences between processors.
        """
        matrix = _matrix(features, self.categories)
        with _one_thread():
            probability = self.classifier.predict_proba(matrix)[:, 1]
        return (pl.Series("score_percent", probability, dtype=pl.Float64) * 100).round(2)

    def log_loss(self, rows: pl.DataFrame) -> float:
        """Return the mean log loss on rows with `FEATURES` and late (Boolean), at least one."""
        predicted = (self.percent_late(rows) / 100).clip(_LEAST, 1 - _LEAST)
        chances = rows.select(chance=pl.when("late").then(predicted).otherwise(1 - predicted))
        return -float(chances["chance"].log().sum()) / rows.height


def known_labels(flights: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Return `FLIGHT_KEY` and late (Boolean) of the flights that had arrived before `at`."""
    return flights.filter(pl.col("arrived_at") < at).select(*FLIGHT_KEY, late=pl.col("arr_delay_min") > LATE_AFTER_MIN)


def train(features: pl.DataFrame, labels: pl.DataFrame, *, version: str) -> LateModel:
    """Train a model on the flights that are in both frames.

    Args:
        features: as `features.features_at_prediction` returns it.
        labels: `FLIGHT_KEY` and late (Boolean), in any order.
        version: of the model.

    Raises:
        TruthloopError: scikit-learn is not installed.
    """
    _boosting()  # fails early if scikit-learn is not installed
    # The rounding of sums depends on the order of the rows: sorted, the same flights give the same model.
    rows = features.join(labels, on=FLIGHT_KEY, how="inner", validate="1:1").sort("predicted_at", *FLIGHT_KEY)
    return fit(rows, version=version)


def fit(rows: pl.DataFrame, *, version: str) -> LateModel:
    """Train a model on rows in their order.

    Args:
        rows: `FEATURES` and late (Boolean).
        version: of the model.

    Raises:
        TruthloopError: scikit-learn is not installed.
    """
    categories = {name: rows[name].unique().sort().to_list() for name in TEXT_FEATURES}
    classifier = _boosting()(
        # Small trees: the lowest log loss of seven settings in a 3-fold cross-validation on January.
        max_iter=40,
        learning_rate=0.1,
        max_leaf_nodes=8,
        min_samples_leaf=300,
        l2_regularization=1.0,
        categorical_features=[name in TEXT_FEATURES for name in FEATURES],
        early_stopping=False,
        random_state=_SEED,
    )
    with _one_thread():
        classifier.fit(_matrix(rows, categories), rows["late"].to_numpy())
    return LateModel(version, rows.height, categories, classifier)


def _boosting() -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Return scikit-learn's class of gradient boosting."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - a second to import, and optional
    except ImportError as error:
        raise TruthloopError("the demo's model needs scikit-learn", hint="pip install 'scikit-learn>=1.6'") from error
    return HistGradientBoostingClassifier


def _one_thread() -> AbstractContextManager[object]:
    """Limit OpenMP to one thread: its threads spin while they wait for each other.

    On two busy cores training took 11 to 18 seconds with two threads, 0.2 with one.
    """
    # threadpoolctl comes with scikit-learn, which is optional, and has no types.
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415 - optional

    limits: AbstractContextManager[object] = threadpool_limits(1, "openmp")
    return limits


def _matrix(features: pl.DataFrame, categories: dict[str, list[str]]) -> "np.ndarray[Any, Any]":
    """Return `FEATURES` as numbers, one row per flight; missing values and unknown texts become NaN."""
    codes = [
        pl.col(name).replace_strict(known, range(len(known)), default=None, return_dtype=pl.Float32)
        for name, known in categories.items()
    ]
    return features.with_columns(codes).select(pl.col(FEATURES).cast(pl.Float32)).to_numpy(order="fortran")
