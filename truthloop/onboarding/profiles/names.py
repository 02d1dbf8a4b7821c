"""What names of fields and topics say: the words that they are made of, and which words hint at what.

A name is a hint and never a proof: who asks weighs it against what the values say. Must not look at values.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

__all__ = [
    "HAPPENED_WORDS",
    "IDENTITY_WORDS",
    "KNOWN_WORDS",
    "LABEL_TOPIC_WORDS",
    "LABEL_WORDS",
    "NO_WORDS",
    "OUTPUT_WORDS",
    "PERSONAL_WORDS",
    "PREDICTED_WORDS",
    "PREDICTION_TOPIC_WORDS",
    "TIME_WORDS",
    "YES_WORDS",
    "name_words",
    "plain_name",
    "resemblance",
    "words",
]

_PIECE: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_]+")
NAME_LENGTH: Final = 63

IDENTITY_WORDS: Final = frozenset({"id", "key", "uuid", "guid", "number", "no", "nr", "ref", "reference", "code"})
TIME_WORDS: Final = frozenset(
    {"time", "timestamp", "ts", "at", "date", "datetime", "when", "epoch", "created", "updated", "ms", "millis", "utc"}
)
PREDICTED_WORDS: Final = frozenset({"predicted", "prediction", "scored", "scoring", "inference", "inferred", "decided"})
KNOWN_WORDS: Final = frozenset(
    {"labeled", "labelled", "label", "resolved", "closed", "confirmed", "reported", "known", "settled", "completed"}
    | {"received", "reviewed", "updated", "disputed", "filed", "posted", "clicked", "converted", "arrived"}
)
HAPPENED_WORDS: Final = frozenset({"happened", "occurred", "occurrence", "incident"})
OUTPUT_WORDS: Final = frozenset(
    {"score", "scores", "prob", "proba", "probability", "probabilities", "prediction", "predictions", "predicted"}
    | {"pred", "likelihood", "confidence", "propensity", "risk", "output", "outputs", "p", "percent", "pct"}
)
LABEL_WORDS: Final = frozenset(
    {"label", "labels", "outcome", "truth", "actual", "actuals", "target", "y", "result", "verdict", "chargeback"}
    | {"fraud", "fraudulent", "click", "clicked", "convert", "converted", "conversion", "churn", "churned", "default"}
    | {"defaulted", "late", "delayed", "returned", "purchased", "bought", "spam", "abuse", "won", "disputed"}
    | {"positive", "status", "stage", "reason", "resolution", "decision", "is", "was", "has", "flag", "value", "class"}
)
PREDICTION_TOPIC_WORDS: Final = frozenset(
    {"prediction", "predictions", "predict", "score", "scores", "scoring", "scored", "inference", "inferences"}
    | {"model", "models", "ranking", "rankings", "recommendation", "recommendations", "forecast", "forecasts"}
)
LABEL_TOPIC_WORDS: Final = frozenset(
    {"label", "labels", "outcome", "outcomes", "truth", "actuals", "feedback", "dispute", "disputes", "chargeback"}
    | {"chargebacks", "click", "clicks", "conversion", "conversions", "result", "results", "return", "returns"}
    | {"resolution", "resolutions", "review", "reviews", "verdicts", "purchases", "churn", "arrivals", "defaults"}
)
PERSONAL_WORDS: Final = frozenset(
    {"email", "mail", "phone", "mobile", "firstname", "lastname", "surname", "fullname", "address", "street", "iban"}
    | {"ssn", "passport", "birth", "birthday", "birthdate", "dob", "ip", "pan", "cardnumber", "username", "holder"}
)
YES_WORDS: Final = frozenset(
    {"1", "yes", "y", "true", "t", "fraud", "fraudulent", "late", "delayed", "click", "clicked", "purchased", "bought"}
    | {"converted", "churned", "defaulted", "default", "positive", "pos", "bad", "spam", "won", "chargeback"}
    | {"confirmed", "returned", "abuse", "disputed", "lost_to_fraud", "malicious", "success", "approved", "accepted"}
)
NO_WORDS: Final = frozenset(
    {"0", "no", "n", "false", "f", "legit", "legitimate", "genuine", "on_time", "ontime", "ok", "good", "negative"}
    | {"neg", "none", "ham", "lost", "clean", "retained", "paid", "ignored", "not_fraud", "benign", "failure", "normal"}
    | {"rejected", "declined", "kept", "no_fraud", "-1"}
)

_PAIRS: Final = (("first", "name"), ("last", "name"), ("full", "name"), ("card", "number"), ("user", "name"))


def words(path: str) -> tuple[str, ...]:
    """Return the words of a path or topic, in small letters.

    >>> words("payload.after.transactionId"), words("risk.scoring.v3")
    (('payload', 'after', 'transaction', 'id'), ('risk', 'scoring', 'v', '3'))
    """
    return _words(path)


@cache
def _words(path: str) -> tuple[str, ...]:
    return tuple(piece.lower() for piece in _PIECE.findall(path))


def name_words(path: str) -> frozenset[str]:
    """Return the words of a path's last name, with pairs that mean one thing as one word."""
    found = words(path.rpartition(".")[2])
    return frozenset(found) | {"".join(pair) for pair in _PAIRS if set(pair) <= set(found)}


def resemblance(one: str, other: str) -> float:
    """Return how much of two paths' words is the same, from 0 to 1; ids of the same thing resemble each other.

    >>> resemblance("tx.id", "payload.after.tx_id"), resemblance("tx.id", "amount")
    (1.0, 0.0)
    """
    mine, theirs = set(words(one)), set(words(other))
    return len(mine & theirs) / min(len(mine), len(theirs)) if mine and theirs else 0.0


def plain_name(parts: Iterable[str]) -> str:
    """Return a name that columns can have.

    >>> plain_name(["tx", "amount-EUR"]), plain_name(["3d"])
    ('tx_amount_EUR', '_3d')
    """
    name = _NO_NAME.sub("_", "_".join(parts)).strip("_") or "field"
    return (f"_{name}" if name[0].isdigit() else name)[:NAME_LENGTH]
