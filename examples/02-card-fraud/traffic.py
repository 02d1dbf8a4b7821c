"""A card issuer's traffic: scores of every payment, verdicts of its reviewers, and chargebacks months later.

    python traffic.py --bootstrap-servers localhost:9092 --truth truth.jsonl

Three topics in the company's own shapes. Two weeks of payments are told with all that became known of them in 230 days.
Fraud is far more frequent than in life, so that little traffic shows every case.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # company.py stands beside the examples' folders

from company import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Company, Record, Traffic, iso, run

SCORES = "risk.scores.v3"
VERDICTS = "review.verdicts"
CHARGEBACKS = "disputes.public.chargebacks"
TOPICS = {SCORES: 24, VERDICTS: 6, CHARGEBACKS: 8}

SPAN_MS = 14 * DAY_MS
DAYS = 230
COUNTRIES = {"DE": 5, "FR": 3, "NL": 2, "PL": 1}
FRAUD_SHARE = 0.08

REACHED_MS = 195 * DAY_MS
"""A chargeback up to this age is within the loop's `retain` of 200 days, wherever its record was held up."""


@dataclass(frozen=True)
class Payment:
    """One payment, and what nobody knows yet."""

    id: str
    at_ms: int
    card: str
    country: str
    amount: float
    is_fraud: bool
    action: str
    versions: tuple[str, str]


class CardTraffic:
    """Tells the story of each payment, and with every step of it what is true from then on.

    Args:
        random: of everything.
        start_ms: of the first payment.
    """

    def __init__(self, random: Random, start_ms: int) -> None:
        self._random = random
        self._start_ms = start_ms
        self._cases = 0
        self._rows = 0
        self.traffic = Traffic(close_ms=start_ms + DAYS * DAY_MS)

    def tell(self, count: int) -> Traffic:
        """Tell of a number of payments."""
        for number, moment in enumerate(sorted(self._random.random() for _ in range(count))):
            self._payment(number, self._start_ms + int(moment * SPAN_MS), is_rolled_out=moment > 0.5)
        return self.traffic

    def _payment(self, number: int, at_ms: int, *, is_rolled_out: bool) -> None:
        random = self._random
        is_fraud = random.random() < FRAUD_SHARE
        percent = round(100 * (random.betavariate(4, 2) if is_fraud else random.betavariate(1, 12)), 2)
        payment = Payment(
            id=f"tx-{number:07d}",
            at_ms=at_ms,
            card=f"card-{random.randrange(2_000):04d}",
            country=random.choices([*COUNTRIES], [*COUNTRIES.values()])[0],
            amount=round(random.lognormvariate(3.5, 1), 2),
            is_fraud=is_fraud,
            action="BLOCK" if percent > 85 else "REVIEW" if percent > 40 else "APPROVE",
            # half-way the shadow becomes the champion, and a new shadow comes
            versions=("2026.03", "2026.04") if is_rolled_out else ("2026.02", "2026.03"),
        )
        self._scores(number, payment, percent)
        self._is_now(payment, "implied", 0, "nothing came until the deadline")
        if payment.action == "BLOCK":
            self._is_now(payment, "expired", None, "blocked: nobody will ever know")
            return
        verdict = self._review(payment) if payment.action == "REVIEW" else None
        if payment.is_fraud and (verdict != "FRAUD" or random.random() < 0.3):
            self._chargeback(payment, "10.4", 1)
        elif not payment.is_fraud and random.random() < 0.03:
            self._chargeback(payment, "13.1", 0)
        self._faults(number, payment)

    def _is_now(self, payment: Payment, status: str, value: float | None, why: str) -> None:
        """Say what is true of a payment from now on, for both models' predictions."""
        for version in payment.versions:
            self.traffic.truth[payment.id, f"{payment.id}|{version}", "fraud"] = (status, value, why)

    def _scores(self, number: int, payment: Payment, percent: float) -> None:
        """Send what both models said, among events that are nobody's business here."""
        random = self._random
        at_ms = payment.at_ms
        self._send(SCORES, payment.card, self._event("ScoreRequested", payment, "champion", at_ms), at_ms + 5)
        if random.random() < 0.2:
            other = self._event("ScoreComputed", payment, "champion", at_ms) | {"scorePercent": 1.0}
            self._send(
                SCORES, payment.card, other | {"model": {"name": "account-takeover", "version": "9"}}, at_ms + 20
            )
        shadow = round(min(100.0, percent * random.uniform(0.8, 1.2)), 2)
        for role, score, delay_ms in (("champion", percent, 40), ("shadow", shadow, 90)):
            # now and then a sender is held up: its records come minutes late, but not beyond the loop's `disorder`
            late_ms = random.randrange(8 * MINUTE_MS) if random.random() < 0.02 else random.randrange(SECOND_MS)
            self._score(payment, role, score, at_ms + delay_ms, late_ms)
            if random.random() < 0.04:  # sent again because no answer came: another event, the same score
                self._score(payment, role, score, at_ms + delay_ms, late_ms + random.randrange(MINUTE_MS))
                self.traffic.rejects["predictions", "duplicate"] += 1
        if number % 150 == 20:  # a caller's retry was scored anew; the first score is what was acted upon
            self._score(payment, "champion", 99.99, at_ms + 40, 9 * MINUTE_MS + SECOND_MS)
            self.traffic.rejects["predictions", "conflict"] += 1

    def _score(self, payment: Payment, role: str, percent: float, at_ms: int, late_ms: int) -> None:
        score = {"scorePercent": percent, "decision": {"action": payment.action}}
        self._send(SCORES, payment.card, self._event("ScoreComputed", payment, role, at_ms) | score, at_ms + late_ms)

    def _event(self, name: str, payment: Payment, role: str, at_ms: int) -> dict[str, Any]:
        return {
            "event": name,
            "eventId": f"{self._random.getrandbits(64):016x}",
            "occurredAt": iso(at_ms),
            "transaction": {
                "id": payment.id,
                "card": payment.card,
                "country": payment.country,
                "amount": {"value": payment.amount, "currency": "EUR"},
                "merchant": {"category": "5411" if payment.amount < 60 else "5732"},
            },
            "device": {"os": "iOS" if payment.card[-1] in "02468" else "Android"},
            "model": {"name": "fraud", "version": payment.versions[role == "shadow"], "role": role},
        }

    def _review(self, payment: Payment) -> str | None:
        """Let a person look at a payment, and sometimes another; return the last verdict."""
        random = self._random
        self._cases += 1
        at_ms = payment.at_ms + random.randrange(HOUR_MS, 20 * HOUR_MS)
        if random.random() < 0.1:
            self._verdict(payment, "UNSURE", at_ms)
            return None
        truth = "FRAUD" if payment.is_fraud else "LEGIT"
        if random.random() < 0.9:
            self._verdict(payment, truth, at_ms)
            return truth
        # wrong at first; the second look may be in before the first one, whose tablet was offline
        wrong = "LEGIT" if payment.is_fraud else "FRAUD"
        again_ms = at_ms + random.randrange(DAY_MS, 2 * DAY_MS)
        self._verdict(payment, wrong, at_ms, late_ms=3 * DAY_MS if random.random() < 0.3 else 0)
        self._verdict(payment, truth, again_ms)
        return truth

    def _verdict(self, payment: Payment, verdict: str, at_ms: int, late_ms: int = 0) -> None:
        case = f"R-{self._cases}"
        value = {
            "case_id": case,
            "transaction_id": payment.id,
            "verdict": verdict,
            "decided_at": at_ms // SECOND_MS,
            "reviewer": f"r{self._cases % 9}",
        }
        self._send(VERDICTS, case, value, at_ms + late_ms + self._random.randrange(5 * SECOND_MS))
        if verdict != "UNSURE":
            self._is_now(payment, "joined", int(verdict == "FRAUD"), "the last verdict of a reviewer")

    def _chargeback(self, payment: Payment, reason: str, value: int) -> None:
        """Open a chargeback, and let it take its course in the disputes' database."""
        random = self._random
        self._rows += 1
        row = {"id": self._rows, "transaction_id": payment.id, "reason": reason, "stage": "OPENED"}
        fate = random.random()
        if fate < 0.85:
            age_ms = int(random.triangular(5, 100, 30) * DAY_MS)
        elif fate < 0.95:  # past the horizon of 120 days: the outcome was implied, and is replaced
            age_ms = random.randrange(121 * DAY_MS, 190 * DAY_MS)
        else:  # past `retain`: it changes nothing any more
            age_ms = random.randrange(203 * DAY_MS, 213 * DAY_MS)
        at_ms = payment.at_ms + age_ms
        self._row(at_ms, "r" if random.random() < 0.1 else "c", None, row)
        if age_ms > REACHED_MS:
            return
        self._is_now(payment, "joined", value, "a chargeback")
        at_ms += random.randrange(5 * DAY_MS, 30 * DAY_MS)
        if at_ms - payment.at_ms > REACHED_MS:
            return
        fate = random.random()
        if fate < 0.2:
            self._row(at_ms, "u", row, row | {"stage": "PRE_ARBITRATION"})
        elif fate < 0.4:
            self._row(at_ms, "u", row, row | {"stage": "REVERSED"})
            self._is_now(payment, "retracted", None, "the chargeback was reversed")
        elif fate < 0.5:
            self._row(at_ms, "d", row, None)
            self._is_now(payment, "retracted", None, "the chargeback was entered by mistake and deleted")

    def _row(self, at_ms: int, operation: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        """Send a change of a row as Debezium does: at least once, and a tombstone behind a deletion."""
        random = self._random
        came_ms = at_ms + random.randrange(SECOND_MS, MINUTE_MS)
        key = json.dumps({"payload": {"id": (after or before or {})["id"]}})
        source = {"connector": "postgresql", "db": "disputes", "table": "chargebacks", "ts_ms": at_ms}
        payload = {"before": before, "after": after, "source": source, "op": operation, "ts_ms": came_ms}
        value = {"schema": {"type": "struct", "name": f"{CHARGEBACKS}.Envelope"}, "payload": payload}
        self._send(CHARGEBACKS, key, value, came_ms)
        if operation == "d":
            self.traffic.send(Record(came_ms, CHARGEBACKS, key, None))
        elif random.random() < 0.06:  # the connector was started again, and tells its last records once more
            self._send(CHARGEBACKS, key, value, came_ms + 15 * MINUTE_MS)

    def _faults(self, number: int, payment: Payment) -> None:
        """Send what should not be there, and is."""
        at_ms, rejects = payment.at_ms, self.traffic.rejects
        if number % 100 == 30:  # paid at a till that this model does not score: its chargeback waits in vain
            self._rows += 1
            row = {"id": self._rows, "transaction_id": f"till-{number}", "reason": "10.4", "stage": "OPENED"}
            self._row(at_ms + 40 * DAY_MS, "c", None, row)
        if number % 300 == 40:
            self.traffic.send(Record(at_ms, SCORES, payment.card, b'{"event": "ScoreComputed", "eventId": "0'))
            rejects["predictions", "not_json"] += 1
        if number % 300 == 50:
            value = {"event": "ScoreComputed", "occurredAt": iso(at_ms), "model": {"name": "fraud"}, "scorePercent": 3}
            self._send(SCORES, payment.card, value, at_ms)
            rejects["predictions", "bad_key"] += 1
        if number % 300 == 60:
            value = {"case_id": "R-0", "transaction_id": payment.id, "verdict": "FRAUD", "decided_at": "yesterday"}
            self._send(VERDICTS, "R-0", value, at_ms + HOUR_MS)
            rejects["labels", "bad_time"] += 1

    def _send(self, topic: str, key: str, value: dict[str, Any], at_ms: int) -> None:
        self.traffic.send(Record(at_ms, topic, key, json.dumps(value).encode()))


def make(random: Random, count: int, start_ms: int) -> Traffic:
    """Return the traffic of so many predictions, of which every payment has two."""
    return CardTraffic(random, start_ms).tell(count // 2)


COMPANY = Company(__doc__ or "", TOPICS, make, count=20_000, days=DAYS)

if __name__ == "__main__":
    run(COMPANY)
