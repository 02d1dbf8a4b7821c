"""Sentences about rulings for the page and the terminal: who ruled, a backfill's status, why a ruling is refused."""

from datetime import tzinfo
from typing import Final

from retrain.approval import RulingOutcome, RulingResult
from retrain.dataset_rows import left_out_text
from retrain.episode_status import BY_MAX, REASON_MAX, EpisodeRuling, EpisodeStatus
from schemas.base.figures import moment
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import FlipMatrix
from schemas.events.dataset_rows import BackfillRows

__all__ = [
    "ATTESTED",
    "SCOPE_TITLES",
    "largest_flips",
    "refusal_text",
    "ruled_by_text",
    "status_text",
    "training_text",
    "withdrawal_text",
]

ATTESTED: Final = "an attestation: nobody has checked who that is"

_BY_RULE: Final = {
    Verdict.PASSED: "Counts by rule; it needs no ruling.",
    Verdict.WARNED: "Counts by rule, with a warning; it needs no ruling.",
}

_NO_STATUS: Final = {
    RulingOutcome.UNKNOWN: ("there is no such backfill", "`truthloop backfill list` lists all of them."),
    RulingOutcome.BUSY: ("other writers keep changing the log", "Send the ruling again."),
}


def ruled_by_text(ruled: EpisodeRuling, zone: tzinfo) -> str:
    """Return who ruled, how the name is known, and when."""
    proof = "authenticated by the proxy" if ruled.is_proved else ATTESTED
    when = "" if ruled.at_ms is None else f" on {moment(ruled.at_ms, zone)}"
    return f"by {ruled.by} ({proof}){when}"


def status_text(status: EpisodeStatus, zone: tzinfo) -> str:
    """Return the status of a backfill in a sentence or two."""
    if status.ruled is not None:
        verdict = "Approved" if status.verdict is Verdict.APPROVED else "Rejected"
        reason = status.ruled.reason
        return f"{verdict} {ruled_by_text(status.ruled, zone)}: {reason}{'' if reason.endswith('.') else '.'}"
    if status.is_waiting:
        return f"Waits for a person since {moment(status.found_ms, zone)}. Until then it does not count."
    return _BY_RULE.get(status.verdict, f"It is {status.verdict.value}.")


def training_text(rows: BackfillRows, *, is_waiting: bool) -> str:
    """Return what a backfill brings, or would bring, into the data set of a retrain.

    >>> rows = BackfillRows(episode=f"bf-{7:032x}", rows=0, holdout_rows=0, left_out={"purged_at_the_split": 240})
    >>> for part in training_text(rows, is_waiting=True).split("; "):
    ...     print(part)
    If it is approved, a data set of now has 0 of its 240 predictions as training rows and 0 as holdout rows
    left out: 240 purged at the split.
    """
    text = f"a data set of now has {rows.rows:,} of its {rows.predictions:,} predictions as training rows and "
    text += f"{rows.holdout_rows:,} as holdout rows"
    text = f"If it is approved, {text}" if is_waiting else f"{text[:1].upper()}{text[1:]}"
    return f"{text}; left out: {left_out_text(rows.left_out)}." if rows.left_out else f"{text}."


def withdrawal_text(withdrawn: int, due: int, left: int) -> str:
    """Return what has become of the labels of a rejected backfill.

    >>> withdrawal_text(1_706, 0, 0)
    'The join has withdrawn all 1,706 labels.'
    >>> withdrawal_text(7, 2, 0)
    'The join has withdrawn 7 of 9 labels; 2 are due, by the running join or the next replay.'
    """
    every = withdrawn + due + left
    if withdrawn == every:
        return f"The join has withdrawn all {every:,} labels."
    text = f"The join has withdrawn {withdrawn:,} of {every:,} labels"
    if due:
        text += f"; {due:,} are due, by the running join or the next replay"
    if left:
        text += f"; {left:,} had left its state (retain, or 16 labels of a key), and what they made stays"
    return f"{text}."


def refusal_text(result: RulingResult, zone: tzinfo) -> tuple[str, str]:
    """Return why a ruling is refused, and what to do.

    Args:
        result: any but DONE.
        zone: of the times in the text.
    """
    if result.status is None:
        return _NO_STATUS[result.outcome]
    status, labels = status_text(result.status, zone), f"{result.status.episode.labels:,} labels"
    sha256 = result.status.diff_sha256
    texts = {
        RulingOutcome.INCOMPLETE: (
            f"a ruling needs a reason (1 to {REASON_MAX:,} characters) and a name (1 to {BY_MAX})",
            "Go back and fill them in.",
        ),
        RulingOutcome.CHANGED: (
            f"the diff has changed: the backfill has {labels} now, and its diff has the SHA-256 {sha256}",
            "Read the new diff, then rule about it.",
        ),
        RulingOutcome.EXPIRED: ("the form has expired", "Open the backfill again for a new form."),
        RulingOutcome.GONE: (
            "predictions that it concerns have left the lake (retention.lake), so what was counted cannot be restated",
            "Reject it, or read the past into a lake of its own that keeps it.",
        ),
        RulingOutcome.USED: (f"this form was sent before. {status}", "A form is valid for one ruling."),
    }
    decided = (f"it is decided already. {status}", "A ruling holds until the backfill grows.")
    return texts.get(result.outcome, decided)


SCOPE_TITLES: Final = {
    "touched": "touched, labelled both times",
    "episode": "touched",
    "paired": "cohorts, labelled both times",
    "cohorts": "cohorts",
}
"""Title of each scope: the labels that a figure is about."""


def largest_flips(matrix: FlipMatrix, most: int) -> list[tuple[str, str, int]]:
    """Return the largest changes of a matrix: (label before, label after, predictions).

    >>> largest_flips(FlipMatrix(labels=["a", "b"], counts=[[90, 4], [7, 80]]), 1)
    [('b', 'a', 7)]
    """
    found = [
        (matrix.labels[row], matrix.labels[column], amount)
        for row, counts in enumerate(matrix.counts)
        for column, amount in enumerate(counts)
        if row != column and amount
    ]
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))[:most]
