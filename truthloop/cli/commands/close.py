"""`truthloop close`: declares the inputs of a running join complete up to a time."""

from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, reporting_errors

__all__ = ["close"]


def close(
    at: Annotated[str, typer.Argument(metavar="TIME", help="ISO 8601 with offset, for example 2014-01-03T00:00:00Z.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
) -> None:
    """Declare all inputs complete up to TIME. Earlier deadlines pass.

    It takes effect after all records that the loop's topics of predictions and labels have now. It cannot be undone: a
    label that comes later is late.
    """
    with reporting_errors():
        from schemas.errors import InputError  # noqa: PLC0415 - keeps --help fast
        from streams.kafka.topics import Topics, check_topics, partition_counts  # noqa: PLC0415 - the same
        from streams.messages.command import send_close  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import kafka_clients  # noqa: PLC0415 - the same
        from truthloop.terminal.instants import parse_instant_ms  # noqa: PLC0415 - the same

        settings = load_settings(config)
        time_ms = parse_instant_ms(at, "TIME")
        if time_ms > now_ms():
            raise InputError(
                "the time is in the future",
                where=at,
                hint="Closing cannot be undone: all later records before this time would be late.",
            )
        clients = kafka_clients(settings, "close")
        topics = Topics.of(settings.config)
        check_topics(partition_counts(clients, topics.all), topics)
        send_close(clients, topics, time_ms)
        note(f"Sent to all {topics.partitions} partitions; `truthloop status` shows their progress.")
