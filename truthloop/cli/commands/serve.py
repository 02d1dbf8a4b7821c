"""`truthloop serve`: the page of a loop without Kafka, which nightly jobs fill."""

from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, reporting_errors

__all__ = ["serve"]


def serve(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of the page; default: http.port. 0: a free port.")
    ] = None,
    approvals: Annotated[
        bool, typer.Option("--approvals", help="Let people rule about backfills here, and take callbacks of pipelines.")
    ] = False,
) -> None:
    """Serve the page of a loop from its lake, until Ctrl-C or SIGTERM: for loops without Kafka.

    `truthloop replay` and `truthloop retrain evaluate`, run every night, write what it shows. By default it is
    read-only: it writes nothing but the counts of new rows (table cells). The feedback role serves the same page.
    """
    with reporting_errors():
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast
        from truthloop.run.page import serve_page  # noqa: PLC0415 - the same

        settings = load_settings(config)
        note("Ctrl-C stops it." if approvals else "Read-only: --approvals lets people rule here. Ctrl-C stops it.")
        serve_page(settings, settings.config.http.port if port is None else port, is_read_only=not approvals)
