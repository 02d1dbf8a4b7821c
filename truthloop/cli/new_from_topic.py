"""`truthloop new --from-topic`: samples topics, drafts a config from them, prints what was seen.

Shows the fields of records, never their values, except the names of a field's few categories.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape

from schemas.base.figures import plain_text, share
from schemas.base.problem import did_you_mean
from schemas.errors import ConfigError
from streams.readers.format import ValueFormat
from streams.registry.topic_tools import registry_format
from truthloop.cli.sampling import cluster_of_options, registry_of_options, sampling_clients, take_samples
from truthloop.clock import now_ms
from truthloop.onboarding.draft.builder import DraftOptions
from truthloop.onboarding.draft.pipeline import DraftResult, draft_from_samples
from truthloop.onboarding.draft.roles import parse_roles
from truthloop.onboarding.draft.yaml_text import DraftOrigin, yaml_value
from truthloop.onboarding.profiles.describe import missing_text
from truthloop.terminal.console import results, warn
from truthloop.terminal.tables import plain_table, print_table

__all__ = ["SampleOrigin", "draft_document", "draft_from_topics", "print_draft"]

NAMES_SHOWN = 1_000
"""Topics that are searched for the nearest name."""


@dataclass(frozen=True)
class SampleOrigin:
    """Where topics and the schemas of their records are, as the command line says it.

    Attributes:
        client_properties: of librdkafka, each as NAME=VALUE.
        schema_registry: its URL; empty without one.
        registry_properties: of the section `schema_registry`, each as NAME=VALUE.
    """

    bootstrap_servers: str
    client_properties: Sequence[str] = ()
    schema_registry: str = ""
    registry_properties: Sequence[str] = ()


def draft_from_topics(
    topics: list[str], origin: SampleOrigin, given: list[str], options: DraftOptions, records: int
) -> DraftResult:
    """Sample topics and draft a config.

    Args:
        topics: to sample.
        origin: where the topics and their schemas are.
        given: TOPIC=ROLE, for topics whose role is not to be guessed.
        options: names for the draft.
        records: at most so many of each topic.

    Raises:
        ConfigError: no cluster is named, a topic does not exist, predictions and labels cannot be distinguished, or the
            registry's credentials or certificates cannot be used.
        InputError: a topic's records cannot be read.
        BrokerError: the cluster does not answer.
        RegistryAway: the registry does not answer.
    """
    servers = origin.bootstrap_servers
    if not servers:
        raise ConfigError("--from-topic needs --bootstrap-servers HOST:PORT")
    roles = parse_roles(given, topics)
    kafka = cluster_of_options(servers, origin.client_properties)
    registry = registry_of_options(origin.schema_registry, origin.registry_properties)
    form = ValueFormat() if registry is None else registry_format(registry, os.environ, Path(), patience_s=0)
    known, samples = take_samples(sampling_clients(kafka), topics, records=records)
    for topic in topics:
        if topic not in samples:
            raise ConfigError(
                f"there is no such topic{did_you_mean(topic, known.names[:NAMES_SHOWN])}", where=f"--from-topic {topic}"
            )
    now = now_ms()
    client = {name: yaml_value(value) for name, value in kafka.client.items()}
    section = {} if registry is None else registry.model_dump(exclude_unset=True)
    drafted = DraftOrigin(
        servers,
        client,
        f"{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d %H:%M} UTC",
        {name: yaml_value(value) for name, value in section.items()},
    )
    return draft_from_samples([samples[topic] for topic in topics], roles, options, drafted, now, form)


def print_draft(draft: DraftResult) -> None:
    """Print the fields of each topic and what the draft uses them for."""
    for topic in draft.topics:
        sampled = len(topic.mapped.sample.messages)
        results.print(f"{topic.topic} -> {topic.guess.role} ({sampled:,} records)", markup=False)
        for reason in topic.guess.reasons:
            results.print(f"  {plain_text(reason)}", markup=False)
        table = plain_table("  field:", "what:", "missing:", "different", "used as:")
        for row in topic.rows:
            missing = missing_text(1 - row.missing).removesuffix(" lack it")
            cells = (f"  {row.path}", row.what, missing, f"{row.distinct:,}" if row.distinct else "-", row.use)
            table.add_row(*map(_escaped, cells))
        print_table(table)
        for reason, count in topic.rejects.items():
            warn(f"{topic.topic}: {share(count / sampled)} of the sampled records would be rejected: {reason}")
        results.print("")


def _escaped(text: str) -> str:
    return escape(plain_text(text))


def draft_document(draft: DraftResult) -> dict[str, object]:
    """Return what `print_draft` prints, as a JSON document."""
    delays = draft.delays
    return {
        "loop": draft.config.loop,
        "topics": [
            {
                "topic": topic.topic,
                "as": topic.guess.role,
                "reasons": list(topic.guess.reasons),
                "sampled": len(topic.mapped.sample.messages),
                "filtered": topic.mapped.filtered,
                "rejected": topic.rejects,
                "fields": [
                    {
                        "path": row.path,
                        "what": row.what,
                        "missing": round(row.missing, 4),
                        "distinct": row.distinct,
                        "used_as": row.use,
                    }
                    for row in topic.rows
                ],
            }
            for topic in draft.topics
        ],
        "delays_ms": None
        if delays is None
        else {"pairs": delays.pairs, "p10": delays.p10, "p50": delays.p50, "p90": delays.p90, "p99": delays.p99},
    }
