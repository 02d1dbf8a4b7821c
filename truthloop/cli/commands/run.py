"""`truthloop run`: one role of a loop, or all of them on this machine."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from truthloop.terminal.console import note, reporting_errors

__all__ = ["run"]


class Role(StrEnum):
    """What can be run."""

    INGEST = "ingest"
    JOIN = "join"
    LAKE = "lake"
    FEEDBACK = "feedback"
    ALL = "all"


def run(
    role: Annotated[Role, typer.Argument(help="Which role; `all` runs one of each on this machine.")],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    slot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which of the role's workers this is, the same in every life; by default "
            "the ordinal of a StatefulSet's pod, or the first that is free on this machine.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Where it answers /livez, /readyz, /metrics; 0: any.")
    ] = None,
) -> None:
    """Run a role until it is stopped (Ctrl-C or SIGTERM); every role may run as often as there are partitions.

    ingest: from your topics to the loop's. join: predictions with labels. lake: what came of it, into the lake.
    feedback: evidence, the page, and retrains; of several, one decides and all serve the page.
    """
    with reporting_errors():
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import clients_of, run_role, runnable  # noqa: PLC0415 - keeps --help fast
        from truthloop.run.supervisor import Supervisor  # noqa: PLC0415 - the same

        settings = load_settings(config)
        if role is not Role.ALL:
            run_role(settings, role.value, slot=slot, port=port)
            return
        if slot is not None or port is not None:
            raise typer.BadParameter("--slot and --port are for a single role")
        clients_of(settings, "supervisor")
        roles = runnable(settings)
        note(f"Running {', '.join(roles)}. Ctrl-C ends them.")
        raise typer.Exit(Supervisor(settings, roles).run())
