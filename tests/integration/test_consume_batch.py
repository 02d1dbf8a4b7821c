"""`streams.kafka.consume` on a real broker."""

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka_fixture import as_client, create_topic, produce

from streams.kafka.consume import consume_batch

MESSAGES = 50


@pytest.fixture
def consumer(kafka: str) -> Consumer:
    """A consumer of a topic with fifty messages."""
    topic = create_topic(kafka)
    produce(kafka, topic, *(str(number).encode() for number in range(MESSAGES)))
    consumer = Consumer(as_client(kafka, group_id=topic))
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


@pytest.mark.parametrize(("count", "most"), [(1, 1), (7, 7), (100, MESSAGES)])
def test_batches_hold_every_message_once_in_order_and_no_more_than_are_wanted(
    consumer: Consumer, count: int, most: int
) -> None:
    """Once there is none left, a batch is empty."""
    batches = [consume_batch(consumer, count, batch_s=2.0, wait_s=20.0)]
    while sum(map(len, batches)) < MESSAGES:
        batches.append(consume_batch(consumer, count, batch_s=0.1))
    assert consume_batch(consumer, count, batch_s=0.1, wait_s=0.0) == []
    assert [message.value() for batch in batches for message in batch] == [str(one).encode() for one in range(MESSAGES)]
    assert (len(batches[0]), max(map(len, batches))) == (most, most)
    consumer.close()
