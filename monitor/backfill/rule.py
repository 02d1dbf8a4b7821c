"""Rules on a backfill episode: from its diff alone to passed, warned or quarantined."""

from typing import Final

from monitor.backfill.time_shift import shift_text
from schemas.base import figures
from schemas.events.backfill import Cause, Verdict
from schemas.events.backfill_diff import BackfillDiff, TimeShift

__all__ = ["verdict_of"]

_FLIPS = 0.01
"""Share of the labels that may flip, and of the predictions that may be sent again with other content."""
_ASYMMETRY_P, _ASYMMETRY_FLIPS = 0.001, 30
_EFFECT_WARN, _EFFECT_BLOCK = 0.05, 0.10
_COVERAGE_FALL = 0.005
_METRIC, _OF_CHANCE = 0.01, 2.0

_GRAVITY: Final = (Verdict.PASSED, Verdict.WARNED, Verdict.QUARANTINED)

Found = tuple[Verdict, str]


def verdict_of(diff: BackfillDiff) -> tuple[Verdict, list[str]]:
    """Return the verdict of the rules, and one sentence for each rule that fired, the gravest first.

    An episode is quarantined if its definition is not the config's; if more than 1 % of the labels flip; if flips go
    one way (p < .001, at least 30 of them); if the effect size of prevalence is .10 or more (in multiclass kinds, of
    any class; in regression, Cohen's d of the mean); if the coverage of a mature cohort falls by more than half a
    point; or if the accuracy (in regression, the mean absolute error relative to itself) changes by more than 1 % and
    by more than twice what as many random flips would change it. It is warned from an effect size of .05. An episode
    that only adds labels, without an effect, passes.

    The share of flips is checked among mature labels and among all labels of the cohorts touched, because days that
    are not final yet can be restated, too.

    An episode of predictions sent again with other content is quarantined if they are more than 1 % of their cohorts'
    predictions, else warned; one of labels told again with another time if it touches more than 1 % of their cohorts'
    labels. The rules are the same for declared batches.
    """
    found: list[Found] = []
    if diff.episode.definition != diff.definition:
        found.append((Verdict.QUARANTINED, "The labels are of another definition than the config's."))
    if Cause.RESENT in diff.episode.causes:
        found.append(_resent(diff))
    if diff.shift is not None:
        found.append(_retimed(diff, diff.shift))
    if not diff.is_of_features:
        found += [*_flips(diff), *_asymmetry(diff), *_effect(diff), *_coverage(diff), *_metric(diff)]
    if not found:
        return Verdict.PASSED, [_nothing(diff)]
    found.sort(key=lambda one: -_GRAVITY.index(one[0]))
    return found[0][0], [reason for _, reason in found]


def _resent(diff: BackfillDiff) -> Found:
    touched, predictions = diff.total.touched, diff.total.predictions
    share = touched / predictions if predictions else 0.0
    verdict = Verdict.QUARANTINED if share > _FLIPS else Verdict.WARNED
    compared = "more than" if share > _FLIPS else "not more than"
    return verdict, (
        f"{touched:,} of {predictions:,} predictions were sent again with other content: {figures.share(share, 2)}, "
        f"{compared} {figures.share(_FLIPS)}."
    )


def _retimed(diff: BackfillDiff, shift: TimeShift) -> Found:
    touched, labels = diff.total.touched, diff.total.labelled_before
    share = touched / labels if labels else 1.0
    verdict = Verdict.QUARANTINED if share > _FLIPS else Verdict.WARNED
    compared = "more than" if share > _FLIPS else "not more than"
    return verdict, (
        f"{shift.labels:,} labels were told again with another time: {shift_text(shift)}. They touch {touched:,} of "
        f"{labels:,} labels of their cohorts, {compared} {figures.share(_FLIPS)}."
    )


def _flips(diff: BackfillDiff) -> list[Found]:
    total = diff.total
    shares = [
        ("mature labels", diff.mature_flips, diff.mature_labels),
        ("labels", total.flips, total.labelled_before),
    ]
    for name, flips, labels in shares:
        if labels and flips / labels > _FLIPS:
            share = f"{flips:,} of {labels:,} {name} of the cohorts touched change: {figures.share(flips / labels, 2)}"
            return [(Verdict.QUARANTINED, f"{share}, more than {figures.share(_FLIPS)}.")]
    return []


def _asymmetry(diff: BackfillDiff) -> list[Found]:
    one = diff.asymmetry
    if one is None or one.to_end + one.to_start < _ASYMMETRY_FLIPS or one.p_value >= _ASYMMETRY_P:
        return []
    ways = f"{one.to_end:,} from {_short(one.start)} to {_short(one.end)} and {one.to_start:,} back"
    p_value = "p < 1e-12" if one.p_value < 1e-12 else f"p = {one.p_value:.2g}"  # noqa: PLR2004 - smaller ones are not worth reading
    return [(Verdict.QUARANTINED, f"Flips go one way: {ways} ({p_value}, below {_ASYMMETRY_P:g}).")]


def _effect(diff: BackfillDiff) -> list[Found]:
    known = [one for one in diff.labels if one.effect is not None and one.scope == "cohorts"]
    known = known or [one for one in diff.labels if one.effect is not None]
    worst = max(known, key=lambda one: abs(one.effect or 0.0), default=None)
    if worst is None or worst.effect is None or abs(worst.effect) < _EFFECT_WARN:
        return []
    is_mean = diff.task == "regression"
    subject = "The mean label" if is_mean else f"The share of labels {_short(worst.label)}"
    write = figures.number if is_mean else figures.share
    before, after = write(worst.before or 0.0), write(worst.after or 0.0)
    size = f"Cohen's {'d' if is_mean else 'h'} = {figures.signed(worst.effect)}"
    is_block = abs(worst.effect) >= _EFFECT_BLOCK
    limit = _EFFECT_BLOCK if is_block else _EFFECT_WARN
    verdict = Verdict.QUARANTINED if is_block else Verdict.WARNED
    return [(verdict, f"{subject} goes from {before} to {after}: {size}, {limit:g} or more.")]


def _coverage(diff: BackfillDiff) -> list[Found]:
    fall = diff.mature_coverage_fall
    if fall <= _COVERAGE_FALL:
        return []
    return [
        (
            Verdict.QUARANTINED,
            f"The coverage of a mature cohort falls by {100 * fall:.2f} points, more than {100 * _COVERAGE_FALL:g}.",
        )
    ]


def _metric(diff: BackfillDiff) -> list[Found]:
    one = diff.random_flips
    if one is None:
        return []
    limit = max(_OF_CHANCE * abs(one.expected_drop), _METRIC)
    if abs(one.change) <= limit:
        return []
    subject = "The accuracy" if one.metric == "accuracy" else "The mean absolute error, relative to itself,"
    chance = f"as many random flips would change it by {figures.signed(-one.expected_drop)}"
    text = f"{subject} changes by {figures.signed(one.change)}, more than {figures.number(limit)}"
    return [(Verdict.QUARANTINED, f"{text}; {chance}." if one.metric == "accuracy" else f"{text}.")]


def _nothing(diff: BackfillDiff) -> str:
    touched = diff.touched
    if not touched.changed and not touched.taken_away:
        return f"It only adds labels ({touched.new:,} new), and prevalence does not change."
    labels = f"{touched.changed:,} labels change and {touched.taken_away:,} are removed"
    return f"{labels} among {diff.total.labelled_before:,}: no rule fires."


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"  # noqa: PLR2004 - fits a line of a terminal
