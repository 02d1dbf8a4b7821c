"""Meaning of field and topic names: the parts that a name is made of, and the parts that hint at a meaning.

Names are only hints; the callers weigh them against the values.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

__all__ = [
    "HAPPENED_HINTS",
    "IDENTITY_HINTS",
    "KNOWN_HINTS",
    "LABEL_HINTS",
    "LABEL_TOPIC_HINTS",
    "NO_VALUES",
    "OUTPUT_HINTS",
    "PERSONAL_HINTS",
    "PREDICTED_HINTS",
    "PREDICTION_TOPIC_HINTS",
    "TIME_HINTS",
    "YES_VALUES",
    "column_name",
    "last_name_parts",
    "name_parts",
    "similarity",
]

_PART: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_]+")
NAME_LENGTH: Final = 63

IDENTITY_HINTS: Final = frozenset({"id", "key", "uuid", "guid", "number", "no", "nr", "ref", "reference", "code"})
TIME_HINTS: Final = frozenset(
    {"time", "timestamp", "ts", "at", "date", "datetime", "when", "epoch", "created", "updated", "ms", "millis", "utc"}
)
PREDICTED_HINTS: Final = frozenset({"predicted", "prediction", "scored", "scoring", "inference", "inferred", "decided"})
KNOWN_HINTS: Final = frozenset(
    {"labeled", "labelled", "label", "resolved", "closed", "confirmed", "reported", "known", "settled", "completed"}
    | {"received", "reviewed", "updated", "disputed", "filed", "posted", "clicked", "converted", "arrived"}
)
HAPPENED_HINTS: Final = frozenset({"happened", "occurred", "occurrence", "incident"})
OUTPUT_HINTS: Final = frozenset(
    {"score", "scores", "prob", "proba", "probability", "probabilities", "prediction", "predictions", "predicted"}
    | {"pred", "likelihood", "confidence", "propensity", "risk", "output", "outputs", "p", "percent", "pct"}
)
LABEL_HINTS: Final = frozenset(
    {"label", "labels", "outcome", "truth", "actual", "actuals", "target", "y", "result", "verdict", "chargeback"}
    | {"fraud", "fraudulent", "click", "clicked", "convert", "converted", "conversion", "churn", "churned", "default"}
    | {"defaulted", "late", "delayed", "returned", "purchased", "bought", "spam", "abuse", "won", "disputed"}
    | {"positive", "status", "stage", "reason", "resolution", "decision", "is", "was", "has", "flag", "value", "class"}
)
PREDICTION_TOPIC_HINTS: Final = frozenset(
    {"prediction", "predictions", "predict", "score", "scores", "scoring", "scored", "inference", "inferences"}
    | {"model", "models", "ranking", "rankings", "recommendation", "recommendations", "forecast", "forecasts"}
)
LABEL_TOPIC_HINTS: Final = frozenset(
    {"label", "labels", "outcome", "outcomes", "truth", "actuals", "feedback", "dispute", "disputes", "chargeback"}
    | {"chargebacks", "click", "clicks", "conversion", "conversions", "result", "results", "return", "returns"}
    | {"resolution", "resolutions", "review", "reviews", "verdicts", "purchases", "churn", "arrivals", "defaults"}
)
PERSONAL_HINTS: Final = frozenset(
    {"email", "mail", "phone", "mobile", "firstname", "lastname", "surname", "fullname", "address", "street", "iban"}
    | {"ssn", "passport", "birth", "birthday", "birthdate", "dob", "ip", "pan", "cardnumber", "username", "holder"}
)
YES_VALUES: Final = frozenset(
    {"1", "yes", "y", "true", "t", "fraud", "fraudulent", "late", "delayed", "click", "clicked", "purchased", "bought"}
    | {"converted", "churned", "defaulted", "default", "positive", "pos", "bad", "spam", "won", "chargeback"}
    | {"confirmed", "returned", "abuse", "disputed", "lost_to_fraud", "malicious", "success", "approved", "accepted"}
)
NO_VALUES: Final = frozenset(
    {"0", "no", "n", "false", "f", "legit", "legitimate", "genuine", "on_time", "ontime", "ok", "good", "negative"}
    | {"neg", "none", "ham", "lost", "clean", "retained", "paid", "ignored", "not_fraud", "benign", "failure", "normal"}
    | {"rejected", "declined", "kept", "no_fraud", "-1"}
)

_PAIRS: Final = (("first", "name"), ("last", "name"), ("full", "name"), ("card", "number"), ("user", "name"))


@cache
def name_parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path or topic name, in lower case.

    >>> name_parts("payload.after.transactionId"), name_parts("risk.scoring.v3")
    (('payload', 'after', 'transaction', 'id'), ('risk', 'scoring', 'v', '3'))
    """
    return tuple(part.lower() for part in _PART.findall(path))


def last_name_parts(path: str) -> frozenset[str]:
    """Return the parts of a path's last name; pairs such as `first`, `name` are also given as one part, `firstname`."""
    found = name_parts(path.rpartition(".")[2])
    return frozenset(found) | {"".join(pair) for pair in _PAIRS if set(pair) <= set(found)}


def similarity(one: str, other: str) -> float:
    """Return the share of parts that two paths have in common, from 0 to 1.

    >>> similarity("tx.id", "payload.after.tx_id"), similarity("tx.id", "amount")
    (1.0, 0.0)
    """
    left, right = set(name_parts(one)), set(name_parts(other))
    return len(left & right) / min(len(left), len(right)) if left and right else 0.0


def column_name(parts: Iterable[str]) -> str:
    """Return a valid column name made of the parts.

    >>> column_name(["tx", "amount-EUR"]), column_name(["3d"])
    ('tx_amount_EUR', '_3d')
    """
    name = _NOT_IN_NAMES.sub("_", "_".join(parts)).strip("_") or "field"
    return (f"_{name}" if name[0].isdigit() else name)[:NAME_LENGTH]
