"""`truthloop dlq`: shows the rejects of a running loop, and takes records again that a changed mapping can read."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.base.figures import plain_text
from truthloop.terminal.console import note, print_json, reporting_errors, results

if TYPE_CHECKING:
    from streams.kafka.client import KafkaClients
    from streams.kafka.topics import Topics
    from streams.repair.redrive import RedriveCounts
    from streams.repair.reject_log import KeptReject, RejectChoice, RejectLog
    from truthloop.config.settings import Settings

__all__ = ["dlq"]

dlq = typer.Typer(
    name="dlq",
    help="Show the rejects of a running loop, and take records again that a changed mapping can read.",
    no_args_is_help=True,
)

Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")]
Reason = Annotated[str | None, typer.Option(help="Only rejects for this reason.")]
Source = Annotated[str | None, typer.Option(metavar="TOPIC", help="Only records of this topic.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
CONFIG = Path("truthloop.yaml")


@dlq.command("list")
def list_(config: Config = CONFIG, reason: Reason = None, source: Source = None, as_json: Json = False) -> None:
    """Count the rejects that are in the loop's topic, by source and reason, and those that were taken again.

    The topic keeps a week by default; `truthloop sql "FROM rejects"` reads all that the lake has.
    """
    with reporting_errors():
        from rich.text import Text  # noqa: PLC0415 - keeps --help fast

        from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - the same

        settings, choice = _settings(config), _choice(reason, source)
        log = _read_log(settings)
        groups: dict[tuple[str, str, str, str], list[KeptReject]] = {}
        for one in log.chosen(choice):
            names = one.reject.source, one.reject.input, one.reject.stage, one.reject.reason
            groups.setdefault(names, []).append(one)
        rows: list[dict[str, Any]] = [
            {
                **dict(zip(("source", "input", "stage", "reason"), names, strict=True)),
                "rejects": len(some),
                "repaired": sum(log.repaired_ms(one) is not None for one in some),
            }
            for names, some in sorted(groups.items())
        ]
        if as_json:
            print_json({"rejects": rows})
            return
        table = plain_table("source:", "input:", "stage:", "reason:", "rejects:", "repaired:")
        for row in rows:
            cells = [f"{value:,}" if isinstance(value, int) else plain_text(value) for value in row.values()]
            table.add_row(*map(Text, cells))
        if table.row_count:
            print_table(table)
        note(f"{sum(row['rejects'] for row in rows):,} rejects, {sum(row['repaired'] for row in rows):,} repaired.")


@dlq.command()
def show(
    config: Config = CONFIG,
    reason: Reason = None,
    source: Source = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most; the newest ones.")] = 10,
    as_json: Json = False,
) -> None:
    """Print rejects: the place of each record, why it was rejected, and its bytes where they are kept.

    The bytes are the producer's own, and may hold anything. A loop with personal features keeps none.
    """
    with reporting_errors():
        from schemas.base.figures import moment, zone_of  # noqa: PLC0415 - keeps --help fast

        settings, choice = _settings(config), _choice(reason, source)
        log = _read_log(settings)
        ordered = sorted(log.chosen(choice), key=lambda one: one.reject.seen_at, reverse=True)
        chosen = ordered[:limit]
        originals = log.originals(chosen)
        zone, rows = zone_of(settings.config.timezone), list[dict[str, Any]]()
        for one in chosen:
            reject, original = one.reject, originals.get((one.partition, one.offset))
            repaired_ms = log.repaired_ms(one)
            rows.append(
                {
                    "source": reject.source,
                    "partition": reject.source_partition,
                    "offset": reject.source_row,
                    "input": reject.input,
                    "stage": reject.stage,
                    "reason": reject.reason,
                    "detail": reject.detail,
                    "seen_at": moment(reject.seen_at, zone),
                    "repaired_at": None if repaired_ms is None else moment(repaired_ms, zone),
                    "value": None if original is None else original.decode(errors="backslashreplace"),
                }
            )
        if as_json:
            print_json({"rejects": rows})
            return
        for row in rows:
            repaired = "" if row["repaired_at"] is None else f", repaired {row['repaired_at']}"
            place = f"{row['source']}, partition {row['partition']}, offset {row['offset']}"
            lines = [f"{place}: {row['reason']} as {row['input']} in the {row['stage']}, {row['seen_at']}{repaired}"]
            lines += [f"  {part}" for part in (row["detail"], row["value"]) if part is not None]
            results.print_lines(map(plain_text, lines))
        note(f"{len(chosen):,} of {len(ordered):,} rejects.")


@dlq.command()
def redrive(
    config: Config = CONFIG,
    reason: Reason = None,
    source: Source = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Map them, and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Map rejected records again, and send those that can be read now, each once, as records that arrive now.

    A record is read again from its topic; where retention has removed it there, from the bytes that its reject kept.
    Rejects of the join are no matter of the mapping, and stay.
    """
    with reporting_errors():
        from streams.kafka.transaction import Transactions  # noqa: PLC0415 - keeps --help fast
        from streams.registry.topic_tools import topic_tools  # noqa: PLC0415 - the same
        from streams.repair.redrive import Redrive  # noqa: PLC0415 - the same
        from streams.runtime.crash_point import crash_points  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same

        settings, choice = _settings(config), _choice(reason, source)
        clients, topics = _cluster(settings)
        tools = topic_tools(settings.config, os.environ, settings.path.parent)
        transactions = Transactions(clients, Redrive.transactional_id(topics), crash_points("repair", os.environ))
        run = Redrive(clients, settings.config, tools, now_ms(), transactions)
        counts = run.run(choice, dry_run=dry_run)
        if as_json:
            print_json(
                {
                    "dry_run": dry_run,
                    "repaired": counts.repaired,
                    "refused": _rows(counts.refused, "reason"),
                    "left": _rows(counts.left, "why"),
                }
            )
            return
        _print_counts(counts, dry_run=dry_run)


def _print_counts(counts: "RedriveCounts", *, dry_run: bool) -> None:
    done = "Can be taken again" if dry_run else "Taken again"
    results.print(f"{done}: {counts.repaired:,} records.")
    lines = [f"Refused again ({reason}): {count:,} of {source}" for (source, reason), count in counts.refused.items()]
    lines += [f"Left ({why}): {count:,} of {source}" for (source, why), count in counts.left.items()]
    results.print_lines(map(plain_text, sorted(lines)))


def _rows(counts: Counter[tuple[str, str]], name: str) -> list[dict[str, Any]]:
    return [{"source": source, name: what, "records": count} for (source, what), count in sorted(counts.items())]


def _settings(path: Path) -> "Settings":
    from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

    return load_settings(path)


def _choice(reason: str | None, source: str | None) -> "RejectChoice":
    """Return the choice of rejects.

    Raises:
        ConfigError: there is no such reason; the message has the nearest one.
    """
    from schemas.base.problem import did_you_mean  # noqa: PLC0415 - keeps --help fast
    from schemas.base.status import RejectReason  # noqa: PLC0415 - the same
    from schemas.errors import ConfigError  # noqa: PLC0415 - the same
    from streams.repair.reject_log import RejectChoice  # noqa: PLC0415 - the same

    reasons = [one.value for one in RejectReason]
    if reason is not None and reason not in reasons:
        message = f"{reason!r} is no reason of a reject{did_you_mean(reason, reasons)}"
        raise ConfigError(message, where="--reason", hint="`truthloop dlq list` shows those that there are.")
    return RejectChoice(reason, source)


def _cluster(settings: "Settings") -> "tuple[KafkaClients, Topics]":
    from streams.kafka.topics import Topics, check_topics, partition_counts  # noqa: PLC0415 - keeps --help fast
    from truthloop.run.roles import kafka_clients  # noqa: PLC0415 - the same

    clients, topics = kafka_clients(settings, "dlq"), Topics.of(settings.config)
    check_topics(partition_counts(clients, topics.all), topics)
    return clients, topics


def _read_log(settings: "Settings") -> "RejectLog":
    from streams.repair.reject_log import RejectLog  # noqa: PLC0415 - keeps --help fast

    log = RejectLog(*_cluster(settings))
    log.read()
    return log
