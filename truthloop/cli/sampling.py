"""Samples for the commands that look at topics: wiring of a cluster and of what may be spent on looking.

Must not look into records.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError

from schemas.config.connection import KafkaConfig
from schemas.errors import ConfigError
from streams.kafka.client import KafkaClients
from streams.kafka.sample import Cluster, SampleLimits, TopicSample, look_at, sample_topic, with_small_fetches
from truthloop.config.yaml_source import YamlError, read_scalar
from truthloop.terminal.console import note

__all__ = ["RECORDS", "given_cluster", "reach_for_samples", "take_samples"]

RECORDS = 10_000
"""Of each topic: seconds of reading, and enough to see what one record in a thousand does."""


def given_cluster(bootstrap_servers: str, properties: Sequence[str]) -> KafkaConfig:
    """Return the cluster that somebody names on the command line.

    Args:
        bootstrap_servers: host:port of one broker or several.
        properties: librdkafka's, each as NAME=VALUE.

    Raises:
        ConfigError: a property is no pair, or has no place on a command line.
    """
    client: dict[str, object] = {}
    for text in properties:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--client-property {text.partition('=')[0]!r}: write NAME=VALUE")
        try:
            scalar = read_scalar(value)
        except YamlError:
            scalar = value
        client[name.strip()] = value if scalar is None else scalar
    try:
        return KafkaConfig.model_validate({"bootstrap_servers": bootstrap_servers, "client": client})
    except ValidationError as error:
        said = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors())
        raise ConfigError(said, where="--bootstrap-servers and --client-property") from None


def reach_for_samples(kafka: KafkaConfig, environ: Mapping[str, str] = os.environ) -> KafkaClients:
    """Return makers of clients that read little at a time, once the cluster has answered.

    Raises:
        ConfigError: a property does not exist.
        BrokerError: the cluster does not answer.
    """
    clients = KafkaClients(with_small_fetches(kafka), environ, "truthloop-sample")
    clients.reach()
    return clients


def take_samples(
    clients: KafkaClients, names: Iterable[str], others: Iterable[str] = (), records: int = RECORDS
) -> tuple[Cluster, dict[str, TopicSample]]:
    """Look at topics, and read samples of some.

    Args:
        clients: of the cluster.
        names: topics to sample, where they exist.
        others: topics whose settings are wanted only.
        records: of each topic.

    Raises:
        BrokerError: the cluster does not answer, or refuses.
    """
    wanted = list(dict.fromkeys(names))
    cluster = look_at(clients, [*wanted, *others])
    samples = {}
    for name in wanted:
        if name in cluster.topics:
            note(f"Reading up to {records:,} records of {name} ...")
            samples[name] = sample_topic(clients, cluster.topics[name], SampleLimits(records))
    return cluster, samples
