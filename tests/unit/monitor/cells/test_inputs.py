"""Daily histograms of features, outputs and labels, read from cells."""

from datetime import date
from typing import Any

import polars as pl
from cell_cases import (
    DAY_MS,
    EPOCH_MS,
    HOUR_MS,
    OWN,
    Prediction,
    Revision,
    bins_of,
    config_of,
    outcomes_frame,
    predictions_frame,
)

from monitor.cells.fold import fold
from monitor.cells.histogram import COUNT_SCHEMA
from monitor.cells.inputs import LABEL, OUTPUT, input_counts, input_histograms
from monitor.cells.plan import CellPlan, KindPlan
from schemas.config.loop import LoopConfig

DAY = date(2013, 3, 12)
NEXT = date(2013, 3, 13)


def named_config(*features: str) -> LoopConfig:
    """Return a loop whose features are flags of these names."""
    return config_of(
        predictions={
            "outputs": {
                "late": {"task": "binary", "threshold": 0.3},
                "fare": {"task": "regression"},
                "status": {"task": "multiclass"},
            },
            "slices": ["country"],
            "features": {name: {"type": "bool"} for name in features},
        }
    )


def kind_of(plan: CellPlan, name: str) -> KindPlan:
    """Return a kind of a plan."""
    return next(kind for kind in plan.kinds if kind.name == name)


def counted(
    config: LoopConfig, revisions: list[Revision], kind: str = "late", *, features: Any = None, **other: Any
) -> dict[tuple[str, date, int], int]:
    """Return the counts of some outcomes, by input, day and bin."""
    plan = CellPlan.from_config(config)
    predictions = predictions_frame({one.prediction.key: one.prediction for one in revisions}.values())
    if features is not None:
        predictions = predictions.drop("feature_amount", "feature_device", "feature_card").with_columns(
            **{f"feature_{name}": pl.lit(value) for name, value in features.items()}
        )
    cells = fold(plan, predictions, outcomes_frame(revisions), outcomes_frame([]))
    usual: dict[str, Any] = {"version": "v1", "last": NEXT, "judged": NEXT, "at_age_ms": None}
    found = input_counts(cells, kind_of(plan, kind), **usual | other)
    assert found.schema == COUNT_SCHEMA
    return {(name, day, bin_): amount for name, day, bin_, amount in found.iter_rows()}


def joined(key: str, value: float, *, age_ms: int = HOUR_MS, day: int = 0, **other: Any) -> Revision:
    """Return an outcome of the binary kind."""
    prediction = Prediction(key, predicted_at_ms=EPOCH_MS + day * DAY_MS, **other)
    return Revision(prediction, "joined", value, prediction.predicted_at_ms + age_ms, 1)


def test_features_named_output_or_label_are_renamed() -> None:
    """Their names begin with `feature `, in counts and in histograms."""
    config = named_config("label", "output", "other")
    names = [one.name for one in input_histograms(config, "late", CellPlan.from_config(config))]
    assert sorted(names) == ["feature label", "feature output", "label", "other", "output"]
    found = counted(config, [joined("a", 1.0, output=0.5)], features={"label": False, "output": True, "other": False})
    positive_from = kind_of(CellPlan.from_config(config), "late").positive_from
    score = next(bin_ for (name, _, bin_) in found if name == OUTPUT)
    assert score > positive_from
    assert found == {
        ("feature label", DAY, 0): 1,
        ("feature output", DAY, 1): 1,
        ("other", DAY, 0): 1,
        (OUTPUT, DAY, score): 1,
        (LABEL, DAY, 1): 1,
    }


def test_labels_are_counted_up_to_the_judged_day_and_the_age() -> None:
    """Features and outputs are counted up to the last day."""
    config = config_of()
    rows = [
        joined("a", 1.0),
        joined("b", 0.0),
        joined("late", 0.0, age_ms=7 * HOUR_MS),
        joined("young", 0.0, day=1),
    ]
    found = counted(config, rows, judged=DAY, at_age_ms=6 * HOUR_MS)
    assert {key: amount for key, amount in found.items() if key[0] == LABEL} == {
        (LABEL, DAY, 0): 1,
        (LABEL, DAY, 1): 1,
    }
    assert {day: amount for (name, day, _), amount in found.items() if name == OUTPUT} == {DAY: 3, NEXT: 1}
    final = counted(config, rows, judged=DAY)
    assert final[LABEL, DAY, 0] == 2


def test_days_beyond_the_last_and_other_versions_are_left_out() -> None:
    """Also for features, whose cells have no kind."""
    rows = [joined("a", 1.0), joined("b", 1.0, day=1), joined("c", 1.0, version="v2")]
    found = counted(config_of(), rows, last=DAY, judged=DAY)
    assert {day for _, day, _ in found} == {DAY}
    assert sum(amount for (name, _, _), amount in found.items() if name == "amount") == 1


def test_labels_of_another_definition_are_not_counted() -> None:
    """Another definition has another share of positives."""
    other = Revision(Prediction("a"), "joined", 1.0, EPOCH_MS, 1, "late", "late-30min")
    assert not [name for name, _, _ in counted(config_of(), [other]) if name == LABEL]


def test_regression_and_multiclass_have_outputs_and_no_labels() -> None:
    """Each kind has its own output."""
    config = config_of()
    plan = CellPlan.from_config(config)
    for kind in ("fare", "status"):
        row = Revision(Prediction("a"), "joined", 1.5, EPOCH_MS, 1, kind, OWN[kind], "landed")
        found = counted(config, [row], kind)
        assert {name for name, _, _ in found} == {"amount", "device", OUTPUT}
        histograms = {one.name: one for one in input_histograms(config, kind, plan)}
        assert set(histograms) == {"amount", "device", OUTPUT}
        [output_bin] = [bin_ for name, _, bin_ in found if name == OUTPUT]
        value = pl.Series([1.5 if kind == "fare" else "landed"])
        assert bins_of(histograms[OUTPUT], value).to_list() == [output_bin]


def test_personal_data_is_no_input() -> None:
    """The hashed card has no histogram and no counts."""
    names = {one.name for one in input_histograms(config_of(), "late", CellPlan.from_config(config_of()))}
    assert names == {"amount", "device", OUTPUT, LABEL}
