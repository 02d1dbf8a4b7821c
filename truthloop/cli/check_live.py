"""`truthloop check --live`: samples the loop's topics, inspects the samples, prints what was found.

Read-only: joins no consumer group, commits no offsets, writes nothing. `truthloop.onboarding.check` does the judging.
"""

import os
from collections.abc import Mapping

from schemas.base.figures import plain_text
from schemas.config.loop import LoopConfig
from schemas.errors import ConfigError
from streams.registry.topic_tools import registry_catalog, topic_tools
from truthloop.cli.sampling import RECORDS, sampling_clients, take_samples
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.onboarding.check.inspection import Inspection, inspect, plan_inspection
from truthloop.onboarding.check.issue import Severity, has_errors
from truthloop.onboarding.check.report import report_document, report_lines, verdict_lines
from truthloop.terminal.console import print_json, results

__all__ = ["inspect_topics", "print_inspection"]

PROBE_RECORDS = 3_000
"""Sampled from a canonical topic that ingest writes: enough for the 1,000 keys whose partition is compared."""

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def inspect_topics(
    settings: Settings, records: int | None = None, environ: Mapping[str, str] = os.environ
) -> Inspection:
    """Sample the topics of a loop and inspect the samples.

    Args:
        settings: the loop's.
        records: at most so many of each topic; default: `RECORDS`.
        environ: has the secrets, or the names of their files.

    Raises:
        ConfigError: the loop has no `kafka` section, or a secret or hook function of the mapping is missing.
        BrokerError: the cluster does not answer, or refuses.
        RegistryAway: the schema registry does not answer.
    """
    config = settings.config
    if config.kafka is None:
        raise ConfigError(
            "has no `kafka` section, so there is no cluster to sample",
            where=str(settings.path),
            hint="Add kafka: {bootstrap_servers: HOST:PORT}; without --live the file alone is checked.",
        )
    tools = topic_tools(config, environ, settings.path.parent, patience_s=0)
    clients = sampling_clients(config.kafka, environ)
    wanted = plan_inspection(config)
    read = [*wanted.sources, *wanted.inputs.values()]
    count = records or RECORDS
    cluster, samples = take_samples(clients, read, [*wanted.probed.values(), *wanted.others], count)
    probed = [name for name in wanted.probed.values() if name in cluster.topics]
    samples |= take_samples(clients, probed, records=min(count, PROBE_RECORDS))[1] if probed else {}
    registry = config.schema_registry
    catalog = None if registry is None else registry_catalog(registry, environ, settings.path.parent, tools.format)
    return inspect(config, cluster, samples, tools, now_ms(), catalog)


def print_inspection(found: Inspection, config: LoopConfig, document: Mapping[str, object] | None) -> bool:
    """Print an inspection and return whether it has no errors.

    Args:
        found: what was found.
        config: the loop's.
        document: the JSON document to print with the inspection added; None: print text instead.
    """
    good = not has_errors(found.issues)
    if document is not None:
        print_json({**document, "ok": good, "live": report_document(found, config)})
        return good
    results.print_lines(map(plain_text, [*report_lines(found, config), ""]))
    for severity, line in verdict_lines(found.issues, is_started=found.is_started):
        results.print_lines([plain_text(line)], "" if severity is None else _STYLES[severity])
    return good
