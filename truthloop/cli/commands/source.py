"""`truthloop source`: lists the sources of labels, and retires those that will send none any more."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.base.figures import plain_text
from truthloop.cli.selection import local_user
from truthloop.terminal.console import note, print_json, reporting_errors

__all__ = ["source"]

source = typer.Typer(
    name="source",
    help="List the sources of labels, and retire those that have ended.",
    no_args_is_help=True,
)

Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")]
Kind = Annotated[str | None, typer.Option(help="The label kind; needed where several kinds have the source.")]
CONFIG = Path("truthloop.yaml")


@source.command("list")
def list_(
    config: Config = CONFIG, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False
) -> None:
    """List every source of labels: whether it is alive, when its last label came, and whether its silence is an alarm.

    A source is known from seven days of labels on, and stays known until it is retired.
    """
    with reporting_errors():
        from dataclasses import asdict  # noqa: PLC0415 - keeps --help fast

        from rich.text import Text  # noqa: PLC0415 - the same

        from schemas.base.figures import moment, zone_of  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.evidence.sources import list_sources  # noqa: PLC0415 - the same
        from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - the same

        settings = load_settings(config)
        found = list_sources(settings, now_ms())
        if as_json:
            print_json({"sources": [asdict(one) for one in found]})
            return
        zone = zone_of(settings.config.timezone)
        table = plain_table("kind:", "source:", "state:", "last label or heartbeat:", "known:", "retired since:")
        for one in found:
            times = ["-" if at is None else moment(at, zone) for at in (one.last_ms, one.retired_ms)]
            cells = (one.kind, one.source, one.state, times[0], "yes" if one.is_known else "no", times[1])
            table.add_row(*(Text(plain_text(cell)) for cell in cells))
        if table.row_count:
            print_table(table)
        note(f"{sum(one.is_known for one in found):,} sources of labels are known.")


@source.command()
def retire(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The source; or a slice whose labels are missing, as NAME=VALUE.")
    ],
    since: Annotated[str, typer.Option(metavar="TIME", help="Since when, with a UTC offset: 2026-03-01T00:00:00Z.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the log.")],
    kind: Kind = None,
    config: Config = CONFIG,
) -> None:
    """Retire a source of labels: its silence holds no retrain any more. Labels that come later start it anew.

    The log records this machine's user name: an attestation, not a proof. Removing a source from the config does not
    retire it.
    """
    with reporting_errors():
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        from retrain.approval import one_line  # noqa: PLC0415 - the same
        from retrain.episode_status import REASON_MAX  # noqa: PLC0415 - the same
        from schemas.errors import ConfigError  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.evidence.sources import Retirement, retire_source  # noqa: PLC0415 - the same
        from truthloop.terminal.instants import parse_instant_ms  # noqa: PLC0415 - the same

        why = one_line(reason)
        if not 0 < len(why) <= REASON_MAX:
            raise typer.BadParameter(f"--reason must have 1 to {REASON_MAX:,} characters")
        settings = load_settings(config)
        if kind is not None and kind not in settings.config.labels:
            hint = f"The config has: {', '.join(settings.config.labels)}."
            raise ConfigError(f"{kind!r} is no label kind", where="--kind", hint=hint)
        wish = Retirement(name, kind, parse_instant_ms(since, "--since"), why, local_user())
        entry = retire_source(settings, wish, now_ms)
        note(f"{escape(plain_text(name))} is retired from {escape(entry.kind)}, in entry {entry.number} of its log.")
        note("The feedback role evaluates again. Without that role: truthloop retrain evaluate")
