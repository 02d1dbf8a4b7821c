"""`truthloop start`: makes what a loop needs before its roles run, and says where reading begins."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from truthloop.console import note, reporting_errors

__all__ = ["start"]


class Where(StrEnum):
    """Where reading of the source topics begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


def start(
    begin: Annotated[
        Where, typer.Option("--from", help="Where in the source topics to begin: all that is there, or what comes.")
    ],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
) -> None:
    """Make the loop's topics and its lake, and record where ingest begins. Harmless when it was done before."""
    with reporting_errors():
        from lake import Lake  # noqa: PLC0415 - keeps --help fast
        from streams.topics import Topics, create_topics  # noqa: PLC0415 - the same
        from truthloop.roles import clients_of  # noqa: PLC0415 - the same
        from truthloop.settings import load_settings  # noqa: PLC0415 - the same

        settings = load_settings(config)
        clients = clients_of(settings, "start")
        made = create_topics(clients, Topics.of(settings.config))
        note(f"Topics made: {', '.join(made)}" if made else "All topics of the loop are there.")
        Lake.create(settings.lake, settings.config)
        note(f"Lake: {settings.lake}")
        if any(source.topic for source in settings.config.ingest):
            from streams.ingest import commit_start  # noqa: PLC0415 - the same

            for line in commit_start(clients, settings.config, begin.value):
                note(line)
        note(f"Next: truthloop run all --config {settings.path}")
