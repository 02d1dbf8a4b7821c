"""Fixed texts and signs of the page; every state has a sign as well as a colour."""

from typing import Final

__all__ = ["DRIFT_SIGNS", "STATUS_TEXTS", "URGENCY_TEXTS", "VERDICT_SIGNS"]

URGENCY_TEXTS: Final = {
    "now": "A person has to act now.",
    "working hours": "A person has to act in working hours.",
    "none": "Nothing to do.",
}

VERDICT_SIGNS: Final = {"OK": "●", "WATCH": "▲", "HOLD": "■", "STALLED": "✕"}

STATUS_TEXTS: Final = {
    "no_data": "no data",
    "estimated": "estimate, no labels yet",
    "provisional": "provisional, more labels are expected",
    "mature": "final",
    "revised": "final, corrected since",
}

DRIFT_SIGNS: Final = {
    "no_data": ("", "no data"),
    "calibrating": ("…", "calibrating"),
    "ok": ("·", "as usual"),
    "warn": ("△", "small shift"),
    "critical": ("▲", "large shift"),
    "alarm": ("◆", "alarm"),
}
"""By state: the sign in a cell, and its meaning."""
