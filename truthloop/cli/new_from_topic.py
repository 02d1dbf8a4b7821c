"""What `truthloop new --from-topic` looks at, and what it says of it: wiring of samples, draft and console.

Law: no value of a record is shown, but names of few categories. Must not write files.
"""

from datetime import UTC, datetime

from rich.markup import escape

from schemas.base.problem import did_you_mean
from schemas.errors import ConfigError
from truthloop.cli.sampling import given_cluster, reach_for_samples, take_samples
from truthloop.clock import now_ms
from truthloop.onboarding.draft.draft import Wishes
from truthloop.onboarding.draft.roles import given_roles
from truthloop.onboarding.draft.run import TopicDraft, draft_from
from truthloop.onboarding.draft.yaml_text import DraftOrigin, yaml_value
from truthloop.onboarding.profiles.describe import missing_text, percent
from truthloop.terminal.console import results, warn
from truthloop.terminal.tables import plain_table, print_table
from truthloop.text.format import plain_text

__all__ = ["document", "draft_topics", "tell"]

NAMES_SHOWN = 1_000
"""Topics among which the nearest name is looked for."""


def draft_topics(
    topics: list[str], cluster: tuple[str, list[str]], given: list[str], wishes: Wishes, records: int
) -> TopicDraft:
    """Look at topics and draft a config.

    Raises:
        ConfigError: no cluster is named, a topic does not exist, or nothing tells predictions from labels.
        InputError: a topic's records cannot be read.
        BrokerError: the cluster does not answer.
    """
    servers, properties = cluster
    if not servers:
        raise ConfigError("--from-topic needs --bootstrap-servers HOST:PORT")
    roles = given_roles(given, topics)
    kafka = given_cluster(servers, properties)
    known, samples = take_samples(reach_for_samples(kafka), topics, records=records)
    for topic in topics:
        if topic not in samples:
            raise ConfigError(
                f"there is no such topic{did_you_mean(topic, known.names[:NAMES_SHOWN])}", where=f"--from-topic {topic}"
            )
    now = now_ms()
    client = {name: yaml_value(value) for name, value in kafka.client.items()}
    origin = DraftOrigin(servers, client, f"{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d %H:%M} UTC")
    return draft_from([samples[topic] for topic in topics], roles, wishes, origin, now)


def tell(draft: TopicDraft) -> None:
    """Show what was seen and what was made of it: fields, never values."""
    for one in draft.topics:
        read = len(one.mapped.sample.messages)
        results.print(f"{one.topic} -> {one.guess.role} ({read:,} records)", markup=False)
        for reason in one.guess.reasons:
            results.print(f"  {plain_text(reason)}", markup=False)
        table = plain_table("  field:", "what:", "missing:", "different", "used as:")
        for row in one.rows:
            missing = missing_text(1 - row.missing).removesuffix(" lack it")
            cells = (f"  {row.path}", row.what, missing, f"{row.distinct:,}" if row.distinct else "-", row.use)
            table.add_row(*map(_escaped, cells))
        print_table(table)
        for reason, count in one.refused.items():
            warn(f"{one.topic}: {percent(count / read)} of the sampled records would be rejected: {reason}")
        results.print("")


def _escaped(text: str) -> str:

    return escape(plain_text(text))


def document(draft: TopicDraft) -> dict[str, object]:
    """Return the same for programs."""
    delays = draft.delays
    return {
        "loop": draft.config.loop,
        "topics": [
            {
                "topic": one.topic,
                "as": one.guess.role,
                "reasons": list(one.guess.reasons),
                "sampled": len(one.mapped.sample.messages),
                "filtered": one.mapped.filtered,
                "rejected": one.refused,
                "fields": [
                    {
                        "path": row.path,
                        "what": row.what,
                        "missing": round(row.missing, 4),
                        "distinct": row.distinct,
                        "used_as": row.use,
                    }
                    for row in one.rows
                ],
            }
            for one in draft.topics
        ],
        "delays_ms": None
        if delays is None
        else {"pairs": delays.pairs, "p10": delays.p10, "p50": delays.p50, "p90": delays.p90, "p99": delays.p99},
    }
