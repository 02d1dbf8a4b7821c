"""Whether predictions and labels can meet: keys in common, and canonical records in the partitions of their keys.

A sample of a large topic holds few of the keys that exist, so few in common prove nothing: what is found is compared
with what would be found if all were well. Must not read records.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import consistent, fnv1a, murmur2

from streams.kafka.sample import TopicSample
from truthloop.onboarding.check.issue import Issue, Severity
from truthloop.onboarding.profiles.describe import percent
from truthloop.onboarding.profiles.field import form_of
from truthloop.onboarding.trial.delays import Delays
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic

__all__ = ["Overlap", "look_at_overlap", "look_at_partitions", "overlap_of"]

PROBED: Final = 1_000
"""Different keys of which the partition is compared."""

EXPECTED: Final = 20
"""Keys in common that must be expected before none of them proves anything."""

FEW: Final = 0.5
MOSTLY: Final = 0.9
FORMS_FROM: Final = 200

_CHANGES: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("if letters' case did not count", str.casefold),
    ("without what is neither letter nor digit", lambda text: re.sub(r"[\W_]+", "", text)),
    ("if only digits counted", lambda text: re.sub(r"\D+", "", text).lstrip("0")),
    ("if only what is behind the last - : or / counted", lambda text: re.split(r"[-:/]", text)[-1]),
)


@dataclass(frozen=True)
class Overlap:
    """Keys of one kind of label among those of predictions.

    Attributes:
        labels: different keys among the sampled labels, retractions included.
        common: those that sampled predictions have, too.
        expected: how many of them would be in common if every label had a prediction in the topic.
        ripe: keys of labels that came late enough for their prediction to be in the topic, where all of it was read.
        ripe_common: those of them that have one.
        forms: what most keys of predictions, and of labels, look like.
        change: what would make them meet; empty where nothing was found.
    """

    labels: int
    common: int
    expected: float
    ripe: int
    ripe_common: int
    forms: tuple[str, str]
    change: str = ""

    @property
    def share(self) -> float:
        """About what share of the labels has a prediction."""
        if self.ripe:
            return self.ripe_common / self.ripe
        return min(1.0, self.common / self.expected) if self.expected else 0.0


def overlap_of(
    predictions: Sequence[MappedTopic], labels: Sequence[MappedSource], kind: str, delays: Delays | None
) -> Overlap | None:
    """Return the overlap of one kind; None where there are no keys on one side."""
    mine: set[str] = set()
    read = there = 0
    oldest: list[int] = []
    for topic in predictions:
        for source in topic.sources:
            if source.role == "predictions" and source.frame.height:
                mine.update(source.frame["key"])
                oldest.append(source.frame["time_ms"].min())  # type: ignore[arg-type] # whole numbers
        read += len(topic.sample.messages)
        there += topic.sample.records
    theirs: dict[str, int] = {}
    for source in labels:
        rows = source.frame.filter((source.frame["kind"] == kind) & source.frame["key"].is_not_null())
        theirs.update(zip(rows["key"], rows["known_ms"], strict=True))
    if not mine or not theirs:
        return None
    common = theirs.keys() & mine
    is_whole = all(topic.sample.is_whole for topic in predictions)
    border = min(oldest) + (delays.p90 if delays else 0)
    ripe = [key for key, known_ms in theirs.items() if known_ms >= border] if is_whole else []
    forms = (_form(mine), _form(theirs))
    return Overlap(
        len(theirs),
        len(common),
        len(theirs) * min(1.0, read / max(there, 1)),
        len(ripe),
        sum(key in mine for key in ripe),
        forms,
        "" if common else _change(mine, set(theirs)),
    )


def _form(keys: set[str] | dict[str, int]) -> str:
    found = Counter(form_of(key) for key in list(keys)[:FORMS_FROM])
    return found.most_common(1)[0][0]


def _change(mine: set[str], theirs: set[str]) -> str:
    for name, change in _CHANGES:
        common = {change(key) for key in mine} & {change(key) for key in theirs} - {""}
        if len(common) >= max(1, len(theirs) // 20):
            return name
    return ""


def look_at_overlap(kind: str, overlap: Overlap) -> Iterator[Issue]:
    """Find keys that do not meet."""
    where = f"kind {kind}, keys"
    mine, theirs = overlap.forms
    if overlap.common:
        if overlap.ripe >= EXPECTED and overlap.share < FEW:
            yield Issue(
                Severity.WARNING,
                "few_common_keys",
                where,
                f"only {percent(overlap.share)} of the labels have a prediction, though all of the topic was read",
                "The others age out as `unknown_prediction`. Labels of other models are left out with `where`.",
            )
        return
    way = f"They would meet {overlap.change}." if overlap.change else "Compare map.key of both sides with the records."
    if mine != theirs or overlap.change or overlap.expected >= EXPECTED:
        look = f": keys of predictions look like {mine!r}, those of labels like {theirs!r}" if mine != theirs else ""
        what = f"no key of {overlap.labels:,} labels is among the predictions{look}"
        yield Issue(Severity.ERROR, "no_common_keys", where, what, way)
    else:
        yield Issue(
            Severity.WARNING,
            "overlap_unknown",
            where,
            f"no key in common was met, but only {overlap.expected:.0f} could be expected in a sample of this size",
            "Raise --sample; if labels come later than predictions are kept in the topic, none can be met there.",
        )


def look_at_partitions(sample: TopicSample, source: MappedSource) -> Iterator[Issue]:
    """Find canonical records that are not in the partition of their key, and name how they came there."""
    count, where = sample.facts.partitions, f"topic {sample.topic}, partitions"
    places = source.frame.filter(source.frame["key"].is_not_null())
    bare = wrong = 0
    probe: dict[bytes, int] = {}
    for place, key in zip(places["place"], places["key"], strict=True):
        kafka_key = sample.messages.keys[place]
        bare += kafka_key is None
        wrong += kafka_key is not None and kafka_key != key.encode()
        if kafka_key is not None and len(probe) < PROBED:
            probe.setdefault(kafka_key, sample.messages.partitions[place])
    if bare or wrong:
        said = f"{percent(bare / places.height)} have no Kafka key" if bare else ""
        more = f"{percent(wrong / places.height)} have another Kafka key than `key`" if wrong else ""
        yield Issue(
            Severity.ERROR,
            "kafka_key",
            where,
            " and ".join(part for part in (said, more) if part),
            "The Kafka key must be the UTF-8 of `key`: it decides where predictions and labels meet.",
        )
    fits = sum(murmur2(key, count) == partition for key, partition in probe.items())
    if fits == len(probe) or count == 1:
        return
    by = _partitioner(probe, count)
    yield Issue(
        Severity.ERROR,
        "partitioner",
        where,
        f"of {len(probe):,} keys {percent(fits / len(probe))} are where murmur2 puts them; {by}",
        "Set partitioner=murmur2_random in who writes it (librdkafka: Python, Go, .NET, C++, Rust); Java's default is "
        "murmur2. What is there already stays wrong: write to another topic and name it in `ingest`, which re-keys, or "
        "make this one anew.",
    )


def _partitioner(probe: dict[bytes, int], count: int) -> str:
    """Name what put the keys where they are."""
    ways: dict[str, Callable[[bytes], int]] = {
        "CRC32, librdkafka's default (consistent_random)": lambda key: consistent(key, count),
        "FNV-1a (Sarama's default, fnv1a_random)": lambda key: fnv1a(key, count),
    }
    for before in range(1, count):
        ways[f"murmur2 of {before} partitions, so the topic was enlarged"] = lambda key, of=before: murmur2(key, of)  # type: ignore[misc] # bound at once
    for name, way in ways.items():
        if sum(way(key) == partition for key, partition in probe.items()) >= MOSTLY * len(probe):
            return f"they fit {name}"
    return "they fit no partitioner that is known: partitions are chosen by hand, by turns, or by several producers"
