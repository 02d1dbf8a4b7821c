"""`truthloop rescale`: begins a loop with other partitions, or another definition, from all that one knows."""

from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, reporting_errors

__all__ = ["rescale"]


def rescale(
    of: Annotated[Path, typer.Option("--of", metavar="FILE", help="Config of the loop that was stopped.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="Config of the one that begins.")
    ] = Path("truthloop.yaml"),
) -> None:
    """Begin a loop of another name, with a lake of its own, with every record of one that was stopped.

    For what cannot be applied to a running loop: another number of partitions, another definition, other kinds. The
    records are joined again, under the new config; the other loop's lake keeps what was known when. Ingest goes on
    where the other's has stopped. Run again after an interruption: what is there already counts as duplicate.
    """
    with reporting_errors():
        from lake import Lake  # noqa: PLC0415 - keeps --help fast
        from schemas.errors import ConfigError  # noqa: PLC0415 - the same
        from streams.ingest.offsets import carry_positions  # noqa: PLC0415 - the same
        from streams.kafka.topics import Topics, create_topics  # noqa: PLC0415 - the same
        from streams.messages.command import send_close  # noqa: PLC0415 - the same
        from streams.seed.rescale import (  # noqa: PLC0415 - the same
            check_finished,
            closed_until_ms,
            send_lake,
            wait_until_stopped,
        )
        from streams.status import read_loop_status  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import clients_of  # noqa: PLC0415 - the same
        from truthloop.terminal.progress import progress_bar  # noqa: PLC0415 - the same

        old, new = load_settings(of), load_settings(config)
        if old.config.loop == new.config.loop or old.lake.resolve() == new.lake.resolve():
            raise ConfigError(
                "has the name or the lake of the loop that was stopped",
                where=str(new.path),
                hint="Give it another `loop` and another `lake.uri`: the other's topics and lake stay as they are.",
            )
        clients = clients_of(new, "rescale")
        topics = Topics.of(old.config)
        wait_until_stopped(clients, topics)
        stand = read_loop_status(clients, old.config, old.lake)
        check_finished(stand, topics)
        create_topics(clients, Topics.of(new.config))
        Lake.create(new.lake, new.config)
        with progress_bar(None) as report:
            sent = send_lake(clients, new.config, Lake.open(old.lake), lambda count: report(count, None))
        note(f"{sent:,} records of loop {old.config.loop} sent to loop {new.config.loop}.")
        if (closed_ms := closed_until_ms(stand)) is not None:
            send_close(clients, Topics.of(new.config), closed_ms)
        for topic in carry_positions(clients, old.config, new.config):
            note(f"Ingest goes on with topic {topic} where it has stopped.")
        note(f"Next: truthloop run all --config {new.path}")
