"""Diff of a backfill episode: counts, flips, cohorts and metrics before and after it, as one published document.

The same lake gives the same bytes, so that an approval can be bound to the document's digest. Figures, which
`monitor.backfill.diff` computes, are rounded here to keep the bytes stable across platforms.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.base.metric_name import Task
from schemas.base.model import StrictModel
from schemas.events.backfill import Cause, Episode, Name
from schemas.events.evidence import DECISION_PATTERN

__all__ = [
    "COHORTS_MAX",
    "MATRIX_CLASSES_MAX",
    "NO_LABEL",
    "OTHER_LABEL",
    "SLICES_MAX",
    "VERSIONS_MAX",
    "AffectedDecision",
    "Asymmetry",
    "BackfillDiff",
    "CohortChange",
    "DelayChange",
    "Distribution",
    "FlipMatrix",
    "LabelChange",
    "MetricChange",
    "RandomFlips",
    "Scope",
    "SliceChange",
    "TimeShift",
    "Touched",
]

MATRIX_CLASSES_MAX = 20
COHORTS_MAX = 60
SLICES_MAX = 20
VERSIONS_MAX = 50
NO_LABEL = "*none"
"""No label, in the flip matrix. A class whose name begins with `*` or a backslash is escaped with a backslash."""
OTHER_LABEL = "*other"
"""All classes but the most common ones, in the flip matrix."""

_DIGITS = 9
"""Significant digits of a figure: more than people read, fewer than platforms differ in."""
_DAY = r"^\d{4}-\d{2}-\d{2}$"


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") + 0.0  # turns -0.0 into 0.0


Day = Annotated[str, Field(pattern=_DAY)]
Count = Annotated[int, Field(ge=0)]
Figure = Annotated[float, AfterValidator(_rounded)]
Share = Annotated[float, Field(ge=0, le=1), AfterValidator(_rounded)]
Sentence = Annotated[str, Field(min_length=1, max_length=1_000)]
Scope = Literal["touched", "episode", "paired", "cohorts"]
"""The labels that a figure is computed from.

`touched`: predictions of the episode that have a label both before and after. `episode`: all labels of the episode's
predictions before, compared with all of them after. `paired`: all predictions of the touched cohorts that have a label
both before and after, whether they belong to the episode or not. `cohorts`: all labels of the touched cohorts before,
compared with all of them after.
"""


class Touched(StrictModel):
    """Numbers of eligible predictions that the episode touches; the first is the sum of the next five."""

    predictions: Count = Field(description="Eligible predictions that the episode touches.")
    new: Count = Field(description="No label before, one after.")
    changed: Count = Field(description="Different labels before and after: the flips.")
    identical: Count = Field(description="The same label before and after.")
    taken_away: Count = Field(description="A label before, none after.")
    unlabelled: Count = Field(description="No label before or after.")
    ineligible: Count = Field(description="Touched predictions that are not eligible; they are counted here only.")


class FlipMatrix(StrictModel):
    """Counts of predictions by label before (rows) and label after (columns)."""

    labels: list[str] = Field(
        description="The classes, then `*other` if there are more, then `*none`; in regression, ranges of the label."
    )
    counts: list[list[Count]] = Field(description="One row per label before, one number per label after.")


class Asymmetry(StrictModel):
    """Whether flips go one way more often than by chance.

    In multiclass it compares the two classes with most flips between them; in regression, labels that became higher
    with those that became lower.
    """

    start: str = Field(description="One label: 0 in binary, `lower` in regression.")
    end: str = Field(description="The other label: 1 in binary, `higher` in regression.")
    to_end: Count = Field(description="Flips from the first to the second.")
    to_start: Count = Field(description="Flips from the second to the first.")
    p_value: Share = Field(description="Exact two-sided binomial test of both ways being equally likely.")


class CohortChange(StrictModel):
    """The labels of a cohort, or of all touched cohorts, before and after."""

    version: Name | None = Field(description="Model version; null: all touched cohorts.")
    day: Day | None = Field(description="Cohort day; null: all touched cohorts.")
    is_mature: bool = Field(description="Whether every outcome is final; of all cohorts, whether each is mature.")
    predictions: Count = Field(description="Eligible predictions.")
    touched: Count = Field(description="Those that the episode touches.")
    labelled_before: Count = Field(description="Eligible predictions with a label before.")
    labelled_after: Count = Field(description="Eligible predictions with a label after.")
    coverage_before: Share | None = Field(description="Share with a label before; null without predictions.")
    coverage_after: Share | None = Field(description="Share with a label after.")
    flips: Count = Field(description="Labels that change.")


class LabelChange(StrictModel):
    """Prevalence of a label before and after; in regression, the mean label."""

    scope: Scope = Field(description="Labels it is computed from; in regression and multiclass, those with an output.")
    label: str = Field(description="The class: 1 in binary; in regression `mean`.")
    before: Figure | None = Field(description="Share before, or mean; null without labels.")
    after: Figure | None = Field(description="Share after, or mean.")
    effect: Figure | None = Field(
        description="Cohen's h, 2 asin sqrt(after) - 2 asin sqrt(before); in regression Cohen's d, the difference in "
        "standard deviations of the labels before."
    )


class Distribution(StrictModel):
    """Change in the distribution of labels, or of outputs of labelled predictions."""

    scope: Scope = Field(description="Labels it is computed from.")
    of: Literal["label", "output"] = Field(description="What is compared.")
    before: Count = Field(description="Rows before.")
    after: Count = Field(description="Rows after.")
    excess_psi: Figure | None = Field(
        description="Population stability index minus its mean under chance; may be negative; null without rows."
    )


class MetricChange(StrictModel):
    """One metric before and after."""

    scope: Scope = Field(description="Labels it is computed from.")
    name: Name = Field(description="Name of the metric.")
    before: Figure | None = Field(description="Value before; null if it is unknown.")
    after: Figure | None = Field(description="Value after.")
    n_before: Count = Field(description="Labels with an output before.")
    n_after: Count = Field(description="Labels with an output after.")
    bound: Figure | None = Field(description="Greatest error of either value of `roc_auc`; null for other metrics.")


class RandomFlips(StrictModel):
    """Change of the headline metric, compared with the change that as many random flips would cause."""

    metric: Literal["accuracy", "mae"] = Field(description="accuracy; in regression mae.")
    scope: Scope = Field(description="paired, or touched if the other labels of the cohorts are unknown.")
    before: Figure = Field(description="Its value before.")
    change: Figure = Field(
        description="After minus before, on predictions labelled both times; for mae as a share of the value before."
    )
    flip_share: Share = Field(description="Share of flips among labels that are there before and after.")
    classes: Count = Field(description="Number of classes; 0 in regression.")
    expected_drop: Figure = Field(
        description="How far this share of random flips lowers the accuracy: (2 accuracy - 1) share for two classes; "
        "0 in regression."
    )


class DelayChange(StrictModel):
    """Delay of first labels, without the episode and with it: the effect of learning delays from its labels."""

    scope: Scope = Field(description="Labels it is computed from.")
    median_without_ms: Count | None = Field(description="Half are known by this age; null without labels.")
    p95_without_ms: Count | None = Field(description="95 % are known by this age.")
    median_with_ms: Count | None = Field(description="Half, the episode's labels included.")
    p95_with_ms: Count | None = Field(description="95 %, the episode's labels included.")


class SliceChange(StrictModel):
    """Effect of the episode on one value of a slice."""

    name: Name = Field(description="Name of the slice.")
    value: str | None = Field(description="Value of the slice; null for predictions without one.")
    touched: Count = Field(description="Touched predictions.")
    flips: Count = Field(description="Labels that change.")


class TimeShift(StrictModel):
    """How far the times of retimed labels are from those of the labels that they tell again."""

    labels: Count = Field(description="Labels that tell a known one again.")
    same_value: Count = Field(description="Those of them with the value of the known one.")
    median_ms: int = Field(description="Median of new time minus known time; negative: earlier.")
    at_median: Count = Field(description="Labels with exactly this shift.")
    least_ms: int = Field(description="Least shift.")
    greatest_ms: int = Field(description="Greatest shift.")


class AffectedDecision(StrictModel):
    """A retrain whose data set holds predictions of the touched cohorts."""

    decision: str = Field(pattern=DECISION_PATTERN, description="Id of the retrain.")
    dataset_uri: str | None = Field(default=None, max_length=2_000, description="Where its data set is.")


class BackfillDiff(StrictModel):
    """Diff report of a backfill episode: the same predictions before it and after it."""

    episode: Episode = Field(description="The episode.")
    task: Task = Field(description="Task of the kind.")
    definition: Name = Field(description="The config's definition of the kind.")
    touched: Touched = Field(description="Predictions that the episode touches.")
    first_day: Day | None = Field(description="First touched cohort day; null if there is none.")
    last_day: Day | None = Field(description="Last touched cohort day.")
    days: Count = Field(description="Number of touched days.")
    versions: list[Name] = Field(max_length=VERSIONS_MAX, description="Touched model versions, the first ones by name.")
    versions_touched: Count = Field(description="Number of touched model versions.")
    matrix: FlipMatrix = Field(description="Counts by label before and after.")
    asymmetry: Asymmetry | None = Field(description="Asymmetry of the flips; null if there are none to compare.")
    mature_labels: Count = Field(description="Labels before, in touched cohorts that are mature.")
    mature_flips: Count = Field(description="Flips among them.")
    flip_share_of_mature: Share | None = Field(description="mature_flips by mature_labels; null without mature labels.")
    flip_share: Share | None = Field(description="All flips by all labels before, in the touched cohorts.")
    total: CohortChange = Field(description="All touched cohorts.")
    cohorts_touched: Count = Field(description="Number of touched cohorts.")
    cohorts: list[CohortChange] = Field(
        max_length=COHORTS_MAX, description="Those whose coverage falls most, then those with most flips."
    )
    mature_coverage_fall: Share = Field(description="Greatest fall of coverage in a mature cohort; 0 if none falls.")
    labels: list[LabelChange] = Field(description="Prevalence, or mean label, before and after.")
    distributions: list[Distribution] = Field(description="Of labels, and of outputs of labelled predictions.")
    metrics: list[MetricChange] = Field(description="Metrics before and after, by scope.")
    random_flips: RandomFlips | None = Field(description="Comparison with random flips; null without such labels.")
    delays: DelayChange = Field(description="Delay of first labels, without and with the episode.")
    slices: list[SliceChange] = Field(
        max_length=SLICES_MAX, description="Slice values with most flips, then with most touched predictions."
    )
    decisions: list[AffectedDecision] = Field(description="Retrains whose data sets are affected.")
    shift: TimeShift | None = Field(default=None, description="Shift of retimed labels; missing in other episodes.")
    approving: Sentence = Field(description="Effect of an approval.")
    rejecting: Sentence = Field(description="Effect of a rejection.")

    @property
    def is_of_features(self) -> bool:
        """Whether the episode consists of predictions that were sent again, and of no labels."""
        return set(self.episode.causes) == {Cause.RESENT}

    def document(self) -> bytes:
        """Return the report as canonical JSON: sorted keys, no white space, UTF-8."""
        values = self.model_dump(mode="json")
        if self.shift is None:  # reports of earlier versions keep the digest that a person has read
            del values["shift"]
        return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()

    def sha256(self) -> str:
        """Return the digest of `document` in hex, which an approval is bound to."""
        return hashlib.sha256(self.document()).hexdigest()
