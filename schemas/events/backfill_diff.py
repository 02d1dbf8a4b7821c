"""What a backfill episode would change: counts, flips, cohorts and metrics before and after, as one published document.

The same lake gives the same bytes, so that an approval can be bound to the digest of what was read. Must not compute
a figure; it rounds them, which is what keeps the bytes stable.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.base.metric_name import Task
from schemas.base.validators import is_identifier
from schemas.events.backfill import Cause, Episode
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
    "Touched",
]

MATRIX_CLASSES_MAX = 20
COHORTS_MAX = 60
SLICES_MAX = 20
VERSIONS_MAX = 50
NO_LABEL = "*none"
"""In the flip matrix: no label. A real class that begins with `*` or a backslash has a backslash before it."""
OTHER_LABEL = "*other"
"""In the flip matrix: every class beyond the most common ones."""

_DIGITS = 9
"""Significant digits of a figure: more than anybody reads, fewer than platforms differ in."""
_DAY = r"^\d{4}-\d{2}-\d{2}$"


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") + 0.0  # and no minus zero


Name = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(is_identifier)]
Day = Annotated[str, Field(pattern=_DAY)]
Count = Annotated[int, Field(ge=0)]
Figure = Annotated[float, AfterValidator(_rounded)]
Share = Annotated[float, Field(ge=0, le=1), AfterValidator(_rounded)]
Sentence = Annotated[str, Field(min_length=1, max_length=1_000)]
Scope = Literal["touched", "episode", "paired", "cohorts"]
"""Which labels a figure is of.

`touched`: predictions of the episode that have a label both before and after. `episode`: all labels that predictions
of the episode have before, beside all that they have after. `paired`: all predictions of the cohorts touched that have
a label both before and after, whether the episode speaks of them or not. `cohorts`: all labels of the cohorts touched
before, beside all after.
"""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Touched(_Model):
    """How many predictions the episode speaks of; the first is the sum of the five after it. Eligible ones only."""

    predictions: Count = Field(description="Eligible predictions that the episode touches.")
    new: Count = Field(description="Without a label before, with one after.")
    changed: Count = Field(description="With another label after than before: the flips.")
    identical: Count = Field(description="With the same label before and after.")
    taken_away: Count = Field(description="With a label before, without one after.")
    unlabelled: Count = Field(description="Without a label before and after.")
    ineligible: Count = Field(description="Predictions touched that are not eligible; they count nowhere else.")


class FlipMatrix(_Model):
    """Labels before, down, by labels after, across: counts of predictions."""

    labels: list[str] = Field(
        description="The classes, then `*other` if there are more, then `*none`; of regression: ranges of the label."
    )
    counts: list[list[Count]] = Field(description="One row per label before, one number per label after.")


class Asymmetry(_Model):
    """Whether flips go one way more often than chance allows.

    Of multiclass kinds it is about the two classes with most flips between them; of regression, about labels that
    became higher against those that became lower.
    """

    start: str = Field(description="The one label: 0 in a binary kind, `lower` in regression.")
    end: str = Field(description="The other one: 1 in a binary kind, `higher` in regression.")
    to_end: Count = Field(description="Flips from the one to the other.")
    to_start: Count = Field(description="Flips back.")
    p_value: Share = Field(description="Exact two-sided binomial: so uneven, if both ways were as likely.")


class CohortChange(_Model):
    """The labels of a cohort, or of all cohorts touched, before and after."""

    version: Name | None = Field(description="Model version; null: of all cohorts touched.")
    day: Day | None = Field(description="Cohort day; null: of all cohorts touched.")
    is_mature: bool = Field(description="Whether every outcome is final; of all: whether every cohort is mature.")
    predictions: Count = Field(description="Eligible predictions.")
    touched: Count = Field(description="Those that the episode speaks of.")
    labelled_before: Count = Field(description="Those with a label before.")
    labelled_after: Count = Field(description="Those with a label after.")
    coverage_before: Share | None = Field(description="Share with a label before; null without predictions.")
    coverage_after: Share | None = Field(description="Share with a label after.")
    flips: Count = Field(description="Labels that change.")


class LabelChange(_Model):
    """How common a label is before and after; of regression: the mean label."""

    scope: Scope = Field(description="Which labels it is of; those of regression and multiclass need an output.")
    label: str = Field(description="The class: 1 in a binary kind; of regression `mean`.")
    before: Figure | None = Field(description="Share before, or mean; null without labels.")
    after: Figure | None = Field(description="Share after, or mean.")
    effect: Figure | None = Field(
        description="Cohen's h, 2 asin sqrt(after) - 2 asin sqrt(before); of regression Cohen's d, the difference in "
        "standard deviations of the labels before."
    )


class Distribution(_Model):
    """How far labels, or outputs of labelled predictions, are spread otherwise than before."""

    scope: Scope = Field(description="Which labels it is of.")
    of: Literal["label", "output"] = Field(description="What is compared.")
    before: Count = Field(description="Rows before.")
    after: Count = Field(description="Rows after.")
    excess_psi: Figure | None = Field(
        description="Population stability index less its mean under chance; may be negative; null without rows."
    )


class MetricChange(_Model):
    """One metric before and after."""

    scope: Scope = Field(description="Which labels it is of.")
    name: Name = Field(description="Name of the metric.")
    before: Figure | None = Field(description="Value before; null where nothing is known.")
    after: Figure | None = Field(description="Value after.")
    n_before: Count = Field(description="Labels with an output before.")
    n_after: Count = Field(description="Labels with an output after.")
    bound: Figure | None = Field(
        description="Of `roc_auc`: how far either value may be from the exact one; null for others."
    )


class RandomFlips(_Model):
    """The change of the headline metric, beside the one that as many flips at random would make."""

    metric: Literal["accuracy", "mae"] = Field(description="accuracy; of regression mae.")
    scope: Scope = Field(description="paired, or touched where nothing is known of the cohorts' other labels.")
    before: Figure = Field(description="Its value before.")
    change: Figure = Field(
        description="After minus before, on predictions labelled both times; of mae as a share of the value before."
    )
    flip_share: Share = Field(description="Flips among the labels that are there before and after.")
    classes: Count = Field(description="Classes that a label may be; 0 in regression.")
    expected_drop: Figure = Field(
        description="How far that share of flips at random lowers the accuracy: (2 accuracy - 1) share of two classes; "
        "0 in regression."
    )


class DelayChange(_Model):
    """The age of first labels, without the episode and with it: what learning from its arrivals would do."""

    scope: Scope = Field(description="Which labels it is of.")
    median_without_ms: Count | None = Field(description="Half are known by this age; null without labels.")
    p95_without_ms: Count | None = Field(description="95 % are known by this age.")
    median_with_ms: Count | None = Field(description="Half, the episode's labels included.")
    p95_with_ms: Count | None = Field(description="95 %, the episode's labels included.")


class SliceChange(_Model):
    """What the episode does to one value of a slice."""

    name: Name = Field(description="Name of the slice.")
    value: str | None = Field(description="Its value; null where predictions have none.")
    touched: Count = Field(description="Predictions touched.")
    flips: Count = Field(description="Labels that change.")


class AffectedDecision(_Model):
    """A retrain whose data set holds predictions of the cohorts touched."""

    decision: str = Field(pattern=DECISION_PATTERN, description="Id of the retrain.")
    dataset_uri: str | None = Field(default=None, max_length=2_000, description="Where its data set is.")


class BackfillDiff(_Model):
    """The diff report of a backfill episode: the same predictions before it and after it."""

    episode: Episode = Field(description="Which labels it is about.")
    task: Task = Field(description="What outputs and labels of the kind are.")
    definition: Name = Field(description="The config's definition of the kind.")
    touched: Touched = Field(description="Predictions that the episode speaks of.")
    first_day: Day | None = Field(description="First cohort day touched; null where nothing is.")
    last_day: Day | None = Field(description="Last cohort day touched.")
    days: Count = Field(description="How many days are touched.")
    versions: list[Name] = Field(max_length=VERSIONS_MAX, description="Model versions touched, the first ones by name.")
    versions_touched: Count = Field(description="How many there are.")
    matrix: FlipMatrix = Field(description="Labels before by labels after.")
    asymmetry: Asymmetry | None = Field(description="Of the flips; null where there are none of that sort.")
    mature_labels: Count = Field(description="Labels before, in the cohorts touched that are mature.")
    mature_flips: Count = Field(description="Flips among them.")
    flip_share_of_mature: Share | None = Field(description="The second by the first; null without mature labels.")
    flip_share: Share | None = Field(description="All flips by all labels before, of the cohorts touched.")
    total: CohortChange = Field(description="All cohorts touched.")
    cohorts_touched: Count = Field(description="How many cohorts that is.")
    cohorts: list[CohortChange] = Field(
        max_length=COHORTS_MAX, description="Those whose coverage falls most, then those with most flips."
    )
    mature_coverage_fall: Share = Field(
        description="The greatest fall of coverage in a mature cohort; 0 if none falls."
    )
    labels: list[LabelChange] = Field(description="Prevalence, or mean label, before and after.")
    distributions: list[Distribution] = Field(description="Of labels, and of outputs of labelled predictions.")
    metrics: list[MetricChange] = Field(description="Metrics before and after, by scope.")
    random_flips: RandomFlips | None = Field(description="What chance would explain; null without such labels.")
    delays: DelayChange = Field(description="The delay law.")
    slices: list[SliceChange] = Field(max_length=SLICES_MAX, description="Slice values with most flips, then touched.")
    decisions: list[AffectedDecision] = Field(description="Retrains whose data sets are affected.")
    approving: Sentence = Field(description="What approving will do.")
    rejecting: Sentence = Field(description="What rejecting will do.")

    @property
    def is_of_features(self) -> bool:
        """Whether the episode is of predictions sent again, and of no labels."""
        return set(self.episode.causes) == {Cause.RESENT}

    def document(self) -> bytes:
        """Return the report as canonical JSON: sorted keys, no blanks, UTF-8."""
        values = self.model_dump(mode="json")
        return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()

    def sha256(self) -> str:
        """Return the digest of `document`, in hex: what an approval is bound to."""
        return hashlib.sha256(self.document()).hexdigest()
