"""What is said about rulings, on the page and in the terminal: who ruled, where a backfill stands, why one is refused.

Must not decide.
"""

from datetime import tzinfo
from typing import Final

from retrain.approval import RulingOutcome, RulingResult
from retrain.episode_status import BY_MAX, REASON_MAX, EpisodeRuling, EpisodeStatus
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import FlipMatrix
from truthloop.text.format import moment

__all__ = ["ATTESTED", "SCOPE_WORDS", "flips_of", "refusal_words", "state_words", "who_words"]

ATTESTED: Final = "an attestation: nobody has checked who that is"

_BY_RULE: Final = {
    Verdict.PASSED: "Counts by rule; nobody has to rule about it.",
    Verdict.WARNED: "Counts by rule, with a warning; nobody has to rule about it.",
}


_WITHOUT: Final = {
    RulingOutcome.UNKNOWN: ("there is no such backfill", "truthloop backfill list names those there are."),
    RulingOutcome.BUSY: ("others write to the log at this moment", "Send it again."),
}


def who_words(ruled: EpisodeRuling, zone: tzinfo) -> str:
    """Return who ruled, how that is known, and when."""
    proof = "authenticated by the proxy" if ruled.is_proved else ATTESTED
    when = "" if ruled.at_ms is None else f" on {moment(ruled.at_ms, zone)}"
    return f"by {ruled.by} ({proof}){when}"


def state_words(standing: EpisodeStatus, zone: tzinfo) -> str:
    """Return where a backfill stands, as a sentence or two."""
    if standing.ruled is not None:
        word = "Approved" if standing.verdict is Verdict.APPROVED else "Rejected"
        reason = standing.ruled.reason
        return f"{word} {who_words(standing.ruled, zone)}: {reason}{'' if reason.endswith('.') else '.'}"
    if standing.is_waiting:
        return f"Waits for a person since {moment(standing.found_ms, zone)}. Until then it stands beside what counts."
    return _BY_RULE.get(standing.verdict, f"It is {standing.verdict.value}.")


def refusal_words(result: RulingResult, zone: tzinfo) -> tuple[str, str]:
    """Return why a ruling is refused, and what to do; the same for every way of ruling.

    Args:
        result: any but DONE.
        zone: in which times are told.
    """
    standing = result.standing
    if standing is None:
        return _WITHOUT[result.outcome]
    state, labels = state_words(standing, zone), f"{standing.episode.labels:,} labels"
    changed = f"the diff has changed: the backfill has {labels} now, and its diff the SHA-256 {standing.diff_sha256}"
    said = {
        RulingOutcome.INCOMPLETE: (
            f"a ruling needs a reason (1 to {REASON_MAX:,} characters) and a name (1 to {BY_MAX})",
            "Go back, and fill them in.",
        ),
        RulingOutcome.CHANGED: (changed, "Read the new diff, and rule about that one."),
        RulingOutcome.EXPIRED: ("the form has expired", "Open the backfill again for another form."),
        RulingOutcome.USED: (f"this form was sent before. {state}", "A form is good for one ruling."),
    }
    decided = (f"it is decided already. {state}", "What was ruled stands until the backfill grows.")
    return said.get(result.outcome, decided)


SCOPE_WORDS = {
    "touched": "touched, labelled both times",
    "episode": "touched",
    "paired": "cohorts, labelled both times",
    "cohorts": "cohorts",
}
"""By scope: which labels a figure is of."""


def flips_of(matrix: FlipMatrix, most: int) -> list[tuple[str, str, int]]:
    """Return the greatest changes of a matrix: label before, label after, predictions; what stays is left out."""
    found = [
        (matrix.labels[row], matrix.labels[column], amount)
        for row, counts in enumerate(matrix.counts)
        for column, amount in enumerate(counts)
        if row != column and amount
    ]
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))[:most]
