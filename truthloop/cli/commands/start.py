"""`truthloop start`: creates a loop's topics and lake, and sets where ingest begins."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from truthloop.terminal.console import note, reporting_errors

if TYPE_CHECKING:
    from streams.kafka.client import KafkaClients
    from truthloop.config.settings import Settings

__all__ = ["start"]


class Where(StrEnum):
    """Where ingest begins."""

    EARLIEST = "earliest"
    LATEST = "latest"
    HISTORY = "history"


def start(
    begin: Annotated[
        Where,
        typer.Option(
            "--from", help="Read all records of the source topics, only new ones, or files of past records first."
        ),
    ],
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions", "-p", metavar="FILE", help="With --from history: a file of predictions; may be repeated."
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", "-l", metavar="FILE", help="With --from history: a file of labels; may be repeated."),
    ] = None,
    then_latest: Annotated[
        bool,
        typer.Option(
            "--then-latest/--then-earliest",
            help="With --from history: what to read of the source topics afterwards. Records in both count once.",
        ),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the access rules of each role, as kafka-acls.sh takes them.")
    ] = False,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
) -> None:
    """Create the loop's topics and lake, and set where ingest begins. It changes nothing that was created before.

    `--from history` first sends files through the same mapping into the loop's topics, so that the first day has mature
    cohorts and its labels find their predictions.
    """
    with reporting_errors():
        from lake import Lake  # noqa: PLC0415 - keeps --help fast
        from streams.kafka.topics import Topics, create_topics  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import kafka_clients  # noqa: PLC0415 - the same

        if (begin is Where.HISTORY) != bool(predictions or labels):
            raise typer.BadParameter("--from history needs files (-p FILE, -l FILE), and files need --from history")
        settings = load_settings(config)
        if dry_run:
            _print_plan(settings)
            return
        clients = kafka_clients(settings, "start")
        created = create_topics(clients, Topics.of(settings.config))
        note(f"Topics created: {', '.join(created)}" if created else "All topics of the loop exist.")
        Lake.create(settings.lake, settings.config)
        note(f"Lake: {settings.lake}")
        if any(source.topic for source in settings.config.ingest):
            from streams.ingest.role import commit_start  # noqa: PLC0415 - the same

            is_latest = then_latest if begin is Where.HISTORY else begin is Where.LATEST
            where: Literal["latest", "earliest"] = "latest" if is_latest else "earliest"
            for line in commit_start(clients, settings.config, where):
                note(line)
        if begin is Where.HISTORY:
            _send(clients, settings, predictions or [], labels or [])
        note(f"Next: truthloop run all --config {settings.path}")


def _print_plan(settings: "Settings") -> None:
    """Say what would be created, and print the rights that each role needs; the cluster is not asked."""
    from schemas.errors import ConfigError  # noqa: PLC0415 - keeps --help fast
    from streams.kafka.access import acl_commands  # noqa: PLC0415 - the same
    from streams.kafka.topics import Topics  # noqa: PLC0415 - the same

    if settings.config.kafka is None:
        raise ConfigError("has no `kafka` section", where=str(settings.path))
    topics = Topics.of(settings.config)
    for name in topics.all:
        note(f"Topic {name} is created if it does not exist, with {topics.partitions_of(name)} partitions.")
    note(f"Lake: {settings.lake} is created if it does not exist.")
    note("Give each role a user of its own, with these rights and no more; put their names in the place of ours:")
    for line in acl_commands(settings.config, settings.config.kafka.bootstrap_servers):
        typer.echo(line)


def _send(clients: "KafkaClients", settings: "Settings", predictions: list[Path], labels: list[Path]) -> None:
    """Send the records of files with a progress bar, and print their counts."""
    from streams.seed.history import send_history  # noqa: PLC0415 - keeps --help fast
    from truthloop.run.replay_files import open_record_files  # noqa: PLC0415 - the same
    from truthloop.terminal.progress import progress_bar  # noqa: PLC0415 - the same

    files = open_record_files(settings, predictions, labels)
    with progress_bar(None) as bar:
        counts = send_history(clients, settings.config, files, lambda sent: bar.joined(sent, None))
    for file in counts:
        note(f"{file.name}: {file.mapped:,} records sent, {file.filtered:,} filtered, {file.rejected:,} rejected")
        for reason, count in sorted(file.reasons.items(), key=lambda item: -item[1]):
            note(f"  rejected: {reason} {count:,}")
