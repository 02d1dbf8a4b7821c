"""Which topics a loop has, and that none of them may be missing or have another number of partitions."""

import pytest

from schemas.errors import BrokerError
from streams.kafka.topics import Topics, check_topics

TOPICS = Topics("fraud", 4)
COUNTS = {name: TOPICS.partitions_of(name) for name in TOPICS.all}


def test_topics_as_they_were_created_fit() -> None:
    """One partition where workers elect a leader, else the loop's number; what others have made is nobody's concern."""
    check_topics(COUNTS | {"fraud.scores": 1}, TOPICS)
    assert {name: count for name, count in COUNTS.items() if count != 4} == {TOPICS.leader: 1}


@pytest.mark.parametrize("name", TOPICS.all)
def test_each_topic_that_is_missing_or_has_other_partitions_is_named(name: str) -> None:
    """A consumer of it would wait without an error."""
    with pytest.raises(BrokerError, match="does not exist") as missing:
        check_topics({other: count for other, count in COUNTS.items() if other != name}, TOPICS)
    with pytest.raises(BrokerError, match=f"has 7 partitions, and the loop has {COUNTS[name]}") as other:
        check_topics(COUNTS | {name: 7}, TOPICS)
    assert [error.value.where for error in (missing, other)] == [f"topic {name}"] * 2
