"""Samples of topics for `check --live` and `new --from-topic`: the cluster's clients and the size of a sample."""

import os
from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError

from schemas.config.connection import KafkaConfig
from schemas.config.registry import SchemaRegistryConfig
from schemas.errors import ConfigError
from streams.kafka.client import KafkaClients
from streams.kafka.sample import Cluster, SampleLimits, TopicSample, describe_topics, sample_topic, with_small_fetches
from truthloop.config.yaml_source import YamlError, read_scalar
from truthloop.terminal.console import note

__all__ = ["RECORDS", "cluster_of_options", "registry_of_options", "sampling_clients", "take_samples"]

RECORDS = 10_000
"""Sampled of each topic by default: takes seconds, and shows what one record in a thousand does."""


def cluster_of_options(bootstrap_servers: str, properties: Sequence[str]) -> KafkaConfig:
    """Return the cluster that the command line names.

    Args:
        bootstrap_servers: HOST:PORT of one broker, or of several with commas.
        properties: librdkafka's, each as NAME=VALUE.

    Raises:
        ConfigError: a property is not NAME=VALUE, or is not allowed on a command line.
    """
    client = _named_values("--client-property", properties)
    try:
        return KafkaConfig.model_validate({"bootstrap_servers": bootstrap_servers, "client": client})
    except ValidationError as error:
        raise ConfigError(_faults(error), where="--bootstrap-servers and --client-property") from None


def registry_of_options(url: str, properties: Sequence[str]) -> SchemaRegistryConfig | None:
    """Return the registry that the command line names; None if it names none.

    Args:
        properties: of the section `schema_registry`, each as NAME=VALUE.

    Raises:
        ConfigError: a property is not NAME=VALUE, does not exist, or goes without a URL.
    """
    values = _named_values("--registry-property", properties)
    if not url:
        if values:
            raise ConfigError("--registry-property needs --schema-registry URL")
        return None
    known = SchemaRegistryConfig.model_fields
    if unknown := next((name for name in values if name not in known), None):
        message = f"there is no {unknown:.100} in schema_registry; there are {', '.join(known)}"
        raise ConfigError(message, where="--registry-property")
    try:
        return SchemaRegistryConfig.model_validate({"url": url, **values})
    except ValidationError as error:
        raise ConfigError(_faults(error), where="--schema-registry and --registry-property") from None


def _named_values(option: str, texts: Sequence[str]) -> dict[str, object]:
    """Return values by name; a value is read as in the config."""
    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{option} {text.partition('=')[0]!r}: write NAME=VALUE")
        try:
            scalar = read_scalar(value)
        except YamlError:
            scalar = value
        found[name.strip()] = value if scalar is None else scalar
    return found


def _faults(error: ValidationError) -> str:
    """Return what is wrong, without the values."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {str(fault['msg']).removeprefix('Value error, ')}".removeprefix(": ")
        for fault in error.errors()
    )


def sampling_clients(kafka: KafkaConfig, environ: Mapping[str, str] = os.environ) -> KafkaClients:
    """Return a factory of clients that fetch little at a time, once the cluster has answered.

    Raises:
        ConfigError: a property does not exist.
        BrokerError: the cluster does not answer.
    """
    clients = KafkaClients(with_small_fetches(kafka), environ, "truthloop-sample")
    clients.check_reachable()
    return clients


def take_samples(
    clients: KafkaClients, names: Iterable[str], others: Iterable[str] = (), records: int = RECORDS
) -> tuple[Cluster, dict[str, TopicSample]]:
    """Read the settings of topics, and a sample of each that exists.

    Args:
        clients: of the cluster.
        names: topics to sample.
        others: topics of which only the settings are read.
        records: at most so many of each topic.

    Raises:
        BrokerError: the cluster does not answer, or refuses.
    """
    wanted = list(dict.fromkeys(names))
    cluster = describe_topics(clients, [*wanted, *others])
    samples = {}
    for name in wanted:
        if name in cluster.topics:
            note(f"Reading up to {records:,} records of {name} ...")
            samples[name] = sample_topic(clients, cluster.topics[name], SampleLimits(records))
    return cluster, samples
