"""`truthloop run`: runs one role of a loop, or all of them on this machine."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, reporting_errors

__all__ = ["run"]


class Role(StrEnum):
    """A role, or all."""

    INGEST = "ingest"
    JOIN = "join"
    LAKE = "lake"
    FEEDBACK = "feedback"
    ALL = "all"


def run(
    role: Annotated[Role, typer.Argument(help="The role; `all` runs one of each on this machine.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    slot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="This worker's slot among the role's workers, the same after a restart; default: the "
            "ordinal of a StatefulSet's pod, or the first free one on this machine.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of /livez, /readyz and /metrics; 0: a free port.")
    ] = None,
) -> None:
    """Run a role until Ctrl-C or SIGTERM. Each role can have as many workers as there are partitions.

    ingest: maps your topics to the loop's. join: joins predictions with labels. lake: writes the results to the lake.
    feedback: evaluates, serves the page and requests retrains; of several workers one decides, all serve the page.
    """
    with reporting_errors():
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.logs import log_to_stderr  # noqa: PLC0415 - the same
        from truthloop.run.roles import needed_roles, run_role, unasked_clients  # noqa: PLC0415 - keeps --help fast
        from truthloop.run.supervisor import Supervisor  # noqa: PLC0415 - the same

        settings = load_settings(config)
        if role is not Role.ALL:
            raise typer.Exit(run_role(settings, role.value, slot=slot, port=port))
        if slot is not None or port is not None:
            raise typer.BadParameter("--slot and --port are for a single role")
        unasked_clients(settings, "supervisor")
        log_to_stderr("all", settings.config.loop)
        roles = needed_roles(settings)
        note(f"Running {', '.join(roles)}. Ctrl-C stops them.")
        raise typer.Exit(Supervisor(settings, roles).run())
