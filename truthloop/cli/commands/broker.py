"""`truthloop broker`: a real Kafka on this machine, for development only."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, notes, reporting_errors, results

__all__ = ["broker"]


def broker(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: a free port.")] = 9092,
    folder: Annotated[Path, typer.Option(help="Folder of its records; records of an earlier run are kept.")] = Path(
        "kafka"
    ),
) -> None:
    """Run a real Apache Kafka in the foreground, for development. It needs no Docker and no Java.

    It listens on this machine only and keeps one copy of each record: not for production. Ctrl-C stops it.
    """
    with reporting_errors(), _stopped_by_signals():
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        from truthloop.broker.local_broker import LocalBroker  # noqa: PLC0415 - the same

        _prepare()
        local = LocalBroker(folder, port)
        try:
            with notes.console.status("starting Kafka ..."):
                local.start()
            note(f"Apache Kafka for development, not for production. Its records are in {escape(str(folder))}.")
            note("For truthloop.yaml:")
            results.print(f"kafka: {{bootstrap_servers: {local.bootstrap_servers}}}")
            note("Ctrl-C stops it.")
            local.wait()
        finally:
            local.stop()


def _prepare() -> None:
    """Download and prepare what is missing of Kafka, and announce what is written where."""
    from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

    from truthloop.broker.jars import KAFKA_VERSION, cache_folder, maven_url, missing_jars  # noqa: PLC0415 - the same
    from truthloop.broker.program import STARTUP_CACHE_BYTES, is_prepared, prepare_kafka  # noqa: PLC0415 - the same

    cache = escape(str(cache_folder()))
    if missing := missing_jars(cache_folder()):
        size_mb = sum(jar.size for jar in missing) / 1e6
        note(
            f"Downloads Apache Kafka {KAFKA_VERSION}, {len(missing)} files of {size_mb:.0f} MB, "
            f"from {escape(maven_url())} into {cache}."
        )
    if not is_prepared():
        note(f"Writes a start-up cache of {STARTUP_CACHE_BYTES / 1e6:.0f} MB into {cache}, once; takes 20 seconds.")
    with notes.console.status("preparing Kafka ...") as status:
        prepare_kafka(lambda done, total: status.update(f"downloading Kafka: {done / 1e6:.0f} of {total / 1e6:.0f} MB"))


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """End the block cleanly on Ctrl-C or SIGTERM, without an error."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        note("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, before)
