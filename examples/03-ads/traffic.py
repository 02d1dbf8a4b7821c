"""An ad server's traffic: slates of ads, clicks within minutes, orders within weeks, and far too many duplicates.

    python traffic.py --bootstrap-servers localhost:9092 --truth truth.jsonl

All are CloudEvents: structured ones for the ads, and binary ones, with their attributes in headers, for the shop's
orders. Two days of ads are told with all that became known of them.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # company.py stands beside the examples' folders

from company import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Company, Record, Traffic, iso, run

SLATES = "ads.slates"
CLICKS = "ads.clicks"
ORDERS = "shop.orders"
WATERMARKS = "ads.watermarks"
TOPICS = {SLATES: 12, CLICKS: 6, ORDERS: 4, WATERMARKS: 1}

SPAN_MS = 2 * DAY_MS
DAYS = 100
TOLD_MS = 50 * DAY_MS
"""All records come within this; what still waits then has left in the end."""

CLICK_RETAIN_MS = 2 * DAY_MS
ORDER_RETAIN_MS = 45 * DAY_MS


@dataclass(frozen=True)
class Ad:
    """One ad that was shown to somebody."""

    id: str
    at_ms: int
    user: str
    is_human: bool
    clicked: float
    ordered: float


class AdTraffic:
    """Tells what became of each ad, and with every step of it what is true from then on.

    Args:
        random: of everything.
        start_ms: of the first slate.
    """

    def __init__(self, random: Random, start_ms: int) -> None:
        self._random = random
        self._start_ms = start_ms
        self._orders = 0
        self.traffic = Traffic(close_ms=start_ms + DAYS * DAY_MS)

    def tell(self, count: int) -> Traffic:
        """Tell of a number of ads."""
        shown = 0
        moments = sorted(self._random.random() for _ in range(count // 2))
        for number, moment in enumerate(moments):
            shown += self._slate(number, shown, self._start_ms + int(moment * SPAN_MS))
        if count:
            self._watermarks()
        return self.traffic

    def _slate(self, number: int, shown: int, at_ms: int) -> int:
        """Show one to three ads at once, and tell of each; return how many."""
        random = self._random
        user = f"u{random.randrange(5_000)}"
        is_human = random.random() > 0.05
        ads = [self._ad(shown + at, at_ms, user, is_human=is_human) for at in range(random.choice([1, 2, 3]))]
        event_id = f"{random.getrandbits(64):016x}"
        data = {
            "user": user,
            "page": random.choice(["home", "search", "video"]),
            "traffic": "human" if is_human else "bot",
            "model": {"name": "ranker", "version": "41"},
            "ads": [
                {
                    "impression": ad.id,
                    "campaign": f"c{random.randrange(20)}",
                    "position": position,
                    "p": {"click": ad.clicked, "order": ad.ordered},
                }
                for position, ad in enumerate(ads, 1)
            ],
        }
        event = _event("com.example.ads.slate.v2", event_id, at_ms, data)
        came_ms = at_ms + random.randrange(2 * MINUTE_MS)
        self._send(SLATES, user, event, came_ms)
        if random.random() < 0.15:  # the page reports it once more
            self._send(SLATES, user, event, came_ms + random.randrange(MINUTE_MS))
            self.traffic.rejects["predictions", "duplicate"] += len(ads)
        for ad in ads:
            self._is_now(ad, "click", 0, "no click within the hour")
            self._is_now(ad, "order", 0, "no order within 30 days")
            self._click(ad)
        if number % 40 == 10:
            self._unknown(number, at_ms)
        if number % 200 == 20:
            self._send(CLICKS, user, _event("com.example.ads.click.v1", event_id, at_ms, {"user": user}), came_ms)
            self.traffic.rejects["labels", "bad_key"] += 1
        return len(ads)

    def _ad(self, number: int, at_ms: int, user: str, *, is_human: bool) -> Ad:
        """Choose an ad; what the model says of it is right on average."""
        clicked = self._random.betavariate(2, 8)
        ordered = clicked * 0.3 * self._random.uniform(0.7, 1.3)
        return Ad(f"ad-{number:07d}", at_ms, user, is_human, round(clicked, 5), round(ordered, 5))

    def _is_now(self, ad: Ad, kind: str, value: float, why: str, status: str = "implied") -> None:
        """Say what is true of an ad from now on."""
        if status == "implied" and not ad.is_human:
            self.traffic.truth[ad.id, ad.id, kind] = ("expired", None, "shown to a bot: nothing can be implied")
        else:
            self.traffic.truth[ad.id, ad.id, kind] = (status, value, why)

    def _click(self, ad: Ad) -> None:
        """Let somebody click, sometimes twice, sometimes where there is no network."""
        random = self._random
        if random.random() > (ad.clicked if ad.is_human else 0.02):
            return
        at_ms = ad.at_ms + int(min(random.expovariate(1 / (3 * MINUTE_MS)), 50 * MINUTE_MS))
        fate = random.random()
        if fate < 0.92:
            late_ms = random.randrange(30 * SECOND_MS)
        elif fate < 0.97:  # known after the hour: what was implied is replaced
            late_ms = random.randrange(2 * HOUR_MS, 40 * HOUR_MS)
        else:  # known after `retain`: it changes nothing any more
            late_ms = random.randrange(CLICK_RETAIN_MS + HOUR_MS, CLICK_RETAIN_MS + DAY_MS)
        times = [at_ms, at_ms + random.randrange(SECOND_MS, 9 * SECOND_MS)] if random.random() < 0.1 else [at_ms]
        for time_ms in times:
            event = _event("com.example.ads.click.v1", f"{random.getrandbits(64):016x}", time_ms, {"impression": ad.id})
            for again in range(random.choices([1, 2, 4], [75, 20, 5])[0]):  # the pixel fires until it is answered
                self._send(CLICKS, ad.user, event, time_ms + late_ms + again * 200)
        if late_ms <= CLICK_RETAIN_MS:
            self._is_now(ad, "click", 1, "a click", "joined")
            if random.random() < 0.3:
                self._order(ad, times[-1])
        else:
            self.traffic.rejects["labels", "too_late"] += 1

    def _order(self, ad: Ad, clicked_ms: int) -> None:
        """Let somebody buy, and sometimes think better of it."""
        random = self._random
        self._orders += 1
        order = f"o-{self._orders}"
        fate = random.random()
        if fate < 0.9:
            delay_ms = int(min(random.expovariate(1 / (2 * DAY_MS)), 29 * DAY_MS)) + MINUTE_MS
        elif fate < 0.97:  # past the horizon of 30 days
            delay_ms = random.randrange(31 * DAY_MS, 44 * DAY_MS)
        else:  # past `retain`
            delay_ms = random.randrange(46 * DAY_MS, 48 * DAY_MS)
        at_ms = clicked_ms + delay_ms
        self._shop(order, "placed", ad.id, at_ms)
        if at_ms - ad.at_ms > ORDER_RETAIN_MS:
            self.traffic.rejects["labels", "too_late"] += 1
            return
        self._is_now(ad, "order", 1, "an order", "joined")
        cancelled_ms = at_ms + random.randrange(HOUR_MS, 10 * DAY_MS)
        if random.random() < 0.15 and cancelled_ms - ad.at_ms < ORDER_RETAIN_MS - DAY_MS:
            self._shop(order, "cancelled", ad.id, cancelled_ms)
            self._is_now(ad, "order", 0, "the order was cancelled", "joined")

    def _unknown(self, number: int, at_ms: int) -> None:
        """Send an order that another network's ad led to, and one that no ad led to."""
        self._shop(f"o-other-{number}", "placed", f"other-network-{number}", at_ms + DAY_MS)
        self.traffic.rejects["labels", "unknown_prediction"] += 1
        self._shop(f"o-organic-{number}", "placed", None, at_ms + DAY_MS)

    def _shop(self, order: str, what: str, impression: str | None, at_ms: int) -> None:
        """Send an event of the shop in binary mode: attributes are headers, and the value is the data alone."""
        data = {"order": order, "channel": "ads" if impression else "organic", "impression": impression}
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{order}-{what}",
            "ce_type": f"com.example.shop.order.{what}.v1",
            "ce_source": "/shop",
            "ce_time": iso(at_ms),
            "content-type": "application/json",
        }
        came_ms = at_ms + self._random.randrange(MINUTE_MS)
        for again in range(2 if self._random.random() < 0.3 else 1):
            self._send(ORDERS, order, data, came_ms + again * MINUTE_MS, headers)

    def _watermarks(self) -> None:
        """Let the collectors say every six hours how far what they have sent is complete."""
        for at_ms in range(self._start_ms, self._start_ms + TOLD_MS, 6 * HOUR_MS):
            for stream in ("clicks", "orders"):
                # what came before was sent before; five minutes are for what is under way
                data = {"stream": stream, "complete_until": iso(at_ms - 5 * MINUTE_MS)}
                event = _event("com.example.ads.watermark.v1", f"{stream}-{at_ms}", at_ms, data)
                self._send(WATERMARKS, stream, event, at_ms)

    def _send(
        self, topic: str, key: str, value: dict[str, Any], at_ms: int, headers: Mapping[str, str] | None = None
    ) -> None:
        self.traffic.send(Record(at_ms, topic, key, json.dumps(value).encode(), headers or {}))


def _event(type_: str, id_: str, time_ms: int, data: dict[str, Any]) -> dict[str, Any]:
    """Return a CloudEvent in structured mode."""
    return {
        "specversion": "1.0",
        "type": type_,
        "source": "/adserver",
        "id": id_,
        "time": iso(time_ms),
        "datacontenttype": "application/json",
        "data": data,
    }


def make(random: Random, count: int, start_ms: int) -> Traffic:
    """Return the traffic of about so many predictions: a slate has two of them on average."""
    return AdTraffic(random, start_ms).tell(count)


COMPANY = Company(__doc__ or "", TOPICS, make, count=20_000, days=DAYS)

if __name__ == "__main__":
    run(COMPANY)
