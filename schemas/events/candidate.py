"""Judgement of a candidate, a new model version compared with the running one; logged with a decision.

`monitor.versions` computes it.
"""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base.metric_name import Metric
from schemas.base.model import StrictModel

__all__ = ["CandidateCheck", "CandidateJudgement", "CandidateVerdict"]

CandidateVerdict = Literal["non_inferior", "inferior", "undecided"]

Text = Annotated[str, Field(max_length=1_000)]


class CandidateCheck(StrictModel):
    """One check of the candidate, in addition to the mean loss."""

    name: Text = Field(description="loss, calibration, segments, weeks, worst_week, or segment NAME=VALUE.")
    value: float | None = Field(description="The statistic that was judged; null if there was nothing to judge.")
    limit: float | None = Field(description="Limit of the statistic.")
    passed: bool | None = Field(description="Whether the check passed; null if there is too little data to judge.")
    text: Text = Field(description="The check as one sentence.")


class CandidateJudgement(StrictModel):
    """Comparison of a new version with the running one, on the same predictions and labels."""

    verdict: CandidateVerdict = Field(
        description="non_inferior: its loss is higher by less than the margin; inferior: by more, both with 95 % "
        "confidence; undecided: neither, or too few labels."
    )
    text: Text = Field(description="The verdict as one sentence; if undecided, what is missing.")
    loss: Metric = Field(description="The metric that is compared; for accuracy, the share of wrong classes.")
    labels: int = Field(ge=0, description="Number of labels that both versions have a usable output for.")
    days: int = Field(ge=0, description="Number of days with such labels.")
    running_loss: float | None = Field(description="Mean loss of the running version.")
    candidate_loss: float | None = Field(description="Mean loss of the new version.")
    difference: float | None = Field(description="Candidate minus running; below zero, the new version is better.")
    lower: float | None = Field(description="Lower one-sided 95 % bound of the difference, over days as samples.")
    upper: float | None = Field(description="Upper one-sided 95 % bound of the difference.")
    margin: float | None = Field(description="The difference must be below this to be non-inferior.")
    checks: list[CandidateCheck] = Field(description="Segments, calibration and weeks, each judged by itself.")

    @property
    def may_ship(self) -> bool:
        """Whether the version may be deployed: non-inferior, and no check has failed."""
        return self.verdict == "non_inferior" and not any(check.passed is False for check in self.checks)
