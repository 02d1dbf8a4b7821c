"""`truthloop rescale`: starts a new loop, with other partitions or another definition, from a stopped one."""

from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, reporting_errors

__all__ = ["rescale"]


def rescale(
    of: Annotated[Path, typer.Option("--of", metavar="FILE", help="Config of the stopped loop.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Config of the new loop.")] = Path(
        "truthloop.yaml"
    ),
) -> None:
    """Start a new loop with all records of a stopped one. It has its own name and lake.

    For changes that `apply` refuses: another number of partitions, another definition, other kinds. The records are
    joined again under the new config; the old loop's lake keeps its history. Ingest continues at the old loop's
    position. After an interruption run it again: records that were sent already count as duplicates.
    """
    with reporting_errors():
        from lake import Lake  # noqa: PLC0415 - keeps --help fast
        from schemas.errors import ConfigError  # noqa: PLC0415 - the same
        from streams.ingest.offsets import copy_positions  # noqa: PLC0415 - the same
        from streams.kafka.topics import Topics, create_topics  # noqa: PLC0415 - the same
        from streams.messages.command import send_close  # noqa: PLC0415 - the same
        from streams.seed.rescale import (  # noqa: PLC0415 - the same
            check_finished,
            least_watermark_ms,
            send_lake,
            wait_until_stopped,
        )
        from streams.status import read_loop_status  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import kafka_clients  # noqa: PLC0415 - the same
        from truthloop.terminal.progress import progress_bar  # noqa: PLC0415 - the same

        old, new = load_settings(of), load_settings(config)
        if old.config.loop == new.config.loop or old.lake == new.lake:
            raise ConfigError(
                "has the name or the lake of the stopped loop",
                where=str(new.path),
                hint="Give it another `loop` and another `lake.uri`: the old loop's topics and lake are not changed.",
            )
        clients = kafka_clients(new, "rescale")
        topics = Topics.of(old.config)
        wait_until_stopped(clients, topics)
        status = read_loop_status(clients, old.config, old.lake)
        check_finished(status, topics)
        create_topics(clients, Topics.of(new.config))
        Lake.create(new.lake, new.config)
        with progress_bar(None) as bar:
            sent = send_lake(clients, new.config, Lake.open(old.lake), lambda count: bar.joined(count, None))
        note(f"{sent:,} records of loop {old.config.loop} sent to loop {new.config.loop}.")
        if (closed_ms := least_watermark_ms(status)) is not None:
            send_close(clients, Topics.of(new.config), closed_ms)
        for topic in copy_positions(clients, old.config, new.config):
            note(f"Ingest of topic {topic} continues at the old loop's position.")
        note(f"Next: truthloop run all --config {new.path}")
