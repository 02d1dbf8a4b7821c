"""The fixed words and signs of the page: plain ones, and each state told by a sign as well as by a colour."""

from typing import Final

__all__ = ["DRIFT_SIGNS", "STATUS_WORDS", "TITLES", "URGENCY_WORDS", "VERDICT_SIGNS"]

TITLES: Final = {
    "verdict": "Verdict",
    "coverage": "Labels known by age",
    "maturity": "How labels come in",
    "metric": "How well the model does",
    "drift": "Shift",
    "quality": "Values with a problem",
    "gate": "Retraining",
    "backfills": "Backfills",
    "versions": "Versions compared",
    "flow": "What comes in",
}

URGENCY_WORDS: Final = {
    "now": "Somebody has to look at this now.",
    "working hours": "Look at it in working hours.",
    "none": "Nothing to do.",
}

VERDICT_SIGNS: Final = {"OK": "●", "WATCH": "▲", "HOLD": "■", "STALLED": "✕"}

STATUS_WORDS: Final = {
    "no_data": "no data",
    "estimated": "estimate, no labels yet",
    "provisional": "provisional, labels are still to come",
    "mature": "final",
    "revised": "final, corrected since",
}

DRIFT_SIGNS: Final = {
    "no_data": ("", "no data"),
    "calibrating": ("…", "learning what is usual"),
    "ok": ("·", "as usual"),
    "warn": ("△", "small shift"),
    "critical": ("▲", "large shift"),
    "alarm": ("◆", "alarm"),
}
"""By state: the sign in a cell, and what it means."""
