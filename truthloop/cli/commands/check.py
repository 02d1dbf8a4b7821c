"""`truthloop check`: what is wrong with a config and where, or what it means, with its ages drawn to scale.

With --live also what it makes of the records that are there. Must not open the lake, join a group or write anything.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError
from truthloop.terminal.console import print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from truthloop.config.settings import ConfigProblem

__all__ = ["check"]


def check(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    live: Annotated[
        bool, typer.Option("--live", help="Look at the cluster, too: sample the topics and say what becomes of them.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="With --live: records of each topic (10,000).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what is wrong with the config and where, or what it means.

    Exit code 1: --live found an error. 2: the config is wrong. 4: the cluster does not answer. With --live no group
    is joined, nothing is committed, and a large topic takes no longer than a small one.
    """
    from truthloop.config.advice import advise  # noqa: PLC0415 - keeps --help fast
    from truthloop.config.settings import InvalidConfigError, load_placed_settings  # noqa: PLC0415 - keeps --help fast
    from truthloop.config.summary import summarise  # noqa: PLC0415 - keeps --help fast

    with reporting_errors():
        if sample is not None and not live:
            raise ConfigError("--sample goes with --live")
        try:
            settings, places = load_placed_settings(config)
        except InvalidConfigError as error:
            if as_json:
                print_json({"ok": False, "errors": [_json(found) for found in error.problems], "warnings": []})
                raise typer.Exit(error.exit_code) from None
            raise
        remarks = [places.problem(problem.path, str(problem)) for problem in advise(settings.config)]
        document: dict[str, object] = {"ok": True, "errors": [], "warnings": [_json(remark) for remark in remarks]}
        if live:
            from truthloop.cli.check_live import inspected, tell  # noqa: PLC0415 - keeps --help fast

            found = inspected(settings, sample)
            is_good = tell(found, settings.config, document if as_json else None)
        else:
            is_good = True
            if as_json:
                print_json(document)
            else:
                _say([f"{config} is valid.", "", *summarise(settings.config, settings.lake, results.console.width)])
        for remark in [] if as_json else remarks:
            warn(f"{remark.where}: {remark.message}")
        if not is_good:
            raise typer.Exit(1)


def _say(lines: list[str]) -> None:
    """Print lines as they are: the config's own words are no markup."""
    from truthloop.config.timeline import in_ascii  # noqa: PLC0415 - keeps --help fast

    for line in in_ascii(lines) if results.console.options.ascii_only else lines:
        results.console.print(line, markup=False, emoji=False, no_wrap=True, overflow="ignore", crop=False)


def _json(problem: "ConfigProblem") -> dict[str, object]:
    return {"file": problem.file, "line": problem.line, "message": problem.message}
