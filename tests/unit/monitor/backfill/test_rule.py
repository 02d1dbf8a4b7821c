"""Rules on a backfill: each limit from both sides, and the reasons."""

import pytest
from backfill_case import Row, diff, episode_of

from monitor.backfill.rule import verdict_of
from schemas.events.backfill import Cause, Verdict
from schemas.events.backfill_diff import Asymmetry, BackfillDiff, LabelChange, RandomFlips, TimeShift

QUIET = diff([*[Row(1.0, 1.0)] * 10, Row(None, 1.0)])
"""Adds one label, and changes nothing."""


def with_(**changes: object) -> BackfillDiff:
    """Return the quiet report with changes."""
    return QUIET.model_copy(update=changes)


def flips(mature: tuple[int, int], every: tuple[int, int]) -> BackfillDiff:
    """Return a report with flips of labels, among mature ones and among all."""
    total = QUIET.total.model_copy(update={"flips": every[0], "labelled_before": every[1]})
    touched = QUIET.touched.model_copy(update={"changed": every[0]})
    return with_(mature_flips=mature[0], mature_labels=mature[1], total=total, touched=touched)


def ways(to_end: int, to_start: int, p_value: float) -> BackfillDiff:
    """Return a report with flips both ways."""
    return with_(asymmetry=Asymmetry(start="0", end="1", to_end=to_end, to_start=to_start, p_value=p_value))


def effect(value: float, **more: object) -> BackfillDiff:
    """Return a report with an effect on prevalence."""
    one = LabelChange(scope="cohorts", label="1", before=0.2, after=0.24, effect=value)
    return with_(labels=[one.model_copy(update=more)])


def change(value: float, drop: float, metric: str = "accuracy") -> BackfillDiff:
    """Return a report with a change of the headline metric."""
    one = RandomFlips(
        metric=metric,  # type: ignore[arg-type] # one of the two
        scope="paired",
        before=0.9,
        change=value,
        flip_share=0.01,
        classes=2,
        expected_drop=drop,
    )
    return with_(random_flips=one)


def resent(touched: int, predictions: int) -> BackfillDiff:
    """Return a report of predictions sent again."""
    total = QUIET.total.model_copy(update={"touched": touched, "predictions": predictions})
    return with_(episode=episode_of(causes=[Cause.RESENT]), total=total)


def retimed(touched: int, labels: int) -> BackfillDiff:
    """Return a report of labels told again, three hours earlier."""
    total = QUIET.total.model_copy(update={"touched": touched, "labelled_before": labels})
    moved = {"median_ms": -10_800_000, "least_ms": -10_800_000, "greatest_ms": -10_800_000}
    shift = TimeShift(labels=touched, same_value=touched, at_median=touched, **moved)
    return with_(episode=episode_of(causes=[Cause.RETIMED]), total=total, shift=shift)


CASES = {
    "1 % told again": (retimed(10, 1_000), "warned", "10 of 1,000 labels of their cohorts, not more than"),
    "more than 1 % told again": (retimed(11, 1_000), "quarantined", "all 3 h earlier; all with the same value"),
    "told again where nothing was known": (retimed(1, 0), "quarantined", "1 of 0 labels"),
    "labels added": (QUIET, "passed", "It only adds labels (1 new)"),
    "1 % of mature labels": (flips((10, 1_000), (10, 1_000)), "passed", "no rule fires"),
    "more than 1 % of mature labels": (flips((11, 1_000), (11, 9_000)), "quarantined", "11 of 1,000 mature labels"),
    "more than 1 % of young labels": (flips((0, 0), (2, 199)), "quarantined", "2 of 199 labels of the cohorts"),
    "even flips": (ways(20, 10, 0.001), "passed", ""),
    "flips one way": (ways(20, 10, 0.00099), "quarantined", "20 from 0 to 1 and 10 back (p = 0.00099"),
    "few flips one way": (ways(29, 0, 1e-9), "passed", ""),
    "thirty flips one way": (ways(30, 0, 1e-13), "quarantined", "p < 1e-12"),
    "small effect": (effect(0.0499), "passed", ""),
    "small effect that warns": (effect(0.05), "warned", "from 20.0 % to 24.0 %: Cohen's h = +0.0500, 0.05 or more"),
    "effect the other way": (effect(-0.0999), "warned", "h = \N{MINUS SIGN}0.0999"),
    "large effect": (effect(-0.1), "quarantined", "0.1 or more"),
    "coverage falls by half a point": (with_(mature_coverage_fall=0.005), "passed", ""),
    "coverage falls by more": (with_(mature_coverage_fall=0.0051), "quarantined", "falls by 0.51 points"),
    "accuracy changes by a point": (change(-0.01, 0.001), "passed", ""),
    "accuracy changes by more": (change(0.0101, 0.001), "quarantined", "changes by +0.0101, more than 0.0100"),
    "accuracy falls by twice what chance does": (change(-0.04, 0.02), "passed", ""),
    "accuracy falls by more": (
        change(-0.0401, 0.02),
        "quarantined",
        "random flips would change it by \N{MINUS SIGN}0.0200",
    ),
    "an accuracy below one half": (change(0.03, -0.02), "passed", ""),
    "an error grows": (change(0.011, 0.0, "mae"), "quarantined", "The mean absolute error, relative to itself"),
    "another definition": (
        with_(episode=episode_of(definition="late-30min", causes=[Cause.REDEFINED])),
        "quarantined",
        "another definition than the config's",
    ),
    "a batch that declares itself": (
        effect(0.2).model_copy(update={"episode": episode_of(causes=[Cause.DECLARED], batch="b1")}),
        "quarantined",
        "h = +0.200",
    ),
    "1 % sent again": (resent(10, 1_000), "warned", "1.00 %, not more than 1.0 %"),
    "more sent again": (resent(11, 1_000), "quarantined", "11 of 1,000 predictions were sent again"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_limit_is_judged_on_both_sides(case: str) -> None:
    """The verdict, and one sentence with the numbers behind it."""
    report, verdict, reason = CASES[case]
    found, reasons = verdict_of(report)
    assert (found.value, len(reasons)) == (verdict, 1)
    assert reason in reasons[0]
    assert reasons[0].endswith(".")
    assert found in (Verdict.PASSED, Verdict.WARNED, Verdict.QUARANTINED)


def test_every_rule_that_fired_has_a_reason_the_gravest_first() -> None:
    """A warning comes after reasons to quarantine."""
    update = {"mature_coverage_fall": 0.2, "episode": episode_of(definition="late-30min")}
    found, reasons = verdict_of(effect(0.06).model_copy(update=update))
    assert found is Verdict.QUARANTINED
    assert [reason.split()[1] for reason in reasons] == ["labels", "coverage", "share"]


def test_predictions_sent_again_are_not_judged_as_labels() -> None:
    """Unless the episode has labels, too."""
    loud = {"mature_coverage_fall": 0.2}
    assert verdict_of(resent(1, 1_000).model_copy(update=loud))[0] is Verdict.WARNED
    both = resent(1, 1_000).model_copy(update={**loud, "episode": episode_of(causes=[Cause.RESENT, Cause.STALE])})
    assert verdict_of(both)[0] is Verdict.QUARANTINED


def test_an_effect_in_the_cohorts_takes_precedence_over_one_in_the_episode() -> None:
    """A few labels that all become 1 are no prevalence; they count only where that of the cohorts is unknown."""
    touched = LabelChange(scope="touched", label="1", before=0.0, after=1.0, effect=3.14)
    cohorts = LabelChange(scope="cohorts", label="1", before=0.2, after=0.2, effect=0.0)
    assert verdict_of(with_(labels=[touched, cohorts]))[0] is Verdict.PASSED
    unknown = cohorts.model_copy(update={"effect": None})
    assert verdict_of(with_(labels=[touched, unknown]))[0] is Verdict.QUARANTINED


def test_a_real_recoding_is_found_and_a_real_trickle_passes() -> None:
    """2,000 labels, of which 40 or 12 flip: one way, or both ways."""
    quiet = [*[Row(1.0, 1.0, 0.9, touched=False)] * 600, *[Row(0.0, 0.0, 0.1, touched=False)] * 1_388]
    trickle = [*[Row(1.0, 0.0, 0.9)] * 4, *[Row(0.0, 1.0, 0.1)] * 8]
    assert verdict_of(diff([*quiet, *trickle]))[0] is Verdict.PASSED
    found, reasons = verdict_of(diff([*quiet, *[Row(0.0, 1.0, 0.1)] * 40]))
    assert found is Verdict.QUARANTINED
    assert any("go one way" in reason for reason in reasons)
    assert any("more than 1.0 %" in reason for reason in reasons)


def test_a_very_long_class_does_not_make_a_very_long_reason() -> None:
    """It is cut."""
    one = Asymmetry(start="a" * 5_000, end="b" * 5_000, to_end=90, to_start=0, p_value=0.0)
    _, [reason] = verdict_of(with_(asymmetry=one))
    assert len(reason) < 400
