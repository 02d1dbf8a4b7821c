"""The `truthloop` command line, assembled from the modules in `truthloop/cli/commands`."""

import io
import sys

import typer

from truthloop.cli.commands.affected import affected
from truthloop.cli.commands.backfill import backfill
from truthloop.cli.commands.broker import broker
from truthloop.cli.commands.check import check
from truthloop.cli.commands.close import close
from truthloop.cli.commands.coverage import coverage
from truthloop.cli.commands.demo import demo
from truthloop.cli.commands.dlq import dlq
from truthloop.cli.commands.explain import explain
from truthloop.cli.commands.lake import lake
from truthloop.cli.commands.metrics import metrics
from truthloop.cli.commands.new import new
from truthloop.cli.commands.plan import apply, plan
from truthloop.cli.commands.replay import replay
from truthloop.cli.commands.rescale import rescale
from truthloop.cli.commands.retrain import retrain
from truthloop.cli.commands.run import run
from truthloop.cli.commands.serve import serve
from truthloop.cli.commands.source import source
from truthloop.cli.commands.sql import sql
from truthloop.cli.commands.start import start
from truthloop.cli.commands.status import status
from truthloop.cli.commands.webhook import webhook

__all__ = ["app", "main"]

app = typer.Typer(
    name="truthloop",
    help="Joins the predictions of a deployed model with late labels, exactly once, and measures how far the result "
    "can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # Rich takes longer to load than the rest of --help
    pretty_exceptions_enable=False,
)
for command in (
    demo,
    new,
    check,
    start,
    run,
    status,
    close,
    plan,
    apply,
    rescale,
    replay,
    coverage,
    metrics,
    serve,
    explain,
    affected,
    sql,
    broker,
):
    app.command()(command)
for group in (retrain, backfill, source, dlq, lake, webhook):
    app.add_typer(group)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # data may have characters that the terminal's encoding lacks
    try:
        app()
    except BrokenPipeError:  # the reader of the output has ended, as with `| head`
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
