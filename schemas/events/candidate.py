"""What was found when a new model version was held against the running one: published, and kept with a decision.

Must not compute anything.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.base.metric_name import Metric

__all__ = ["CandidateCheck", "CandidateJudgement", "CandidateVerdict"]

CandidateVerdict = Literal["non_inferior", "inferior", "undecided"]

Text = Annotated[str, Field(max_length=1_000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class CandidateCheck(_Model):
    """One thing that was looked at beside the mean loss."""

    name: Text = Field(description="loss, calibration, segments, weeks, worst_week, or segment NAME=VALUE.")
    value: float | None = Field(description="The statistic that was judged; null where there was nothing to judge.")
    limit: float | None = Field(description="What it was judged by.")
    passed: bool | None = Field(description="Whether it is passed; null where too little is known to judge it.")
    text: Text = Field(description="The check as one sentence.")


class CandidateJudgement(_Model):
    """A new version beside the running one, on the same predictions and labels."""

    verdict: CandidateVerdict = Field(
        description="non_inferior: it loses at most the margin more, to 95 %; inferior: it certainly loses more; "
        "undecided: neither, or too few labels."
    )
    text: Text = Field(description="The verdict as one sentence; of an undecided one, what is lacking.")
    loss: Metric = Field(description="The metric that is compared; of accuracy, the share of wrong classes.")
    labels: int = Field(ge=0, description="Labels that both versions have a usable output for.")
    days: int = Field(ge=0, description="Days that have any.")
    running_loss: float | None = Field(description="Mean loss of the running version.")
    candidate_loss: float | None = Field(description="Mean loss of the new version.")
    difference: float | None = Field(description="Candidate minus running; below zero the new version is better.")
    lower: float | None = Field(description="Lower one-sided 95 % bound of the difference; days are the draws.")
    upper: float | None = Field(description="Upper one-sided 95 % bound of the difference.")
    margin: float | None = Field(description="What the difference must stay below to be non-inferior.")
    checks: list[CandidateCheck] = Field(description="Segments, calibration and weeks, each judged by itself.")

    @property
    def may_ship(self) -> bool:
        """Whether the version may take over: not inferior, and no check has failed."""
        return self.verdict == "non_inferior" and not any(check.passed is False for check in self.checks)
