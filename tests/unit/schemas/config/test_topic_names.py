"""Names of a loop's topics and groups, as a company wants them."""

import pytest
from ingest_case import loop_with
from pydantic import ValidationError

from schemas.config.topic_names import TopicNames
from streams.kafka.topics import Topics


def test_the_names_of_a_company() -> None:
    """Topics, groups, what is named after groups, and what ingest must not read."""
    names = {"name": "acme.ml.{loop}.{topic}.v1", "group": "{role}.{loop}"}
    topics = Topics.of(loop_with(loop="Cards_2.eu", topics=names))
    assert topics.outcomes == "acme.ml.Cards_2.eu.outcomes.v1"
    assert topics.name("ledger") == topics.ledger
    assert topics.group("join") == "join.Cards_2.eu"
    assert topics.instance("join", "1") == "join.Cards_2.eu-1"
    assert topics.leader == "feedback.Cards_2.eu-__assignor-__leader"
    source = {"topic": "acme.ml.cards.labels.v1", "as": "labels"}
    with pytest.raises(ValidationError, match="one of the loop's own topics"):
        loop_with(source, topics=names)
    assert loop_with(source | {"topic": "cards.labels"}, topics=names).ingest


def test_names_that_are_left_out() -> None:
    """As they have always been."""
    topics = Topics.of(loop_with())
    assert (topics.labels, topics.group("lake")) == ("cards.labels", "cards-lake")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"name": "acme.{topic}"}, "must have {loop} and {topic}, each once"),
        ({"name": "{loop}.{topic}.{topic}"}, "must have {loop} and {topic}, each once"),
        ({"name": "{loop}.{topic}.{env}"}, "and no other name in braces"),
        ({"name": "{loop}/{topic}"}, "may have letters, digits, '.', '_' and '-' besides them"),
        ({"name": "{loop}.{topic}{"}, "may have letters"),
        ({"name": "{loop}.{topic}" + "x" * 200}, "is too long"),
        ({"group": "{loop}-{topic}"}, "must have {loop} and {role}"),
    ],
)
def test_names_that_are_none(names: dict[str, str], message: str) -> None:
    """Two loops, or two topics, would have one name; or Kafka would refuse it."""
    with pytest.raises(ValidationError) as caught:
        TopicNames.model_validate(names)
    assert message in str(caught.value)
