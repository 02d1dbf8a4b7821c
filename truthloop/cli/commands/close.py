"""`truthloop close`: tells a running join that its inputs are complete up to a time."""

from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, reporting_errors

__all__ = ["close"]


def close(
    at: Annotated[str, typer.Argument(metavar="TIME", help="ISO 8601 with offset, for instance 2014-01-03T00:00:00Z.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
) -> None:
    """Tell the join that all inputs are complete up to TIME, so that deadlines before it pass.

    It holds behind everything that the loop's predictions and labels topics have now. What is closed is never
    opened again: a label that comes later is late.
    """
    with reporting_errors():
        from schemas.errors import InputError  # noqa: PLC0415 - keeps --help fast
        from streams.kafka.topics import Topics, check_topics, partition_counts  # noqa: PLC0415 - the same
        from streams.messages.command import send_close  # noqa: PLC0415 - the same
        from truthloop.clock import moment_ms, now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import clients_of  # noqa: PLC0415 - the same

        settings = load_settings(config)
        time_ms = moment_ms(at, "TIME")
        if time_ms > now_ms():
            raise InputError(
                "the time to close at lies in the future",
                where=at,
                hint="What is closed is never opened again: all later records before it would be late.",
            )
        clients = clients_of(settings, "close")
        topics = Topics.of(settings.config)
        check_topics(partition_counts(clients, topics.all), topics)
        send_close(clients, topics, time_ms)
        note(f"Told all {topics.partitions} partitions; `truthloop status` shows when they have passed it.")
