"""What `truthloop check --live` looks at and how it says it: wiring of samples, inspection and console.

Law: nothing is written, no group is joined, nothing is committed. Must not judge.
"""

import os
from collections.abc import Iterable, Mapping

from schemas.config.loop import LoopConfig
from schemas.errors import ConfigError
from streams.mapping.tools import mapping_tools
from truthloop.cli.sampling import RECORDS, reach_for_samples, take_samples
from truthloop.clock import now_ms
from truthloop.config.settings import Settings
from truthloop.config.timeline import in_ascii
from truthloop.onboarding.check.inspection import Inspection, inspect, wanted_topics
from truthloop.onboarding.check.issue import Severity, is_good
from truthloop.onboarding.check.report import report_document, report_lines, verdict_lines
from truthloop.terminal.console import print_json, results
from truthloop.text.format import plain_text

__all__ = ["inspected", "tell"]

PROBED = 3_000
"""Records of a canonical topic that ingest fills: enough for the 1,000 keys whose partition is compared."""

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.REMARK: "cyan"}


def inspected(settings: Settings, records: int | None = None, environ: Mapping[str, str] = os.environ) -> Inspection:
    """Look at the topics of a loop.

    Args:
        settings: of the loop.
        records: of each topic.
        environ: holds secrets, or names their files.

    Raises:
        ConfigError: the loop has no `kafka` section, or the mapping lacks a secret or a function.
        BrokerError: the cluster does not answer, or refuses.
    """
    config = settings.config
    if config.kafka is None:
        raise ConfigError(
            "has no `kafka` section, so there is no cluster to look at",
            where=str(settings.path),
            hint="Add kafka: {bootstrap_servers: HOST:PORT}; without --live the file alone is checked.",
        )
    tools = mapping_tools(config, environ, settings.path.parent)
    clients = reach_for_samples(config.kafka, environ)
    wanted = wanted_topics(config)
    read = [*wanted.sources, *wanted.inputs.values()]
    count = records or RECORDS
    cluster, samples = take_samples(clients, read, [*wanted.probed.values(), *wanted.others], count)
    probed = [name for name in wanted.probed.values() if name in cluster.topics]
    samples |= take_samples(clients, probed, records=min(count, PROBED))[1] if probed else {}
    return inspect(config, cluster, samples, tools, now_ms())


def tell(found: Inspection, config: LoopConfig, document: Mapping[str, object] | None) -> bool:
    """Show an inspection, as one document where one is given to be completed, and tell whether nothing is an error."""
    good = is_good(found.findings)
    if document is not None:
        print_json({**document, "ok": good, "live": report_document(found, config)})
        return good
    _print(report_lines(found, config, results.console.width))
    _print([""])
    for severity, line in verdict_lines(found.findings, is_started=found.is_started):
        _print([line], "" if severity is None else _STYLES[severity])
    return good


def _print(lines: Iterable[str], style: str = "") -> None:
    """Print lines as they are: words of configs and records are no markup and no commands to a terminal."""
    shown = [plain_text(line) for line in lines]
    for line in in_ascii(shown) if results.console.options.ascii_only else shown:
        results.console.print(line, style=style, markup=False, emoji=False, no_wrap=True, overflow="ignore", crop=False)
