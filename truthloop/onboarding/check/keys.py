"""Check that predictions and labels can be joined: common keys, and canonical records in their keys' partitions.

A sample of a large topic has few of its keys, so the number of common keys is compared with the number to be expected.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from confluent_kafka import consistent, fnv1a, murmur2

from schemas.base.figures import share as as_share
from streams.kafka.sample import TopicSample
from truthloop.onboarding.check.issue import Issue, issue
from truthloop.onboarding.profiles.field import pattern_of
from truthloop.onboarding.trial.delays import Delays
from truthloop.onboarding.trial.mapped import MappedSource, MappedTopic

__all__ = ["Overlap", "check_overlap", "check_partitions", "overlap_of"]

PROBED: Final = 1_000
"""Number of different keys whose partition is compared."""

EXPECTED: Final = 20
"""Only if at least so many common keys are to be expected, their absence proves something."""

FEW: Final = 0.5
MOSTLY: Final = 0.9
PATTERN_KEYS: Final = 200

_CHANGES: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("if both were whole numbers (key: {path: ..., type: int})", lambda text: re.sub(r"^0*(\d+)(\.0*)?$", r"\1", text)),
    ("if upper and lower case were the same", str.casefold),
    ("if only letters and digits were compared", lambda text: re.sub(r"[\W_]+", "", text)),
    ("if only digits were compared", lambda text: re.sub(r"\D+", "", text).lstrip("0")),
    ("if only the part after the last - : or / were compared", lambda text: re.split(r"[-:/]", text)[-1]),
)


@dataclass(frozen=True)
class Overlap:
    """Overlap of the sampled keys of predictions and of one kind of label of one source.

    Attributes:
        labels: number of different keys of labels, retractions included.
        common: number of those that sampled predictions have, too.
        expected: expected number of common keys, if every label has its prediction in the topic.
        ripe: number of label keys whose prediction is recent enough to be in the topic; 0 unless all of it was read.
        ripe_common: number of those that have a prediction.
        patterns: most frequent pattern of the keys of predictions, and of labels.
        change: the change of the keys that would make them match; empty if none was found.
    """

    labels: int
    common: int
    expected: float
    ripe: int
    ripe_common: int
    patterns: tuple[str, str]
    change: str = ""

    @property
    def share(self) -> float:
        """Estimated share of the labels that have a prediction."""
        if self.ripe:
            return self.ripe_common / self.ripe
        return min(1.0, self.common / self.expected) if self.expected else 0.0


def overlap_of(
    predictions: Sequence[MappedTopic], labels: Sequence[MappedSource], kind: str, delays: Delays | None
) -> Overlap | None:
    """Return the overlap for one kind; None if one side has no keys."""
    prediction_keys: set[str] = set()
    read = available = 0
    oldest: list[int] = []
    for topic in predictions:
        for source in topic.sources:
            if source.role == "predictions" and source.frame.height:
                prediction_keys.update(source.frame["key"])
                oldest.append(source.frame["time_ms"].min())  # type: ignore[arg-type] # whole numbers
        read += len(topic.sample.messages)
        available += topic.sample.records
    known_ms: dict[str, int] = {}
    for source in labels:
        rows = source.frame.filter((source.frame["kind"] == kind) & source.frame["key"].is_not_null())
        known_ms.update(zip(rows["key"], rows["known_ms"], strict=True))
    if not prediction_keys or not known_ms:
        return None
    common = known_ms.keys() & prediction_keys
    ripe_from = min(oldest) + (delays.p90 if delays else 0)
    is_whole = all(topic.sample.is_whole for topic in predictions)
    ripe = [key for key, ms in known_ms.items() if ms >= ripe_from] if is_whole else []
    return Overlap(
        labels=len(known_ms),
        common=len(common),
        expected=len(known_ms) * min(1.0, read / max(available, 1)),
        ripe=len(ripe),
        ripe_common=sum(key in prediction_keys for key in ripe),
        patterns=(_pattern(prediction_keys), _pattern(known_ms)),
        change="" if common else _change(prediction_keys, known_ms.keys()),
    )


def _pattern(keys: Iterable[str]) -> str:
    return Counter(map(pattern_of, islice(keys, PATTERN_KEYS))).most_common(1)[0][0]


def _change(prediction_keys: Collection[str], label_keys: Collection[str]) -> str:
    """Return the change that gives a twentieth of the label keys a prediction; empty if none does."""
    needed = max(1, len(label_keys) // 20)
    for name, change in _CHANGES:
        common = set(map(change, prediction_keys)) & set(map(change, label_keys)) - {""}
        if len(common) >= needed:
            return name
    return ""


def check_overlap(labels: str, overlap: Overlap) -> Iterator[Issue]:
    """Yield an issue if too few keys of labels are among those of predictions; `labels` says of which ones."""
    where = f"{labels}, keys"
    left, right = overlap.patterns
    if overlap.common:
        if overlap.ripe >= EXPECTED and overlap.share < FEW:
            text = f"only {as_share(overlap.share)} of the labels have a prediction, though all of the topic was read"
            yield issue("few_common_keys", where, text)
    elif left != right or overlap.change or overlap.expected >= EXPECTED:
        patterns = f": predictions have keys like {left!r}, labels like {right!r}" if left != right else ""
        text = f"none of {overlap.labels:,} label keys is among the keys of predictions{patterns}"
        hint = f"They would match {overlap.change}." if overlap.change else None
        yield issue("no_common_keys", where, text, hint=hint)
    else:
        text = f"no common key was found; in samples of this size {overlap.expected:.0f} are expected"
        yield issue("overlap_unknown", where, text)


def check_partitions(sample: TopicSample, source: MappedSource) -> Iterator[Issue]:
    """Yield canonical records that are not in the partition of their key, and the partitioner that put them there."""
    count, where = sample.facts.partitions, f"topic {sample.topic}, partitions"
    rows = source.frame.filter(source.frame["key"].is_not_null())
    without = different = 0
    partitions: dict[bytes, int] = {}
    for index, key in zip(rows["index"], rows["key"], strict=True):
        kafka_key = sample.messages.keys[index]
        without += kafka_key is None
        different += kafka_key is not None and kafka_key != key.encode()
        if kafka_key is not None and len(partitions) < PROBED:
            partitions.setdefault(kafka_key, sample.messages.partitions[index])
    texts = [f"{as_share(without / rows.height)} have no Kafka key"] if without else []
    texts += [f"{as_share(different / rows.height)} have another Kafka key than `key`"] if different else []
    if texts:
        yield issue("kafka_key", where, " and ".join(texts))
    matching = sum(murmur2(key, count) == partition for key, partition in partitions.items())
    if matching < len(partitions) and count > 1:
        share = as_share(matching / len(partitions))
        text = f"of {len(partitions):,} keys {share} are in murmur2's partition; {_partitioner(partitions, count)}"
        yield issue("partitioner", where, text)


def _partitioner(partitions: dict[bytes, int], count: int) -> str:
    """Name the partitioner that put the keys into their partitions."""
    partitioners: dict[str, Callable[[bytes], int]] = {
        "CRC32, librdkafka's default (consistent_random)": lambda key: consistent(key, count),
        "FNV-1a (Sarama's default, fnv1a_random)": lambda key: fnv1a(key, count),
    }
    for fewer in range(1, count):
        name = f"murmur2 with {fewer} partitions, so partitions were added later"
        partitioners[name] = lambda key, of=fewer: murmur2(key, of)  # type: ignore[misc] # bound at once
    for name, partitioner in partitioners.items():
        if sum(partitioner(key) == partition for key, partition in partitions.items()) >= MOSTLY * len(partitions):
            return f"they fit {name}"
    return "they fit no known partitioner: partitions are set by hand or round-robin, or several producers differ"
